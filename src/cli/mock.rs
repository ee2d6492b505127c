//! `--mock-chain` on the command line: starting the ledger, and saying everywhere what it is.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Once};
use std::time::Duration;

use url::Url;

use super::context::{Globals, dev, dev_setup};
use super::error::{CommandError, Exit, OrExit};
use super::screen::Paint;
use crate::crypto::SigningKey;
use crate::mock::{Approvals, LedgerEvent, MockConfig, MockLedger, Observer};
use crate::schema::LedgerKind;

/// What every screen of the mock ledger says.
pub const LABEL: &str = "MOCK LEDGER";
const BANNER: &str = "in memory, no chain: what is approved here proves nothing and counts nowhere else";
/// How long approvers who sign by themselves let people read.
const READING_TIME: Duration = Duration::from_secs(5);
/// The port of a URL that names none.
pub const DEFAULT_PORT: u16 = 8545;

/// How the mock ledger behaves.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Mock ledger (with --mock-chain)")]
pub struct MockArgs {
    /// Who approves: you, by `guardrail approve`, or the dev approvers after a visible delay
    #[arg(long, value_enum, env = "GUARDRAIL_MOCK_APPROVE", default_value_t = MockApprove::OnRequest, value_name = "HOW")]
    pub mock_approve: MockApprove,
    /// Milliseconds from a transaction to the block that confirms it
    #[arg(long, env = "GUARDRAIL_MOCK_CONFIRM_MS", default_value_t = 5_000, value_name = "MS")]
    pub mock_confirm_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MockApprove {
    OnRequest,
    ByItself,
}

/// Says what kind of ledger this is, once a process.
pub fn banner() {
    static SAID: Once = Once::new();
    SAID.call_once(|| eprintln!("{}: {BANNER}", Paint::for_stderr().mock(LABEL)));
}

/// What log lines are written in, so that each of them says `MOCK`.
pub fn span(ledger: LedgerKind) -> tracing::Span {
    match ledger {
        LedgerKind::Evm => tracing::Span::none(),
        LedgerKind::Mock => tracing::info_span!(target: "guardrail::mock", "MOCK"),
    }
}

/// What a line about a ledger ends with.
pub fn suffix(ledger: LedgerKind) -> &'static str {
    match ledger {
        LedgerKind::Evm => "",
        LedgerKind::Mock => "  [MOCK LEDGER]",
    }
}

/// What a paragraph about a ledger begins with.
pub fn heading(ledger: LedgerKind) -> &'static str {
    match ledger {
        LedgerKind::Evm => "",
        LedgerKind::Mock => "[MOCK LEDGER]\n",
    }
}

/// Starts the ledger on the address of `--rpc-url`; the options with the address it listens on.
pub async fn start(globals: &Globals, args: &MockArgs) -> Result<(MockLedger, Globals), CommandError> {
    let approvals = match args.mock_approve {
        MockApprove::OnRequest => Approvals::OnRequest,
        MockApprove::ByItself => {
            let keys = dev::APPROVERS.iter().map(|index| SigningKey::dev(*index));
            Approvals::ByItself { after: READING_TIME, keys: keys.collect::<Result<_, _>>().or_exit(Exit::Failed)? }
        }
    };
    let config = MockConfig {
        listen: listen_address(globals.rpc_url())?,
        confirm_after: Duration::from_millis(args.mock_confirm_ms),
        approvals,
    };
    let ledger = MockLedger::start(config, &dev_setup()?, observer(Paint::for_stderr())).await;
    let ledger = ledger.or_exit(Exit::Usage).map_err(|error| {
        error.hint("give a free loopback address with --rpc-url; http://127.0.0.1:0 takes any free port")
    })?;
    let globals = Globals { rpc_url: Some(ledger.url()), ..globals.clone() };
    Ok((ledger, globals))
}

/// Where a mock ledger of this URL listens.
fn listen_address(url: &str) -> Result<SocketAddr, CommandError> {
    let unfit = |why: &str| {
        CommandError::message(Exit::Usage, format!("the mock ledger cannot listen on {url}: {why}"))
            .hint("give it a loopback address, like --rpc-url http://127.0.0.1:8545")
    };
    let parsed = Url::parse(url).map_err(|error| unfit(&error.to_string()))?;
    if parsed.scheme() != "http" {
        return Err(unfit("it serves http"));
    }
    let ip = match parsed.host_str() {
        Some("localhost") => IpAddr::from([127, 0, 0, 1]),
        Some(host) => host.trim_matches(['[', ']']).parse().map_err(|_| unfit("the host is no IP address"))?,
        None => return Err(unfit("it names no host")),
    };
    Ok(SocketAddr::new(ip, parsed.port().unwrap_or(DEFAULT_PORT)))
}

/// One line a transaction on stderr, and in the log file.
fn observer(paint: Paint) -> Observer {
    Arc::new(move |event| {
        let line = line(paint, event);
        tracing::debug!(target: "guardrail::mock", ?event, "MOCK");
        // A closed terminal must not stop the ledger.
        if writeln!(std::io::stderr().lock(), "{line}").is_err() {
            tracing::debug!(target: "guardrail::mock", "stderr is closed");
        }
    })
}

fn line(paint: Paint, event: &LedgerEvent) -> String {
    let mock = paint.mock("MOCK");
    match event {
        LedgerEvent::Accepted { hash, from, nonce, call } => {
            format!("{mock} {} {hash}  {call}, nonce {nonce} of {from}", paint.dim("accepted "))
        }
        LedgerEvent::Confirmed { hash, block, events } => {
            let what = if events.is_empty() { "no events".to_owned() } else { counted(events) };
            format!("{mock} {} {hash}  block {block}: {what}", paint.good("confirmed"))
        }
        LedgerEvent::Reverted { hash, block, reason } => {
            let reason = super::pending::printable(reason);
            format!("{mock} {} {hash}  block {block}: {reason}", paint.bad("reverted "))
        }
        LedgerEvent::WillApprove { id, after } => format!(
            "{mock} {} {id}  the dev approvers sign by themselves in {} s",
            paint.attention("pending  "),
            after.as_secs()
        ),
    }
}

/// Names in a row, those that repeat with their number.
fn counted(names: &[&'static str]) -> String {
    let mut runs: Vec<(&str, usize)> = Vec::new();
    for name in names {
        match runs.last_mut() {
            Some((last, count)) if last == name => *count += 1,
            Some(_) | None => runs.push((name, 1)),
        }
    }
    let shown =
        |(name, count): &(&str, usize)| if *count == 1 { (*name).to_owned() } else { format!("{name} ×{count}") };
    runs.iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::B256;

    #[test]
    fn every_line_says_mock_in_colour_and_without() {
        let hash = B256::repeat_byte(0xab);
        let events = [
            LedgerEvent::Accepted { hash, from: Default::default(), nonce: 7, call: "requestBatch" },
            LedgerEvent::Confirmed { hash, block: 3, events: vec!["VoteCast", "VoteCast", "AuthorizationApproved"] },
            LedgerEvent::Reverted { hash, block: 4, reason: "out\u{1b}[2J of gas".to_owned() },
            LedgerEvent::WillApprove { id: hash, after: READING_TIME },
        ];
        let plain: Vec<String> = events.iter().map(|event| line(Paint::plain(), event)).collect();
        assert_eq!(
            plain,
            [
                format!("MOCK accepted  {hash}  requestBatch, nonce 7 of 0x0000000000000000000000000000000000000000"),
                format!("MOCK confirmed {hash}  block 3: VoteCast ×2, AuthorizationApproved"),
                format!("MOCK reverted  {hash}  block 4: out\\u{{1b}}[2J of gas"),
                format!("MOCK pending   {hash}  the dev approvers sign by themselves in 5 s"),
            ]
        );
        for (event, plain) in events.iter().zip(&plain) {
            let coloured = line(Paint::coloured(), event);
            assert!(coloured.starts_with("\u{1b}[1;35mMOCK\u{1b}[0m ") && coloured != *plain, "{coloured:?}");
        }
    }

    #[test]
    fn it_listens_on_loopback_addresses_of_http_alone() {
        let ok = |url: &str| listen_address(url).unwrap().to_string();
        assert_eq!(ok("http://127.0.0.1:8545"), "127.0.0.1:8545");
        assert_eq!(ok("http://localhost:0"), "127.0.0.1:0");
        assert_eq!(ok("http://[::1]:9000/"), "[::1]:9000");
        for url in ["ws://127.0.0.1:8545", "https://127.0.0.1:8545", "/tmp/node.ipc", "http://node.example:8545"] {
            assert_eq!(listen_address(url).unwrap_err().exit, Exit::Usage, "{url}");
        }
    }
}
