use std::path::PathBuf;

use alloy::primitives::{Address, keccak256};
use alloy::providers::{Provider, RootProvider};
use alloy::sol_types::SolCall;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::context::{Globals, Located, dev, load_key};
use super::error::{CommandError, Exit, OrExit};
use super::mock;
use super::out::outln;
use super::{requests, transact};
use crate::contract::admin::{self, Act};
use crate::contract::{self, role_number};
use crate::crypto::{SigningKey, abi};
use crate::schema::anchors::{DEV_CHAIN_ID, PolicyLine};

/// Administer the contract: approvers, policy, bridges, pause, transfer
///
/// A change of approvers, roles, policy or bridges raises the epoch: what is not consumed by then
/// can be neither approved nor consumed, and verifiers must pin the new anchors.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: AdminCommand,
    #[command(flatten)]
    key: AdminKey,
}

#[derive(Debug, clap::Args)]
struct AdminKey {
    /// The administrator's key, 64 hex digits in a file; else $GUARDRAIL_ADMIN_KEY
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// One of Anvil's dev accounts, on the dev chain alone [default there: 8, the administrator]
    #[arg(long, global = true, value_name = "N")]
    dev_account: Option<usize>,
}

#[derive(Debug, clap::Subcommand)]
enum AdminCommand {
    /// Show who administers, approves and sends, and the policy
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add an approver or give one another role: operations, security or role_3 to role_7
    SetApprover { address: Address, role: String },
    /// Remove an approver
    RemoveApprover { address: Address },
    /// Replace the policy: YAML with `policy: [{min_risk_bps, quorum: {role: count}}]`
    SetPolicy { file: PathBuf },
    /// Register a bridge, or name another signer of its responses
    SetBridge { requester: Address, signer: Address },
    /// Remove a bridge
    RemoveBridge { requester: Address },
    /// Stop requests, approvals and consumption; denials and cancellations go on
    Pause,
    /// Undo a pause
    Unpause,
    /// Name another administrator, who must accept
    Transfer { address: Address },
    /// Accept being the administrator
    Accept,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    policy: Vec<PolicyLine>,
}

/// Cancel a request that is neither consumed nor over
#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    /// Request id or authorization id, or the beginning or end of one
    pub id: String,
    /// Why, for the agent and for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    key: AdminKey,
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    let (provider, located, chain_id) = requests::open(globals).await?;
    let act = match &args.command {
        AdminCommand::Show { json } => return show(globals, &provider, located, *json).await,
        AdminCommand::SetApprover { address, role } => {
            if role_number(role) == 0 {
                return Err(CommandError::message(Exit::Usage, format!("there is no role {role:?}"))
                    .hint("operations, security, or role_3 to role_7"));
            }
            Act::SetApprover { account: *address, role: role.clone() }
        }
        AdminCommand::RemoveApprover { address } => Act::RemoveApprover { account: *address },
        AdminCommand::SetPolicy { file } => {
            let file: PolicyFile = crate::config::load_yaml(file, "GUARDRAIL_POLICY").or_exit(Exit::Usage)?;
            Act::SetPolicy { lines: file.policy }
        }
        AdminCommand::SetBridge { requester, signer } => Act::SetBridge { requester: *requester, signer: *signer },
        AdminCommand::RemoveBridge { requester } => Act::RemoveBridge { requester: *requester },
        AdminCommand::Pause => Act::Pause,
        AdminCommand::Unpause => Act::Unpause,
        AdminCommand::Transfer { address } => Act::TransferAdmin { to: *address },
        AdminCommand::Accept => Act::AcceptAdmin,
    };
    let key = key(&args.key, chain_id)?;
    let hash = transact::send(&provider, &key, located.contract, act.calldata()).await?;
    let epoch = contract::read_epoch(&provider, located.contract).await.or_exit(Exit::Unreachable)?.epoch;
    outln!("{hash}")?;
    eprintln!("done; the epoch is {epoch}. Verifiers that pinned an older one need `guardrail anchors init`");
    Ok(Exit::Done)
}

pub async fn cancel(globals: &Globals, args: &CancelArgs) -> Result<Exit, CommandError> {
    let (provider, located, chain_id) = requests::open(globals).await?;
    let found = requests::find(&provider, located, &args.id).await?;
    // Everything that the id is made of stands in the event of the request.
    let r = abi::Request {
        requestIdHash: keccak256(found.request_id.as_str()),
        toolHash: keccak256(&found.tool_name),
        actionHash: found.action_hash,
        requestHash: found.request_hash,
        requester: found.requester,
        expiresAt: alloy::primitives::aliases::U40::saturating_from(found.expires_at_s),
        riskBps: found.risk_bps,
        epoch: found.epoch,
    };
    let call = abi::cancelCall { r, reason: args.reason.clone() };
    let hash =
        transact::send(&provider, &key(&args.key, chain_id)?, located.contract, call.abi_encode().into()).await?;
    outln!("{hash}")?;
    Ok(Exit::Done)
}

fn key(args: &AdminKey, chain_id: u64) -> Result<SigningKey, CommandError> {
    let dev_account = args.dev_account.or((chain_id == DEV_CHAIN_ID).then_some(dev::ADMIN));
    load_key(args.key_file.as_deref(), "GUARDRAIL_ADMIN_KEY", dev_account, chain_id)?.ok_or_else(|| {
        CommandError::message(Exit::Usage, "no key to sign with").hint("give --key-file FILE or $GUARDRAIL_ADMIN_KEY")
    })
}

async fn show(globals: &Globals, provider: &RootProvider, located: Located, json: bool) -> Result<Exit, CommandError> {
    let ledger = globals.ledger();
    let who = admin::read(provider, located.contract).await.or_exit(Exit::Unreachable)?;
    let epoch = contract::read_epoch(provider, located.contract).await.or_exit(Exit::Unreachable)?;
    let chain_id = provider.get_chain_id().await.or_exit(Exit::Unreachable)?;
    let pending = (!who.pending_admin.is_zero()).then(|| who.pending_admin.to_checksum(None));
    if json {
        outln!(
            "{}",
            json!({"ledger": ledger, "chain_id": chain_id, "contract": located.contract.to_checksum(None), "admin": who.admin.to_checksum(None),
                "pending_admin": pending, "paused": who.paused, "epoch": epoch})
        )?;
        return Ok(Exit::Done);
    }
    outln!(
        "contract   {} on chain {chain_id}, epoch {}{}{}",
        located.contract,
        epoch.epoch,
        if who.paused { ", PAUSED" } else { "" },
        mock::suffix(ledger)
    )?;
    outln!("admin      {}{}", who.admin, pending.map(|to| format!(", transferring to {to}")).unwrap_or_default())?;
    for approver in &epoch.approvers {
        outln!("approver   {} {}", approver.address, approver.role)?;
    }
    for line in &epoch.policy {
        let counts: Vec<String> = line.quorum.iter().map(|(role, count)| format!("{count} of {role}")).collect();
        outln!("policy     from risk {} on: {}", f64::from(line.min_risk_bps) / 10_000.0, counts.join(" and "))?;
    }
    for bridge in &epoch.bridges {
        outln!("bridge     {} sends, {} signs responses", bridge.requester, bridge.signer)?;
    }
    Ok(Exit::Done)
}
