//! Trust anchors: what a verifier pins (PROTOCOL section 9).

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use super::hex;
use super::ids::RiskScore;

/// The name in a quorum that counts every approver.
pub const ANY_ROLE: &str = "any";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustAnchors {
    pub chain_id: u64,
    #[serde(with = "hex::b256")]
    pub genesis_hash: B256,
    #[serde(with = "hex::address")]
    pub contract: Address,
    /// keccak256 of the deployed runtime code.
    #[serde(with = "hex::b256")]
    pub code_hash: B256,
    /// Blocks on top of a block, that block included, before it counts.
    pub confirmations: u64,
    /// Longest life of a request, in seconds.
    pub max_lifetime: u64,
    pub chain_check: ChainCheck,
    pub epochs: Vec<EpochAnchors>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainCheck {
    On,
    /// Allowed on chain id 31337 only.
    Off,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochAnchors {
    pub epoch: u64,
    pub approvers: Vec<ApproverAnchor>,
    /// The last line whose `min_risk_bps` the request reaches holds; the first line is 0.
    pub policy: Vec<PolicyLine>,
    pub bridges: Vec<BridgeAnchor>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproverAnchor {
    #[serde(with = "hex::address")]
    pub address: Address,
    pub role: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyLine {
    pub min_risk_bps: u16,
    /// How many distinct approvers of each role; every count must be met.
    pub quorum: BTreeMap<String, u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeAnchor {
    /// Signs responses.
    #[serde(with = "hex::address")]
    pub signer: Address,
    /// Sends request transactions.
    #[serde(with = "hex::address")]
    pub requester: Address,
}

/// The chain id on which Anvil's dev keys work and the chain check may be off.
pub const DEV_CHAIN_ID: u64 = 31337;

/// Why a set of anchors cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorsError {
    #[error("chain_check: off is allowed on chain id {DEV_CHAIN_ID} only, these anchors are for {0}")]
    ChainCheckOff(u64),
    #[error("the anchors hold no epoch")]
    NoEpoch,
    #[error("epoch {0} stands twice")]
    DuplicateEpoch(u64),
    #[error("epoch {epoch}: approver {address} stands twice")]
    DuplicateApprover { epoch: u64, address: Address },
    #[error("epoch {epoch}: {address} is a bridge's requester and an approver")]
    RequesterIsApprover { epoch: u64, address: Address },
    #[error("epoch {epoch}: the policy must begin at min_risk_bps 0 and rise strictly")]
    PolicyOrder { epoch: u64 },
    #[error("epoch {epoch}: the policy line from {min_risk_bps} asks for {count} of {role:?}, there are {have}")]
    Unmeetable { epoch: u64, min_risk_bps: u16, role: String, count: u8, have: usize },
    #[error("epoch {epoch}: the policy line from {min_risk_bps} asks for nobody")]
    EmptyQuorum { epoch: u64, min_risk_bps: u16 },
    #[error("epoch {0} names no bridge")]
    NoBridge(u64),
    #[error("confirmations must be at least 1")]
    NoConfirmations,
}

impl TrustAnchors {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first rule of PROTOCOL section 9 that the anchors break.
    pub fn validate(&self) -> Result<(), AnchorsError> {
        if self.chain_check == ChainCheck::Off && self.chain_id != DEV_CHAIN_ID {
            return Err(AnchorsError::ChainCheckOff(self.chain_id));
        }
        if self.confirmations == 0 {
            return Err(AnchorsError::NoConfirmations);
        }
        if self.epochs.is_empty() {
            return Err(AnchorsError::NoEpoch);
        }
        for (index, epoch) in self.epochs.iter().enumerate() {
            if self.epochs[..index].iter().any(|other| other.epoch == epoch.epoch) {
                return Err(AnchorsError::DuplicateEpoch(epoch.epoch));
            }
            epoch.validate()?;
        }
        Ok(())
    }

    /// The anchors of one epoch.
    pub fn epoch(&self, epoch: u64) -> Option<&EpochAnchors> {
        self.epochs.iter().find(|e| e.epoch == epoch)
    }

    /// The same anchors with one epoch alone: what evidence of that epoch is held against.
    pub fn at_epoch(&self, epoch: u64) -> Option<TrustAnchors> {
        self.epoch(epoch).map(|found| TrustAnchors { epochs: vec![found.clone()], ..self.clone() })
    }

    /// The highest epoch, the only one that something may run under.
    pub fn latest(&self) -> Option<&EpochAnchors> {
        self.epochs.iter().max_by_key(|e| e.epoch)
    }
}

impl EpochAnchors {
    fn validate(&self) -> Result<(), AnchorsError> {
        let epoch = self.epoch;
        if self.bridges.is_empty() {
            return Err(AnchorsError::NoBridge(epoch));
        }
        for (index, approver) in self.approvers.iter().enumerate() {
            let address = approver.address;
            if self.approvers[..index].iter().any(|other| other.address == address) {
                return Err(AnchorsError::DuplicateApprover { epoch, address });
            }
            if self.bridges.iter().any(|bridge| bridge.requester == address) {
                return Err(AnchorsError::RequesterIsApprover { epoch, address });
            }
        }
        let rises = self.policy.windows(2).all(|pair| pair[0].min_risk_bps < pair[1].min_risk_bps);
        if self.policy.first().is_none_or(|line| line.min_risk_bps != 0) || !rises {
            return Err(AnchorsError::PolicyOrder { epoch });
        }
        self.policy.iter().try_for_each(|line| self.validate_line(line))
    }

    fn validate_line(&self, line: &PolicyLine) -> Result<(), AnchorsError> {
        let (epoch, min_risk_bps) = (self.epoch, line.min_risk_bps);
        if line.quorum.is_empty() || line.quorum.values().any(|count| *count == 0) {
            return Err(AnchorsError::EmptyQuorum { epoch, min_risk_bps });
        }
        for (role, &count) in &line.quorum {
            let have = self.approvers.iter().filter(|a| role == ANY_ROLE || &a.role == role).count();
            if have < usize::from(count) {
                return Err(AnchorsError::Unmeetable { epoch, min_risk_bps, role: role.clone(), count, have });
            }
        }
        Ok(())
    }

    /// The role of an approver, if the address is one.
    pub fn role_of(&self, address: Address) -> Option<&str> {
        self.approvers.iter().find(|a| a.address == address).map(|a| a.role.as_str())
    }

    /// The policy line that a risk falls under.
    pub fn line_for(&self, risk: RiskScore) -> Option<&PolicyLine> {
        self.policy.iter().rev().find(|line| line.min_risk_bps <= risk.bps())
    }

    /// Whether distinct approvers, given once each, meet a line.
    pub fn quorum_met(&self, line: &PolicyLine, approvers: &[Address]) -> bool {
        line.quorum.iter().all(|(role, &count)| {
            let votes = approvers.iter().filter(|a| match self.role_of(**a) {
                Some(have) => role == ANY_ROLE || have == role,
                None => false,
            });
            votes.count() >= usize::from(count)
        })
    }
}
