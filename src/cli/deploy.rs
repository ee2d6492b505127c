use std::path::PathBuf;

use alloy::primitives::{Address, TxKind};
use alloy::providers::{Provider, RootProvider};
use serde::Deserialize;
use serde_json::json;

use super::context::{Globals, dev, dev_setup, load_key};
use super::error::{CommandError, Exit, OrExit};
use super::out::outln;
use super::transact;
use crate::contract::Setup;
use crate::crypto::SigningKey;
use crate::schema::anchors::{ApproverAnchor, BridgeAnchor, DEV_CHAIN_ID, PolicyLine};
use crate::schema::{LedgerKind, hex};

/// Deploy the Authorization contract and remember where
///
/// On Anvil's dev chain accounts 1 and 3 approve for operations, 2 for security, 0 sends, 9
/// signs responses and 8 is admin. On any other chain --setup says who, in YAML: admin,
/// approvers [{address, role}], policy [{min_risk_bps, quorum}], bridges [{signer, requester}].
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Who approves, sends and administers; needed anywhere but on the dev chain
    #[arg(long, value_name = "FILE")]
    pub setup: Option<PathBuf>,
    /// The key that deploys, 64 hex digits in a file; else $GUARDRAIL_ADMIN_KEY
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(serde::Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetupFile {
    #[serde(with = "hex::address")]
    admin: Address,
    approvers: Vec<ApproverAnchor>,
    policy: Vec<PolicyLine>,
    bridges: Vec<BridgeAnchor>,
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    match globals.ledger() {
        LedgerKind::Evm => {}
        LedgerKind::Mock => {
            return Err(CommandError::message(Exit::Usage, "the mock ledger has its one contract from the beginning")
                .hint("leave --mock-chain (or GUARDRAIL_MOCK_CHAIN) out to deploy on a chain"));
        }
    }
    let endpoint = globals.connect().await?;
    let provider = endpoint.provider();
    let chain_id = provider.get_chain_id().await.or_exit(Exit::Unreachable)?;
    let on_dev = chain_id == DEV_CHAIN_ID;
    let setup = match &args.setup {
        Some(path) => {
            let file: SetupFile = crate::config::load_yaml(path, "GUARDRAIL_SETUP").or_exit(Exit::Usage)?;
            Setup { admin: file.admin, approvers: file.approvers, policy: file.policy, bridges: file.bridges }
        }
        None if on_dev => dev_setup()?,
        None => {
            return Err(CommandError::message(
                Exit::Usage,
                format!("chain {chain_id} is no dev chain: say who decides"),
            )
            .hint("give --setup FILE; see `guardrail deploy --help`"));
        }
    };
    let key = load_key(args.key_file.as_deref(), "GUARDRAIL_ADMIN_KEY", on_dev.then_some(dev::ADMIN), chain_id)?
        .ok_or_else(|| {
            CommandError::message(Exit::Usage, "no key to deploy with")
                .hint("give --key-file FILE or $GUARDRAIL_ADMIN_KEY")
        })?;
    let located = globals.deploy(provider, &key, &setup).await?;
    if args.json {
        outln!(
            "{}",
            json!({"ledger": globals.ledger(), "contract": located.contract, "block_number": located.from_block, "chain_id": chain_id})
        )?;
    } else {
        outln!("{}", located.contract)?;
    }
    Ok(Exit::Done)
}

/// Sends the creation transaction and waits until it is mined: the address and its block.
pub async fn send(provider: &RootProvider, admin: &SigningKey, setup: &Setup) -> Result<(Address, u64), CommandError> {
    let receipt = transact::send_to(provider, admin, TxKind::Create, setup.init_code()).await?;
    match (receipt.contract_address, receipt.block_number) {
        (Some(contract), Some(block)) => Ok((contract, block)),
        _ => Err(CommandError::message(
            Exit::Failed,
            format!("transaction {} made no contract", receipt.transaction_hash),
        )),
    }
}
