//! What the graph's tests run an agent with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, AgentParts, AtInterrupt};
use super::checkpoint::CheckpointStore;
use super::config::AgentConfig;
use super::end::RunEnd;
use super::events::AgentEvent;
use crate::channel::Channel;
use crate::crypto::{SigningDomain, SigningKey, request_hash, response_digest};
use crate::evidence::Verifier;
use crate::llm::{Message, Plan, Planner, PlannerError, Role, ToolCall, ToolSpecView};
use crate::schema::anchors::{ApproverAnchor, BridgeAnchor, ChainCheck, EpochAnchors, PolicyLine};
use crate::schema::{AuthRequest, AuthResponse, Decision, RequestId, Sha256Digest, Timestamp, TrustAnchors};
use crate::tools::{Registry, ToolConfig, Workspace};

const CONTRACT: Address = Address::repeat_byte(0xc0);

/// Answers by how often it was asked, so that a resumed run gets what comes next.
struct Ready(Vec<Plan>);

#[async_trait]
impl Planner for Ready {
    async fn next(&self, conversation: &[Message], _tools: &[&ToolSpecView]) -> Result<Plan, PlannerError> {
        let asked = conversation.iter().filter(|message| message.role == Role::Assistant).count();
        self.0.get(asked).or(self.0.last()).cloned().ok_or(PlannerError::NoPrompt)
    }

    fn describe(&self) -> String {
        "answers that were ready".to_owned()
    }
}

pub fn call(name: &str, parameters: Value) -> Plan {
    let parameters = parameters.as_object().unwrap().clone();
    Plan::Call { thought: format!("now {name}"), call: ToolCall { name: name.to_owned(), parameters } }
}

pub fn finish(answer: &str) -> Plan {
    Plan::Finish { answer: answer.to_owned() }
}

pub fn read() -> Plan {
    call("read_file", json!({"file_path": "auth.py"}))
}

pub fn delete() -> Plan {
    call("delete_database", json!({"db_name": "users", "reasoning": "it is unused"}))
}

pub type Hook = Box<dyn Fn(&Path, &AgentEvent) + Send + Sync>;

pub struct Bench {
    pub root: tempfile::TempDir,
    pub plans: Vec<Plan>,
    pub config: AgentConfig,
    pub at_interrupt: AtInterrupt,
}

/// An agent and the events it told.
pub struct Told {
    pub agent: Agent,
    pub events: Arc<Mutex<Vec<AgentEvent>>>,
}

impl Told {
    pub fn names(&self) -> Vec<String> {
        let name = |event: &AgentEvent| serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned();
        self.events.lock().unwrap().iter().map(name).collect()
    }

    pub fn count(&self, name: &str) -> usize {
        self.names().iter().filter(|have| *have == name).count()
    }
}

impl Bench {
    pub fn new(plans: Vec<Plan>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let workspace = root.path().join("workspace");
        std::fs::create_dir(&workspace).unwrap();
        std::fs::write(workspace.join("auth.py"), "def sign_in():\n    return True\n").unwrap();
        Bench { root, plans, config: AgentConfig::default(), at_interrupt: AtInterrupt::Wait }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn agent(&self) -> Told {
        self.agent_with(Box::new(|_, _| {}))
    }

    pub fn agent_with(&self, hook: Hook) -> Told {
        let tools: ToolConfig = serde_saphyr::from_str(include_str!("../../config/tool_config.yaml")).unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let (sink, root) = (Arc::clone(&events), self.root.path().to_owned());
        let parts = AgentParts {
            config: self.config.clone(),
            authorization_timeout: Duration::from_secs(300),
            at_interrupt: self.at_interrupt,
            registry: Registry::standard(tools.tool_settings().unwrap()).unwrap(),
            risk: tools.risk_policy().unwrap(),
            planner: Arc::new(Ready(self.plans.clone())),
            channel: Channel::open(&self.path("channel")).unwrap(),
            verifier: Arc::new(Verifier::new(anchors(), None).unwrap()),
            store: CheckpointStore::open(&self.path("state")).unwrap(),
            state_dir: self.path("state"),
            workspace: Workspace::open(&self.path("workspace")).unwrap(),
            operator: None,
            events: Arc::new(move |event: &AgentEvent| {
                sink.lock().unwrap().push(event.clone());
                hook(&root, event);
            }),
        };
        Told { agent: Agent::new(parts).unwrap(), events }
    }

    pub fn names(&self, dir: &str) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.path(dir)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub fn published(&self) -> AuthRequest {
        let names = self.names("channel/requests");
        assert_eq!(names.len(), 1, "{names:?}");
        let name = names.first().unwrap();
        AuthRequest::parse(&std::fs::read(self.path("channel/requests").join(name)).unwrap()).unwrap()
    }
}

fn anchors() -> TrustAnchors {
    let dev = |index| SigningKey::dev(index).unwrap().address();
    TrustAnchors {
        chain_id: 31337,
        genesis_hash: B256::ZERO,
        contract: CONTRACT,
        code_hash: B256::ZERO,
        confirmations: 1,
        max_lifetime: 300,
        chain_check: ChainCheck::Off,
        epochs: vec![EpochAnchors {
            epoch: 1,
            approvers: vec![ApproverAnchor { address: dev(1), role: "operations".to_owned() }],
            policy: vec![PolicyLine { min_risk_bps: 0, quorum: [("any".to_owned(), 1)].into() }],
            bridges: vec![BridgeAnchor { signer: dev(9), requester: dev(0) }],
        }],
    }
}

/// What a bridge says of a request that breaks a rule; nothing of it is on a chain.
pub fn refusal(request: &AuthRequest) -> Vec<u8> {
    let mut response = AuthResponse {
        request_id: request.request_id.clone(),
        authorization_id: crate::schema::AuthorizationId::ZERO,
        action_hash: request.action_hash,
        request_hash: request_hash(request).unwrap(),
        decision: Decision::Denied,
        blockchain_tx_hash: B256::ZERO,
        block_number: 0,
        block_hash: B256::ZERO,
        approver: Address::ZERO,
        timestamp: Timestamp::now(),
        signature: Bytes::new(),
        denial_reason: Some("refused: risk floor".to_owned()),
        conditions: Vec::new(),
        evidence_hash: Sha256Digest::ZERO,
        evidence: None,
    };
    let digest = response_digest(&SigningDomain::new(31337, CONTRACT), &response);
    response.signature = SigningKey::dev(9).unwrap().sign(digest).unwrap();
    response.canonical().unwrap()
}

pub fn respond(root: &Path, id: &RequestId, bytes: &[u8]) {
    let target = root.join(format!("channel/responses/{id}.json"));
    crate::atomic_file::replace(&root.join("channel/tmp"), &target, bytes, 0o600).unwrap();
}

pub fn go_on() -> CancellationToken {
    CancellationToken::new()
}

pub fn results(end: &RunEnd) -> Vec<(bool, bool)> {
    end.state.execution_results.iter().map(|result| (result.ok, result.denied)).collect()
}
