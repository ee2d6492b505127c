//! Compiles the contract from its sources with foundry-compilers, as `contracts/foundry.toml`
//! says.

use std::path::{Path, PathBuf};

use foundry_compilers::artifacts::output_selection::OutputSelection;
use foundry_compilers::artifacts::remappings::Remapping;
use foundry_compilers::artifacts::{BytecodeHash, BytecodeObject, Contract, Optimizer, Settings, SettingsMetadata};
use foundry_compilers::compilers::solc::{Solc, SolcCompiler, SolcSettings};
use foundry_compilers::{ConfigurableArtifacts, ProjectBuilder, ProjectPathsConfig};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const CONTRACT: &str = "Authorization";
const SOURCE: &str = "src/Authorization.sol";

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Settings { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{path}: {key} is {value:?}, which the compiler does not know")]
    Setting { path: PathBuf, key: &'static str, value: String },
    #[error("there is no compiler at {0}")]
    NoCompiler(PathBuf),
    #[error("the compiler failed: {0}")]
    Compiler(#[from] foundry_compilers::error::SolcError),
    #[error("the sources do not compile:\n{0}")]
    Sources(String),
    #[error("the compiler's output lacks {0}")]
    Incomplete(&'static str),
    #[error("cannot print the artifact: {0}")]
    Print(std::io::Error),
}

/// The part of `foundry.toml` that decides what code comes out.
#[derive(Debug, Deserialize)]
struct FoundryToml {
    profile: Profiles,
}

#[derive(Debug, Deserialize)]
struct Profiles {
    default: Profile,
}

#[derive(Debug, Deserialize)]
struct Profile {
    solc: PathBuf,
    remappings: Vec<String>,
    evm_version: String,
    optimizer: bool,
    optimizer_runs: usize,
    via_ir: bool,
    bytecode_hash: String,
    cbor_metadata: bool,
}

/// Compiles the sources below `contracts`, the directory of `foundry.toml`, and renders the
/// artifact: keys sorted, two spaces, the same on every machine.
///
/// # Errors
/// [`BuildError`] with what failed.
pub fn compile(contracts: &Path) -> Result<String, BuildError> {
    let root = contracts.canonicalize().map_err(|source| BuildError::Read { path: contracts.to_owned(), source })?;
    let profile = read_profile(&root)?;
    let tree = artifact_of(&compile_contract(&root, &profile)?, &profile)?;
    let pretty = serde_json::to_string_pretty(&sorted(&tree)).map_err(|_| BuildError::Incomplete("a JSON form"))?;
    Ok(pretty + "\n")
}

fn read_profile(root: &Path) -> Result<Profile, BuildError> {
    let path = root.join("foundry.toml");
    let text = std::fs::read_to_string(&path).map_err(|source| BuildError::Read { path: path.clone(), source })?;
    let file: FoundryToml =
        toml::from_str(&text).map_err(|source| BuildError::Settings { path, source: Box::new(source) })?;
    Ok(file.profile.default)
}

fn compile_contract(root: &Path, profile: &Profile) -> Result<Contract, BuildError> {
    let setting = |key: &'static str, value: &str| BuildError::Setting {
        path: root.join("foundry.toml"),
        key,
        value: value.to_owned(),
    };
    let remappings = profile
        .remappings
        .iter()
        .map(|text| text.parse::<Remapping>().map_err(|_| setting("remappings", text)))
        .collect::<Result<Vec<_>, _>>()?;
    let bytecode_hash: BytecodeHash =
        profile.bytecode_hash.parse().map_err(|_| setting("bytecode_hash", &profile.bytecode_hash))?;
    let settings = Settings {
        optimizer: Optimizer {
            enabled: Some(profile.optimizer),
            runs: Some(profile.optimizer_runs),
            ..Optimizer::default()
        },
        metadata: Some(SettingsMetadata::new(bytecode_hash, profile.cbor_metadata)),
        evm_version: Some(profile.evm_version.parse().map_err(|_| setting("evm_version", &profile.evm_version))?),
        via_ir: Some(profile.via_ir),
        output_selection: OutputSelection::complete_output_selection(),
        ..Settings::default()
    };
    let solc = root.join(&profile.solc);
    if !solc.is_file() {
        return Err(BuildError::NoCompiler(solc));
    }
    let paths = ProjectPathsConfig::builder()
        .root(root)
        .sources(root.join("src"))
        .lib(root.join("node_modules"))
        .remappings(remappings)
        .build()
        .map_err(foundry_compilers::error::SolcError::from)?;
    let project = ProjectBuilder::<SolcCompiler, ConfigurableArtifacts>::new(ConfigurableArtifacts::default())
        .paths(paths)
        .settings(SolcSettings { settings, ..SolcSettings::default() })
        .ephemeral()
        .no_artifacts()
        .single_solc_jobs()
        .build(SolcCompiler::Specific(Solc::new(solc)?))?;
    let output = project.compile_file(root.join(SOURCE))?;
    if output.has_compiler_errors() {
        return Err(BuildError::Sources(output.to_string()));
    }
    let mut contracts = output.into_output().contracts_into_iter();
    contracts
        .find(|(name, _)| name == CONTRACT)
        .map(|(_, contract)| contract)
        .ok_or(BuildError::Incomplete("the contract"))
}

fn artifact_of(contract: &Contract, profile: &Profile) -> Result<Value, BuildError> {
    let metadata = contract.metadata.as_ref().ok_or(BuildError::Incomplete("metadata"))?;
    let metadata: Value =
        serde_json::from_str(&metadata.raw_metadata).map_err(|_| BuildError::Incomplete("metadata in JSON"))?;
    let settings = |name: &str| metadata.pointer(&format!("/settings/{name}")).cloned();
    let evm = contract.evm.as_ref().ok_or(BuildError::Incomplete("code"))?;
    let code = |bytecode: Option<&BytecodeObject>, what| {
        let bytes = bytecode.and_then(BytecodeObject::as_bytes).ok_or(BuildError::Incomplete(what))?;
        Ok::<_, BuildError>(format!("0x{}", hex::encode(bytes)))
    };
    let runtime = evm.deployed_bytecode.as_ref().ok_or(BuildError::Incomplete("runtime code"))?;
    let mut spans: Vec<(u32, u32)> =
        runtime.immutable_references.values().flatten().map(|place| (place.start, place.length)).collect();
    spans.sort_unstable();
    let places: Vec<Value> = spans.iter().map(|(start, length)| json!({"start": start, "length": length})).collect();
    let abi = contract.abi.as_ref().ok_or(BuildError::Incomplete("an ABI"))?;
    Ok(json!({
        "contractName": CONTRACT,
        "sourceName": SOURCE,
        "compiler": {
            "version": metadata.pointer("/compiler/version").cloned().ok_or(BuildError::Incomplete("a compiler version"))?,
            "settings": {
                "evmVersion": settings("evmVersion"),
                "metadata": settings("metadata"),
                "optimizer": settings("optimizer"),
                "remappings": profile.remappings,
                "viaIR": settings("viaIR").unwrap_or(Value::Bool(false)),
            },
        },
        "abi": serde_json::to_value(abi).map_err(|_| BuildError::Incomplete("an ABI in JSON"))?,
        "bytecode": code(evm.bytecode.as_ref().map(|b| &b.object), "creation code")?,
        "deployedBytecode": code(runtime.bytecode.as_ref().map(|b| &b.object), "runtime code")?,
        "immutableReferences": places,
    }))
}

/// The same tree with the names of every object in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut names: Vec<&String> = map.keys().collect();
            names.sort_unstable();
            Value::Object(names.into_iter().map(|name| (name.clone(), sorted(&map[name]))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
