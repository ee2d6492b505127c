use std::path::{Path, PathBuf};

use alloy::providers::{Provider, RootProvider};

use super::context::Globals;
use super::error::{CommandError, Exit, OrExit};
use super::mock;
use super::out::outln;
use super::requests;
use crate::atomic_file;
use crate::contract;
use crate::evidence::Endpoint;
use crate::schema::anchors::DEV_CHAIN_ID;
use crate::schema::{LedgerKind, TrustAnchors};

/// Trust anchors: what a verifier pins about a chain
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: AnchorsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AnchorsCommand {
    /// Print the anchors of the chain, to be read and confirmed by a person
    Init {
        /// Print JSON instead of YAML
        #[arg(long)]
        json: bool,
        /// Write them to the file that agents of this state directory pin (or to FILE), instead of printing
        #[arg(long, value_name = "FILE", num_args = 0..=1)]
        write: Option<Option<PathBuf>>,
        /// Replace anchors that are there
        #[arg(long)]
        force: bool,
    },
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    match &args.command {
        AnchorsCommand::Init { json, write, force } => {
            let (provider, located, _) = requests::open(globals).await?;
            let config = globals.bridge_config()?;
            let anchors = contract::read_anchors(
                &provider,
                located.contract,
                config.chain.confirmations,
                config.requests.authorization_timeout_s,
            )
            .await
            .map_err(crate::bridge::BridgeError::from)?;
            anchors.validate().or_exit(Exit::Failed)?;
            let text = if *json {
                serde_json::to_string_pretty(&anchors).or_exit(Exit::Failed)?
            } else {
                to_yaml(globals.ledger(), &anchors)?
            };
            match write {
                None => outln!("{}", text.trim_end())?,
                Some(path) => {
                    let path = path.clone().unwrap_or_else(|| globals.anchors_path());
                    if path.exists() && !force {
                        return Err(CommandError::message(Exit::Usage, format!("{} is there already", path.display()))
                            .hint("compare first; --force replaces it"));
                    }
                    write_anchors(globals, &path, &text)?;
                    outln!("{}", path.display())?;
                }
            }
            Ok(Exit::Done)
        }
    }
}

/// The anchors as YAML, as PROTOCOL section 9 shows them; those of the mock ledger with a comment for the reader.
pub fn to_yaml(ledger: LedgerKind, anchors: &TrustAnchors) -> Result<String, CommandError> {
    let comment = match ledger {
        LedgerKind::Evm => "",
        LedgerKind::Mock => "# MOCK LEDGER: of no chain. They verify nothing without --mock-chain.\n",
    };
    Ok(format!("{comment}{}", serde_saphyr::to_string(anchors).or_exit(Exit::Failed)?))
}

fn write_anchors(globals: &Globals, path: &Path, text: &str) -> Result<(), CommandError> {
    globals.ensure_state_dir()?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    atomic_file::replace(parent, path, text.as_bytes(), 0o600)?;
    Ok(())
}

/// Says at once, not after a wait for an answer that cannot verify, that the endpoint serves another chain.
async fn same_chain(anchors: &TrustAnchors, provider: &RootProvider, path: &Path) -> Result<(), CommandError> {
    let chain_id = provider.get_chain_id().await.or_exit(Exit::Unreachable)?;
    let genesis = contract::genesis_hash(provider).await.or_exit(Exit::Unreachable)?;
    if chain_id == anchors.chain_id && genesis == anchors.genesis_hash {
        let code = contract::code_hash(provider, anchors.contract).await.or_exit(Exit::Unreachable)?;
        if code == Some(anchors.code_hash) {
            return Ok(());
        }
        return Err(CommandError::message(
            Exit::Unverified,
            format!("the code at {} is not the one that the anchors in {} pin", anchors.contract, path.display()),
        ));
    }
    Err(CommandError::message(
        Exit::Unverified,
        format!(
            "the endpoint serves chain {chain_id} with genesis {genesis}, the anchors in {} pin another",
            path.display()
        ),
    )
    .hint("go back to that chain, or, if the new one is right, pin it with `guardrail anchors init --write --force`"))
}

/// The anchors that an agent runs under: the pinned ones, or, on the dev chain alone, pinned at first use.
pub async fn pinned_or_dev(globals: &Globals, path: &Path, endpoint: &Endpoint) -> Result<TrustAnchors, CommandError> {
    let provider = endpoint.provider();
    if let Some(anchors) = globals.pinned_anchors(path)? {
        same_chain(&anchors, provider, path).await?;
        return Ok(anchors);
    }
    let chain_id = provider.get_chain_id().await.or_exit(Exit::Unreachable)?;
    if chain_id != DEV_CHAIN_ID {
        return Err(CommandError::message(Exit::Usage, format!("no trust anchors at {}", path.display()))
            .hint("run `guardrail anchors init`, read what it prints, and write it there with --write"));
    }
    let config = globals.bridge_config()?;
    let located = globals.locate(provider, config.chain.contract.map(|address| address.0)).await?;
    let anchors = contract::read_anchors(
        provider,
        located.contract,
        config.chain.confirmations,
        config.requests.authorization_timeout_s,
    )
    .await
    .map_err(crate::bridge::BridgeError::from)?;
    write_anchors(globals, path, &to_yaml(globals.ledger(), &anchors)?)?;
    eprintln!(
        "dev chain: trust anchors of contract {} pinned at first use in {}{}",
        anchors.contract,
        path.display(),
        mock::suffix(globals.ledger())
    );
    Ok(anchors)
}
