//! `guardrail bridge`, and what is asked of its journal.

mod keep;
mod status;

use std::path::PathBuf;
use std::time::Duration;

use alloy::providers::Provider;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::context::{Globals, dev, load_key};
use super::error::{CommandError, Exit, OrExit};
use super::mock::{self, MockArgs};
use super::out::outln;
use crate::bridge::{
    Bridge, BridgeConfig, BridgeError, BridgeKeys, ChainClient, ChainIdentity, ContractPlace, StopReason, Until,
};
use crate::channel::{Channel, Inbox};
use crate::schema::LedgerKind;
use crate::schema::anchors::DEV_CHAIN_ID;
use crate::web::{self, View, WebError};
use crate::{shutdown, telemetry};

/// Run the bridge between the channel and the chain
///
/// On Anvil's dev chain it deploys the contract where there is none and uses the dev keys;
/// anywhere else it needs its two keys. With --mock-chain it serves an in-memory ledger itself, on the
/// address of --rpc-url, for as long as it runs.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The key that sends transactions, 64 hex digits in a file; else $GUARDRAIL_REQUESTER_KEY
    #[arg(long, value_name = "FILE")]
    pub requester_key_file: Option<PathBuf>,
    /// The key that signs responses, 64 hex digits in a file; else $GUARDRAIL_SIGNER_KEY
    #[arg(long, value_name = "FILE")]
    pub signer_key_file: Option<PathBuf>,
    /// Drain the channel and exit: everything in it is taken, sent, confirmed and answered as far
    /// as that goes without further votes
    #[arg(long)]
    pub once: bool,
    #[command(flatten)]
    pub mock: MockArgs,
}

/// What is asked of the bridge's journal, also while the bridge runs.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Status(status::Args),
    Prune(keep::PruneArgs),
    Backup(keep::BackupArgs),
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    match &args.command {
        None => daemon(globals, args).await,
        Some(Command::Status(args)) => status::run(globals, args),
        Some(Command::Prune(args)) => keep::prune(globals, args),
        Some(Command::Backup(args)) => keep::backup(globals, args),
    }
}

async fn daemon(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    globals.ensure_state_dir()?;
    telemetry::init(globals.state_dir(), "bridge", telemetry::Console::Progress)?;
    #[cfg(feature = "failpoints")]
    let _armed = crate::crash::arm();
    let stop = shutdown::on_signal()?;
    match globals.ledger() {
        LedgerKind::Evm => serve(globals, args, &stop).await,
        LedgerKind::Mock => {
            if !globals.bridge_config()?.chain.more_rpc_urls.is_empty() {
                return Err(CommandError::message(Exit::Usage, "the mock ledger is one endpoint")
                    .hint("remove chain.more_rpc_urls from bridge_config.yaml, or leave --mock-chain out"));
            }
            let (ledger, globals) = mock::start(globals, &args.mock).await?;
            outln!("{}", ledger.url())?;
            let served = serve(&globals, args, &stop).instrument(mock::span(LedgerKind::Mock)).await;
            ledger.stop().await;
            served
        }
    }
}

async fn serve(globals: &Globals, args: &Args, stop: &CancellationToken) -> Result<Exit, CommandError> {
    let config = globals.bridge_config()?;
    let metrics = match config.web.listen {
        Some(_) => Some(web::record_metrics().or_exit(Exit::Failed)?),
        None => None,
    };
    let listener = web::bind(&config.web).await.map_err(|error| match error {
        WebError::Remote(_) => CommandError::new(Exit::Usage, error),
        WebError::Bind { .. } | WebError::Serve(_) | WebError::Metrics(_) => CommandError::new(Exit::Failed, error),
    })?;
    let mut bridge = start(globals, args, config).await?;
    bridge.recover().await?;
    let label =
        if globals.ledger().is_mock() { format!("{} at {}, ", mock::LABEL, globals.rpc_url()) } else { String::new() };
    eprintln!(
        "bridge ready: {label}channel {}, contract {} on chain {}, requester {}",
        globals.channel_dir().display(),
        bridge.identity().contract,
        bridge.identity().chain_id,
        bridge.requester()
    );
    let web_stop = CancellationToken::new();
    let served = match (listener, metrics) {
        (Some(listener), Some(metrics)) => {
            if let Ok(address) = listener.local_addr() {
                eprintln!("health and metrics: http://{address}/health, http://{address}/metrics");
            }
            let view = View { alarms: bridge.alarms(), snapshot: bridge.snapshots(), metrics };
            Some(tokio::spawn(web::serve(listener, view, web_stop.clone())))
        }
        (None, _) | (_, None) => None,
    };
    let until = if args.once { Until::Drained } else { Until::Stopped };
    let ended = bridge.run(until, stop).await;
    web_stop.cancel();
    if let Some(served) = served {
        served.await.or_exit(Exit::Failed)?.or_exit(Exit::Failed)?;
    }
    match ended? {
        StopReason::Finished => {
            eprintln!("bridge stopped; nothing is on its way");
            Ok(Exit::Done)
        }
        StopReason::Drained => {
            eprintln!("bridge stopped; the channel is drained");
            Ok(Exit::Done)
        }
        StopReason::Deadline { in_flight } => {
            eprintln!(
                "bridge stopped at its deadline; {in_flight} transactions are journalled and go on at the next start"
            );
            Ok(Exit::TimedOut)
        }
    }
}

/// Brings configuration, keys, chain and contract together.
async fn start(globals: &Globals, args: &Args, config: BridgeConfig) -> Result<Bridge, CommandError> {
    let channel = Channel::open_shared(globals.channel_dir(), config.channel.sharing())?;
    let inbox = Inbox::take(channel, Duration::from_secs(config.channel.lock_timeout_s)).map_err(BridgeError::from)?;
    let mut urls = vec![globals.rpc_url().to_owned()];
    urls.extend(config.chain.more_rpc_urls.iter().cloned());
    let client = ChainClient::connect(&urls, Duration::from_millis(config.chain.call_timeout_ms))?;
    let provider = client.provider();
    let chain_id =
        provider.get_chain_id().await.or_exit(Exit::Unreachable).map_err(|error| globals.unreachable(error))?;
    globals.check_ledger(provider).await?;
    let on_dev = chain_id == DEV_CHAIN_ID;
    let key = |file: Option<&std::path::Path>, variable, account| {
        load_key(file, variable, on_dev.then_some(account), chain_id)?.ok_or_else(|| {
            CommandError::message(
                Exit::Usage,
                format!("chain {chain_id} is no dev chain: the bridge needs its own keys"),
            )
            .hint(format!("give it in a file or in ${variable}"))
        })
    };
    let keys = BridgeKeys {
        requester: key(args.requester_key_file.as_deref(), "GUARDRAIL_REQUESTER_KEY", dev::REQUESTER)?,
        signer: key(args.signer_key_file.as_deref(), "GUARDRAIL_SIGNER_KEY", dev::SIGNER)?,
    };
    // Before anything is deployed or written: a journal of another chain stops it here.
    ChainIdentity::check_chain(&globals.journal_path(), provider).await?;
    let located = globals.locate_or_deploy(provider, config.chain.contract.map(|address| address.0)).await?;
    let place = ContractPlace { ledger: globals.ledger(), contract: located.contract, first_block: located.from_block };
    Ok(Bridge::start(config, keys, inbox, &globals.journal_path(), client, place).await?)
}
