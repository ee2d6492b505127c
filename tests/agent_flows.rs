//! The agent as a process, on a real bridge and a real chain: what runs alone, what stops,
//! what goes on after a decision, a crash or an outage.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use guardrail::channel::ResponseKind;
use guardrail::evidence::Clock;
use guardrail::evidence::VerifiedDecision;
use guardrail::schema::{AuthRequest, AuthResponse, OutcomeMessage, RequestId};
use serde_json::{Value, json};

use crate::support::{Agent, Counter, Ended, World, git};

const READ: &str = "Read the auth.py file and list all functions";
const DEPLOY: &str = "Deploy the fix to production";
const DELETE: &str = "Delete the users database";

/// What the chain records of an approved deployment: both roles vote at risk 0.9.
const WHOLE_LIFE: [&str; 6] = [
    "AuthorizationRequested",
    "VoteCast",
    "VoteCast",
    "AuthorizationApproved",
    "AuthorizationConsumed",
    "ExecutionRecorded",
];

const CHANNEL_DIRECTORIES: [&str; 6] = ["requests", "responses", "votes", "claimed", "quarantine", "tmp"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn approve(world: &World, id: &RequestId) {
    world.pending_id(id);
    world.ok(&["approve", id.as_str()]);
}

/// The agent deployed once, its one authorization has its whole life on chain, and the channel is empty.
fn deployed_once(world: &World, ended: &Ended, id: &RequestId) {
    ended.exited(0);
    assert!(ended.answer().ends_with(": simulated."), "{}", ended.answer());
    assert_eq!(ended.named("critical_started").len(), 1);
    whole_life(world, id);
}

fn whole_life(world: &World, id: &RequestId) {
    let request = stored_request(world, id);
    let response = evidence(world, id, "response");
    assert_eq!(world.audit_names(response.authorization_id), WHOLE_LIFE);
    assert_eq!((world.requests_on_chain(), &request.request_id), (1, id));
    for directory in ["requests", "responses", "votes", "claimed"] {
        world.empties(directory);
    }
    // An honest agent is never taken for a replay.
    assert!(world.quarantined().iter().all(|(_, rule)| rule != "replay"), "{:?}", world.quarantined());
}

/// Leaves at the interrupt and has the request approved; the request, its checkpoint, the approval as published.
fn approved_without_waiting(world: &World) -> (RequestId, String, Vec<u8>) {
    let left = world.agent(&["--prompt", DEPLOY, "--no-wait"]).end();
    left.exited(0);
    let asked = left.one("authorization_requested");
    let checkpoint = asked["resumes_from"].as_str().unwrap().to_owned();
    assert!(left.stderr.contains(&format!("go on with: guardrail run --resume {checkpoint}")), "{}", left.stderr);
    let request_id: RequestId = asked["request_id"].as_str().unwrap().parse().unwrap();
    approve(world, &request_id);
    let path = world.path(&format!("channel/responses/{request_id}.json"));
    let approval = world.eventually("the approval is published", || std::fs::read(&path).ok());
    (request_id, checkpoint, approval)
}

fn evidence_bytes(world: &World, id: &RequestId, kind: &str) -> Vec<u8> {
    std::fs::read(world.path("state/evidence").join(format!("{id}.{kind}.json"))).unwrap()
}

fn evidence(world: &World, id: &RequestId, kind: &str) -> AuthResponse {
    AuthResponse::parse(&evidence_bytes(world, id, kind)).unwrap()
}

fn stored_request(world: &World, id: &RequestId) -> AuthRequest {
    AuthRequest::parse(&evidence_bytes(world, id, "request")).unwrap()
}

#[test]
fn a_safe_prompt_calls_no_chain_and_asks_nobody() {
    let (dir, chain) = (tempfile::tempdir().unwrap(), Counter::start());
    let workspace = dir.path().join("workspace");
    crate::support::sample_repository(&workspace);
    let run = |prompt: &str| -> Output {
        Command::new(crate::support::BIN)
            .args(["run", "--prompt", prompt, "--rpc-url", &chain.url, "--workspace"])
            .arg(&workspace)
            .current_dir(crate::support::project())
            .env("GUARDRAIL_CHANNEL", dir.path().join("channel"))
            .env("GUARDRAIL_STATE_DIR", dir.path().join("state"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let output = run(READ);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout).lines().skip(1).collect::<Vec<_>>(),
        [
            "def hash_password(password, salt=None):",
            "def password_matches(user, password):",
            "def sign_in(store, name, password):",
            "def may_manage(user):",
        ]
    );
    assert!(text(&output.stderr).contains("no model is asked"), "the scripted planner says that it is one");
    assert_eq!(chain.connections(), 0);
    for directory in CHANNEL_DIRECTORIES {
        assert_eq!(std::fs::read_dir(dir.path().join("channel").join(directory)).unwrap().count(), 0, "{directory}");
    }
    assert!(!dir.path().join("channel/auth_request.json").exists());

    // The same counter sees the call of a prompt that needs the chain; nothing is asked where it is down.
    let output = run(DEPLOY);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("nothing answers at"), "{}", text(&output.stderr));
    assert!(chain.connections() > 0);
    assert_eq!(std::fs::read_dir(dir.path().join("channel/requests")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_prompt_stops_is_approved_and_goes_on() {
    let (world, _bridge) = World::with_bridge();
    world.workspace();
    let mut command = world.agent_command(&["--prompt", DEPLOY]);
    let mut agent = crate::support::Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let request_id: RequestId = world.eventually("the request is on chain", || {
        let rows: Vec<Value> = serde_json::from_str(&world.ok(&["pending", "--json"])).unwrap();
        rows.first().map(|row| row["request_id"].as_str().unwrap().parse().unwrap())
    });
    assert!(agent.alive());
    let threads = world.ok(&["checkpoints", "list", "--json"]);
    let thread: Value = serde_json::from_str(&threads).unwrap();
    let rows = world.ok(&["checkpoints", "list", thread["thread"].as_str().unwrap(), "--json"]);
    let last: Value = serde_json::from_str(rows.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["node"], &last["next"]),
        (&json!("blockchain_request"), &json!({"node": "authorization_handler"}))
    );
    let state: Value = serde_json::from_str(&world.ok(&["checkpoints", "show", last["id"].as_str().unwrap()])).unwrap();
    assert_eq!(
        (&state["pending_authorization"], &state["auth_request_id"]),
        (&json!(true), &json!(request_id.as_str()))
    );

    approve(&world, &request_id);
    let (stdout, stderr) = (agent.0.stdout.take().unwrap(), agent.0.stderr.take().unwrap());
    let (stdout, stderr) = (crate::support::read_all(stdout), crate::support::read_all(stderr));
    assert_eq!(agent.0.wait().unwrap().code(), Some(0), "{stderr}");
    assert!(stdout.trim_end().ends_with(": simulated."), "{stdout}");
    for word in ["STOP", "APPROVED", "consumed", "RESUMES", "recorded"] {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
    whole_life(&world, &request_id);

    // What is stored convinces a verifier that was not there.
    let (verifier, request) = (world.verifier().await, stored_request(&world, &request_id));
    assert_eq!(request.agent_state_checkpoint, last["id"].as_str().unwrap());
    let response = evidence(&world, &request_id, "response");
    let decision = verifier.verify_decision_at(&request, &response, Clock::Audit).unwrap();
    assert!(matches!(decision, VerifiedDecision::Approved(_)), "{decision:?}");
    let id = response.authorization_id;
    let outcome: Value =
        serde_json::from_slice(&std::fs::read(world.path(&format!("state/outcomes/{request_id}.json"))).unwrap())
            .unwrap();
    assert_eq!(outcome["result"]["value"]["status"], "simulated");
    let message: OutcomeMessage = serde_json::from_value(outcome["message"].clone()).unwrap();
    let claim = guardrail::crypto::claim_of(&message.claim_secret);
    let consumed = evidence(&world, &request_id, "consumed");
    verifier.consumption(&request, id, claim, &consumed, Clock::Audit).unwrap();
    let recorded = evidence(&world, &request_id, "recorded");
    verifier.verify_recorded(&request, id, message.outcome, message.outcome_hash, &recorded).unwrap();
    let told: Vec<Value> = world.audit(id).into_iter().skip(3).map(|event| event["transaction"].clone()).collect();
    let proven = [response, consumed, recorded].map(|r| json!(r.blockchain_tx_hash));
    assert_eq!(told, proven);
}

#[test]
fn a_denied_prompt_says_so_and_goes_on_with_its_safe_step() {
    let (world, _bridge) = World::with_bridge();
    world.workspace();
    let mut agent = world.agent(&["--prompt", DELETE]);
    let (request_id, _) = agent.waits();
    let id = world.pending_id(&request_id);
    world.ok(&["deny", request_id.as_str(), "--reason", "not during the freeze"]);
    let ended = agent.end();
    ended.exited(3);
    let verified = ended.one("decision_verified");
    assert_eq!(verified["approved"], false);
    assert_eq!(verified["refusal"], json!(["denied", "not during the freeze"]));
    let finished: Vec<(&str, &Value)> = ended
        .named("tool_finished")
        .into_iter()
        .map(|event| (event["tool_name"].as_str().unwrap(), &event["ok"]))
        .collect();
    assert_eq!(finished, [("delete_database", &json!(false)), ("search_codebase", &json!(true))]);
    assert!(ended.answer().starts_with("The deletion was not approved, so nothing was deleted."), "{ended:#?}");
    assert_eq!(ended.named("critical_started").len(), 0);
    let events = world.audit(id);
    assert_eq!(world.audit_names(id), ["AuthorizationRequested", "VoteCast", "AuthorizationDenied"]);
    assert_eq!(events[2]["detail"]["reason"], "not during the freeze");
    assert!(!world.path(&format!("state/claims/{request_id}.json")).exists(), "a claim was drawn");

    // The person's word holds: asked again, nobody is asked again.
    let again = world.agent(&["--prompt", DELETE, "--thread", ended.thread()]).end();
    again.exited(3);
    assert_eq!((again.named("authorization_requested").len(), world.requests_on_chain()), (0, 1));
}

#[test]
fn nobody_decides_and_the_agent_says_that_it_expired() {
    let world = World::new();
    let _bridge = world.bridge_with(&[("GUARDRAIL_BRIDGE__REQUESTS__AUTHORIZATION_TIMEOUT_S", "3")]);
    world.workspace();
    let mut command = world.agent_command(&["--prompt", DEPLOY]);
    command
        .env("GUARDRAIL_BRIDGE__REQUESTS__AUTHORIZATION_TIMEOUT_S", "3")
        .env("GUARDRAIL_TOOLS__TIMEOUTS__AUTHORIZATION_TIMEOUT", "3");
    let ended = Agent::follow(command).end();
    ended.exited(4);
    let refusal = &ended.one("decision_verified")["refusal"];
    assert_eq!(refusal[0], "expired");
    assert!(refusal[1].as_str().unwrap().starts_with("expired: "), "{refusal}");
    assert!(ended.answer().starts_with("The deployment was not approved"), "{}", ended.answer());
}

#[test]
fn an_agent_killed_while_it_waits_is_resumed_and_acts_once() {
    let (world, _bridge) = World::with_bridge();
    world.workspace();
    let mut agent = world.agent(&["--prompt", DEPLOY]);
    let (request_id, checkpoint) = agent.waits();
    agent.process.kill();
    approve(&world, &request_id);
    let ended = world.agent(&["--resume", &checkpoint]).end();
    assert_eq!(ended.named("authorization_requested").len(), 0, "nobody is asked twice");
    deployed_once(&world, &ended, &request_id);

    // Going back to the same checkpoint repeats nothing.
    let again = world.agent(&["--resume", &checkpoint]).end();
    again.exited(0);
    assert_eq!((again.named("critical_started").len(), again.answer()), (0, ended.answer()));
    whole_life(&world, &request_id);
}

#[test]
fn an_agent_that_left_at_the_interrupt_is_resumed() {
    let (world, _bridge) = World::with_bridge();
    world.workspace();
    let (request_id, checkpoint, _) = approved_without_waiting(&world);
    deployed_once(&world, &world.agent(&["--resume", &checkpoint]).end(), &request_id);
}

#[test]
fn of_two_processes_that_resume_one_goes_on_and_the_other_names_it() {
    let (world, _bridge) = World::with_bridge();
    world.workspace();
    let left = world.agent(&["--prompt", DEPLOY, "--no-wait"]).end();
    let checkpoint = left.one("authorization_requested")["resumes_from"].as_str().unwrap();
    let mut first = world.agent(&["--resume", checkpoint]);
    let waiting = first.event("waiting");
    let request_id: RequestId = waiting["request_id"].as_str().unwrap().parse().unwrap();
    let second = world.agent(&["--resume", checkpoint]).end();
    second.exited(1);
    assert_eq!(second.events, Vec::<Value>::new());
    let holder = format!("is in use by process {}", first.process.0.id());
    assert!(second.stderr.contains(&holder), "{holder}: {}", second.stderr);
    approve(&world, &request_id);
    deployed_once(&world, &first.end(), &request_id);
}

#[test]
fn a_bridge_killed_while_the_agent_waits_comes_back_and_answers() {
    let (world, mut bridge) = World::with_bridge();
    world.workspace();
    let mut agent = world.agent(&["--prompt", DEPLOY]);
    let (request_id, _) = agent.waits();
    world.pending_id(&request_id);
    bridge.kill();
    let _bridge = world.bridge();
    approve(&world, &request_id);
    deployed_once(&world, &agent.end(), &request_id);
}

#[test]
fn a_bridge_that_is_down_is_named() {
    let world = World::new();
    world.workspace();
    world.ok(&["deploy"]);
    let mut command = world.agent_command(&["--prompt", DEPLOY]);
    command
        .env("GUARDRAIL_TOOLS__TIMEOUTS__AUTHORIZATION_TIMEOUT", "1")
        .env("GUARDRAIL_AGENT__AGENT__ANSWER_GRACE", "1");
    let ended = Agent::follow(command).end();
    ended.exited(6);
    let why = ended.one("authorization_ended");
    assert_eq!(why["kind"], "bridge_unreachable");
    assert!(why["reason"].as_str().unwrap().contains("is `guardrail bridge` running?"), "{why}");
    // The late bridge refuses what is stale by then, and the channel goes on.
    let request_id: RequestId = why["request_id"].as_str().unwrap().parse().unwrap();
    let _bridge = world.bridge_with(&[("GUARDRAIL_BRIDGE__REQUESTS__AUTHORIZATION_TIMEOUT_S", "1")]);
    world.quarantined_as(&format!("{request_id}.json"), "stale");
    assert_eq!(world.requests_on_chain(), 0);
}

/// A scenario of the test's own: each step fails on its own rule and leads to the next, the last one is safe.
fn hostile_scenario(world: &World) -> PathBuf {
    let path = world.path("hostile.yaml");
    let reasoning = "Tested before; the rollback plan is to restore what was there.";
    let write = |path: &str| ("write_file", json!({"file_path": path, "content": "x", "reasoning": reasoning}));
    let deploy = |branch: &str| {
        ("deploy_to_production", json!({"branch": branch, "environment": "production", "reasoning": reasoning}))
    };
    let attacks = [
        ("read_file", json!({"file_path": "../../../../etc/passwd"})),
        ("read_file", json!({"file_path": "/etc/passwd"})),
        write("../victim.txt"),
        write("link.txt"),
        deploy("main; rm -rf /"),
        deploy("--upload-pack=x"),
    ];
    let safe =
        json!({"id": "safe", "thought": "t", "tool": "read_file", "parameters": {"file_path": "backend/auth.py"}});
    let last = json!({"steps": [safe], "answer": "done: {{safe.line_count}} lines"});
    let mut script = attacks.iter().enumerate().rev().fold(last, |next, (index, (tool, parameters))| {
        let id = format!("attack_{index}");
        let step = json!({"id": id, "thought": "t", "tool": tool, "parameters": parameters, "on_error": next});
        json!({"steps": [step], "answer": format!("attack {index} got through")})
    });
    script["prompt"] = json!("attack");
    std::fs::write(&path, json!({"prompts": [script]}).to_string()).unwrap();
    path
}

#[test]
fn traversal_and_injection_are_refused_by_their_rules_and_the_agent_goes_on() {
    let (world, chain) = (World::new(), Counter::start());
    let workspace = world.workspace();
    let victim = world.path("victim.txt");
    std::fs::write(&victim, "untouched").unwrap();
    std::os::unix::fs::symlink(&victim, workspace.join("link.txt")).unwrap();
    let mut command = world.agent_command(&["--prompt", "attack"]);
    command
        .env("GUARDRAIL_AGENT__LLM__SCENARIO", hostile_scenario(&world))
        .env("GUARDRAIL_AGENT__AGENT__MAX_ERRORS", "10")
        .env("GUARDRAIL_RPC_URL", &chain.url);
    let ended = Agent::follow(command).end();
    ended.exited(0);
    let errors: Vec<&str> =
        ended.named("error_handled").into_iter().map(|event| event["detail"].as_str().unwrap()).collect();
    let rules = [
        "`../../../../etc/passwd` climbs out with `..`",
        "`/etc/passwd` is an absolute path",
        "`../victim.txt` climbs out with `..`",
        "link.txt",
        "`main; rm -rf /` is not a branch name",
        "`--upload-pack=x` is not a branch name",
    ];
    assert_eq!(errors.len(), rules.len(), "{errors:#?}");
    for (error, rule) in errors.iter().zip(rules) {
        assert!(error.contains(rule), "{rule}: {error}");
    }
    assert!(ended.answer().starts_with("done: "), "{}", ended.answer());
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!((ended.named("authorization_requested").len(), chain.connections()), (0, 0));
    assert_eq!(world.files("requests"), Vec::<String>::new());
}

#[test]
fn what_moved_after_the_approval_is_not_run() {
    let (world, _bridge) = World::with_bridge();
    let workspace = world.workspace();
    let mut agent = world.agent(&["--prompt", DEPLOY]);
    let (request_id, _) = agent.waits();
    let id = world.pending_id(&request_id);
    let approved = git(&workspace, &["rev-parse", "main"]);
    git(&workspace, &["commit", "--quiet", "--allow-empty", "--message=slipped in"]);
    let moved = git(&workspace, &["rev-parse", "main"]);
    world.ok(&["approve", request_id.as_str()]);
    let ended = agent.end();
    ended.exited(1);
    let written = ended.one("outcome_written");
    assert_eq!(written["outcome"], "failed");
    let error = ended.one("tool_finished")["value"]["error"].as_str().unwrap();
    assert!(
        error.contains("is not what was approved") && error.contains(&approved) && error.contains(&moved),
        "{error}"
    );
    assert_eq!(world.audit_names(id), WHOLE_LIFE);
    assert_eq!(world.audit(id)[5]["detail"]["outcome"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn tampered_answers_are_quarantined_and_the_agent_waits_on_for_the_real_one() {
    let (world, _bridge) = World::with_bridge();
    world.workspace();
    // A real approval of another request, as an attacker may have kept it.
    let old = crate::support::deployment();
    world.channel().publish_request(&old).unwrap();
    approve(&world, &old.request_id);
    let old_response = world.response(&old.request_id, ResponseKind::Decision).await;
    world.channel().remove_response(&old.request_id, ResponseKind::Decision).unwrap();

    let mut agent = world.agent(&["--prompt", DEPLOY]);
    let (request_id, _) = agent.waits();
    let id = world.pending_id(&request_id);
    let name = format!("{request_id}.json");
    let renamed = AuthResponse { request_id: request_id.clone(), ..old_response.clone() };
    let forged_ids = AuthResponse { authorization_id: id, ..renamed.clone() };
    let tampered = [
        (b"{\"approved\": true".to_vec(), 0, "not JSON"),
        (old_response.canonical().unwrap(), 1, "wrong state"),
        (renamed.canonical().unwrap(), 2, "action_hash"),
        (forged_ids.canonical().unwrap(), 2, "action_hash"),
    ];
    for (bytes, step, rule) in &tampered {
        crate::support::drop_file(&world.path("channel/responses").join(&name), bytes);
        let rejected = agent.event("response_rejected");
        assert_eq!((&rejected["request_id"], &rejected["step"]), (&json!(request_id.as_str()), &json!(step)));
        world.quarantined_as(&name, rule);
        agent.event("waiting");
    }
    assert!(agent.process.alive());
    world.ok(&["approve", request_id.as_str()]);
    let ended = agent.end();
    ended.exited(0);
    assert_eq!((ended.named("response_rejected").len(), ended.named("critical_started").len()), (tampered.len(), 1));
    assert_eq!(world.audit_names(id), WHOLE_LIFE);
    assert_eq!(world.quarantined().len(), tampered.len(), "{:?}", world.quarantined());
}

#[test]
fn forged_proofs_of_consumption_and_record_are_quarantined_and_the_bridge_may_be_away() {
    let (world, mut bridge) = World::with_bridge();
    world.workspace();
    let (request_id, checkpoint, approved) = approved_without_waiting(&world);
    // Killed before it has noted that the answer is out, it would put it there again.
    world.empties("claimed");
    bridge.kill();

    let mut agent = world.agent(&["--resume", &checkpoint]);
    let claim = agent.event("claim_drawn")["claim"].as_str().unwrap().to_owned();
    assert_eq!(agent.event("waiting")["what"], "consumption");
    // The approval told as a consumption, before there is one; and a record before anything is recorded.
    let consumed = format!("{request_id}.{claim}.consumed.json");
    let recorded = format!("{request_id}.recorded.json");
    let forged = text(&approved).replace("\"decision\":\"approved\"", "\"decision\":\"consumed\"");
    assert_ne!(forged, text(&approved));
    crate::support::drop_file(&world.path("channel/responses").join(&consumed), forged.as_bytes());
    crate::support::drop_file(&world.path("channel/responses").join(&recorded), &approved);
    agent.event("response_rejected");
    assert!(agent.process.alive());
    let _bridge = world.bridge();
    let ended = agent.end();
    deployed_once(&world, &ended, &request_id);
    assert_eq!(ended.named("outcome_recorded").len(), 1);
    let mut quarantined = world.quarantined();
    quarantined.retain(|(file, _)| *file == consumed || *file == recorded);
    assert_eq!(quarantined.len(), 2, "{quarantined:?}");
}

#[test]
fn an_agent_killed_while_it_consumes_does_not_act_and_records_that_nobody_knows() {
    let (world, mut bridge) = World::with_bridge();
    world.workspace();
    let (request_id, checkpoint, _) = approved_without_waiting(&world);
    bridge.kill();
    let mut agent = world.agent(&["--resume", &checkpoint]);
    assert_eq!(agent.event("waiting")["what"], "consumption");
    agent.process.kill();
    let _bridge = world.bridge();
    world.eventually("the consumption is published", || {
        world.files("responses").iter().any(|name| name.ends_with(".consumed.json")).then_some(())
    });
    let ended = world.agent(&["--resume", &checkpoint]).end();
    ended.exited(7);
    assert_eq!(
        (ended.named("critical_started").len(), &ended.one("outcome_written")["outcome"]),
        (0, &json!("unknown"))
    );
    assert!(ended.stderr.contains("cannot be known"), "{}", ended.stderr);
    whole_life(&world, &request_id);
    let id = evidence(&world, &request_id, "response").authorization_id;
    assert_eq!(world.audit(id)[5]["detail"]["outcome"], "unknown");
}

#[test]
fn the_demo_plays_to_its_end_without_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let node_file = dir.path().join("anvil.toml");
    crate::support::node_file(&node_file);
    let output = Command::new(crate::support::BIN)
        .args(["demo", "--auto-approve", "--node-file"])
        .arg(&node_file)
        .arg("--state-dir")
        .arg(dir.path().join("state"))
        .current_dir(crate::support::project())
        .env("GUARDRAIL_LOCK_DIR", dir.path().join("locks"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let mut rest = stderr.as_str();
    // In this order: what a person must see.
    for mark in [
        "Analyze backend/auth.py and identify security issues",
        "Fix the authentication bypass vulnerability",
        "Run all unit tests to verify the fix",
        "Deploy the fix to production",
        "STOP",
        "An approver sees:",
        "signed: approve,",
        "APPROVED",
        "transaction 0x",
        ", block ",
        "consumed",
        "RESUMES",
        "recorded",
        "$ cast logs --from-block",
    ] {
        let at = rest.find(mark).unwrap_or_else(|| panic!("no {mark:?} in its place: {stderr}"));
        rest = &rest[at + mark.len()..];
    }
    for line in ["12 tests passed, 0 failed", ": simulated."] {
        assert!(stdout.contains(line), "{line}: {stdout}");
    }
    for event in WHOLE_LIFE {
        assert!(stdout.contains(event), "{event}: {stdout}");
    }
}
