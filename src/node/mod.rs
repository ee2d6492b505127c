//! The supervised Anvil child, from `anvil.toml`.
//!
//! Anvil is started in a process group of its own, so that a Ctrl-C on the terminal reaches
//! Guardrail alone, which stops the node last and lets it write its state.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// How long Anvil may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long Anvil may take to write its state and exit.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Lines of Anvil's output that an error repeats.
const LAST_LINES_MAX: usize = 12;
/// Where Anvil puts the states of old blocks while it runs, beside its state file.
const OLD_STATES_DIR: &str = "old_states";

/// `anvil.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    pub chain_id: u64,
    pub host: std::net::IpAddr,
    /// 0 takes a free one.
    pub port: u16,
    /// Seconds between blocks; 0 mines a block for each transaction.
    pub block_time_s: u64,
    pub accounts: u16,
    /// Whole coins that each account starts with.
    pub balance: u64,
    pub mnemonic: String,
    /// Where the chain is kept across restarts, relative to the state directory.
    pub state_file: PathBuf,
    /// Seconds between writes of the state file; it is written at every orderly stop as well.
    pub state_interval_s: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    #[error("there is no anvil: not in $GUARDRAIL_ANVIL, not on PATH, not in contracts/node_modules")]
    NoAnvil,
    #[error("$GUARDRAIL_ANVIL is {0}, which is no file")]
    BadAnvilVariable(PathBuf),
    #[error("cannot start {path}: {source}")]
    Spawn { path: PathBuf, source: std::io::Error },
    #[error("anvil ended before it listened: {output}")]
    Ended { output: String },
    #[error("anvil did not listen within {} s: {output}", START_TIMEOUT.as_secs())]
    StartTimeout { output: String },
    #[error("cannot stop anvil: {0}")]
    Stop(std::io::Error),
    #[error("cannot create {path}: {source}")]
    Create { path: PathBuf, source: std::io::Error },
}

impl NodeConfig {
    /// Reads `anvil.toml`; an unknown key or a wrong type is refused with its line.
    ///
    /// # Errors
    /// [`NodeError::Read`], [`NodeError::Parse`].
    pub fn load(path: &Path) -> Result<Self, NodeError> {
        let text = std::fs::read_to_string(path).map_err(|source| NodeError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| NodeError::Parse { path: path.to_owned(), source: Box::new(source) })
    }
}

/// Finds the `anvil` program: `$GUARDRAIL_ANVIL`, then PATH, then npm's own package under `contracts/`.
///
/// # Errors
/// [`NodeError::NoAnvil`].
pub fn find_anvil(contracts: &Path) -> Result<PathBuf, NodeError> {
    if let Some(path) = env::var_os("GUARDRAIL_ANVIL").map(PathBuf::from) {
        return if path.is_file() { Ok(path) } else { Err(NodeError::BadAnvilVariable(path)) };
    }
    find_tool("anvil", contracts).ok_or(NodeError::NoAnvil)
}

/// Finds a Foundry program on PATH, else in npm's platform package, whose `bin/` holds the real binary.
pub fn find_tool(name: &str, contracts: &Path) -> Option<PathBuf> {
    let on_path = env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let system = match env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let machine = match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = contracts.join(format!("node_modules/@foundry-rs/{name}-{system}-{machine}/bin"));
    on_path.chain([package]).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// An empty directory: an Anvil that was killed leaves what it put there, and none reads it again.
fn fresh_dir(path: &Path) -> Result<PathBuf, NodeError> {
    let create = |source| NodeError::Create { path: path.to_owned(), source };
    match std::fs::remove_dir_all(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(create(error)),
    }
    std::fs::create_dir_all(path).map_err(create)?;
    Ok(path.to_owned())
}

/// A running Anvil. Dropping it kills the process; [`Node::stop`] lets it write its state.
#[derive(Debug)]
pub struct Node {
    child: Child,
    url: String,
    output: JoinHandle<()>,
}

impl Node {
    /// Starts Anvil and waits until it listens.
    ///
    /// # Errors
    /// [`NodeError`] with the last lines that Anvil printed.
    pub async fn start(anvil: &Path, config: &NodeConfig, state_dir: &Path) -> Result<Self, NodeError> {
        let state = state_dir.join(&config.state_file);
        if let Some(parent) = state.parent() {
            std::fs::create_dir_all(parent).map_err(|source| NodeError::Create { path: parent.to_owned(), source })?;
        }
        let old_states = fresh_dir(&state.with_file_name(OLD_STATES_DIR))?;
        let mut command = Command::new(anvil);
        command
            .args(["--host", &config.host.to_string(), "--port", &config.port.to_string()])
            .args(["--chain-id", &config.chain_id.to_string(), "--accounts", &config.accounts.to_string()])
            .args(["--balance", &config.balance.to_string(), "--mnemonic", &config.mnemonic])
            .arg("--state")
            .arg(&state)
            .args(["--state-interval", &config.state_interval_s.to_string(), "--preserve-historical-states"])
            .arg("--cache-path")
            .arg(&old_states);
        if config.block_time_s > 0 {
            command.args(["--block-time", &config.block_time_s.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|source| NodeError::Spawn { path: anvil.to_owned(), source })?;
        let Some(stdout) = child.stdout.take() else {
            return Err(NodeError::Ended { output: "it has no output to read".to_owned() });
        };
        let mut lines = BufReader::new(stdout).lines();
        let mut last = Vec::new();
        let listening = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = line.trim().strip_prefix("Listening on ") {
                    return Some(address.to_owned());
                }
                if !line.trim().is_empty() {
                    last.push(line);
                    if last.len() > LAST_LINES_MAX {
                        last.remove(0);
                    }
                }
            }
            None
        };
        let address = match tokio::time::timeout(START_TIMEOUT, listening).await {
            Ok(Some(address)) => address,
            Ok(None) => return Err(NodeError::Ended { output: last.join("\n") }),
            Err(_) => return Err(NodeError::StartTimeout { output: last.join("\n") }),
        };
        let output = tokio::spawn(async move {
            // Anvil blocks once its pipe is full, so it is read to the end.
            while let Ok(Some(line)) = lines.next_line().await {
                tracing::trace!(target: "guardrail::node", "{line}");
            }
        });
        Ok(Node { child, url: format!("http://{address}"), output })
    }

    /// The HTTP endpoint; the same address serves WebSocket.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until Anvil ends by itself.
    ///
    /// # Errors
    /// The system's own.
    pub async fn ended(&mut self) -> Result<ExitStatus, NodeError> {
        self.child.wait().await.map_err(NodeError::Stop)
    }

    /// Asks Anvil to write its state and exit; one that does not is killed.
    ///
    /// # Errors
    /// [`NodeError::Stop`].
    pub async fn stop(mut self) -> Result<(), NodeError> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::INT).map_err(|errno| NodeError::Stop(errno.into()))?;
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            tracing::warn!(target: "guardrail::node", "anvil did not stop, killing it; its last seconds may be lost");
            self.child.kill().await.map_err(NodeError::Stop)?;
        }
        self.output.abort();
        Ok(())
    }
}
