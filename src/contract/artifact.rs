//! The artifact that the contract's sources give, made by `contracts/compiler`.
//!
//! That program is built apart from this crate: foundry-compilers changes how `serde_json`
//! reads numbers in everything it is linked with, and requests are hashed by those numbers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{immutable_spans, same_outside};

const ARTIFACT_FILE: &str = "artifacts/Authorization.json";
const COMPILER: &str = "guardrail-contract-compiler";

#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("cannot run {program}: {source}")]
    Run { program: String, source: std::io::Error },
    #[error("the contract does not compile: {0}")]
    Compile(String),
    #[error("the compiler's output lacks {0}")]
    Incomplete(&'static str),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// What the sources compile to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    text: String,
}

impl Artifact {
    /// Compiles the sources below `contracts`, the directory of `foundry.toml`.
    ///
    /// Runs `$GUARDRAIL_CONTRACT_COMPILER`, else the program beside this one, else `cargo run` in
    /// the project.
    ///
    /// # Errors
    /// [`ArtifactError`] with what the compiler said.
    pub fn compile(contracts: &Path) -> Result<Self, ArtifactError> {
        let mut command = compiler(contracts);
        command.arg(contracts).stdin(Stdio::null());
        let program = command.get_program().to_string_lossy().into_owned();
        let output = command.output().map_err(|source| ArtifactError::Run { program, source })?;
        if !output.status.success() {
            return Err(ArtifactError::Compile(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        String::from_utf8(output.stdout).map(|text| Artifact { text }).map_err(|_| ArtifactError::Incomplete("text"))
    }

    /// Whether the artifact in the project is this one, byte for byte.
    ///
    /// # Errors
    /// [`ArtifactError::Read`].
    pub fn is_in(&self, contracts: &Path) -> Result<bool, ArtifactError> {
        let path = contracts.join(ARTIFACT_FILE);
        let there = std::fs::read_to_string(&path).map_err(|source| ArtifactError::Read { path, source })?;
        Ok(there == self.text)
    }

    /// Writes the artifact into the project.
    ///
    /// # Errors
    /// [`ArtifactError::Write`].
    pub fn write(&self, contracts: &Path) -> Result<PathBuf, ArtifactError> {
        let path = contracts.join(ARTIFACT_FILE);
        match std::fs::write(&path, &self.text) {
            Ok(()) => Ok(path),
            Err(source) => Err(ArtifactError::Write { path, source }),
        }
    }

    /// Whether runtime code is this artifact's, immutables aside.
    ///
    /// # Errors
    /// [`ArtifactError::Incomplete`] where the artifact names no code.
    pub fn is_code(&self, code: &[u8]) -> Result<bool, ArtifactError> {
        let tree: Value = serde_json::from_str(&self.text).map_err(|_| ArtifactError::Incomplete("a JSON form"))?;
        let text =
            tree.get("deployedBytecode").and_then(Value::as_str).ok_or(ArtifactError::Incomplete("runtime code"))?;
        let expected = alloy::hex::decode(text).map_err(|_| ArtifactError::Incomplete("runtime code in hex"))?;
        let spans = immutable_spans(&tree).ok_or(ArtifactError::Incomplete("the places of immutables"))?;
        Ok(same_outside(code, &expected, &spans))
    }
}

fn compiler(contracts: &Path) -> Command {
    if let Some(program) = std::env::var_os("GUARDRAIL_CONTRACT_COMPILER") {
        return Command::new(program);
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(|dir| dir.join(COMPILER)));
    if let Some(program) = beside.filter(|program| program.is_file()) {
        return Command::new(program);
    }
    let mut command = Command::new("cargo");
    command
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(contracts.join("compiler/Cargo.toml"))
        .arg("--");
    command
}
