use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent;
use serde_json::{Value, json};

use super::context::Globals;
use super::error::{CommandError, Exit, OrExit};
use super::mock;
use super::out::outln;
use super::pending::printable;
use super::requests;
use crate::crypto::abi;
use crate::schema::Outcome;

/// List what the contract recorded, oldest first
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    let (provider, located, chain_id) = requests::open(globals).await?;
    let logs = requests::logs(&provider, located, None).await?;
    let ledger = globals.ledger();
    let mut shown = 0usize;
    for log in &logs {
        let Some((event, id, detail)) = read(log)? else { continue };
        shown += 1;
        let block = log.block_number.unwrap_or_default();
        let tx = log.transaction_hash.unwrap_or_default();
        if args.json {
            outln!(
                "{}",
                json!({"ledger": ledger, "block": block, "transaction": tx, "event": event, "authorization_id": id, "detail": detail})
            )?;
        } else {
            outln!("{block:>6}  {tx}  {event:<24}  {id}  {}{}", line(&detail), mock::suffix(ledger))?;
        }
    }
    eprintln!("{shown} events of contract {} on chain {chain_id}{}", located.contract, mock::suffix(ledger));
    eprintln!(
        "check with: cast logs --from-block {} --address {} --rpc-url {}",
        located.from_block,
        located.contract,
        globals.rpc_url()
    );
    Ok(Exit::Done)
}

fn line(detail: &Value) -> String {
    let fields = detail.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), printable)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// An event of a request's life; `None` for administration, which has no authorization id.
fn read(log: &Log) -> Result<Option<(&'static str, String, Value)>, CommandError> {
    let data = log.data();
    let Some(topic) = log.topic0() else { return Ok(None) };
    let (event, id, detail) = match *topic {
        abi::AuthorizationRequested::SIGNATURE_HASH => {
            let e = abi::AuthorizationRequested::decode_log_data(data).or_exit(Exit::Failed)?;
            let detail = json!({"request_id": e.requestId, "tool": e.toolName, "risk_bps": e.riskBps, "expires_at": e.expiresAt.to::<u64>(), "epoch": e.epoch, "requester": e.requester.to_checksum(None)});
            ("AuthorizationRequested", e.id, detail)
        }
        abi::VoteCast::SIGNATURE_HASH => {
            let e = abi::VoteCast::decode_log_data(data).or_exit(Exit::Failed)?;
            ("VoteCast", e.id, json!({"approver": e.approver.to_checksum(None), "approve": e.approve, "note": e.note}))
        }
        abi::AuthorizationApproved::SIGNATURE_HASH => {
            let e = abi::AuthorizationApproved::decode_log_data(data).or_exit(Exit::Failed)?;
            ("AuthorizationApproved", e.id, json!({"approver": e.approver.to_checksum(None)}))
        }
        abi::AuthorizationDenied::SIGNATURE_HASH => {
            let e = abi::AuthorizationDenied::decode_log_data(data).or_exit(Exit::Failed)?;
            ("AuthorizationDenied", e.id, json!({"approver": e.approver.to_checksum(None), "reason": e.reason}))
        }
        abi::AuthorizationCancelled::SIGNATURE_HASH => {
            let e = abi::AuthorizationCancelled::decode_log_data(data).or_exit(Exit::Failed)?;
            ("AuthorizationCancelled", e.id, json!({"by": e.by.to_checksum(None), "reason": e.reason}))
        }
        abi::AuthorizationConsumed::SIGNATURE_HASH => {
            let e = abi::AuthorizationConsumed::decode_log_data(data).or_exit(Exit::Failed)?;
            ("AuthorizationConsumed", e.id, json!({"executor": e.executor.to_checksum(None), "claim": e.claim}))
        }
        abi::ExecutionRecorded::SIGNATURE_HASH => {
            let e = abi::ExecutionRecorded::decode_log_data(data).or_exit(Exit::Failed)?;
            let outcome = Outcome::from_code(e.outcome).map_or_else(|| e.outcome.to_string(), |o| o.to_string());
            ("ExecutionRecorded", e.id, json!({"outcome": outcome, "outcome_hash": e.outcomeHash}))
        }
        _ => return Ok(None),
    };
    Ok(Some((event, id.to_string(), detail)))
}
