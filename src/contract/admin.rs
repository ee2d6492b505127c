//! Calls of the administrator, as calldata. Each raises the epoch, but pause and transfer.

use alloy::primitives::{Address, Bytes};
use alloy::providers::Provider;
use alloy::sol_types::SolCall;

use super::bindings::{Authorization, IAuthorization};
use super::{ContractError, call, policy_line, role_number};
use crate::schema::anchors::PolicyLine;

/// An act of administration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Adds an approver, or moves one to another role.
    SetApprover {
        account: Address,
        role: String,
    },
    RemoveApprover {
        account: Address,
    },
    SetPolicy {
        lines: Vec<PolicyLine>,
    },
    /// Registers a bridge, or names another signer of its responses.
    SetBridge {
        requester: Address,
        signer: Address,
    },
    RemoveBridge {
        requester: Address,
    },
    Pause,
    Unpause,
    /// The first of two steps; the new administrator accepts.
    TransferAdmin {
        to: Address,
    },
    AcceptAdmin,
}

impl Act {
    pub fn calldata(&self) -> Bytes {
        let encoded = match self {
            Act::SetApprover { account, role } => {
                let set = vec![IAuthorization::ApproverInit { account: *account, role: role_number(role) }];
                Authorization::setApproversCall { set, remove: Vec::new() }.abi_encode()
            }
            Act::RemoveApprover { account } => {
                Authorization::setApproversCall { set: Vec::new(), remove: vec![*account] }.abi_encode()
            }
            Act::SetPolicy { lines } => {
                Authorization::setPolicyCall { lines: lines.iter().map(policy_line).collect() }.abi_encode()
            }
            Act::SetBridge { requester, signer } => {
                Authorization::setBridgeCall { requester: *requester, signer: *signer }.abi_encode()
            }
            Act::RemoveBridge { requester } => Authorization::removeBridgeCall { requester: *requester }.abi_encode(),
            Act::Pause => Authorization::pauseCall {}.abi_encode(),
            Act::Unpause => Authorization::unpauseCall {}.abi_encode(),
            Act::TransferAdmin { to } => Authorization::transferAdminCall { newAdmin: *to }.abi_encode(),
            Act::AcceptAdmin => Authorization::acceptAdminCall {}.abi_encode(),
        };
        encoded.into()
    }
}

/// Who administers, and whether requests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Administration {
    pub admin: Address,
    /// Who was named and has not accepted yet; zero for nobody.
    pub pending_admin: Address,
    pub paused: bool,
}

/// Reads who administers.
///
/// # Errors
/// [`ContractError`].
pub async fn read<P: Provider>(provider: &P, contract: Address) -> Result<Administration, ContractError> {
    Ok(Administration {
        admin: call(provider, contract, Authorization::adminCall {}, "admin").await?,
        pending_admin: call(provider, contract, Authorization::pendingAdminCall {}, "pendingAdmin").await?,
        paused: call(provider, contract, Authorization::pausedCall {}, "paused").await?,
    })
}
