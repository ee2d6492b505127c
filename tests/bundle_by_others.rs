//! A bundle in the hands of tools that know nothing of Guardrail: `cast` of Foundry, and the `ethers` crates.

use std::path::Path;
use std::process::{Command, Output};

use alloy::hex;
use ethers_core::abi::{AbiParser, RawLog, Token};
use ethers_core::types::transaction::eip712::{Eip712 as _, TypedData};
use ethers_core::types::{H256, RecoveryMessage, Signature, Transaction};
use ethers_core::utils::rlp::{self, Rlp};
use ethers_core::utils::{keccak256, to_checksum};
use guardrail::schema::json as jcs;
use serde_json::{Value, json};

use crate::bundle_lives::Lives;
use crate::support::{dev, project};

const DECISION: &str = "/decision";
const CONSUMPTION: &str = "/consumption/response";
const OUTCOME: &str = "/outcome/response";
/// The event of a response, as a person types it.
const APPROVED: &str =
    "event AuthorizationApproved(bytes32 indexed id, bytes32 indexed actionHash, address indexed approver)";
const DENIED: &str = "event AuthorizationDenied(bytes32 indexed id, bytes32 indexed actionHash, address indexed approver, string reason)";
const CANCELLED: &str =
    "event AuthorizationCancelled(bytes32 indexed id, bytes32 indexed actionHash, address indexed by, string reason)";
const CONSUMED: &str = "event AuthorizationConsumed(bytes32 indexed id, bytes32 indexed actionHash, address indexed executor, bytes32 claim)";
const RECORDED: &str = "event ExecutionRecorded(bytes32 indexed id, bytes32 indexed outcomeHash, uint8 outcome)";

fn tree(bytes: &[u8]) -> Value {
    jcs::parse_strict_within(bytes, 34).unwrap()
}

fn at<'a>(bundle: &'a Value, pointer: &str) -> &'a Value {
    bundle.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}"))
}

fn prefixed(value: &Value, name: &str) -> Value {
    json!(format!("0x{}", text(value, name)))
}

/// EIP-712 by the protocol page: section 4's two types.
fn typed(bundle: &Value, primary: &str, message: Value) -> Value {
    let field = |(name, kind): (&str, &str)| json!({"name": name, "type": kind});
    let domain = [("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address")];
    let vote = [
        ("id", "bytes32"),
        ("tool_name", "string"),
        ("action_hash", "bytes32"),
        ("approve", "bool"),
        ("note", "string"),
    ];
    let response = [
        ("request_id", "string"),
        ("authorization_id", "bytes32"),
        ("action_hash", "bytes32"),
        ("request_hash", "bytes32"),
        ("decision", "string"),
        ("blockchain_tx_hash", "bytes32"),
        ("block_number", "uint64"),
        ("block_hash", "bytes32"),
        ("approver", "address"),
        ("timestamp", "string"),
        ("denial_reason", "string"),
        ("conditions", "string[]"),
        ("evidence_hash", "bytes32"),
    ];
    let of = |fields: &[(&str, &str)]| Value::from(fields.iter().copied().map(field).collect::<Vec<_>>());
    let own = if primary == "Vote" { of(&vote) } else { of(&response) };
    json!({
        "types": {"EIP712Domain": of(&domain), primary: own},
        "primaryType": primary,
        "domain": {
            "name": "Guardrail", "version": "1",
            "chainId": bundle["anchors"]["chain_id"], "verifyingContract": bundle["anchors"]["contract"],
        },
        "message": message,
    })
}

fn vote_typed(bundle: &Value, vote: &Value) -> Value {
    let message = json!({
        "id": bundle["decision"]["authorization_id"],
        "tool_name": bundle["request"]["tool_name"],
        "action_hash": prefixed(&bundle["request"], "action_hash"),
        "approve": vote["approve"],
        "note": vote["note"],
    });
    typed(bundle, "Vote", message)
}

fn response_typed(bundle: &Value, response: &Value) -> Value {
    let mut message = response.clone();
    let members = message.as_object_mut().unwrap();
    members.remove("evidence");
    members.remove("signature");
    for name in ["action_hash", "request_hash", "evidence_hash"] {
        message[name] = prefixed(response, name);
    }
    message["denial_reason"] = json!(response["denial_reason"].as_str().unwrap_or_default());
    typed(bundle, "AuthResponse", message)
}

/// Every signature of a bundle: who signed, what, and the signature.
fn signatures(bundle: &Value) -> Vec<(String, Value, String)> {
    let bridge = text(&bundle["anchors"]["epochs"][0]["bridges"][0], "signer");
    let mut found = Vec::new();
    for response in [DECISION, CONSUMPTION, OUTCOME].iter().filter_map(|pointer| bundle.pointer(pointer)) {
        found.push((bridge.to_owned(), response_typed(bundle, response), text(response, "signature").to_owned()));
    }
    for vote in bundle["decision"]["evidence"]["votes"].as_array().unwrap() {
        if let Some(signature) = vote["signature"].as_str() {
            found.push((text(vote, "approver").to_owned(), vote_typed(bundle, vote), signature.to_owned()));
        }
    }
    found
}

/// The log that a response proves, read from its receipt proof with nothing but RLP.
struct ProvenLog {
    address: String,
    topics: Vec<String>,
    data: String,
}

/// The value at the end of a proof: the second item of its last node.
fn leaf(evidence: &Value, name: &str) -> Vec<u8> {
    let last = evidence[name].as_array().unwrap().last().unwrap().as_str().unwrap();
    Rlp::new(&hex::decode(last).unwrap()).val_at(1).unwrap()
}

fn proven_log(evidence: &Value) -> ProvenLog {
    let receipt = leaf(evidence, "receipt_proof");
    let list = if receipt[0] < 0x80 { &receipt[1..] } else { &receipt[..] };
    let receipt = Rlp::new(list);
    assert_eq!(receipt.val_at::<u64>(0).unwrap(), 1, "it succeeded");
    let index = usize::try_from(evidence["log_index"].as_u64().unwrap()).unwrap();
    let log = receipt.at(3).unwrap().at(index).unwrap();
    ProvenLog {
        address: to_checksum(&log.val_at(0).unwrap(), None),
        topics: log.list_at::<H256>(1).unwrap().iter().map(|topic| format!("{topic:#x}")).collect(),
        data: hex::encode_prefixed(log.val_at::<Vec<u8>>(2).unwrap()),
    }
}

fn cast(arguments: &[&str]) -> Output {
    let cast = guardrail::node::find_tool("cast", &project().join("contracts")).expect("run `make setup` first");
    Command::new(cast).args(arguments).output().unwrap()
}

fn cast_json(arguments: &[&str]) -> Value {
    let output = cast(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn cast_verifies_signatures(bundle: &Value, file: &Path) -> usize {
    let all = signatures(bundle);
    for (signer, typed, signature) in &all {
        std::fs::write(file, serde_json::to_vec(typed).unwrap()).unwrap();
        let verify = |signer: &str| {
            let typed = file.to_str().unwrap();
            cast(&["wallet", "verify", "--address", signer, "--data", "--from-file", typed, signature])
        };
        let output = verify(signer);
        assert!(output.status.success(), "{typed}: {}", String::from_utf8_lossy(&output.stderr));
        let stranger = dev(7).address().to_checksum(None);
        assert!(!verify(&stranger).status.success(), "cast takes anyone's signature for {stranger}'s");
    }
    all.len()
}

/// `cast receipt` and `cast logs` name the same block, transaction and log as a response and its proof.
fn cast_sees_the_same(bundle: &Value, pointer: &str, event: &str, url: &str) {
    let response = at(bundle, pointer);
    let (evidence, proven) = (&response["evidence"], proven_log(&response["evidence"]));
    let transaction = text(response, "blockchain_tx_hash");
    let number = format!("{:#x}", response["block_number"].as_u64().unwrap());

    let receipt = cast_json(&["receipt", transaction, "--json", "--rpc-url", url]);
    assert_eq!(receipt["status"], "0x1");
    assert_eq!((&receipt["blockHash"], &receipt["blockNumber"]), (&response["block_hash"], &json!(number)));
    let index = format!("{:#x}", evidence["transaction_index"].as_u64().unwrap());
    assert_eq!(receipt["transactionIndex"], json!(index));
    let log = &receipt["logs"][usize::try_from(evidence["log_index"].as_u64().unwrap()).unwrap()];
    let same_log = |log: &Value| {
        assert_eq!(log["address"].as_str().unwrap().to_lowercase(), proven.address.to_lowercase());
        assert_eq!((&log["topics"], &log["data"]), (&json!(proven.topics), &json!(proven.data)));
    };
    same_log(log);

    let signature = event.trim_start_matches("event ");
    let id = text(&bundle["decision"], "authorization_id");
    let contract = text(&bundle["anchors"], "contract");
    let logs =
        cast_json(&["logs", "--json", "--rpc-url", url, "--from-block", "0", "--address", contract, signature, id]);
    let logs = logs.as_array().unwrap();
    assert_eq!(logs.len(), 1, "{event} of {id}: {logs:#?}");
    same_log(&logs[0]);
    assert_eq!(
        (&logs[0]["transactionHash"], &logs[0]["blockHash"], &logs[0]["logIndex"]),
        (&response["blockchain_tx_hash"], &response["block_hash"], &log["logIndex"])
    );
}

fn ethers_recovers_signatures(bundle: &Value) -> usize {
    let all = signatures(bundle);
    for (signer, typed, signature) in &all {
        let typed: TypedData = serde_json::from_value(typed.clone()).unwrap();
        let digest = H256(typed.encode_eip712().unwrap());
        let signature: Signature = signature.trim_start_matches("0x").parse().unwrap();
        let recovered = signature.recover(RecoveryMessage::Hash(digest)).unwrap();
        assert_eq!(to_checksum(&recovered, None), *signer);
    }
    all.len()
}

/// The event of a response and its parameters, decoded by `ethers` from the proven receipt.
fn ethers_decodes(bundle: &Value, pointer: &str, event: &str) -> Vec<(String, Token)> {
    let response = at(bundle, pointer);
    let proven = proven_log(&response["evidence"]);
    assert_eq!(proven.address, text(&bundle["anchors"], "contract"));
    let event = AbiParser::default().parse_event(event).unwrap();
    let topics = proven.topics.iter().map(|topic| topic.parse().unwrap()).collect();
    let decoded = event.parse_log(RawLog { topics, data: hex::decode(&proven.data).unwrap() }).unwrap();

    // The proven transaction is the one that the response names, and the bridge's requester signed it.
    let raw = leaf(&response["evidence"], "transaction_proof");
    assert_eq!(hex::encode_prefixed(keccak256(&raw)), text(response, "blockchain_tx_hash"));
    let transaction: Transaction = rlp::decode(&raw).unwrap();
    assert_eq!(format!("{:#x}", transaction.hash()), text(response, "blockchain_tx_hash"));
    assert_eq!(to_checksum(&transaction.to.unwrap(), None), text(&bundle["anchors"], "contract"));
    decoded.params.into_iter().map(|param| (param.name, param.value)).collect()
}

fn bytes32(digits: &str) -> Token {
    Token::FixedBytes(hex::decode(digits).unwrap())
}

fn address(value: &Value, name: &str) -> Token {
    Token::Address(text(value, name).parse().unwrap())
}

/// What the event of a response must say, of an id and a hash; then `rest`.
fn says(first: &str, second: (&str, &str), rest: &[(&str, Token)]) -> Vec<(String, Token)> {
    let begin = [("id".to_owned(), bytes32(first)), (second.0.to_owned(), bytes32(second.1))];
    begin.into_iter().chain(rest.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))).collect()
}

#[test]
fn cast_and_ethers_find_in_a_bundle_what_guardrail_finds() {
    let lives = Lives::new();
    let (url, file) = (lives.world.anvil.url.clone(), lives.world.path("typed.json"));
    let (approved, denied, cancelled) = (tree(&lives.approved()), tree(&lives.denied()), tree(&lives.cancelled()));
    let on_chain = tree(&lives.approved_on_chain());

    let whole = [(DECISION, APPROVED), (CONSUMPTION, CONSUMED), (OUTCOME, RECORDED)];
    for (pointer, event) in whole {
        cast_sees_the_same(&approved, pointer, event, &url);
        cast_sees_the_same(&on_chain, pointer, event, &url);
    }
    cast_sees_the_same(&denied, DECISION, DENIED, &url);
    cast_sees_the_same(&cancelled, DECISION, CANCELLED, &url);
    let counts = |check: &dyn Fn(&Value) -> usize| [&approved, &on_chain, &denied, &cancelled].map(check);
    // Three responses and two votes; three responses, its votes being transactions; a response and a denial; a response.
    assert_eq!(counts(&|bundle| cast_verifies_signatures(bundle, &file)), [5, 3, 2, 1]);
    assert_eq!(counts(&ethers_recovers_signatures), [5, 3, 2, 1]);

    for bundle in [&approved, &on_chain] {
        let (decision, evidence) = (&bundle["decision"], &bundle["decision"]["evidence"]);
        let (id, action) = (text(decision, "authorization_id"), text(decision, "action_hash"));
        let second = ("actionHash", action);
        assert_eq!(
            ethers_decodes(bundle, DECISION, APPROVED),
            says(id, second, &[("approver", address(decision, "approver"))])
        );
        let claim = bytes32(text(&bundle["consumption"], "claim"));
        assert_eq!(
            ethers_decodes(bundle, CONSUMPTION, CONSUMED),
            says(id, second, &[("executor", address(evidence, "requester")), ("claim", claim)])
        );
        let outcome = ethers_decodes(bundle, OUTCOME, RECORDED);
        let hash = recomputed_outcome_hash(bundle);
        assert_eq!(outcome, says(id, ("outcomeHash", &hash), &[("outcome", Token::Uint(1.into()))]));
    }
    for (bundle, event, who, strip) in [(&denied, DENIED, "approver", ""), (&cancelled, CANCELLED, "by", "cancelled: ")]
    {
        let decision = &bundle["decision"];
        let (id, action) = (text(decision, "authorization_id"), text(decision, "action_hash"));
        let reason = text(decision, "denial_reason").strip_prefix(strip).unwrap().to_owned();
        let rest = [(who, address(decision, "approver")), ("reason", Token::String(reason))];
        assert_eq!(ethers_decodes(bundle, DECISION, event), says(id, ("actionHash", action), &rest));
    }
    voters_signed_their_transactions(&on_chain);
}

fn recomputed_outcome_hash(bundle: &Value) -> String {
    use sha2::{Digest, Sha256};
    let preimage = json!({
        "domain": "guardrail.outcome.v1",
        "authorization_id": bundle["decision"]["authorization_id"],
        "claim": bundle["consumption"]["claim"],
        "outcome": bundle["outcome"]["outcome"],
        "result": bundle["outcome"]["result"],
    });
    hex::encode(Sha256::digest(serde_json_canonicalizer::to_vec(&preimage).unwrap()))
}

fn voters_signed_their_transactions(bundle: &Value) {
    let votes = bundle["decision"]["evidence"]["votes"].as_array().unwrap();
    assert_eq!(votes.len(), 2);
    for vote in votes {
        let raw = hex::decode(text(vote, "transaction")).unwrap();
        let transaction: Transaction = rlp::decode(&raw).unwrap();
        assert_eq!(to_checksum(&transaction.recover_from().unwrap(), None), text(vote, "approver"));
        assert_eq!(transaction.chain_id.unwrap().as_u64(), bundle["anchors"]["chain_id"].as_u64().unwrap());
        assert_eq!(to_checksum(&transaction.to.unwrap(), None), text(&bundle["anchors"], "contract"));
        assert_eq!(transaction.input[..4], hex::decode("b297bb90").unwrap(), "the selector of `vote`");
    }
}
