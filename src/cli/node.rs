use super::context::Globals;
use super::error::{CommandError, Exit, OrExit};
use super::out::outln;
use crate::node::{self, Node, NodeConfig, NodeError};
use crate::schema::LedgerKind;
use crate::{shutdown, telemetry};
use std::path::PathBuf;

/// Run Anvil as anvil.toml says; the chain survives a restart
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The chain's settings
    #[arg(long, default_value = "anvil.toml", value_name = "FILE")]
    pub file: PathBuf,
    /// Where npm put Anvil, if it is not on PATH
    #[arg(long, default_value = "contracts", value_name = "DIR")]
    pub contracts: PathBuf,
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    match globals.ledger() {
        LedgerKind::Evm => {}
        LedgerKind::Mock => {
            return Err(CommandError::message(Exit::Usage, "the mock ledger needs no node")
                .hint("`guardrail bridge --mock-chain` serves it; leave --mock-chain out to run Anvil"));
        }
    }
    globals.ensure_state_dir()?;
    telemetry::init(globals.state_dir(), "node", telemetry::Console::Progress)?;
    let stop = shutdown::on_signal()?;
    let config = NodeConfig::load(&args.file).or_exit(Exit::Usage)?;
    let mut node = start(globals, &config, &args.contracts).await?;
    outln!("{}", node.url())?;
    eprintln!(
        "chain id {}, state in {}; Ctrl-C stops it",
        config.chain_id,
        globals.state_dir().join(&config.state_file).display()
    );
    tokio::select! {
        () = stop.cancelled() => {}
        status = node.ended() => {
            let status = status.or_exit(Exit::Failed)?;
            return Err(CommandError::message(Exit::Failed, format!("anvil ended by itself: {status}")));
        }
    }
    node.stop().await.or_exit(Exit::Failed)?;
    Ok(Exit::Done)
}

/// Starts the node, with a hint where Anvil is missing.
pub async fn start(globals: &Globals, config: &NodeConfig, contracts: &std::path::Path) -> Result<Node, CommandError> {
    let hinted = |error: NodeError| match &error {
        NodeError::NoAnvil | NodeError::BadAnvilVariable(_) => CommandError::new(Exit::Usage, error)
            .hint("run `make setup` in the project, which brings Anvil by npm, or set GUARDRAIL_ANVIL to the binary"),
        NodeError::Ended { .. } => CommandError::new(Exit::Failed, error)
            .hint("is the port taken? set another one in anvil.toml, or 0 for a free one"),
        NodeError::Read { .. }
        | NodeError::Parse { .. }
        | NodeError::Spawn { .. }
        | NodeError::StartTimeout { .. }
        | NodeError::Stop(_)
        | NodeError::Create { .. } => CommandError::new(Exit::Failed, error),
    };
    let anvil = node::find_anvil(contracts).map_err(hinted)?;
    Node::start(&anvil, config, globals.state_dir()).await.map_err(hinted)
}
