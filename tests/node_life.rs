//! `guardrail node`: the chain survives a restart, and what was built on it goes on.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use guardrail::channel::ResponseKind;
use guardrail::evidence::VerifiedDecision;
use guardrail::schema::{LedgerKind, Timestamp};

use crate::support::{Anvil, BIN, Process, World, deployment, project};

/// Starts `guardrail node` on the state directory of a world and waits until it listens.
fn node(dir: &Path) -> Anvil {
    let node_file = dir.join("anvil.toml");
    if !node_file.exists() {
        crate::support::node_file(&node_file);
    }
    let mut child = Command::new(BIN)
        .arg("node")
        .arg("--file")
        .arg(&node_file)
        .arg("--state-dir")
        .arg(dir.join("state"))
        .current_dir(project())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = BufReader::new(child.stdout.take().unwrap()).lines().next().expect("the node ended").unwrap();
    Anvil { process: Process(child), url, _home: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_the_contract_and_the_journal_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World { anvil: node(dir.path()), dir, ledger: LedgerKind::Evm };
    let (anchors, audit, first, response) = {
        let mut bridge = world.bridge();
        let request = deployment();
        world.channel().publish_request(&request).unwrap();
        world.pending_id(&request.request_id);
        world.ok(&["approve", request.request_id.as_str()]);
        let response = world.response(&request.request_id, ResponseKind::Decision).await;
        let before = (world.anchors(), world.ok(&["audit", "--json"]), request, response);
        assert_eq!(bridge.interrupt().code(), Some(0));
        before
    };
    assert_eq!(world.anvil.process.interrupt().code(), Some(0));

    world.anvil = node(world.dir.path());
    assert_eq!(world.anchors(), anchors, "genesis, contract and code are the same");
    assert_eq!(world.ok(&["audit", "--json"]), audit);

    // The same journal, channel and accounts go on: what was answered convinces, what is new gets through.
    let mut bridge = world.bridge();
    let verifier = world.verifier().await;
    let decision = verifier.verify_decision(&first, &response, Timestamp::now()).unwrap();
    assert!(matches!(decision, VerifiedDecision::Approved(_)), "{decision:?}");
    let second = deployment();
    world.channel().publish_request(&second).unwrap();
    let id = world.pending_id(&second.request_id);
    world.ok(&["deny", second.request_id.as_str(), "--reason", "enough"]);
    let response = world.response(&second.request_id, ResponseKind::Decision).await;
    let decision = verifier.verify_decision(&second, &response, Timestamp::now()).unwrap();
    assert!(matches!(decision, VerifiedDecision::Denied(_)), "{decision:?}");
    assert_eq!(world.audit_names(id), ["AuthorizationRequested", "VoteCast", "AuthorizationDenied"]);
    assert_eq!(world.requests_on_chain(), 2);
    assert_eq!(bridge.interrupt().code(), Some(0));
    assert_eq!(world.anvil.process.interrupt().code(), Some(0));
}

#[test]
fn a_node_file_with_an_unknown_key_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("anvil.toml");
    crate::support::node_file(&file);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\nblock_tiem_s = 1\n")).unwrap();
    let output =
        Command::new(BIN).arg("node").arg("--file").arg(&file).arg("--state-dir").arg(dir.path()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("block_tiem_s") && stderr.contains("line"), "{stderr}");
}
