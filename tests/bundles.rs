//! Bundles made by a real agent on a real chain: exported, verified offline and with an endpoint, refused when bad.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use guardrail::evidence::bundle::{BUNDLE_BYTES_MAX, BUNDLE_NESTING_MAX};
use guardrail::schema::RequestId;
use serde_json::{Value, json};

use crate::support::{Process, World};

const DEPLOY: &str = "Deploy the fix to production";
const DELETE: &str = "Delete the users database";

/// A run that came to its end with a decision on chain; the request.
fn decided(world: &World, prompt: &str, decide: &[&str]) -> RequestId {
    let mut agent = world.agent(&["--prompt", prompt]);
    let (request_id, _) = agent.waits();
    world.pending_id(&request_id);
    world.ok(&[&decide[..1], &[request_id.as_str()], &decide[1..]].concat());
    agent.end();
    request_id
}

/// Exports the evidence of a request; the file.
fn export(world: &World, id: &RequestId) -> PathBuf {
    let file = world.path(&format!("{id}.bundle.json"));
    world.ok(&["evidence", "export", id.as_str(), "--output", file.to_str().unwrap()]);
    file
}

/// `guardrail verify --json` with the anchors of the state directory, and what it said.
fn verify(world: &World, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = world.run(&[&["verify", "--json"], arguments].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    let said =
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), said)
}

fn verdicts(said: &Value) -> Vec<Vec<&str>> {
    let responses = said["responses"].as_array().unwrap();
    let of = |response: &Value| -> Vec<String> {
        response["steps"].as_array().unwrap().iter().map(|step| step["verdict"].as_str().unwrap().to_owned()).collect()
    };
    let all: Vec<Vec<String>> = responses.iter().map(of).collect();
    all.into_iter().map(|row| row.into_iter().map(|word| &*Box::leak(word.into_boxed_str())).collect()).collect()
}

const OFFLINE: [&str; 6] = ["passed", "passed", "passed", "passed", "passed", "not_checked"];
const CHECKED: [&str; 6] = ["passed"; 6];

#[test]
fn what_an_agent_did_is_exported_and_convinces_a_stranger() {
    let (world, bridge) = World::with_bridge();
    world.workspace();
    let deployed = decided(&world, DEPLOY, &["approve", "--condition", "canary first"]);
    let denied = decided(&world, DELETE, &["deny", "--reason", "not during the freeze"]);

    let bundle = export(&world, &deployed);
    let file = bundle.to_str().unwrap();
    let (code, said) = verify(&world, &[file, "--offline"]);
    assert_eq!((code, &said["verified"], &said["chain"]), (Some(0), &json!(true), &json!("not checked")), "{said:#}");
    assert_eq!(verdicts(&said), [OFFLINE, OFFLINE, OFFLINE]);
    let (code, said) = verify(&world, &[file]);
    assert_eq!((code, &said["chain"]), (Some(0), &json!("checked")), "{said:#}");
    assert_eq!(verdicts(&said), [CHECKED, CHECKED, CHECKED]);

    let bytes = std::fs::read(&bundle).unwrap();
    let tree: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(tree["outcome"]["result"]["value"]["status"], "simulated");
    assert_eq!(tree["decision"]["conditions"], json!(["canary first", "canary first"]));
    assert_eq!(tree["anchors"]["epochs"].as_array().unwrap().len(), 1);
    assert!(tree["anchors"].get("confirmations").is_none() && tree["anchors"].get("chain_check").is_none());
    // The same bytes on stdout, and no line feed after them.
    let printed = world.run(&["evidence", "export", tree["decision"]["authorization_id"].as_str().unwrap()]);
    assert_eq!(printed.stdout, bytes);
    let again = world.run(&["evidence", "export", deployed.as_str(), "--output", file]);
    assert_eq!(again.status.code(), Some(2), "a file that is there is not replaced");

    let denial = export(&world, &denied);
    let (code, said) = verify(&world, &[denial.to_str().unwrap()]);
    assert_eq!((code, &said["decision"]), (Some(0), &json!("denied")), "{said:#}");
    assert_eq!(verdicts(&said), [CHECKED]);

    // A plain response with its request, and with another's.
    let evidence = |id: &RequestId, kind: &str| world.path(&format!("state/evidence/{id}.{kind}.json"));
    for kind in ["response", "consumed", "recorded"] {
        let (request, response) = (evidence(&deployed, "request"), evidence(&deployed, kind));
        let (code, said) = verify(&world, &["--request", request.to_str().unwrap(), response.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{kind}: {said:#}");
        assert_eq!(verdicts(&said), [CHECKED], "{kind}");
    }
    let (request, response) = (evidence(&denied, "request"), evidence(&deployed, "response"));
    let (code, said) = verify(&world, &["--request", request.to_str().unwrap(), response.to_str().unwrap()]);
    assert_eq!((code, verdicts(&said)[0][0]), (Some(5), "failed"), "{said:#}");

    // Years later: no bridge, no chain. An endpoint of another chain is seen through.
    drop(bridge);
    let other = World::new();
    other.ok(&["deploy"]);
    let (code, said) = verify(&world, &[file, "--rpc-url", &other.anvil.url]);
    assert_eq!((code, said["verified"].as_bool()), (Some(5), Some(false)), "{said:#}");
    assert_eq!(verdicts(&said)[0], [&OFFLINE[..5], &["failed"]].concat());
    let text = world.ok(&["verify", file, "--offline"]);
    for words in ["1 request", "3 votes", "(operations)", "VERIFIED: approved; chain: not checked", "not checked"] {
        assert!(text.contains(words), "{words}: {text}");
    }

    // Anchors that pin something else are a named difference, not a strange failure.
    let pinned = std::fs::read_to_string(world.path("state/anchors.yaml")).unwrap();
    let changed = pinned.replace("max_lifetime: 300", "max_lifetime: 301");
    assert_ne!(pinned, changed);
    let anchors = world.path("changed.yaml");
    std::fs::write(&anchors, changed).unwrap();
    let (code, said) = verify(&world, &[file, "--offline", "--anchors", anchors.to_str().unwrap()]);
    assert_eq!(code, Some(5));
    assert!(said["failure"].as_str().unwrap().contains("max_lifetime is 300, pinned is 301"), "{said:#}");
}

/// Runs `guardrail verify` on a file under a limit of address space; how it ended, within seconds.
fn verify_bounded(world: &World, file: &Path) -> Output {
    let limit_kib = 1024 * 1024;
    let mut command = world.command(&["verify", "--json", "--offline"]);
    command.arg(file);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", &format!("ulimit -v {limit_kib}; exec \"$0\" \"$@\"")]).arg(command.get_program());
    limited.args(command.get_args()).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut process = Process(limited.current_dir(crate::support::project()).stdout(Stdio::piped()).spawn().unwrap());
    let begun = std::time::Instant::now();
    let status = process.ended();
    assert!(begun.elapsed() < Duration::from_secs(10), "{}: {:?}", file.display(), begun.elapsed());
    let stdout = crate::support::read_all(process.0.stdout.take().unwrap()).into_bytes();
    Output { status, stdout, stderr: Vec::new() }
}

#[test]
fn bad_files_are_refused_quickly_by_their_rule() {
    let world = World::new();
    world.ok(&["deploy"]);
    world.ok(&["anchors", "init", "--write", "--yes"]);
    let huge = world.path("huge.json");
    let mut file = File::create(&huge).unwrap();
    for _ in 0..100 {
        file.write_all(&vec![b'['; 1024 * 1024]).unwrap();
    }
    let (most, deep) = (usize::try_from(BUNDLE_BYTES_MAX).unwrap(), BUNDLE_NESTING_MAX);
    let empty_arrays = format!("[{}[]]", "[],".repeat((most - 4) / 3));
    let hash = "00".repeat(32);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        ("[".repeat(1_000_000).into(), "nesting over 32"),
        ("{\"a\":".repeat(1_000_000 / 2).into(), "nesting over 32"),
        (format!("{}{}", "[".repeat(deep), "]".repeat(deep)).into(), "not an object"),
        (format!("{}{}", "[".repeat(deep + 1), "]".repeat(deep + 1)).into(), "nesting over 32"),
        (empty_arrays.into(), "not an object"),
        (vec![b' '; most + 1], "too large"),
        (br#"{"bundle":1.0}"#.to_vec(), "canonical"),
        (br#"{"bundle":1e0}"#.to_vec(), "canonical"),
        (br#"{"bundle":-0}"#.to_vec(), "canonical"),
        (br#"{"bundle": 1}"#.to_vec(), "canonical"),
        (b"{\"bundle\":1}\n".to_vec(), "canonical"),
        (br#"{"b":1,"a":1}"#.to_vec(), "canonical"),
        (br#"{"a":"\u0061"}"#.to_vec(), "canonical"),
        (br#"{"bundle":12345678901234567890}"#.to_vec(), "integer beyond 2^53-1"),
        (br#"{"bundle":1e999}"#.to_vec(), "number overflows"),
        (br#"{"a":1,"a":1}"#.to_vec(), "duplicate name after unescaping"),
        (b"{\"a\":\"\xff\"}".to_vec(), "not UTF-8"),
        (br#"{"bundle":1}"#.to_vec(), "unknown or missing field"),
        (Vec::new(), "not JSON"),
        (format!(r#"{{"anchors":{{"chain_id":1,"code_hash":"0x{}"}}}}"#, &hash[1..]).into(), "field value"),
        (format!(r#"{{"anchors":{{"chain_id":1,"code_hash":"0x{hash}00"}}}}"#).into(), "field value"),
        (format!(r#"{{"anchors":{{"chain_id":1,"code_hash":"{hash}"}}}}"#).into(), "field value"),
    ];
    let refused = |path: &Path, rule: &str| {
        let output = verify_bounded(&world, path);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &said["rule"]), (Some(5), &json!(rule)), "{}: {said}", path.display());
    };
    refused(&huge, "too large");
    for (index, (bytes, rule)) in cases.iter().enumerate() {
        let path = world.path(&format!("bad-{index}.json"));
        std::fs::write(&path, bytes).unwrap();
        refused(&path, rule);
    }
}
