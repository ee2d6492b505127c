//! What every command shares: where things are, how to reach the chain, which contract.

use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use alloy::providers::{Provider, RootProvider};
use serde::{Deserialize, Serialize};

use super::error::{CommandError, Exit, OrExit};
use crate::atomic_file;
use crate::bridge::BridgeConfig;
use crate::channel::Channel;
use crate::contract::{self, Setup};
use crate::crypto::SigningKey;
use crate::evidence::Endpoint;
use crate::mock;
use crate::schema::anchors::{ApproverAnchor, BridgeAnchor, DEV_CHAIN_ID, TrustAnchors};
use crate::schema::{LedgerKind, hex};

/// Options of every command; each is also an environment variable.
#[derive(Clone, Debug, clap::Args)]
pub struct Globals {
    /// Where agent_config.yaml, tool_config.yaml, bridge_config.yaml and scenarios/ are
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "GUARDRAIL_CONFIG_DIR",
        default_value = "config",
        value_name = "DIR"
    )]
    pub config_dir: PathBuf,
    /// The channel that agent, bridge and approvers share [default: ipc_channel]
    #[arg(long, global = true, help_heading = "Global options", env = "GUARDRAIL_CHANNEL", value_name = "DIR")]
    pub channel: Option<PathBuf>,
    /// The chain: http(s)://, ws(s):// or the path of an IPC socket [default: http://127.0.0.1:8545]
    #[arg(long, global = true, help_heading = "Global options", env = "GUARDRAIL_RPC_URL", value_name = "URL")]
    pub rpc_url: Option<String>,
    /// Everything a process keeps: journal, checkpoints, evidence, logs [default: .guardrail]
    #[arg(long, global = true, help_heading = "Global options", env = "GUARDRAIL_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Work with the in-memory mock ledger, which `guardrail bridge --mock-chain` serves: no node, and no proof of anything
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "GUARDRAIL_MOCK_CHAIN",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub mock_chain: bool,
}

/// On Anvil's dev chain: who is who (README).
pub mod dev {
    pub const REQUESTER: usize = 0;
    pub const OPERATIONS: [usize; 2] = [1, 3];
    pub const SECURITY: [usize; 1] = [2];
    /// The order in which approvers are asked where the fewest are to settle a request.
    pub const APPROVERS: [usize; 3] = [OPERATIONS[0], SECURITY[0], OPERATIONS[1]];
    pub const ADMIN: usize = 8;
    pub const SIGNER: usize = 9;
}

/// What `guardrail deploy` left for the other commands.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Deployment {
    chain_id: u64,
    #[serde(with = "hex::b256")]
    genesis_hash: alloy::primitives::B256,
    #[serde(with = "hex::address")]
    contract: Address,
    block_number: u64,
}

/// A contract, and the block from which its events can be read.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    pub contract: Address,
    pub from_block: u64,
}

impl Globals {
    /// The options that were given, for a command line that reaches the same set-up.
    pub fn flags(&self) -> String {
        let dir = |name: &str, path: &Option<PathBuf>| {
            let path = path.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
            path.map(|path| format!(" --{name} {}", path.display())).unwrap_or_default()
        };
        let url = self.rpc_url.as_ref().map(|url| format!(" --rpc-url {url}")).unwrap_or_default();
        let mock = if self.mock_chain { " --mock-chain" } else { "" };
        format!("{}{}{url}{mock}", dir("channel", &self.channel), dir("state-dir", &self.state_dir))
    }

    /// The kind of ledger that the flag names.
    pub fn ledger(&self) -> LedgerKind {
        if self.mock_chain { LedgerKind::Mock } else { LedgerKind::Evm }
    }

    pub fn channel_dir(&self) -> &Path {
        self.channel.as_deref().unwrap_or(Path::new("ipc_channel"))
    }

    pub fn state_dir(&self) -> &Path {
        self.state_dir.as_deref().unwrap_or(Path::new(".guardrail"))
    }

    pub fn rpc_url(&self) -> &str {
        self.rpc_url.as_deref().unwrap_or("http://127.0.0.1:8545")
    }

    pub fn bridge_config(&self) -> Result<BridgeConfig, CommandError> {
        let path = self.config_dir.join("bridge_config.yaml");
        crate::config::load_yaml(&path, "GUARDRAIL_BRIDGE")
            .or_exit(Exit::Usage)
            .map_err(|error| error.hint("give the directory that holds it with --config-dir"))
    }

    pub fn open_channel(&self) -> Result<Channel, CommandError> {
        Channel::open(self.channel_dir())
            .map_err(|error| CommandError::from(error).hint("give a directory you can write to with --channel"))
    }

    pub fn ensure_state_dir(&self) -> Result<(), CommandError> {
        atomic_file::ensure_dir(self.state_dir(), 0o700)
            .or_exit(Exit::Failed)
            .map_err(|error| error.hint("give a directory you can write to with --state-dir"))
    }

    pub fn anchors_path(&self) -> PathBuf {
        self.state_dir().join("anchors.yaml")
    }

    pub fn journal_path(&self) -> PathBuf {
        self.state_dir().join("journal.sqlite")
    }

    /// Connects, and sees that what answers is the kind of ledger that the flag names.
    pub async fn connect(&self) -> Result<Endpoint, CommandError> {
        let endpoint = Endpoint::connect(self.rpc_url())
            .await
            .or_exit(Exit::Unreachable)
            .map_err(|error| self.unreachable(error))?;
        let asked = endpoint.provider().get_chain_id().await.or_exit(Exit::Unreachable);
        asked.map_err(|error| self.unreachable(error))?;
        self.check_ledger(endpoint.provider()).await?;
        Ok(endpoint)
    }

    /// Says what to do where nothing answers.
    pub fn unreachable(&self, error: CommandError) -> CommandError {
        let start = match self.ledger() {
            LedgerKind::Evm => "start a node with `guardrail node` or `anvil`",
            LedgerKind::Mock => "start the mock ledger with `guardrail bridge --mock-chain`",
        };
        error.hint(format!("nothing answers at {}; {start}, or give --rpc-url", self.rpc_url()))
    }

    /// Refuses a mock ledger where none was asked for, and anything else where one was.
    pub async fn check_ledger(&self, provider: &RootProvider) -> Result<(), CommandError> {
        let url = self.rpc_url();
        let version = provider.get_client_version().await;
        match (self.ledger(), version) {
            (LedgerKind::Mock, Ok(version)) if mock::is_mock_client(&version) => {
                super::mock::banner();
                Ok(())
            }
            (LedgerKind::Mock, Ok(version)) => {
                let text = format!("{url} is no mock ledger: it says {version:?}");
                Err(CommandError::message(Exit::Unverified, text)
                    .hint("leave --mock-chain (or GUARDRAIL_MOCK_CHAIN) out to work with a chain"))
            }
            (LedgerKind::Mock, Err(error)) => Err(CommandError::new(Exit::Unverified, error).hint(format!(
                "{url} does not say that it is a mock ledger; leave --mock-chain out to work with a chain"
            ))),
            (LedgerKind::Evm, Ok(version)) if mock::is_mock_client(&version) => {
                let text = format!("{url} is a mock ledger, which proves nothing: it says {version:?}");
                Err(CommandError::message(Exit::Unverified, text)
                    .hint("to work with it all the same, give --mock-chain; for a chain give its --rpc-url"))
            }
            // A chain need not say what it runs, and a mock that hid would fail every verification.
            (LedgerKind::Evm, Ok(_) | Err(_)) => Ok(()),
        }
    }

    fn deployment_path(&self) -> PathBuf {
        self.state_dir().join("deployment.json")
    }

    /// Finds the contract: configured, deployed from here, or where a fresh dev chain has it.
    pub async fn locate(&self, provider: &RootProvider, configured: Option<Address>) -> Result<Located, CommandError> {
        self.find(provider, configured).await?.ok_or_else(|| {
            CommandError::message(
                Exit::Usage,
                "there is no Authorization contract on this chain that this directory knows of",
            )
            .hint("start `guardrail bridge`, which deploys one on a dev chain, or `guardrail deploy`")
            .hint("or set chain.contract in bridge_config.yaml")
        })
    }

    async fn find(
        &self,
        provider: &RootProvider,
        configured: Option<Address>,
    ) -> Result<Option<Located>, CommandError> {
        match self.ledger() {
            LedgerKind::Evm => {}
            // It has one contract; what is configured or deployed is of a chain.
            LedgerKind::Mock => {
                contract::check_code(provider, mock::CONTRACT).await.map_err(crate::bridge::BridgeError::from)?;
                return Ok(Some(Located { contract: mock::CONTRACT, from_block: 0 }));
            }
        }
        if let Some(contract) = configured {
            contract::check_code(provider, contract).await.map_err(crate::bridge::BridgeError::from)?;
            return Ok(Some(Located { contract, from_block: 0 }));
        }
        let chain_id = provider.get_chain_id().await.or_exit(Exit::Unreachable)?;
        let genesis = contract::genesis_hash(provider).await.or_exit(Exit::Unreachable)?;
        if let Some(known) = self.read_deployment()?
            && known.chain_id == chain_id
            && known.genesis_hash == genesis
            && contract::check_code(provider, known.contract).await.is_ok()
        {
            return Ok(Some(Located { contract: known.contract, from_block: known.block_number }));
        }
        if chain_id == DEV_CHAIN_ID {
            let admin = SigningKey::dev(dev::ADMIN).or_exit(Exit::Failed)?.address();
            let first = admin.create(0);
            if contract::check_code(provider, first).await.is_ok() {
                return Ok(Some(Located { contract: first, from_block: 0 }));
            }
        }
        Ok(None)
    }

    fn read_deployment(&self) -> Result<Option<Deployment>, CommandError> {
        let path = self.deployment_path();
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                CommandError::message(Exit::Failed, format!("{}: {e}", path.display()))
                    .hint("remove the file; it can be found again")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CommandError::message(Exit::Failed, format!("{}: {error}", path.display()))),
        }
    }

    /// The contract that is there, or on a dev chain a new one.
    pub async fn locate_or_deploy(
        &self,
        provider: &RootProvider,
        configured: Option<Address>,
    ) -> Result<Located, CommandError> {
        if let Some(located) = self.find(provider, configured).await? {
            return Ok(located);
        }
        let chain_id = provider.get_chain_id().await.or_exit(Exit::Unreachable)?;
        if chain_id != DEV_CHAIN_ID {
            return self.locate(provider, configured).await;
        }
        let admin = SigningKey::dev(dev::ADMIN).or_exit(Exit::Failed)?;
        self.deploy(provider, &admin, &dev_setup()?).await
    }

    /// Deploys a contract and remembers where.
    pub async fn deploy(
        &self,
        provider: &RootProvider,
        admin: &SigningKey,
        setup: &Setup,
    ) -> Result<Located, CommandError> {
        self.ensure_state_dir()?;
        let (contract, block_number) = super::deploy::send(provider, admin, setup).await?;
        let deployment = Deployment {
            chain_id: provider.get_chain_id().await.or_exit(Exit::Unreachable)?,
            genesis_hash: contract::genesis_hash(provider).await.or_exit(Exit::Unreachable)?,
            contract,
            block_number,
        };
        let bytes = serde_json::to_vec_pretty(&deployment).or_exit(Exit::Failed)?;
        atomic_file::replace(self.state_dir(), &self.deployment_path(), &bytes, 0o600)?;
        tracing::info!(target: "guardrail::deploy", %contract, block = block_number, "deployed");
        Ok(Located { contract, from_block: block_number })
    }

    /// The anchors that this state directory pins.
    pub fn pinned_anchors(&self, path: &Path) -> Result<Option<TrustAnchors>, CommandError> {
        if !path.exists() {
            return Ok(None);
        }
        let anchors: TrustAnchors = crate::config::load_yaml_pinned(path).or_exit(Exit::Usage)?;
        anchors.validate().or_exit(Exit::Usage)?;
        Ok(Some(anchors))
    }
}

/// Who is who on Anvil's dev chain, with the policy of PROTOCOL section 9.
pub fn dev_setup() -> Result<Setup, CommandError> {
    let address = |index: usize| SigningKey::dev(index).map(|key| key.address()).or_exit(Exit::Failed);
    let mut approvers = Vec::new();
    for (role, members) in [("operations", dev::OPERATIONS.as_slice()), ("security", dev::SECURITY.as_slice())] {
        for index in members {
            approvers.push(ApproverAnchor { address: address(*index)?, role: role.to_owned() });
        }
    }
    Ok(Setup {
        admin: address(dev::ADMIN)?,
        approvers,
        policy: Setup::example_policy(),
        bridges: vec![BridgeAnchor { signer: address(dev::SIGNER)?, requester: address(dev::REQUESTER)? }],
    })
}

/// Reads a private key: from a file, from a variable, or, on the dev chain alone, one of Anvil's.
pub fn load_key(
    file: Option<&Path>,
    variable: &str,
    dev_account: Option<usize>,
    chain_id: u64,
) -> Result<Option<SigningKey>, CommandError> {
    let key = if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|e| {
            CommandError::message(Exit::Usage, format!("cannot read the key in {}: {e}", path.display()))
        })?;
        Some(SigningKey::parse(&text).or_exit(Exit::Usage)?)
    } else if let Some(text) = std::env::var_os(variable) {
        let text =
            text.into_string().map_err(|_| CommandError::message(Exit::Usage, format!("{variable} is not UTF-8")))?;
        Some(SigningKey::parse(&text).or_exit(Exit::Usage)?)
    } else {
        dev_account.map(SigningKey::dev).transpose().or_exit(Exit::Usage)?
    };
    key.map(|key| key.for_chain(chain_id)).transpose().or_exit(Exit::Usage)
}
