use std::collections::BTreeMap;

use serde::Serialize;

use super::super::context::Globals;
use super::super::error::{CommandError, Exit, OrExit};
use super::super::out::outln;
use crate::bridge::alarms::{ActiveAlarm, Alarm};
use crate::bridge::journal::Reads;
use crate::bridge::live::{self, EndpointStatus, HeadStatus};
use crate::bridge::{BALANCE_KEY, BridgeError, ChainIdentity, ENDED_KEY, Journal};
use crate::schema::{RequestId, Timestamp};

/// How the bridge of this state directory does: reads its journal, also while it runs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct Status {
    running: Option<Running>,
    /// Why it ended by itself, if that is how it ended.
    ended: Option<Ended>,
    chain: Option<ChainIdentity>,
    states: BTreeMap<&'static str, u64>,
    /// Requests that the bridge has something to do or to wait for.
    open: u64,
    oldest_pending: Option<Oldest>,
    nonce: Nonce,
    balance: Option<Balance>,
    alarms: Vec<ActiveAlarm>,
    endpoints: Vec<EndpointStatus>,
    head: Option<HeadStatus>,
    draining: bool,
}

#[derive(Debug, Serialize)]
struct Running {
    pid: u32,
    since: Timestamp,
}

#[derive(Debug, Serialize)]
struct Ended {
    at: Timestamp,
    why: String,
    #[serde(skip)]
    alarm: Option<Alarm>,
}

#[derive(Debug, Serialize)]
struct Oldest {
    request_id: RequestId,
    age_s: i64,
}

#[derive(Debug, Serialize)]
struct Nonce {
    next: Option<u64>,
    open: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct Balance {
    wei: String,
    at: Timestamp,
    /// Whole lives of requests, at the fee of that moment.
    pays_for_requests: u64,
}

pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    let path = globals.journal_path();
    if !path.exists() {
        return Err(CommandError::message(Exit::Usage, format!("there is no journal at {}", path.display()))
            .hint("start `guardrail bridge` once, or give its --state-dir"));
    }
    let journal = Journal::open_read_only(&path)?;
    let live_path = globals.state_dir().join(live::FILE_NAME);
    let running = live::is_running(&live_path).or_exit(Exit::Failed)?;
    let snapshot = if running { live::read(&live_path).or_exit(Exit::Failed)? } else { None };
    let reads = journal.read();
    let ended = if running { None } else { ended(&reads)? };
    // What stopped it is still what needs a person.
    let alarms = match (&snapshot, &ended) {
        (Some(snapshot), _) => snapshot.alarms.clone(),
        (None, Some(Ended { at, why, alarm: Some(alarm) })) => {
            vec![ActiveAlarm { alarm: *alarm, detail: why.clone(), since: *at }]
        }
        (None, _) => Vec::new(),
    };
    let status = Status {
        running: snapshot.as_ref().map(|snapshot| Running { pid: snapshot.pid, since: snapshot.since }),
        chain: ChainIdentity::pinned(&journal)?,
        states: reads.counts()?.into_iter().map(|(state, count)| (state.as_str(), count)).collect(),
        open: reads.open_count()?,
        oldest_pending: reads.oldest_pending()?.map(|(request_id, received_at_ms)| Oldest {
            request_id,
            age_s: Timestamp::now().unix_ms().saturating_sub(received_at_ms) / 1000,
        }),
        nonce: Nonce {
            next: reads.highest_nonce()?.map(|nonce| nonce + 1),
            open: reads.open_nonces()?.iter().map(|open| open.nonce).collect(),
        },
        balance: balance(&reads)?,
        alarms,
        ended,
        endpoints: snapshot.as_ref().map(|snapshot| snapshot.endpoints.clone()).unwrap_or_default(),
        head: snapshot.as_ref().and_then(|snapshot| snapshot.head),
        draining: snapshot.is_some_and(|snapshot| snapshot.draining),
    };
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&status).or_exit(Exit::Failed)?)?;
    } else {
        print(&status)?;
    }
    Ok(Exit::Done)
}

fn ended(reads: &Reads<'_>) -> Result<Option<Ended>, BridgeError> {
    let Some(text) = reads.meta(ENDED_KEY)? else { return Ok(None) };
    let corrupt = || BridgeError::Corrupt(format!("end {text}"));
    let mut parts = text.splitn(3, ' ');
    let (Some(at), Some(alarm), Some(why)) = (parts.next(), parts.next(), parts.next()) else { return Err(corrupt()) };
    Ok(Some(Ended {
        at: Timestamp::from_unix_ms(at.parse().map_err(|_| corrupt())?),
        why: why.to_owned(),
        alarm: Alarm::ALL.into_iter().find(|known| known.as_str() == alarm),
    }))
}

fn balance(reads: &Reads<'_>) -> Result<Option<Balance>, BridgeError> {
    let Some(text) = reads.meta(BALANCE_KEY)? else { return Ok(None) };
    let corrupt = || BridgeError::Corrupt(format!("balance {text}"));
    let mut parts = text.split(' ');
    let (Some(wei), Some(at), Some(lives)) = (parts.next(), parts.next(), parts.next()) else { return Err(corrupt()) };
    Ok(Some(Balance {
        wei: wei.to_owned(),
        at: Timestamp::from_unix_ms(at.parse().map_err(|_| corrupt())?),
        pays_for_requests: lives.parse().map_err(|_| corrupt())?,
    }))
}

fn print(status: &Status) -> Result<(), CommandError> {
    match &status.running {
        Some(running) if status.draining => outln!("stopping (process {})", running.pid)?,
        Some(running) => outln!("running since {} (process {})", running.since, running.pid)?,
        None => outln!("not running")?,
    }
    if let Some(ended) = &status.ended {
        outln!("ended    {}: {}", ended.at, ended.why)?;
    }
    if let Some(chain) = &status.chain {
        outln!("contract {} on chain {}", chain.contract, chain.chain_id)?;
    }
    for alarm in &status.alarms {
        outln!("ALARM    {} since {}: {}", alarm.alarm, alarm.since, alarm.detail)?;
        outln!("         {}", alarm.alarm.next_step())?;
    }
    let states: Vec<String> = status
        .states
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    outln!("requests {}", if states.is_empty() { "none yet".to_owned() } else { states.join(", ") })?;
    if let Some(oldest) = &status.oldest_pending {
        outln!("oldest   {} has waited {} s for a decision", oldest.request_id, oldest.age_s)?;
    }
    match status.nonce.next {
        Some(next) if status.nonce.open.is_empty() => outln!("nonce    {next} is next, nothing is on its way")?,
        Some(next) => outln!("nonce    {next} is next, on their way: {:?}", status.nonce.open)?,
        None => outln!("nonce    nothing was sent yet")?,
    }
    if let Some(balance) = &status.balance {
        outln!("balance  {} wei at {}, pays for {} requests", balance.wei, balance.at, balance.pays_for_requests)?;
    }
    for endpoint in &status.endpoints {
        let error = endpoint.last_error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
        outln!("endpoint {} circuit {}{error}", endpoint.url, endpoint.state.as_str())?;
    }
    Ok(())
}
