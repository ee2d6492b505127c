//! What the metrics start from: an Anvil of their own with the contract on it, requests, votes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alloy::primitives::Address;
use alloy::sol_types::SolCall;
use anyhow::{Context, Result, ensure};
use guardrail::contract::Setup;
use guardrail::crypto::{self, SigningDomain, SigningKey, abi};
use guardrail::schema::anchors::{ApproverAnchor, BridgeAnchor, DEV_CHAIN_ID};
use guardrail::schema::message::Note;
use guardrail::schema::request::RequestFields;
use guardrail::schema::{AuthRequest, AuthorizationId, EstimatedImpact, RequestId, RiskScore, Timestamp, VoteFile};
use serde_json::json;

use crate::baseline::{Account, Rpc};

/// How old a request may be and how long it lives: longer than any run.
pub const LIFETIME_S: u64 = 86_400;
/// Below 0.9, where one approval settles a request.
const RISK: f64 = 0.8;
/// A new contract's epoch.
const EPOCH: u64 = 1;
/// How long Anvil may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const START_POLL: Duration = Duration::from_millis(10);

/// Anvil's accounts on the dev chain, by what they do there.
pub mod dev {
    pub const REQUESTER: usize = 0;
    pub const APPROVER: usize = 1;
    pub const ADMIN: usize = 8;
    pub const SIGNER: usize = 9;
}

pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An Anvil in a process of its own, with a contract on it.
pub struct Ledger {
    anvil: Child,
    /// Where it puts old states; gone with it.
    _cache: Scratch,
    pub address: SocketAddr,
    pub contract: Address,
}

impl Ledger {
    /// Starts Anvil with the flags that every metric and every baseline uses, and deploys.
    pub fn start() -> Result<Self> {
        let program = guardrail::node::find_anvil(&project().join("contracts")).context("run `make setup` first")?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let cache = Scratch::new()?;
        let anvil = Command::new(&program)
            .args(["--quiet", "--port", &port.to_string(), "--chain-id", &DEV_CHAIN_ID.to_string()])
            .args([Path::new("--cache-path"), &cache.path("states")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut ledger = Ledger { anvil, _cache: cache, address, contract: Address::ZERO };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(address).is_err() {
            ensure!(ledger.anvil.try_wait()?.is_none(), "anvil ended before it listened");
            ensure!(Instant::now() < deadline, "anvil did not listen in time");
            std::thread::sleep(START_POLL);
        }
        ledger.contract = ledger.deploy()?;
        Ok(ledger)
    }

    fn deploy(&self) -> Result<Address> {
        let address = |index| SigningKey::dev(index).map(|key| key.address());
        let approver = |index, role: &str| {
            Ok::<_, anyhow::Error>(ApproverAnchor { address: address(index)?, role: role.to_owned() })
        };
        let setup = Setup {
            admin: address(dev::ADMIN)?,
            approvers: vec![
                approver(dev::APPROVER, "operations")?,
                approver(3, "operations")?,
                approver(2, "security")?,
            ],
            policy: Setup::example_policy(),
            bridges: vec![BridgeAnchor { signer: address(dev::SIGNER)?, requester: address(dev::REQUESTER)? }],
        };
        let mut admin = Account::new(dev::ADMIN)?;
        let raw = admin.create(&setup.init_code())?;
        self.connect()?.send_sync(&raw)?;
        Ok(admin.address().create(0))
    }

    pub fn connect(&self) -> Result<Rpc> {
        Rpc::connect(self.address)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _ = self.anvil.kill();
        let _ = self.anvil.wait();
    }
}

/// A valid request, as bytes for the channel and as the struct that goes on chain.
#[derive(Clone)]
pub struct Prepared {
    pub id: RequestId,
    pub bytes: Vec<u8>,
    pub on_chain: abi::Request,
    request: AuthRequest,
}

impl Prepared {
    pub fn new() -> Result<Self> {
        let id = crypto::random::request_id()?;
        let timestamp = Timestamp::now();
        let salt = crypto::hash::sha256(id.as_str().as_bytes()).to_string()[..32].to_owned();
        let tool_name = "deploy_to_production".parse().map_err(anyhow::Error::msg)?;
        let parameters = json!({"branch": "main", "environment": "production"});
        let parameters = parameters.as_object().cloned().unwrap_or_default();
        let action_hash = crypto::action_hash(&id, timestamp, &salt, &tool_name, &parameters)?;
        let request = AuthRequest::from_fields(RequestFields {
            request_id: id.clone(),
            timestamp,
            tool_name,
            parameters,
            agent_state_checkpoint: "thread/000001".to_owned(),
            action_hash,
            risk_score: RiskScore::from_f64(RISK).map_err(anyhow::Error::msg)?,
            estimated_impact: EstimatedImpact {
                users_affected: "all".to_owned(),
                downtime_risk: "medium".to_owned(),
                data_risk: "low".to_owned(),
            },
            reasoning: "The fix is tested; the rollback plan is to redeploy the release before.".to_owned(),
            salt: Some(salt),
            agent_id: Some("bench".to_owned()),
            policy_hash: None,
            context: None,
        })?;
        let requester = SigningKey::dev(dev::REQUESTER)?.address();
        let expires_at_s = u64::try_from(timestamp.unix_s())? + LIFETIME_S;
        let on_chain = crypto::hash::chain_request(&request, requester, expires_at_s, EPOCH)?;
        Ok(Prepared { id, bytes: request.canonical()?, on_chain, request })
    }

    pub fn many(count: usize) -> Result<Vec<Self>> {
        (0..count).map(|_| Self::new()).collect()
    }

    /// The request as it is sent.
    pub fn request(&self) -> AuthRequest {
        self.request.clone()
    }

    pub fn authorization_id(&self) -> AuthorizationId {
        crypto::authorization_id(&self.on_chain)
    }

    pub fn file_name(&self) -> String {
        format!("{}.json", self.id)
    }

    /// The calldata that asks for it alone.
    pub fn call(&self) -> Vec<u8> {
        abi::requestAuthorizationCall {
            r: self.on_chain.clone(),
            requestId: self.id.to_string(),
            toolName: self.request.tool_name.to_string(),
        }
        .abi_encode()
    }

    /// The calldata that asks for several.
    pub fn batch_call(requests: &[Prepared]) -> Vec<u8> {
        abi::requestBatchCall {
            r: requests.iter().map(|p| p.on_chain.clone()).collect(),
            requestIds: requests.iter().map(|p| p.id.to_string()).collect(),
            toolNames: requests.iter().map(|p| p.request.tool_name.to_string()).collect(),
        }
        .abi_encode()
    }

    /// The approval that settles it.
    pub fn approval(&self, contract: Address) -> Result<VoteFile> {
        let key = SigningKey::dev(dev::APPROVER)?;
        let domain = SigningDomain::new(DEV_CHAIN_ID, contract);
        let (id, note) = (self.authorization_id(), Note::default());
        let tool_name = self.request.tool_name.clone();
        let action_hash = self.request.action_hash;
        let digest = crypto::vote_digest(&domain, id, &tool_name, action_hash, true, note.as_str());
        Ok(VoteFile {
            id,
            tool_name,
            action_hash,
            approve: true,
            note,
            approver: key.address(),
            signature: key.sign(digest)?,
        })
    }

    /// The calldata that settles it by that approval.
    pub fn decide_call(&self, vote: &VoteFile) -> Vec<u8> {
        let vote = abi::SignedVote {
            approver: vote.approver,
            approve: vote.approve,
            note: vote.note.as_str().to_owned(),
            signature: vote.signature.clone(),
        };
        abi::decideCall { r: self.on_chain.clone(), votes: vec![vote] }.abi_encode()
    }
}

/// A directory of one metric's half, removed at its end.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// In the build's own directory: on a disk, where a sync costs what it costs.
    pub fn new() -> Result<Self> {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::create_dir_all(parent)?;
        Ok(Scratch(tempfile::tempdir_in(parent)?))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
