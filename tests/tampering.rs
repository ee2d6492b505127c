//! Tens of thousands of changed bundles, by strangers and by the bridge itself; none verifies.

use std::collections::BTreeMap;

use alloy::primitives::{B256, Bytes, U256, keccak256};
use alloy::rlp::Decodable;
use alloy_trie::proof::ProofRetainer;
use alloy_trie::{HashBuilder, Nibbles};
use guardrail::crypto;
use guardrail::evidence::{Bundle, BundleFailure, Endpoint, Verifier};
use guardrail::schema::{AuthRequest, AuthResponse, Decision, Evidence, EvidenceVote, VoteProof, json as jcs};
use serde_json::{Value, json};

use crate::evidence_fixture::{Fixture, resign, tree};
use crate::fault_support::{Dice, soak};
use crate::support::dev;

/// Cases of each of the random kinds, in an ordinary run; ten times as many in a soak.
const BYTE_CASES: u64 = 14_000;
const FIELD_CASES: u64 = 6_000;
const SIGNED_CASES: u64 = 2_000;

/// Why bytes are no verified bundle; `Ok` where they are one.
fn refused(verifier: &Verifier, bytes: &[u8]) -> Result<(), String> {
    let bundle = Bundle::parse(bytes).map_err(|refusal| format!("{}", refusal.rule))?;
    match verifier.check_bundle_offline(&bundle).failure() {
        None => Ok(()),
        Some(BundleFailure::Anchors(_)) => Err("anchors".to_owned()),
        Some(BundleFailure::Response { response, failure }) => Err(format!("{response} step {}", failure.step)),
    }
}

/// How often each verdict came.
#[derive(Default)]
struct Tally {
    verdicts: BTreeMap<String, u64>,
    cases: u64,
}

impl Tally {
    fn add(&mut self, verifier: &Verifier, what: impl FnOnce() -> String, bytes: &[u8]) {
        self.cases += 1;
        match refused(verifier, bytes) {
            Ok(()) => panic!("a changed bundle verifies: {}", what()),
            Err(verdict) => *self.verdicts.entry(verdict).or_default() += 1,
        }
    }

    fn show(&self, kind: &str) {
        eprintln!("{kind}: {} cases, none verified: {:?}", self.cases, self.verdicts);
    }
}

/// Flips, drops, doubles, swaps and splices bytes.
fn change_bytes(dice: &mut Dice, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let at = dice.below(changed.len() as u64) as usize;
    match dice.below(6) {
        0 => changed[at] ^= 1 << dice.below(8),
        1 => drop(changed.remove(at)),
        2 => changed.insert(at, bytes[at]),
        3 => {
            let to = dice.below(changed.len() as u64) as usize;
            changed.swap(at, to);
        }
        4 => changed.truncate(at),
        _ => {
            let end = (at + 1 + dice.below(400) as usize).min(bytes.len()).min(other.len());
            if at < end {
                changed[at..end].copy_from_slice(&other[at..end]);
            }
        }
    }
    changed
}

/// Every path to a value in a tree.
fn paths(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            paths(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| paths(item, &format!("{at}/{index}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Changes one value of a tree, or takes it from another bundle; `false` where nothing changed.
fn change_field(dice: &mut Dice, root: &mut Value, path: &str, other: &Value) -> bool {
    let before = root.clone();
    let Some(value) = root.pointer_mut(path) else { return false };
    let kind = dice.below(4);
    match value {
        theirs if kind == 0 && other.pointer(path).is_some() => *theirs = other.pointer(path).unwrap().clone(),
        Value::String(text) if !text.is_empty() => {
            let at = dice.below(text.chars().count() as u64) as usize;
            let mut chars: Vec<char> = text.chars().collect();
            match kind {
                1 => chars[at] = if chars[at] == '0' { '1' } else { '0' },
                2 => chars = text.to_uppercase().chars().collect(),
                _ => drop(chars.remove(at)),
            }
            *text = chars.into_iter().collect();
        }
        Value::Number(number) => {
            let now = number.as_f64().unwrap();
            let next = [now + 1.0, now - 1.0, -now, now + 0.5][kind as usize];
            *value = if next.fract() == 0.0 { json!(next as i64) } else { json!(next) };
        }
        Value::Bool(flag) => *flag = !*flag,
        Value::Array(items) if !items.is_empty() => {
            let at = dice.below(items.len() as u64) as usize;
            match kind {
                1 => drop(items.remove(at)),
                2 => items.push(items[at].clone()),
                _ => items.reverse(),
            }
        }
        Value::Object(map) if !map.is_empty() => {
            let name = map.keys().nth(dice.below(map.len() as u64) as usize).unwrap().clone();
            match kind {
                1 => drop(map.remove(&name)),
                2 => drop(map.insert(format!("{name}_"), Value::Null)),
                _ => drop(map.insert(name, Value::Null)),
            }
        }
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => *value = json!(""),
    }
    *root != before
}

#[tokio::test(flavor = "multi_thread")]
async fn tens_of_thousands_of_changes_and_none_verifies() {
    let fixture = Fixture::make().await;
    let verifier = fixture.verifier();
    let dice = Dice::roll_out("tampering");
    let kinds = fixture.kinds();
    let bytes: Vec<Vec<u8>> = kinds.iter().map(|bundle| bundle.canonical().unwrap()).collect();
    for (index, bytes) in bytes.iter().enumerate() {
        assert_eq!(refused(&verifier, bytes), Ok(()), "bundle {index} as it came");
    }
    let largest = fixture.batch.iter().map(|bundle| bundle.canonical().unwrap().len()).max().unwrap();
    eprintln!("a bundle of {} decisions in a transaction: {largest} bytes", fixture.batch.len());
    assert!(largest <= 256 * 1024, "{largest} bytes");

    // Small ones: what is tried on them is the same, and the machine has more to do elsewhere.
    let small: Vec<usize> = (4..kinds.len()).collect();
    let times = if soak() { 10 } else { 1 };
    std::thread::scope(|scope| {
        scope.spawn(|| random_bytes(&verifier, dice.clone(), &bytes, &small, BYTE_CASES * times));
        scope.spawn(|| {
            random_fields(&verifier, dice.clone(), &kinds, &small, FIELD_CASES * times);
        });
        random_signed(&fixture, &verifier, dice.clone(), &kinds, &small, SIGNED_CASES * times);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn every_named_attack_fails_where_it_should() {
    let fixture = Fixture::make().await;
    invented_headers_fail_at_the_chain(&fixture).await;
    exclusion_proofs_are_none();
    named_attacks(&fixture, &fixture.verifier());
}

/// A bundle, and the bundles of the same request from before it was recorded and before it was consumed: they say
/// less, and what they say is proven.
fn with_earlier(bundle: &Value) -> Vec<Value> {
    let mut all = vec![bundle.clone()];
    for name in ["outcome", "consumption"] {
        let mut earlier = all[all.len() - 1].clone();
        earlier[name] = Value::Null;
        all.push(earlier);
    }
    all
}

fn random_bytes(verifier: &Verifier, mut dice: Dice, bytes: &[Vec<u8>], small: &[usize], cases: u64) {
    let mut tally = Tally::default();
    while tally.cases < cases {
        let pick = |dice: &mut Dice| small[dice.below(small.len() as u64) as usize];
        let (one, other) = (pick(&mut dice), pick(&mut dice));
        let changed = change_bytes(&mut dice, &bytes[one], &bytes[other]);
        // A swap or a splice of the same bytes is the same file; so is a splice that is the other file.
        if bytes.contains(&changed) {
            continue;
        }
        tally.add(verifier, || format!("bytes of {one}: {}", String::from_utf8_lossy(&changed)), &changed);
    }
    tally.show("bytes");
}

fn random_fields(verifier: &Verifier, mut dice: Dice, kinds: &[&Bundle], small: &[usize], cases: u64) {
    let trees: Vec<Value> = kinds.iter().map(|bundle| tree(bundle)).collect();
    let good: Vec<Value> = trees.iter().flat_map(with_earlier).collect();
    let mut tally = Tally::default();
    while tally.cases < cases {
        let pick = |dice: &mut Dice| small[dice.below(small.len() as u64) as usize];
        let (one, other) = (pick(&mut dice), pick(&mut dice));
        let mut changed = trees[one].clone();
        let mut all = Vec::new();
        paths(&changed, "", &mut all);
        // The root as a whole would be the other bundle, which is good.
        let path = &all[1 + dice.below(all.len() as u64 - 1) as usize];
        if !change_field(&mut dice, &mut changed, path, &trees[other]) || good.contains(&changed) {
            continue;
        }
        let bytes = jcs::canonical(&changed).unwrap();
        tally.add(verifier, || format!("{path} of {one}: {changed:#}"), &bytes);
    }
    tally.show("fields");
}

/// The bridge itself changes a response and signs it. What is the bridge's word alone is left out: when it signed.
fn random_signed(
    fixture: &Fixture,
    verifier: &Verifier,
    mut dice: Dice,
    kinds: &[&Bundle],
    small: &[usize],
    cases: u64,
) {
    let domain = fixture.domain();
    let mut tally = Tally::default();
    while tally.cases < cases {
        let pick = |dice: &mut Dice| kinds[small[dice.below(small.len() as u64) as usize]];
        let (one, other) = (pick(&mut dice), pick(&mut dice));
        let mut changed = one.clone();
        let (ours, theirs) = match dice.below(3) {
            0 => (&mut changed.decision, &other.decision),
            1 => match (&mut changed.consumption, &other.consumption) {
                (Some(ours), Some(theirs)) => (&mut ours.response, &theirs.response),
                _ => continue,
            },
            _ => match (&mut changed.outcome, &other.outcome) {
                (Some(ours), Some(theirs)) => (&mut ours.response, &theirs.response),
                _ => continue,
            },
        };
        if ours.evidence.is_none() {
            continue;
        }
        let (before, their_tree) = (serde_json::to_value(&*ours).unwrap(), serde_json::to_value(theirs).unwrap());
        let mut after = before.clone();
        let mut all = Vec::new();
        paths(&before, "", &mut all);
        all.retain(|path| !["", "/timestamp", "/signature", "/evidence_hash"].contains(&path.as_str()));
        let path = all[dice.below(all.len() as u64) as usize].clone();
        if !change_field(&mut dice, &mut after, &path, &their_tree) {
            continue;
        }
        match AuthResponse::from_tree(after) {
            Ok(response) => *ours = response,
            // Refused when it is read; counted by the fields above.
            Err(_) => continue,
        }
        resign(&domain, ours);
        let Ok(bytes) = changed.canonical() else { continue };
        tally.add(verifier, || format!("{path} signed anew: {}", String::from_utf8_lossy(&bytes)), &bytes);
    }
    tally.show("signed by the bridge");
}

/// One attack: what a malicious bridge makes of the responses of a bundle, all signed anew.
struct Attack<'a> {
    fixture: &'a Fixture,
    verifier: &'a Verifier,
    tally: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

impl Attack<'_> {
    /// Changes a bundle, signs every response of it anew, and sees it refused at one of the expected places.
    fn signed(&mut self, name: &'static str, bundle: &Bundle, expected: &[&str], change: impl FnOnce(&mut Bundle)) {
        let mut changed = bundle.clone();
        change(&mut changed);
        let domain = self.fixture.domain();
        resign(&domain, &mut changed.decision);
        if let Some(consumption) = &mut changed.consumption {
            resign(&domain, &mut consumption.response);
        }
        if let Some(outcome) = &mut changed.outcome {
            resign(&domain, &mut outcome.response);
        }
        self.expect(name, &changed.canonical().unwrap(), expected);
    }

    /// Changes a bundle without any key.
    fn plain(&mut self, name: &'static str, bundle: &Bundle, expected: &[&str], change: impl FnOnce(&mut Bundle)) {
        let mut changed = bundle.clone();
        change(&mut changed);
        assert_ne!(changed, *bundle, "{name} changes nothing");
        self.expect(name, &changed.canonical().unwrap(), expected);
    }

    /// Changes the tree, so that also what no type can hold is tried.
    fn tree(&mut self, name: &'static str, bundle: &Bundle, expected: &[&str], change: impl FnOnce(&mut Value)) {
        let before = tree(bundle);
        let mut changed = before.clone();
        change(&mut changed);
        assert_ne!(changed, before, "{name} changes nothing");
        self.expect(name, &jcs::canonical(&changed).unwrap(), expected);
    }

    fn expect(&mut self, name: &'static str, bytes: &[u8], expected: &[&str]) {
        let verdict = refused(self.verifier, bytes).expect_err(name);
        assert!(expected.contains(&verdict.as_str()), "{name}: {verdict}, expected one of {expected:?}");
        *self.tally.entry(name).or_default().entry(verdict).or_default() += 1;
    }
}

fn evidence(response: &mut AuthResponse) -> &mut Evidence {
    response.evidence.as_mut().unwrap()
}

/// The responses of a bundle that have evidence.
fn proven(bundle: &mut Bundle) -> Vec<&mut AuthResponse> {
    let mut all = vec![&mut bundle.decision];
    all.extend(bundle.consumption.as_mut().map(|consumption| &mut consumption.response));
    all.extend(bundle.outcome.as_mut().map(|outcome| &mut outcome.response));
    all
}

/// The other signature with the same `r`: it recovers to the same key where the upper half counts.
fn high_s(signature: &[u8]) -> Bytes {
    let order = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
    let mut twin = signature.to_vec();
    let s = order - U256::from_be_slice(&signature[32..64]);
    twin[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    twin[64] = 55 - twin[64];
    twin.into()
}

fn vote_signature(vote: &EvidenceVote) -> &Bytes {
    match &vote.proof {
        VoteProof::Signature(signature) => signature,
        VoteProof::Transaction(raw) => panic!("a vote by transaction: {raw}"),
    }
}

fn named_attacks(fixture: &Fixture, verifier: &Verifier) {
    let mut attack = Attack { fixture, verifier, tally: BTreeMap::new() };
    let whole: Vec<&Bundle> = match soak() {
        true => fixture.batch.iter().chain(&fixture.neighbours).chain(&fixture.single).collect(),
        false => vec![&fixture.batch[0], &fixture.neighbours[0], &fixture.single[0], &fixture.single[2]],
    };

    for (index, bundle) in whole.iter().enumerate() {
        let other = whole[(index + 1) % whole.len()];
        another_requests_votes(&mut attack, bundle, other);
        another_place(&mut attack, bundle);
        proofs(&mut attack, bundle);
        another_claim(&mut attack, bundle, other);
        spelling(&mut attack, bundle);
    }
    for [one, other] in [[0, 1], [1, 0]] {
        receipt_of_the_same_block(&mut attack, &fixture.neighbours[one], &fixture.neighbours[other]);
        receipt_of_the_same_block(&mut attack, &fixture.batch[one], &fixture.batch[other]);
    }
    for bundle in [&fixture.denied, &fixture.outvoted, &fixture.cancelled] {
        no_for_an_answer(&mut attack, bundle, &fixture.single[0]);
    }
    votes_of_the_wrong_kind(&mut attack, fixture);
    for (name, verdicts) in &attack.tally {
        eprintln!("{name}: {verdicts:?}");
    }
}

fn another_requests_votes(attack: &mut Attack<'_>, bundle: &Bundle, other: &Bundle) {
    let theirs = other.decision.evidence.clone().unwrap();
    attack.signed("another request's votes", bundle, &["decision step 3"], |b| {
        evidence(&mut b.decision).votes = theirs.votes.clone();
        b.decision.conditions.clone_from(&other.decision.conditions);
    });
    attack.signed("another request's decision", bundle, &["decision step 1"], |b| b.decision = other.decision.clone());
    attack.signed(
        "another request's evidence",
        bundle,
        &["decision step 1", "decision step 2", "decision step 3"],
        |b| {
            b.decision.evidence = Some(theirs.clone());
        },
    );
    attack.signed("another request's event", bundle, &["decision step 4"], |b| {
        let ours = b.decision.evidence.clone().unwrap();
        b.decision.evidence = Some(Evidence {
            votes: ours.votes,
            requester: ours.requester,
            expires_at: ours.expires_at,
            risk_bps: ours.risk_bps,
            epoch: ours.epoch,
            ..theirs.clone()
        });
        b.decision.block_hash = other.decision.block_hash;
        b.decision.block_number = other.decision.block_number;
        b.decision.blockchain_tx_hash = other.decision.blockchain_tx_hash;
    });
    attack.signed("another request", bundle, &["decision step 1"], |b| b.request = other.request.clone());
}

fn another_place(attack: &mut Attack<'_>, bundle: &Bundle) {
    let epochs: Vec<_> = attack.fixture.anchors.epochs.clone();
    let ours = bundle.anchors.epoch().epoch;
    let other = epochs.iter().find(|epoch| epoch.epoch != ours).unwrap().clone();
    // Pinned as well, so what fails is that the id commits to its epoch.
    attack.signed("another epoch", bundle, &["decision step 2"], |b| {
        b.anchors.epochs = [other.clone()];
        for response in proven(b) {
            evidence(response).epoch = other.epoch;
        }
    });
    attack.plain("another epoch's anchors", bundle, &["decision step 1"], |b| b.anchors.epochs = [other.clone()]);
    attack.plain("an epoch nobody pinned", bundle, &["anchors"], |b| b.anchors.epochs[0].epoch = 7);
    attack.signed("another chain id", bundle, &["decision step 2"], |b| evidence(&mut b.decision).chain_id += 1);
    attack.signed("another chain", bundle, &["anchors"], |b| {
        b.anchors.chain_id += 1;
        proven(b).into_iter().for_each(|response| evidence(response).chain_id += 1);
    });
    let stranger = dev(7).address();
    attack.signed("another contract", bundle, &["decision step 2"], |b| evidence(&mut b.decision).contract = stranger);
    attack.signed("another contract, in the anchors too", bundle, &["anchors"], |b| {
        b.anchors.contract = stranger;
        proven(b).into_iter().for_each(|response| evidence(response).contract = stranger);
    });
    attack
        .signed("another requester", bundle, &["decision step 2"], |b| evidence(&mut b.decision).requester = stranger);
    attack
        .plain("approvers of one's own", bundle, &["anchors"], |b| b.anchors.epochs[0].approvers[0].address = stranger);
    attack.plain("approvers in another order", bundle, &["anchors"], |b| b.anchors.epochs[0].approvers.reverse());
    attack.plain("a policy of one's own", bundle, &["anchors"], |b| drop(b.anchors.epochs[0].policy.pop()));
    attack.plain("a bridge of one's own", bundle, &["anchors"], |b| b.anchors.epochs[0].bridges[0].signer = stranger);
    attack.plain("a longer life", bundle, &["anchors"], |b| b.anchors.max_lifetime *= 2);
    attack.signed("a later expiry", bundle, &["decision step 2", "decision step 1"], |b| {
        evidence(&mut b.decision).expires_at -= 1;
    });
}

fn proofs(attack: &mut Attack<'_>, bundle: &Bundle) {
    let at = ["decision step 4", "consumption step 4", "outcome step 4"];
    for which in 0..3 {
        let edit = |b: &mut Bundle, change: &mut dyn FnMut(&mut Vec<Bytes>)| {
            let evidence = evidence(proven(b).swap_remove(which));
            change(&mut evidence.transaction_proof);
            change(&mut evidence.receipt_proof);
        };
        let nodes = evidence(proven(&mut bundle.clone()).swap_remove(which)).receipt_proof.len();
        if nodes > 1 {
            attack.signed("reordered proof nodes", bundle, &at, |b| edit(b, &mut |proof| proof.reverse()));
            attack.signed("swapped proof nodes", bundle, &at, |b| edit(b, &mut |proof| proof.swap(0, nodes - 1)));
            attack.signed("a proof without its root", bundle, &at, |b| edit(b, &mut |proof| drop(proof.remove(0))));
        }
        attack.signed("an extra node at the end", bundle, &at, |b| edit(b, &mut |proof| proof.push(proof[0].clone())));
        attack
            .signed("an extra node in front", bundle, &at, |b| edit(b, &mut |proof| proof.insert(0, proof[0].clone())));
        attack.signed("an empty extra node", bundle, &at, |b| edit(b, &mut |proof| proof.push(Bytes::new())));
        attack.signed("no proof", bundle, &at, |b| edit(b, &mut Vec::clear));
        attack.signed("proofs the wrong way round", bundle, &at, |b| {
            let evidence = evidence(proven(b).swap_remove(which));
            std::mem::swap(&mut evidence.transaction_proof, &mut evidence.receipt_proof);
        });
        attack.signed("an exclusion proof", bundle, &at, |b| {
            let evidence = evidence(proven(b).swap_remove(which));
            evidence.transaction_index = 4_711;
            // All nodes but the leaf lead to where nothing is.
            evidence.transaction_proof.pop();
            evidence.receipt_proof.pop();
        });
        attack.signed("another log index", bundle, &at, |b| evidence(proven(b).swap_remove(which)).log_index += 1);
        attack.signed("a log index past all", bundle, &at, |b| {
            evidence(proven(b).swap_remove(which)).log_index = jcs::INTEGER_MAX;
        });
        attack.signed("an invented header without its hash", bundle, &at, |b| {
            let evidence = evidence(proven(b).swap_remove(which));
            let mut header = alloy::consensus::Header::decode(&mut evidence.block_header.as_ref()).unwrap();
            header.receipts_root = B256::repeat_byte(7);
            evidence.block_header = alloy::rlp::encode(&header).into();
        });
        attack.signed("an invented header with other roots", bundle, &at, |b| {
            let response = proven(b).swap_remove(which);
            let mut header = alloy::consensus::Header::decode(&mut evidence(response).block_header.as_ref()).unwrap();
            header.receipts_root = B256::repeat_byte(7);
            let rlp = alloy::rlp::encode(&header);
            response.block_hash = keccak256(&rlp);
            evidence(response).block_header = rlp.into();
        });
    }
}

fn another_claim(attack: &mut Attack<'_>, bundle: &Bundle, other: &Bundle) {
    let theirs = other.consumption.clone().unwrap();
    attack.plain("a consumption with another claim", bundle, &["consumption step 4"], |b| {
        b.consumption.as_mut().unwrap().claim = theirs.claim;
    });
    attack.plain("another request's consumption", bundle, &["consumption step 1"], |b| {
        b.consumption = Some(theirs.clone());
    });
    attack.signed(
        "another request's consumption under this one's name",
        bundle,
        &["consumption step 2", "consumption step 1"],
        |b| {
            let mut response = theirs.response.clone();
            response.request_id = b.request.request_id.clone();
            b.consumption.as_mut().unwrap().response = response;
        },
    );
    attack.plain("another outcome", bundle, &["outcome step 4"], |b| {
        b.outcome.as_mut().unwrap().outcome = guardrail::schema::Outcome::Failed;
    });
    attack.plain("another result", bundle, &["outcome step 4"], |b| {
        b.outcome.as_mut().unwrap().result = json!({"status": "deployed"});
    });
    attack.signed("a consumption as the outcome", bundle, &["outcome step 4"], |b| {
        let mut response = b.consumption.clone().unwrap().response;
        response.decision = Decision::Recorded;
        b.outcome.as_mut().unwrap().response = response;
    });
    attack.signed("an outcome as the consumption", bundle, &["consumption step 4"], |b| {
        let mut response = b.outcome.clone().unwrap().response;
        response.decision = Decision::Consumed;
        b.consumption.as_mut().unwrap().response = response;
    });
}

/// What no type holds, and what has two spellings elsewhere.
fn spelling(attack: &mut Attack<'_>, bundle: &Bundle) {
    let value = ["field value"];
    attack.tree("a log index of -1", bundle, &value, |t| t["decision"]["evidence"]["log_index"] = json!(-1));
    let upper = |t: &mut Value, path: &str| {
        let text = t.pointer(path).unwrap().as_str().unwrap();
        let digits = text.trim_start_matches("0x");
        let prefix = &text[..text.len() - digits.len()];
        *t.pointer_mut(path).unwrap() = json!(format!("{prefix}{}", digits.to_uppercase()));
    };
    for path in [
        "/decision/blockchain_tx_hash",
        "/decision/block_hash",
        "/decision/authorization_id",
        "/decision/action_hash",
        "/decision/request_hash",
        "/decision/evidence_hash",
        "/decision/signature",
        "/decision/approver",
        "/decision/evidence/block_header",
        "/decision/evidence/receipt_proof/0",
        "/decision/evidence/votes/0/approver",
        "/decision/evidence/votes/0/signature",
        "/consumption/claim",
        "/consumption/response/signature",
        "/anchors/contract",
        "/anchors/code_hash",
        "/request/action_hash",
    ] {
        attack.tree("upper-case hex", bundle, &value, |t| upper(t, path));
        attack.tree(
            "hex that is too short",
            bundle,
            &["field value", "decision step 3", "decision step 4", "decision step 5", "consumption step 5"],
            |t| {
                let text = t.pointer(path).unwrap().as_str().unwrap();
                *t.pointer_mut(path).unwrap() = json!(&text[..text.len() - 2]);
            },
        );
    }
    attack
        .tree("null for an empty reason", bundle, &["decision step 3"], |t| t["decision"]["denial_reason"] = json!(""));
    attack.tree("a bundle of another version", bundle, &value, |t| t["bundle"] = json!(2));
    attack.tree("two epochs", bundle, &value, |t| {
        let epoch = t["anchors"]["epochs"][0].clone();
        t["anchors"]["epochs"].as_array_mut().unwrap().push(epoch);
    });
    attack.tree("an outcome of nothing", bundle, &value, |t| t["consumption"] = Value::Null);
    attack.tree("a member too many", bundle, &["unknown or missing field"], |t| t["note"] = json!("trust me"));
}

fn receipt_of_the_same_block(attack: &mut Attack<'_>, bundle: &Bundle, other: &Bundle) {
    let theirs = other.decision.evidence.clone().unwrap();
    let at = ["decision step 4"];
    let same_place = bundle.decision.evidence.as_ref().unwrap().transaction_index == theirs.transaction_index;
    if same_place {
        // One transaction holds both: it is another log of the same receipt.
        attack.signed("another event of the same receipt", bundle, &at, |b| {
            evidence(&mut b.decision).log_index = theirs.log_index;
        });
        return;
    }
    attack.signed("a receipt from the same block", bundle, &at, |b| {
        evidence(&mut b.decision).receipt_proof = theirs.receipt_proof.clone();
    });
    attack.signed("a receipt from the same block, at its index", bundle, &at, |b| {
        let evidence = evidence(&mut b.decision);
        evidence.receipt_proof = theirs.receipt_proof.clone();
        evidence.transaction_index = theirs.transaction_index;
    });
    attack.signed("a transaction from the same block", bundle, &at, |b| {
        let evidence = evidence(&mut b.decision);
        evidence.receipt_proof = theirs.receipt_proof.clone();
        evidence.transaction_proof = theirs.transaction_proof.clone();
        evidence.transaction_index = theirs.transaction_index;
        evidence.log_index = theirs.log_index;
        b.decision.blockchain_tx_hash = other.decision.blockchain_tx_hash;
    });
}

/// A denial or a cancellation dressed up as an approval, and an approval as a denial.
fn no_for_an_answer(attack: &mut Attack<'_>, denied: &Bundle, approved: &Bundle) {
    attack.signed("a denial's event under an approval, no votes", denied, &["decision step 3"], |b| {
        b.decision.decision = Decision::Approved;
        b.decision.denial_reason = None;
        evidence(&mut b.decision).votes.clear();
    });
    attack.signed("a denial that says it approves", denied, &["decision step 3"], |b| {
        b.decision.decision = Decision::Approved;
        b.decision.denial_reason = None;
        evidence(&mut b.decision).votes.iter_mut().for_each(|vote| vote.approve = true);
    });
    let line = |bundle: &Bundle| bundle.request.risk_score.bps() >= 9_000;
    let voters: &[usize] = if line(denied) { &[2, 1] } else { &[1] };
    let domain = attack.fixture.domain();
    // Votes that were really signed, as if the approvers had changed their minds after the denial.
    let votes: Vec<EvidenceVote> = voters.iter().map(|index| vote_by(&domain, denied, *index, true)).collect();
    attack.signed("a denial's event under a real quorum", denied, &["decision step 4"], |b| {
        b.decision.decision = Decision::Approved;
        b.decision.denial_reason = None;
        b.decision.approver = votes[0].approver;
        evidence(&mut b.decision).votes = votes.clone();
    });
    attack.signed("an approval that holds a denial", approved, &["decision step 3"], |b| {
        let denial = vote_by(&domain, b, 2, false);
        evidence(&mut b.decision).votes.insert(0, denial);
    });
    attack.signed("an approval's event under a real denial", approved, &["decision step 4"], |b| {
        let denial = vote_by(&domain, b, 2, false);
        b.decision.decision = Decision::Denied;
        b.decision.denial_reason = Some(String::new());
        b.decision.approver = denial.approver;
        b.decision.conditions.clear();
        evidence(&mut b.decision).votes = vec![denial];
        b.consumption = None;
        b.outcome = None;
    });
    attack.signed("an approval as a cancellation", approved, &["decision step 4"], |b| {
        b.decision.decision = Decision::Denied;
        b.decision.denial_reason = Some("cancelled: superseded".to_owned());
        b.decision.conditions.clear();
        evidence(&mut b.decision).votes.clear();
        b.consumption = None;
        b.outcome = None;
    });
    attack.plain("a denial without its reason", denied, &["decision step 3", "decision step 5"], |b| {
        b.decision.denial_reason = None;
    });
}

/// A vote with a real key over this bundle's id.
fn vote_by(domain: &crypto::SigningDomain, bundle: &Bundle, index: usize, approve: bool) -> EvidenceVote {
    let request: &AuthRequest = &bundle.request;
    let id = bundle.decision.authorization_id;
    let digest = crypto::vote_digest(domain, id, &request.tool_name, request.action_hash, approve, "");
    let proof = VoteProof::Signature(dev(index).sign(digest).unwrap());
    EvidenceVote { approver: dev(index).address(), approve, note: "".parse().unwrap(), proof }
}

fn votes_of_the_wrong_kind(attack: &mut Attack<'_>, fixture: &Fixture) {
    let domain = fixture.domain();
    let at = ["decision step 3"];
    for bundle in fixture.single.iter().chain(&fixture.batch[..1]) {
        let id = bundle.decision.authorization_id;
        attack.signed("a high-s twin of a vote", bundle, &at, |b| {
            let vote = &mut evidence(&mut b.decision).votes[0];
            vote.proof = VoteProof::Signature(high_s(vote_signature(vote)));
        });
        for which in 0..3 {
            let steps = ["decision step 5", "consumption step 5", "outcome step 5"];
            attack.plain("a high-s twin of the bridge's signature", bundle, &steps[which..=which], |b| {
                let response = proven(b).swap_remove(which);
                response.signature = high_s(&response.signature);
            });
        }
        attack.signed("a vote on another tool", bundle, &at, |b| {
            let (tool, action) = ("delete_database".parse().unwrap(), b.request.action_hash);
            let digest = crypto::vote_digest(&domain, id, &tool, action, true, "");
            evidence(&mut b.decision).votes[0].proof = VoteProof::Signature(dev(1).sign(digest).unwrap());
        });
        attack.signed("a vote for another contract", bundle, &at, |b| {
            let there = crypto::SigningDomain::new(fixture.anchors.chain_id, dev(7).address());
            evidence(&mut b.decision).votes[0] = vote_by(&there, b, 1, true);
        });
        attack.signed("a vote on the mock ledger", bundle, &at, |b| {
            let there = crypto::SigningDomain::mock(fixture.anchors.chain_id, fixture.anchors.contract);
            evidence(&mut b.decision).votes[0] = vote_by(&there, b, 1, true);
        });
        attack.signed("a vote with a condition that was taken off", bundle, &at, |b| {
            let vote = &mut evidence(&mut b.decision).votes[0];
            vote.note = "canary first".parse().unwrap();
            b.decision.conditions = vec!["canary first".to_owned()];
        });
        attack.signed("a vote of a stranger", bundle, &at, |b| {
            evidence(&mut b.decision).votes = vec![vote_by(&domain, b, 7, true)];
            b.decision.approver = dev(7).address();
        });
        attack.signed("a vote of the requester", bundle, &at, |b| {
            evidence(&mut b.decision).votes = vec![vote_by(&domain, b, 0, true)];
            b.decision.approver = dev(0).address();
        });
        attack.signed("one vote twice", bundle, &at, |b| {
            let votes = &mut evidence(&mut b.decision).votes;
            votes.push(votes[0].clone());
        });
        attack.signed("no votes", bundle, &at, |b| evidence(&mut b.decision).votes.clear());
        attack.signed("another tool", bundle, &["decision step 2", "decision step 3"], |b| {
            let mut changed = b.request.tree().clone();
            changed["tool_name"] = json!("delete_database");
            b.request = with_own_hash(changed);
            for response in proven(b) {
                evidence(response);
            }
            retold(b);
        });
    }
    for bundle in &fixture.batch[..4] {
        attack.signed("one vote of two", bundle, &at, |b| drop(evidence(&mut b.decision).votes.pop()));
        attack.signed("votes in another order", bundle, &at, |b| evidence(&mut b.decision).votes.reverse());
    }
    let by_transaction = &fixture.by_transaction;
    for (index, vote) in by_transaction.decision.evidence.as_ref().unwrap().votes.iter().enumerate() {
        let VoteProof::Transaction(raw) = &vote.proof else { panic!("{vote:?}") };
        for at_byte in (0..raw.len()).step_by(if soak() { 1 } else { 5 }) {
            let mut changed = raw.to_vec();
            changed[at_byte] ^= 1;
            attack.signed("a changed vote transaction", by_transaction, &at, |b| {
                evidence(&mut b.decision).votes[index].proof = VoteProof::Transaction(changed.clone().into());
            });
        }
        attack.signed("a vote transaction of another note", by_transaction, &at, |b| {
            evidence(&mut b.decision).votes[index].note = "y".parse().unwrap();
            b.decision.conditions[index] = "y".to_owned();
        });
    }
}

/// A request with the action hash of what it says now.
fn with_own_hash(mut changed: Value) -> AuthRequest {
    let request = AuthRequest::from_tree(changed.clone()).unwrap();
    changed["action_hash"] = json!(crypto::hash::action_hash_of(&request).unwrap());
    AuthRequest::from_tree(changed).unwrap()
}

/// Every response says what follows from the request as it is now: hashes and id.
fn retold(bundle: &mut Bundle) {
    let request = bundle.request.clone();
    let hash = crypto::request_hash(&request).unwrap();
    for response in proven(bundle) {
        let e = response.evidence.clone().unwrap();
        let chain = crypto::hash::chain_request(&request, e.requester, e.expires_at, e.epoch).unwrap();
        response.action_hash = request.action_hash;
        response.request_hash = hash;
        response.authorization_id = crypto::authorization_id(&chain);
    }
}

/// A bridge that invents a block around genuine votes: the votes are real, so consent is; the chain tells the rest.
async fn invented_headers_fail_at_the_chain(fixture: &Fixture) {
    let endpoint = Endpoint::connect(&fixture.world.anvil.url).await.unwrap();
    let verifier = Verifier::new(fixture.anchors.clone(), Some(endpoint)).unwrap();
    for bundle in &fixture.single {
        assert_eq!(verifier.check_bundle(bundle).await.failure(), None);
        let mut changed = bundle.clone();
        for response in proven(&mut changed) {
            let mut header = alloy::consensus::Header::decode(&mut evidence(response).block_header.as_ref()).unwrap();
            header.extra_data = "invented".as_bytes().to_vec().into();
            let rlp = alloy::rlp::encode(&header);
            response.block_hash = keccak256(&rlp);
            evidence(response).block_header = rlp.into();
            resign(&fixture.domain(), response);
        }
        match verifier.check_bundle(&changed).await.failure() {
            Some(BundleFailure::Response { response: "decision", failure }) => assert_eq!(failure.step, 6, "{failure}"),
            other => panic!("{other:?}"),
        }
    }
}

/// A proof that nothing is at an index, as a trie gives it, is no proof of presence.
fn exclusion_proofs_are_none() {
    for count in [1u64, 3, 17, 130] {
        let key = |index: u64| Nibbles::unpack(alloy::rlp::encode(index));
        let missing = count + 3;
        let mut leaves: Vec<(Nibbles, Vec<u8>)> = (0..count).map(|i| (key(i), vec![i as u8; 64])).collect();
        leaves.sort();
        let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(vec![key(missing), key(0)]));
        leaves.iter().for_each(|(key, value)| builder.add_leaf(*key, value));
        let root = builder.root();
        let nodes = builder.take_proof_nodes();
        let proof: Vec<Bytes> = nodes.matching_nodes_sorted(&key(missing)).into_iter().map(|(_, node)| node).collect();
        assert!(guardrail::evidence::trie::check(root, missing, &proof).is_err(), "{count} items");
    }
}
