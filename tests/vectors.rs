//! The worked cases of `vectors/protocol_v1.json`, made by an independent implementation; and a
//! second opinion by the `ethers` crates.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::{SolCall, SolEvent};
use ethers_core::abi::{AbiParser, RawLog, Token};
use ethers_core::types::{H256, RecoveryMessage, Signature as EthersSignature};
use ethers_signers::Signer as _;
use guardrail::crypto::{self, SigningDomain, SigningKey, abi};
use guardrail::schema::message::ClaimSecret;
use guardrail::schema::{AuthRequest, AuthResponse, Outcome, json};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/protocol_v1.json")).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}"))
}

fn domain(vectors: &Value) -> SigningDomain {
    let domain = &vectors["domain"];
    SigningDomain::new(domain["chainId"].as_u64().unwrap(), text(domain, "verifyingContract").parse().unwrap())
}

/// The bytes of a JSON value inside the vectors file, numbers spelled as they are there.
fn request_of(case: &Value) -> AuthRequest {
    AuthRequest::parse(&serde_json::to_vec(&case["request"]).unwrap()).unwrap()
}

#[test]
fn every_case_has_the_same_hashes_ids_and_digests() {
    let vectors = vectors();
    let domain = domain(&vectors);
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let request = request_of(case);
        let salt = request.salt.as_deref().unwrap_or_default();
        let preimage = crypto::hash::action_preimage(
            &request.request_id,
            request.timestamp,
            salt,
            &request.tool_name,
            &request.parameters,
        );
        assert_eq!(String::from_utf8(preimage.unwrap()).unwrap(), text(case, "action_preimage_jcs"));
        assert_eq!(crypto::hash::action_hash_of(&request).unwrap().to_string(), text(case, "action_hash"));
        assert_eq!(request.action_hash.to_string(), text(case, "action_hash"));
        assert_eq!(crypto::request_hash(&request).unwrap().to_string(), text(case, "request_hash"));
        assert_eq!(u64::from(request.risk_score.bps()), case["risk_bps"].as_u64().unwrap());

        let requester: Address = text(case, "requester").parse().unwrap();
        let expires_at = case["expires_at"].as_u64().unwrap();
        let chain =
            crypto::hash::chain_request(&request, requester, expires_at, case["epoch"].as_u64().unwrap()).unwrap();
        let id = crypto::authorization_id(&chain);
        assert_eq!(id.to_string(), text(case, "authorization_id"));

        let vote = &case["vote"];
        let approve = vote["approve"].as_bool().unwrap();
        let digest =
            crypto::vote_digest(&domain, id, &request.tool_name, request.action_hash, approve, text(vote, "note"));
        assert_eq!(digest.to_string(), text(vote, "eip712_digest"));
        let signature: Bytes = text(vote, "signature").parse().unwrap();
        assert_eq!(crypto::recover(digest, &signature).unwrap().to_checksum(None), text(vote, "signer"));
        assert_eq!(SigningKey::dev(1).unwrap().sign(digest).unwrap(), signature, "RFC 6979 gives one signature");

        let response = response_of(case);
        let digest = crypto::response_digest(&domain, &response);
        assert_eq!(digest.to_string(), text(case, "response_eip712_digest"));
        assert_eq!(
            crypto::recover(digest, &response.signature).unwrap().to_checksum(None),
            text(case, "response_signer")
        );
        assert_eq!(SigningKey::dev(9).unwrap().sign(digest).unwrap(), response.signature);
    }
}

fn response_of(case: &Value) -> AuthResponse {
    let mut tree = case["response"].clone();
    tree["signature"] = case["response_signature"].clone();
    tree["evidence"] = Value::Null;
    AuthResponse::parse(&serde_json::to_vec(&tree).unwrap()).unwrap()
}

#[test]
fn every_refused_text_is_refused_by_its_rule() {
    let vectors = vectors();
    let refused = vectors["refused_json"].as_array().unwrap();
    assert_eq!(refused.len(), 7);
    for case in refused {
        let bytes = match case["json"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => alloy::hex::decode(text(case, "hex")).unwrap(),
        };
        assert_eq!(json::parse_strict(&bytes).unwrap_err().rule.text(), text(case, "rule"));
    }
}

#[test]
fn seals_and_outcomes_are_the_same() {
    let vectors = vectors();
    for case in vectors["seals"].as_array().unwrap() {
        let k: [u8; 32] = alloy::hex::decode(text(case, "k")).unwrap().try_into().unwrap();
        assert_eq!(crypto::seal(&k, &case["value"]).unwrap().to_string(), text(case, "sealed"));
    }
    for case in vectors["outcomes"].as_array().unwrap() {
        let secret = ClaimSecret(B256::from_slice(&alloy::hex::decode(text(case, "claim_secret")).unwrap()));
        let claim = crypto::claim_of(&secret);
        assert_eq!(claim.to_string(), text(case, "claim"));
        let outcome: Outcome = serde_json::from_value(case["outcome"].clone()).unwrap();
        let id = text(case, "authorization_id").parse().unwrap();
        assert_eq!(
            crypto::outcome_hash(id, claim, outcome, &case["result"]).unwrap().to_string(),
            text(case, "outcome_hash")
        );
    }
}

#[test]
fn topics_and_the_vote_selector_are_the_same() {
    let vectors = vectors();
    let topics = &vectors["event_topics"];
    for (name, topic) in [
        ("AuthorizationRequested", abi::AuthorizationRequested::SIGNATURE_HASH),
        ("VoteCast", abi::VoteCast::SIGNATURE_HASH),
        ("AuthorizationApproved", abi::AuthorizationApproved::SIGNATURE_HASH),
        ("AuthorizationDenied", abi::AuthorizationDenied::SIGNATURE_HASH),
        ("AuthorizationCancelled", abi::AuthorizationCancelled::SIGNATURE_HASH),
        ("AuthorizationConsumed", abi::AuthorizationConsumed::SIGNATURE_HASH),
        ("ExecutionRecorded", abi::ExecutionRecorded::SIGNATURE_HASH),
    ] {
        assert_eq!(topic.to_string(), text(topics, name), "{name}");
    }
    assert_eq!(topics.as_object().unwrap().len(), 7);
    assert_eq!(alloy::hex::encode_prefixed(abi::voteCall::SELECTOR), text(&vectors, "vote_selector"));
}

#[test]
fn ethers_recovers_the_same_signers() {
    let vectors = vectors();
    for case in vectors["cases"].as_array().unwrap() {
        for (digest, signature, signer) in [
            (text(&case["vote"], "eip712_digest"), text(&case["vote"], "signature"), text(&case["vote"], "signer")),
            (text(case, "response_eip712_digest"), text(case, "response_signature"), text(case, "response_signer")),
        ] {
            let signature: EthersSignature = signature.trim_start_matches("0x").parse().unwrap();
            let digest: H256 = digest.parse().unwrap();
            let recovered = signature.recover(RecoveryMessage::Hash(digest)).unwrap();
            assert_eq!(ethers_core::utils::to_checksum(&recovered, None), signer);
        }
    }
}

#[tokio::test]
async fn ethers_signs_the_same_vote_from_typed_data() {
    let vectors = vectors();
    let case = &vectors["cases"][2];
    let domain = &vectors["domain"];
    let typed: ethers_core::types::transaction::eip712::TypedData = serde_json::from_value(serde_json::json!({
        "primaryType": "Vote",
        "domain": {"name": "Guardrail", "version": "1", "chainId": domain["chainId"], "verifyingContract": domain["verifyingContract"]},
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"}, {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"}],
            "Vote": [
                {"name": "id", "type": "bytes32"}, {"name": "tool_name", "type": "string"},
                {"name": "action_hash", "type": "bytes32"}, {"name": "approve", "type": "bool"}, {"name": "note", "type": "string"}],
        },
        "message": {
            "id": case["authorization_id"], "tool_name": case["request"]["tool_name"],
            "action_hash": format!("0x{}", text(case, "action_hash")), "approve": true, "note": case["vote"]["note"],
        },
    }))
    .unwrap();
    // Anvil's public dev account 1.
    let wallet: ethers_signers::LocalWallet =
        "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d".parse().unwrap();
    let signature = wallet.sign_typed_data(&typed).await.unwrap();
    assert_eq!(format!("0x{signature}"), text(&case["vote"], "signature"));
}

#[test]
fn ethers_decodes_the_events_that_alloy_encodes() {
    let event = abi::AuthorizationRequested {
        id: keccak256("id"),
        requester: Address::repeat_byte(7),
        actionHash: keccak256("action"),
        requestHash: keccak256("request"),
        requestId: "0193a1b2-0000-7000-8000-000000000001".to_owned(),
        toolName: "deploy_to_production".to_owned(),
        riskBps: 9000,
        expiresAt: U256::from(1_795_349_100u64).to(),
        epoch: 3,
    };
    let log = event.encode_log_data();
    let theirs = AbiParser::default()
        .parse_event("event AuthorizationRequested(bytes32 indexed id, address indexed requester, bytes32 indexed actionHash, bytes32 requestHash, string requestId, string toolName, uint16 riskBps, uint40 expiresAt, uint64 epoch)")
        .unwrap();
    let raw = RawLog { topics: log.topics().iter().map(|t| H256(t.0)).collect(), data: log.data.to_vec() };
    let decoded = theirs.parse_log(raw).unwrap();
    let value = |name: &str| decoded.params.iter().find(|p| p.name == name).unwrap().value.clone();
    assert_eq!(value("id"), Token::FixedBytes(event.id.to_vec()));
    assert_eq!(value("requestId"), Token::String(event.requestId));
    assert_eq!(value("toolName"), Token::String(event.toolName));
    assert_eq!(value("riskBps"), Token::Uint(9000.into()));
    assert_eq!(value("expiresAt"), Token::Uint(1_795_349_100u64.into()));
    assert_eq!(value("epoch"), Token::Uint(3.into()));
}
