use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use alloy::providers::{Provider, RootProvider};

use super::context::Globals;
use super::error::{CommandError, Exit, OrExit};
use super::evidence::required_anchors;
use super::mock;
use super::out::outln;
use super::pending::printable;
use super::requests;
use crate::atomic_file;
use crate::contract;
use crate::evidence::Endpoint;
use crate::schema::anchors::DEV_CHAIN_ID;
use crate::schema::{Difference, LedgerKind, TrustAnchors};

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
        /// Pin them, once confirmed: in the file that agents of this state directory read, or in FILE
        #[arg(long, value_name = "FILE", num_args = 0..=1)]
        write: Option<Option<PathBuf>>,
        /// Replace anchors that are there; earlier epochs of the same contract stay, for audits
        #[arg(long)]
        force: bool,
        /// They were read and confirmed before: ask nobody
        #[arg(long)]
        yes: bool,
    },
    /// Show what changed on chain since the anchors were pinned
    Diff {
        /// The pinned trust anchors [default: anchors.yaml in the state directory]
        #[arg(long, value_name = "FILE")]
        anchors: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    match &args.command {
        AnchorsCommand::Init { json, write, force, yes } => {
            let (provider, located, _) = requests::open(globals).await?;
            let anchors = read(globals, &provider, located.contract).await?;
            anchors.validate().or_exit(Exit::Failed)?;
            match write {
                None => outln!("{}", show(globals, &anchors, *json)?.trim_end())?,
                Some(path) => {
                    let path = path.clone().unwrap_or_else(|| globals.anchors_path());
                    let anchors = match globals.pinned_anchors(&path)? {
                        Some(_) if !force => {
                            let text = format!("{} is there already", path.display());
                            return Err(CommandError::message(Exit::Usage, text)
                                .hint("compare first, with `guardrail anchors diff`; --force replaces it"));
                        }
                        Some(pinned) => anchors.with_epochs_of(&pinned),
                        None => anchors,
                    };
                    if !yes {
                        confirm(globals, &anchors, &path)?;
                    }
                    write_anchors(globals, &path, &show(globals, &anchors, *json)?)?;
                    outln!("{}", path.display())?;
                }
            }
            Ok(Exit::Done)
        }
        AnchorsCommand::Diff { anchors, json } => diff(globals, anchors.as_deref(), *json).await,
    }
}

/// What the chain says of a contract, with the bridge's own settings for the rest.
async fn read(globals: &Globals, provider: &RootProvider, contract: Address) -> Result<TrustAnchors, CommandError> {
    let config = globals.bridge_config()?;
    let (confirmations, lifetime_s) = (config.chain.confirmations, config.requests.authorization_timeout_s);
    Ok(contract::read_anchors(provider, contract, confirmations, lifetime_s)
        .await
        .map_err(crate::bridge::BridgeError::from)?)
}

fn show(globals: &Globals, anchors: &TrustAnchors, json: bool) -> Result<String, CommandError> {
    if json { serde_json::to_string_pretty(anchors).or_exit(Exit::Failed) } else { to_yaml(globals.ledger(), anchors) }
}

/// Everything that is verified later is verified against these: a person reads them first.
fn confirm(globals: &Globals, anchors: &TrustAnchors, path: &Path) -> Result<(), CommandError> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(CommandError::message(Exit::Usage, "somebody has to confirm the anchors, and this is no terminal")
            .hint("read what `guardrail anchors init` prints, then add --yes"));
    }
    eprintln!("{}", to_yaml(globals.ledger(), anchors)?.trim_end());
    eprint!(
        "Compare contract and code hash with what was deployed, and the approvers with the people you know.\nPin these in {}? Type yes: ",
        path.display()
    );
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == "yes" {
        Ok(())
    } else {
        Err(CommandError::message(Exit::Failed, "not confirmed; nothing was written"))
    }
}

/// Compares pinned anchors with the chain. Differences end with the code of what does not verify.
async fn diff(globals: &Globals, file: Option<&Path>, json: bool) -> Result<Exit, CommandError> {
    let pinned = required_anchors(globals, file)?;
    let endpoint = globals.connect().await?;
    let found = differences(globals, &pinned, endpoint.provider()).await?;
    if json {
        outln!("{}", serde_json::json!({ "ledger": globals.ledger(), "differences": found }))?;
    }
    for Difference { what, pinned, chain } in found.iter().filter(|_| !json) {
        let said = |value: &Option<String>| value.as_deref().map_or_else(|| "-".to_owned(), printable);
        outln!("{}: pinned {}, on chain {}", printable(what), said(pinned), said(chain))?;
    }
    if found.is_empty() {
        eprintln!("the chain is as pinned{}", mock::suffix(globals.ledger()));
        return Ok(Exit::Done);
    }
    eprintln!(
        "if the chain is right, pin it with `guardrail anchors init --write --force`; audits keep the earlier epochs"
    );
    Ok(Exit::Unverified)
}

async fn differences(
    globals: &Globals,
    pinned: &TrustAnchors,
    provider: &RootProvider,
) -> Result<Vec<Difference>, CommandError> {
    let chain_id = provider.get_chain_id().await.or_exit(Exit::Unreachable)?;
    let genesis_hash = contract::genesis_hash(provider).await.or_exit(Exit::Unreachable)?;
    if (chain_id, genesis_hash) != (pinned.chain_id, pinned.genesis_hash) {
        // Another chain: what a contract of that address is like there means nothing.
        return Ok(pinned.differences(&TrustAnchors { chain_id, genesis_hash, ..pinned.clone() }));
    }
    match contract::code_hash(provider, pinned.contract).await.or_exit(Exit::Unreachable)? {
        Some(code_hash) if code_hash == pinned.code_hash => {
            Ok(pinned.differences(&read(globals, provider, pinned.contract).await?))
        }
        // Other code may answer anything.
        other => {
            let now = other.map(|hash| hash.to_string());
            Ok(vec![Difference::new("code_hash", Some(pinned.code_hash.to_string()), now)])
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
    let anchors = read(globals, provider, located.contract).await?;
    write_anchors(globals, path, &to_yaml(globals.ledger(), &anchors)?)?;
    eprintln!(
        "dev chain: trust anchors of contract {} pinned at first use in {}{}",
        anchors.contract,
        path.display(),
        mock::suffix(globals.ledger())
    );
    Ok(anchors)
}
