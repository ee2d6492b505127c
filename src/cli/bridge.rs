use std::path::PathBuf;

use alloy::providers::Provider;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::context::{Globals, dev, load_key};
use super::error::{CommandError, Exit, OrExit};
use super::mock::{self, MockArgs};
use super::out::outln;
use crate::bridge::{Bridge, BridgeKeys, ChainIdentity, ContractPlace, StopReason};
use crate::channel::{Channel, Inbox};
use crate::schema::LedgerKind;
use crate::schema::anchors::DEV_CHAIN_ID;
use crate::{shutdown, telemetry};

/// Run the bridge between the channel and the chain
///
/// On Anvil's dev chain it deploys the contract where there is none and uses the dev keys;
/// anywhere else it needs its two keys. With --mock-chain it serves an in-memory ledger itself, on the
/// address of --rpc-url, for as long as it runs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The key that sends transactions, 64 hex digits in a file; else $GUARDRAIL_REQUESTER_KEY
    #[arg(long, value_name = "FILE")]
    pub requester_key_file: Option<PathBuf>,
    /// The key that signs responses, 64 hex digits in a file; else $GUARDRAIL_SIGNER_KEY
    #[arg(long, value_name = "FILE")]
    pub signer_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub mock: MockArgs,
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    globals.ensure_state_dir()?;
    telemetry::init(globals.state_dir(), "bridge", telemetry::Console::Progress)?;
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
    let channel = Channel::open_shared(globals.channel_dir(), config.channel.sharing())?;
    let inbox = Inbox::take(channel, std::time::Duration::from_secs(config.channel.lock_timeout_s))
        .map_err(crate::bridge::BridgeError::from)?;
    let endpoint = globals.connect().await?;
    let provider = endpoint.provider().clone();
    let chain_id = provider.get_chain_id().await.or_exit(Exit::Unreachable)?;
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
    ChainIdentity::check_chain(&globals.journal_path(), &provider).await?;
    let located = globals.locate_or_deploy(&provider, config.chain.contract.map(|address| address.0)).await?;
    let ledger = globals.ledger();
    let place = ContractPlace { ledger, contract: located.contract, first_block: located.from_block };
    let mut bridge = Bridge::start(config, keys, inbox, &globals.journal_path(), provider, place).await?;
    let label = if ledger.is_mock() { format!("{} at {}, ", mock::LABEL, globals.rpc_url()) } else { String::new() };
    eprintln!(
        "bridge ready: {label}channel {}, contract {} on chain {chain_id}, requester {}",
        globals.channel_dir().display(),
        located.contract,
        bridge.requester()
    );
    match bridge.run(stop).await? {
        StopReason::Asked => {
            eprintln!("bridge stopped; what is in hand is in the journal");
            Ok(Exit::Done)
        }
    }
}
