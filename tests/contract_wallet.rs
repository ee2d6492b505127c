//! An approver that is a contract (ERC-1271): its vote counts on chain, verifies with an endpoint, and is `not checkable`
//! without.

use std::path::Path;
use std::process::Command;

use guardrail::crypto;
use guardrail::schema::{AuthRequest, RequestId, VoteFile};
use serde_json::Value;

use crate::bundle_lives::{Lives, write_all};
use crate::independent_checkers::{TheirVerdict, their_verdicts};
use crate::support::{World, dev, project};

/// The account whose signature the wallet takes for its own.
const OWNER: usize = 6;
const SECURITY: usize = 2;

/// Deploys `contracts/test/utils/Wallet.sol`; its address.
fn deployed_wallet(world: &World) -> String {
    let contracts = project().join("contracts");
    let forge = guardrail::node::find_tool("forge", &contracts).expect("run `make setup` first");
    let output = Command::new(forge)
        .args(["create", "test/utils/Wallet.sol:Wallet", "--broadcast", "--json", "--unlocked"])
        .args(["--rpc-url", &world.anvil.url, "--from", &account(8), "--out"])
        .arg(world.path("forge-out"))
        .arg("--cache-path")
        .arg(world.path("forge-cache"))
        .args(["--constructor-args", &account(OWNER)])
        .current_dir(&contracts)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let json = &said[said.find('{').unwrap_or_else(|| panic!("{said}"))..];
    serde_json::from_str::<Value>(json).unwrap()["deployedTo"].as_str().unwrap().to_owned()
}

fn account(index: usize) -> String {
    dev(index).address().to_checksum(None)
}

fn wallet_vote(lives: &Lives, request: &AuthRequest, wallet: &str) -> VoteFile {
    let id = lives.world.pending_id(&request.request_id);
    VoteFile { approver: wallet.parse().unwrap(), ..lives.vote(request, id, &dev(OWNER)) }
}

/// The request that an agent waits for, as the bridge took it.
fn request_of(lives: &Lives, id: &RequestId) -> AuthRequest {
    let path = lives.world.channel().claimed_request_path(id);
    AuthRequest::parse(&std::fs::read(path).unwrap()).unwrap()
}

/// `guardrail verify` of a bundle: its exit code, and the verdict of each step of the decision.
fn own_steps(lives: &Lives, file: &Path, offline: bool) -> (Option<i32>, Vec<String>) {
    let anchors = lives.anchors_path.to_str().unwrap();
    let mut arguments = vec!["verify", "--json", "--anchors", anchors, file.to_str().unwrap()];
    arguments.extend(offline.then_some("--offline"));
    let output = lives.world.run(&arguments);
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let steps = said["responses"][0]["steps"].as_array().unwrap();
    (output.status.code(), steps.iter().map(|step| step["verdict"].as_str().unwrap().to_owned()).collect())
}

#[test]
fn a_contracts_vote_verifies_with_an_endpoint_and_is_not_checkable_without() {
    let mut lives = Lives::new();
    let wallet = deployed_wallet(&lives.world);
    lives.world.ok(&["admin", "set-approver", &wallet, "security"]);
    lives.world.ok(&["admin", "remove-approver", &account(SECURITY)]);
    lives.pin();

    let bundle = lives.deployed(|id| {
        lives.world.ok(&["approve", id.as_str(), "--dev-account", "1"]);
        let vote = wallet_vote(&lives, &request_of(&lives, id), &wallet);
        lives.world.channel().publish_vote(&vote).unwrap();
    });
    let forged = another_key_signed(&lives, &bundle, &wallet);
    let files = [("bundle.json".to_owned(), bundle.as_slice()), ("forged.json".to_owned(), forged.as_slice())];
    let files = write_all(&lives.world.path("bundles"), files.into_iter());

    let reached =
        |third: &str| ["passed", "passed", third, "not_reached", "not_reached", "not_reached"].map(str::to_owned);
    assert_eq!(own_steps(&lives, &files[0], true), (Some(5), reached("not_checkable").to_vec()));
    assert_eq!(own_steps(&lives, &files[1], true), (Some(5), reached("not_checkable").to_vec()));
    assert_eq!(own_steps(&lives, &files[0], false), (Some(0), vec!["passed".to_owned(); 6]));
    assert_eq!(own_steps(&lives, &files[1], false), (Some(5), reached("failed").to_vec()));

    let votes = Some(("decision".to_owned(), 3));
    let place = |verdict: &TheirVerdict| verdict.failure.as_ref().map(|(place, _)| place.clone());
    let offline = their_verdicts(&lives.anchors_path, None, &files);
    for verdict in &offline {
        assert_eq!(place(verdict), votes);
        assert!(verdict.failure.as_ref().unwrap().1.starts_with("not checkable: "), "{verdict:?}");
    }
    let asked = their_verdicts(&lives.anchors_path, Some(&lives.world.anvil.url), &files);
    assert!(asked[0].verified, "{:?}", asked[0]);
    assert_eq!(place(&asked[1]), votes);
    assert!(asked[1].failure.as_ref().unwrap().1.contains("did not sign its vote"), "{:?}", asked[1]);
}

/// The bundle with a vote of the wallet that somebody else signed, under the bridge's own signature.
fn another_key_signed(lives: &Lives, bundle: &[u8], wallet: &str) -> Vec<u8> {
    use guardrail::evidence::Bundle;
    use guardrail::schema::VoteProof;
    let mut bundle = Bundle::parse(bundle).unwrap();
    let id = bundle.decision.authorization_id;
    let forged = lives.vote(&bundle.request, id, &dev(5)).signature;
    let evidence = bundle.decision.evidence.as_mut().unwrap();
    let wallet: alloy::primitives::Address = wallet.parse().unwrap();
    let vote = evidence.votes.iter_mut().find(|vote| vote.approver == wallet).expect("the wallet's vote");
    vote.proof = VoteProof::Signature(forged);
    bundle.decision.evidence_hash = crypto::evidence_hash(bundle.decision.evidence.as_ref()).unwrap();
    let digest = crypto::response_digest(&lives.domain(), &bundle.decision);
    bundle.decision.signature = dev(9).sign(digest).unwrap();
    bundle.canonical().unwrap()
}
