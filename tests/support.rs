//! What the tests start: an Anvil of their own on a free port, bridges and commands as processes.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use guardrail::channel::{Channel, ResponseKind, Waited};
use guardrail::crypto::{self, SigningKey};
use guardrail::evidence::{Endpoint, Verifier};
use guardrail::schema::request::RequestFields;
use guardrail::schema::{
    AuthRequest, AuthResponse, AuthorizationId, EstimatedImpact, RequestId, RiskScore, Sha256Digest, Timestamp,
    TrustAnchors,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub const BIN: &str = env!("CARGO_BIN_EXE_guardrail");
/// Longer than anything here takes; a test that reaches it has hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A process that is killed by its own id when the test is over.
pub struct Process(pub Child);

impl Process {
    /// SIGKILL: no handler runs, nothing is flushed.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub fn interrupt(&mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.0.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The child may be gone already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Anvil {
    pub process: Process,
    pub url: String,
}

impl Anvil {
    pub fn start() -> Anvil {
        Self::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Anvil {
        let anvil = guardrail::node::find_anvil(&project().join("contracts")).expect("run `make setup` first");
        let mut child = Command::new(anvil)
            .args(["--port", "0", "--chain-id", "31337"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.trim().strip_prefix("Listening on ").map(str::to_owned))
            .expect("anvil ended before it listened");
        std::thread::spawn(move || for _ in lines.map_while(Result::ok) {});
        Anvil { process: Process(child), url: format!("http://{address}") }
    }
}

/// A set-up of its own: directories, chain, and the commands that work on them.
pub struct World {
    pub anvil: Anvil,
    pub dir: TempDir,
}

impl World {
    pub fn new() -> World {
        World { anvil: Anvil::start(), dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn channel(&self) -> Channel {
        Channel::open(&self.path("channel")).unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BIN);
        command
            .args(arguments)
            .current_dir(project())
            .env("GUARDRAIL_CHANNEL", self.path("channel"))
            .env("GUARDRAIL_STATE_DIR", self.path("state"))
            .env("GUARDRAIL_RPC_URL", &self.anvil.url)
            .env("GUARDRAIL_LOCK_DIR", self.path("locks"))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; its stdout.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a bridge and waits until it says that it is ready.
    pub fn bridge(&self) -> Process {
        self.bridge_with(&[])
    }

    pub fn bridge_with(&self, environment: &[(&str, &str)]) -> Process {
        let mut child = self
            .command(&["bridge"])
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        for line in lines.by_ref().map(Result::unwrap) {
            if line.starts_with("bridge ready") {
                std::thread::spawn(move || for _ in lines.map_while(Result::ok) {});
                return Process(child);
            }
            seen.push(line);
        }
        panic!("the bridge ended before it was ready:\n{}", seen.join("\n"));
    }

    pub fn anchors(&self) -> TrustAnchors {
        serde_json::from_str(&self.ok(&["anchors", "init", "--json"])).unwrap()
    }

    pub async fn verifier(&self) -> Verifier {
        let endpoint = Endpoint::connect(&self.anvil.url).await.unwrap();
        Verifier::new(self.anchors(), Some(endpoint)).unwrap()
    }

    /// Waits for a response of the bridge and parses it; the file stays.
    pub async fn response(&self, id: &RequestId, kind: ResponseKind) -> AuthResponse {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        match self.channel().wait_response(id, kind, deadline, &CancellationToken::new()).await.unwrap() {
            Waited::Found(bytes) => AuthResponse::parse(&bytes).unwrap(),
            other => panic!("{other:?}: no {kind:?} for {id}"),
        }
    }

    /// Waits until the chain shows a request as pending; its authorization id.
    pub fn pending_id(&self, id: &RequestId) -> AuthorizationId {
        self.eventually(&format!("{id} is pending"), || {
            let rows: Vec<Value> = serde_json::from_str(&self.ok(&["pending", "--json"])).unwrap();
            let row = rows.iter().find(|row| row["request_id"] == id.as_str())?;
            Some(row["authorization_id"].as_str().unwrap().parse().unwrap())
        })
    }

    /// Polls another process's state, for which there is no event to wait for.
    pub fn eventually<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "it never came to pass: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What lies in quarantine, by the rule each file broke.
    pub fn quarantined(&self) -> Vec<(String, String)> {
        let dir = self.path("channel/quarantine");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.to_str().unwrap().ends_with(".reason.json") {
                let reason: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                let text = |name: &str| reason[name].as_str().unwrap().to_owned();
                found.push((text("file"), text("rule")));
            }
        }
        found.sort();
        found
    }

    pub fn quarantined_as(&self, file: &str, rule: &str) {
        self.eventually(&format!("{file} is quarantined: {rule}"), || {
            self.quarantined().contains(&(file.to_owned(), rule.to_owned())).then_some(())
        });
    }
}

/// A request as an agent would send it.
pub fn request(tool: &str, risk: f64, parameters: Value) -> AuthRequest {
    request_at(tool, risk, parameters, Timestamp::now())
}

pub fn request_at(tool: &str, risk: f64, parameters: Value, timestamp: Timestamp) -> AuthRequest {
    let request_id = crypto::random::request_id().unwrap();
    let salt = guardrail::crypto::hash::sha256(request_id.as_str().as_bytes()).to_string()[..32].to_owned();
    let parameters: Map<String, Value> = parameters.as_object().unwrap().clone();
    let tool_name = tool.parse().unwrap();
    let action_hash = crypto::action_hash(&request_id, timestamp, &salt, &tool_name, &parameters).unwrap();
    AuthRequest::from_fields(RequestFields {
        request_id,
        timestamp,
        tool_name,
        parameters,
        agent_state_checkpoint: "thread/000001".to_owned(),
        action_hash,
        risk_score: RiskScore::from_f64(risk).unwrap(),
        estimated_impact: EstimatedImpact {
            users_affected: "all".to_owned(),
            downtime_risk: "medium".to_owned(),
            data_risk: "low".to_owned(),
        },
        reasoning: "The fix is tested; the rollback plan is to redeploy the release before.".to_owned(),
        salt: Some(salt),
        agent_id: Some("test".to_owned()),
        policy_hash: None,
        context: None,
    })
    .unwrap()
}

pub fn deployment() -> AuthRequest {
    request("deploy_to_production", 0.9, json!({"branch": "main", "environment": "production"}))
}

pub fn dev(index: usize) -> SigningKey {
    SigningKey::dev(index).unwrap()
}

/// Writes a file as a careless or hostile sender would: straight into the directory.
pub fn drop_file(path: &Path, bytes: &[u8]) {
    let mut tmp = tempfile::NamedTempFile::new_in(path.parent().unwrap().parent().unwrap()).unwrap();
    std::io::Write::write_all(&mut tmp, bytes).unwrap();
    tmp.persist(path).unwrap();
}

pub fn claim() -> (guardrail::schema::message::ClaimSecret, Sha256Digest) {
    let secret = guardrail::schema::message::ClaimSecret(crypto::random::bytes::<32>().unwrap().into());
    let claim = crypto::claim_of(&secret);
    (secret, claim)
}

/// Reads a whole stream; kept here so that tests can follow a process's output.
pub fn read_all(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
