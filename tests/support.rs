//! What the tests start: an Anvil of their own on a free port, bridges and commands as processes.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use guardrail::channel::{Channel, ResponseKind, Waited};
use guardrail::crypto::{self, SigningKey};
use guardrail::evidence::{Endpoint, Verifier};
use guardrail::schema::request::RequestFields;
use guardrail::schema::{
    AuthRequest, AuthResponse, AuthorizationId, EstimatedImpact, LedgerKind, RequestId, RiskScore, Sha256Digest,
    Timestamp, TrustAnchors,
};
use rustix::process::Signal;
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

    pub fn alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    pub fn interrupt(&mut self) -> ExitStatus {
        self.signal(Signal::INT);
        self.0.wait().unwrap()
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "process {} does not end", self.0.id());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal, and does not wait for what comes of it.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
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
    /// Where it puts old states; gone with it.
    pub _cache: Option<TempDir>,
}

impl Anvil {
    pub fn start() -> Anvil {
        Self::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Anvil {
        Self::start_on(0, arguments)
    }

    /// Starts on a port that an earlier node had, or on a free one where it is 0.
    pub fn start_on(port: u16, arguments: &[&str]) -> Anvil {
        let anvil = guardrail::node::find_anvil(&project().join("contracts")).expect("run `make setup` first");
        let cache = tempfile::tempdir().unwrap();
        let mut child = Command::new(anvil)
            .args(["--port", &port.to_string(), "--chain-id", "31337", "--cache-path"])
            .arg(cache.path())
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
        Anvil { process: Process(child), url: format!("http://{address}"), _cache: Some(cache) }
    }
}

/// A set-up of its own: directories, chain, and the commands that work on them.
pub struct World {
    /// On the mock ledger this is the bridge, which serves it.
    pub anvil: Anvil,
    pub dir: TempDir,
    pub ledger: LedgerKind,
}

impl World {
    pub fn new() -> World {
        Self::on(Anvil::start())
    }

    /// A set-up on the mock ledger, whose bridge finds `before` done in its channel.
    pub fn mock(environment: &[(&str, &str)], before: impl FnOnce(&Channel)) -> World {
        let dir = tempfile::tempdir().unwrap();
        before(&Channel::open(&dir.path().join("channel")).unwrap());
        let anvil = mock_bridge(dir.path(), "http://127.0.0.1:0", environment);
        World { anvil, dir, ledger: LedgerKind::Mock }
    }

    /// Kills the mock ledger with its bridge and starts another in its place.
    pub fn restart_mock(&mut self) {
        self.anvil.process.kill();
        self.anvil = mock_bridge(self.dir.path(), &self.anvil.url, &[]);
    }

    pub fn on(anvil: Anvil) -> World {
        World { anvil, dir: tempfile::tempdir().unwrap(), ledger: LedgerKind::Evm }
    }

    /// A set-up in memory, for so many files that a disk's syncs would be all that is seen of a test.
    pub fn in_memory() -> World {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        World { anvil: Anvil::start(), dir: dir.unwrap(), ledger: LedgerKind::Evm }
    }

    /// Gives every later command the shipped configuration with other values in `bridge_config.yaml`.
    pub fn configure(&self, values: &[(&str, &str)]) {
        let target = self.path("config");
        if !target.exists() {
            copy(&project().join("config"), &target);
        }
        let path = target.join("bridge_config.yaml");
        let mut text = std::fs::read_to_string(&path).unwrap();
        for (key, value) in values {
            let is_key = |line: &str| line.trim_start().trim_start_matches("# ").starts_with(&format!("{key}:"));
            assert_eq!(text.lines().filter(|line| is_key(line)).count(), 1, "{key} in {}", path.display());
            let lines = text.lines().map(|line| match is_key(line) {
                true => format!("  {key}: {value}\n"),
                false => format!("{line}\n"),
            });
            text = lines.collect();
        }
        std::fs::write(path, text).unwrap();
    }

    /// A set-up whose chain and bridge have just come up, and the bridge.
    pub fn with_bridge() -> (World, Process) {
        let world = World::new();
        let bridge = world.bridge();
        (world, bridge)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn channel(&self) -> Channel {
        Channel::open(&self.path("channel")).unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command_in(self.dir.path(), &self.anvil.url, self.ledger, arguments);
        if self.path("config").exists() {
            command.env("GUARDRAIL_CONFIG_DIR", self.path("config"));
        }
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

    /// A fresh copy of the sample service in a git repository of its own.
    pub fn workspace(&self) -> PathBuf {
        let path = self.path("workspace");
        sample_repository(&path);
        path
    }

    /// `guardrail run` on the sample, as a process to be waited for or followed.
    pub fn agent_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&["run"]);
        command.args(arguments).env("GUARDRAIL_WORKSPACE", self.path("workspace"));
        command
    }

    /// Starts an agent and follows its events.
    pub fn agent(&self, arguments: &[&str]) -> Agent {
        Agent::follow(self.agent_command(arguments))
    }

    /// What the chain recorded of one authorization, oldest first.
    pub fn audit(&self, id: AuthorizationId) -> Vec<Value> {
        let text = self.ok(&["audit", "--json"]);
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.filter(|row| row["record"] == "event" && row["authorization_id"] == id.to_string()).collect()
    }

    /// The names of [`World::audit`]'s events.
    pub fn audit_names(&self, id: AuthorizationId) -> Vec<String> {
        self.audit(id).iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }

    /// How many requests the chain has seen in all.
    pub fn requests_on_chain(&self) -> usize {
        self.ok(&["audit", "--json"]).lines().filter(|line| line.contains("AuthorizationRequested")).count()
    }

    /// The files of one of the channel's directories.
    pub fn files(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("channel").join(directory)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Waits until one of the channel's directories is empty: the bridge tidies up after it answered.
    pub fn empties(&self, directory: &str) {
        self.eventually(&format!("{directory}/ is empty"), || self.files(directory).is_empty().then_some(()));
    }

    /// Starts a bridge and waits until it says that it is ready.
    pub fn bridge(&self) -> Process {
        self.bridge_with(&[])
    }

    pub fn bridge_with(&self, environment: &[(&str, &str)]) -> Process {
        match self.try_bridge(environment) {
            Ok(bridge) => bridge.process,
            Err(ended) => panic!("the bridge ended before it was ready: {ended:#?}"),
        }
    }

    /// Starts a bridge and waits until it says that it is ready, or ends before.
    pub fn try_bridge(&self, environment: &[(&str, &str)]) -> Result<Bridge, BridgeEnd> {
        let mut command = self.command(&["bridge"]);
        command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process(command.spawn().unwrap());
        let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        for line in lines.by_ref().map(Result::unwrap) {
            let ready = line.starts_with("bridge ready");
            said.push(line);
            if ready {
                let stderr = std::thread::spawn(move || {
                    said.extend(lines.map_while(Result::ok));
                    said.join("\n")
                });
                return Ok(Bridge { process, stderr });
            }
        }
        Err(BridgeEnd { status: process.0.wait().unwrap(), stderr: said.join("\n") })
    }

    pub fn anchors(&self) -> TrustAnchors {
        serde_json::from_str(&self.ok(&["anchors", "init", "--json"])).unwrap()
    }

    pub async fn verifier(&self) -> Verifier {
        let endpoint = Endpoint::connect(&self.anvil.url).await.unwrap();
        Verifier::for_ledger(self.ledger, self.anchors(), Some(endpoint)).unwrap()
    }

    /// Waits for a response of the bridge and parses it; the file stays.
    pub async fn response(&self, id: &RequestId, kind: ResponseKind) -> AuthResponse {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        match self.channel().wait_response(id, kind, deadline, &CancellationToken::new()).await.unwrap() {
            Waited::Found(bytes) => AuthResponse::parse(&bytes).unwrap(),
            other => panic!("{other:?}: no {kind:?} for {id}; quarantined: {:#?}", self.quarantined()),
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
    pub fn eventually<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        self.eventually_within(PATIENCE, what, look)
    }

    /// [`World::eventually`] for what takes its time.
    pub fn eventually_within<T>(&self, patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + patience;
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

/// This program in a set-up's directories.
fn command_in(dir: &Path, url: &str, ledger: LedgerKind, arguments: &[&str]) -> Command {
    let mut command = Command::new(BIN);
    command
        .args(arguments)
        .current_dir(project())
        .env("GUARDRAIL_CHANNEL", dir.join("channel"))
        .env("GUARDRAIL_STATE_DIR", dir.join("state"))
        .env("GUARDRAIL_RPC_URL", url)
        .env("GUARDRAIL_MOCK_CHAIN", ledger.is_mock().to_string())
        .env("GUARDRAIL_LOCK_DIR", dir.join("locks"))
        .stdin(Stdio::null());
    command
}

/// Waits until a bridge says that it is ready, and reads on.
fn ready(bridge: &mut Process) {
    let mut lines = BufReader::new(bridge.0.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    for line in lines.by_ref().map(Result::unwrap) {
        if line.starts_with("bridge ready") {
            std::thread::spawn(move || for _ in lines.map_while(Result::ok) {});
            return;
        }
        seen.push(line);
    }
    panic!("the bridge ended before it was ready:\n{}", seen.join("\n"));
}

/// A bridge that serves a quick mock ledger; its first line of data says where.
fn mock_bridge(dir: &Path, url: &str, environment: &[(&str, &str)]) -> Anvil {
    let mut command = command_in(dir, url, LedgerKind::Mock, &["bridge"]);
    command.env("GUARDRAIL_MOCK_CONFIRM_MS", "50").envs(environment.iter().copied());
    let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let stdout = process.0.stdout.take().unwrap();
    ready(&mut process);
    let url = BufReader::new(stdout).lines().next().unwrap().unwrap();
    Anvil { process, url, _cache: None }
}

/// A running `guardrail bridge`, and what it says on stderr until its end.
pub struct Bridge {
    pub process: Process,
    stderr: JoinHandle<String>,
}

/// A bridge that came to its end.
#[derive(Debug)]
pub struct BridgeEnd {
    pub status: ExitStatus,
    pub stderr: String,
}

impl Bridge {
    /// Waits until it ends by itself.
    pub fn end(mut self) -> BridgeEnd {
        let status = self.process.ended();
        BridgeEnd { status, stderr: self.stderr.join().unwrap() }
    }
}

/// A running `guardrail run --json`, and what it told so far.
pub struct Agent {
    pub process: Process,
    lines: Receiver<Value>,
    seen: Vec<Value>,
    stderr: JoinHandle<String>,
}

/// An agent that came to its end.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub events: Vec<Value>,
    pub stderr: String,
}

impl Agent {
    pub fn follow(mut command: Command) -> Agent {
        let mut child = command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (told, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if told.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        let stderr = std::thread::spawn(move || read_all(stderr));
        Agent { process: Process(child), lines, seen: Vec::new(), stderr }
    }

    /// Waits for the next event of this name.
    pub fn event(&mut self, name: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(event) = self.lines.recv_timeout(left) else {
                panic!("the agent told no {name}; it told {:#?}", self.seen);
            };
            self.seen.push(event.clone());
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Waits until the agent waits for a decision; the request, and the checkpoint it would be resumed from.
    pub fn waits(&mut self) -> (RequestId, String) {
        let asked = self.event("authorization_requested");
        let waiting = self.event("waiting");
        assert_eq!((&waiting["what"], &waiting["request_id"]), (&json!("decision"), &asked["request_id"]));
        let text = |name: &str| asked[name].as_str().unwrap().to_owned();
        (text("request_id").parse().unwrap(), text("resumes_from"))
    }

    /// Waits until the process ends by itself.
    pub fn end(mut self) -> Ended {
        while let Ok(event) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(event);
        }
        let code = self.process.0.wait().unwrap().code();
        Ended { code, events: self.seen, stderr: self.stderr.join().unwrap() }
    }
}

impl Ended {
    /// The events of this name, in order.
    pub fn named(&self, name: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == name).collect()
    }

    /// The one event of this name.
    pub fn one(&self, name: &str) -> &Value {
        let found = self.named(name);
        assert_eq!(found.len(), 1, "{name}: {self:#?}");
        found[0]
    }

    /// What the planner said at the end.
    pub fn answer(&self) -> &str {
        self.one("finished")["reason"]["why"]["answer"].as_str().unwrap_or_else(|| panic!("no answer: {self:#?}"))
    }

    /// The thread that the run was in.
    pub fn thread(&self) -> &str {
        self.one("finished")["checkpoint"].as_str().unwrap().rsplit_once('/').unwrap().0
    }

    pub fn exited(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self:#?}");
    }
}

/// A port that hangs up on everyone and counts them.
pub struct Counter {
    pub url: String,
    connections: Arc<AtomicUsize>,
}

impl Counter {
    pub fn start() -> Counter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                drop(connection);
            }
        });
        Counter { url, connections }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Writes an `anvil.toml` that takes a free port.
pub fn node_file(path: &Path) {
    let shipped = std::fs::read_to_string(project().join("anvil.toml")).unwrap();
    let free = shipped.replace("port = 8545", "port = 0");
    assert_ne!(shipped, free);
    std::fs::write(path, free).unwrap();
}

/// Copies the sample service into a new git repository.
pub fn sample_repository(directory: &Path) {
    copy(&project().join("demo"), directory);
    git(directory, &["init", "--quiet", "--initial-branch=main"]);
    git(directory, &["add", "--all"]);
    git(directory, &["commit", "--quiet", "--message=the sample service"]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true if entry.file_name() == "__pycache__" => {}
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Runs git, which must succeed; its stdout.
pub fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@t.invalid", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
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
