//! Contracts as approvers (ERC-1271): checked with an endpoint, `not checkable` without.

use alloy::primitives::{Address, Bytes};
use guardrail::channel::ResponseKind;
use guardrail::crypto::{self, SigningDomain};
use guardrail::evidence::{Clock, Cure, Endpoint, VerifiedDecision, Verifier};
use guardrail::schema::{AuthRequest, AuthorizationId, VoteFile, VoteProof};
use serde_json::{Value, json};

use crate::jsonrpc::Rpc;
use crate::support::{World, deployment, dev};

/// Runtime code of a wallet with one owner: it recovers the signer with the precompile at 1 and compares.
fn wallet_of(owner: Address) -> Vec<u8> {
    let mut code = alloy::hex::decode(concat!(
        "60043560005260a4356000", // mem[0] = hash; v is the first byte at 0xa4
        "1a602052",               // mem[0x20] = v
        "606435604052",           // mem[0x40] = r
        "608435606052",           // mem[0x60] = s
        "602060006080600060015afa50",
        "73" // PUSH20 owner
    ))
    .unwrap();
    code.extend_from_slice(owner.as_slice());
    code.extend_from_slice(&alloy::hex::decode("60005114").unwrap());
    let jump_to = u8::try_from(code.len() + 8).unwrap();
    code.extend_from_slice(&[0x60, jump_to, 0x57, 0x60, 0x00, 0x60, 0x00, 0xfd, 0x5b]);
    code.extend_from_slice(&alloy::hex::decode("631626ba7e60e01b60005260206000f3").unwrap());
    code
}

/// Runtime code that never ends.
const ENDLESS: [u8; 4] = [0x5b, 0x60, 0x00, 0x56];

fn deploy(world: &World, runtime: &[u8]) -> Address {
    let rpc = Rpc::new(&world.anvil.url);
    let length = u8::try_from(runtime.len()).unwrap();
    let init = [&[0x60, length, 0x80, 0x60, 0x09, 0x3d, 0x39, 0x3d, 0xf3], runtime].concat();
    let transaction = json!({"from": dev(6).address(), "data": alloy::hex::encode_prefixed(init)});
    let hash = rpc.call("eth_sendTransaction", json!([transaction]));
    world.eventually("the contract is deployed", || {
        let receipt = rpc.call("eth_getTransactionReceipt", json!([hash]));
        receipt["contractAddress"].as_str().map(|address| address.parse().unwrap())
    })
}

/// A wallet's vote, signed by a dev account.
fn vote(world: &World, wallet: Address, request: &AuthRequest, id: AuthorizationId, signer: usize) -> VoteFile {
    let anchors = world.anchors();
    let domain = SigningDomain::new(anchors.chain_id, anchors.contract);
    let (tool_name, action_hash) = (request.tool_name.clone(), request.action_hash);
    let digest = crypto::vote_digest(&domain, id, &tool_name, action_hash, true, "from the safe");
    let signature = dev(signer).sign(digest).unwrap();
    let note = "from the safe".parse().unwrap();
    VoteFile { id, tool_name, action_hash, approve: true, note, approver: wallet, signature }
}

fn verify(world: &World, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = world.run(&[&["verify", "--json"], arguments].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn an_agent_runs_on_a_wallets_vote_and_its_bundle_says_what_it_takes() {
    let (world, _bridge) = World::with_bridge();
    world.workspace();
    let wallet = deploy(&world, &wallet_of(dev(6).address()));
    world.ok(&["admin", "set-approver", &wallet.to_string(), "security"]);
    let mut agent = world.agent(&["--prompt", "Deploy the fix to production"]);
    let (request_id, _) = agent.waits();
    let id = world.pending_id(&request_id);
    let request = world.channel().read_request(&request_id).unwrap().unwrap();
    world.channel().publish_vote(&vote(&world, wallet, &request, id, 6)).unwrap();
    world.ok(&["approve", request_id.as_str(), "--dev-account", "1"]);
    let ended = agent.end();
    ended.exited(0);
    assert_eq!(ended.named("critical_started").len(), 1);
    assert_eq!(ended.one("decision_verified")["conditions"], json!(["from the safe"]));

    let file = world.path("wallet.bundle.json");
    let file = file.to_str().unwrap();
    world.ok(&["evidence", "export", request_id.as_str(), "--output", file]);
    let (code, said) = verify(&world, &[file]);
    assert_eq!((code, &said["chain"]), (Some(0), &json!("checked")), "{said:#}");
    let (code, said) = verify(&world, &[file, "--offline"]);
    let votes = &said["responses"][0]["steps"][2];
    assert_eq!((code, &votes["verdict"]), (Some(5), &json!("not_checkable")), "{said:#}");
    assert!(votes["detail"].as_str().unwrap().contains("not checkable without an endpoint"), "{votes}");
    assert_eq!(said["verified"], json!(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_that_its_wallet_does_not_own_is_refused_with_an_endpoint_too() {
    let (world, _bridge) = World::with_bridge();
    let [wallet, endless] = [deploy(&world, &wallet_of(dev(6).address())), deploy(&world, &ENDLESS)];
    for contract in [wallet, endless] {
        world.ok(&["admin", "set-approver", &contract.to_string(), "security"]);
    }
    let request = deployment();
    world.channel().publish_request(&request).unwrap();
    let id = world.pending_id(&request.request_id);
    world.channel().publish_vote(&vote(&world, wallet, &request, id, 6)).unwrap();
    world.ok(&["approve", request.request_id.as_str(), "--dev-account", "1"]);
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    let asking = world.verifier().await;
    let decision = asking.verify_decision_asking(&request, &response, Clock::Audit).await.unwrap();
    assert!(matches!(decision, VerifiedDecision::Approved(_)), "{decision:?}");
    let failure = asking.verify_decision_at(&request, &response, Clock::Audit).unwrap_err();
    assert_eq!((failure.step, failure.cure), (3, Cure::AskTheChain), "{failure}");

    // The bridge puts another vote in its place: of the wallet by somebody else, of a contract that never ends, of
    // a key that is no contract.
    let domain = SigningDomain::new(asking.anchors().chain_id, asking.anchors().contract);
    let theirs = |approver: Address, signature: Bytes| {
        let mut changed = response.clone();
        let votes = &mut changed.evidence.as_mut().unwrap().votes;
        let at = votes.iter().position(|vote| vote.approver == wallet).unwrap();
        votes[at].approver = approver;
        votes[at].proof = VoteProof::Signature(signature);
        votes.sort_by_key(|vote| vote.approver);
        changed.conditions = votes.iter().flat_map(|vote| vote.note.lines()).map(str::to_owned).collect();
        changed.approver = dev(1).address();
        crate::evidence_fixture::resign(&domain, &mut changed);
        changed
    };
    let stranger = vote(&world, wallet, &request, id, 7).signature;
    for (approver, signature) in [(wallet, stranger.clone()), (endless, stranger.clone()), (dev(2).address(), stranger)]
    {
        let changed = theirs(approver, signature);
        let begun = std::time::Instant::now();
        let failure = asking.verify_decision_asking(&request, &changed, Clock::Audit).await.unwrap_err();
        assert_eq!((failure.step, failure.cure), (3, Cure::None), "{approver}: {failure}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{approver}: {:?}", begun.elapsed());
    }
    // An endpoint that does not answer decides nothing.
    let nobody = format!("http://127.0.0.1:{}", crate::fault_support::free_port());
    let deaf = Endpoint::connect(&nobody).await.unwrap();
    let verifier = Verifier::new(asking.anchors().clone(), Some(deaf)).unwrap();
    let failure = verifier.verify_decision_asking(&request, &response, Clock::Audit).await.unwrap_err();
    assert_eq!((failure.step, failure.cure), (3, Cure::AskAgain), "{failure}");
}
