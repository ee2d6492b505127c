use std::path::PathBuf;

use alloy::primitives::Address;
use alloy::providers::Provider;
use serde_json::json;

use super::context::Globals;
use super::error::{CommandError, Exit, OrExit};
use super::mock;
use super::out::outln;
use crate::contract::artifact::{Artifact, ArtifactError};

/// Compile the contract, and compare what is deployed with its source
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: ContractCommand,
    /// The contract's sources, with foundry.toml and node_modules
    #[arg(long, global = true, default_value = "contracts", value_name = "DIR")]
    contracts: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum ContractCommand {
    /// Compile the sources and write artifacts/Authorization.json
    Build {
        /// Write nothing; exit 5 where the artifact is not what the sources give
        #[arg(long)]
        check: bool,
    },
    /// Compile the sources and compare the code that is deployed, immutables aside; exit 0 or 5
    Verify {
        /// The contract [default: the one that this state directory knows]
        #[arg(long)]
        address: Option<Address>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    let contracts = args.contracts.clone();
    // The compiler is a process that takes seconds; it must not hold up the runtime.
    let compiled = tokio::task::spawn_blocking(move || Artifact::compile(&contracts)).await.or_exit(Exit::Failed)?;
    let artifact = compiled.map_err(artifact_error)?;
    match &args.command {
        ContractCommand::Build { check: false } => {
            outln!("{}", artifact.write(&args.contracts).map_err(artifact_error)?.display())?;
            Ok(Exit::Done)
        }
        ContractCommand::Build { check: true } => {
            if artifact.is_in(&args.contracts).map_err(artifact_error)? {
                eprintln!("the artifact is what the sources give");
                return Ok(Exit::Done);
            }
            Err(CommandError::message(Exit::Unverified, "the artifact is not what the sources give")
                .hint("regenerate it with `guardrail contract build`, and commit both"))
        }
        ContractCommand::Verify { address, json } => {
            let endpoint = globals.connect().await?;
            let provider = endpoint.provider();
            let address = match address {
                Some(address) => *address,
                None => globals.locate(provider, globals.bridge_config()?.chain.contract.map(|a| a.0)).await?.contract,
            };
            let code = provider.get_code_at(address).await.or_exit(Exit::Unreachable)?;
            let same = artifact.is_code(&code).map_err(artifact_error)?;
            if *json {
                outln!(
                    "{}",
                    json!({"ledger": globals.ledger(), "address": address, "code_bytes": code.len(), "matches_source": same})
                )?;
            } else if same {
                outln!(
                    "{address}: the deployed code is what the sources give ({} bytes, immutables aside){}",
                    code.len(),
                    mock::suffix(globals.ledger())
                )?;
            }
            if same {
                return Ok(Exit::Done);
            }
            let what =
                if code.is_empty() { "there is no code" } else { "the deployed code is not what the sources give" };
            Err(CommandError::message(Exit::Unverified, format!("{address}: {what}")))
        }
    }
}

fn artifact_error(error: ArtifactError) -> CommandError {
    match &error {
        ArtifactError::Run { .. } => CommandError::new(Exit::Usage, error).hint(
            "run it in the project, where cargo builds the compiler, or set GUARDRAIL_CONTRACT_COMPILER to the program",
        ),
        ArtifactError::Compile(_) => {
            CommandError::new(Exit::Usage, error).hint("run `make setup`, which brings solc by npm")
        }
        ArtifactError::Read { .. } => CommandError::new(Exit::Usage, error).hint("give the sources with --contracts"),
        ArtifactError::Incomplete(_) | ArtifactError::Write { .. } => CommandError::new(Exit::Failed, error),
    }
}
