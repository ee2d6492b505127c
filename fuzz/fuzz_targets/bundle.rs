//! The bundle's parser and its verification with no network.
//!
//! An input is a bundle's bytes. They are tried as they are, in their canonical form, and with every response signed anew
//! by the bridge's own key, so that the steps before the signature are not all that is reached.

#![no_main]

use std::sync::LazyLock;

use guardrail::crypto::{self, SigningDomain, SigningKey};
use guardrail::evidence::{Bundle, Verifier};
use guardrail::schema::{AuthResponse, TrustAnchors};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const ANCHORS: &[u8] = include_bytes!("../anchors.json");
/// The bundles that are true under these anchors, from a real chain.
const TRUE: [&[u8]; 5] = [
    include_bytes!("../corpus/bundle/approved.json"),
    include_bytes!("../corpus/bundle/approved_on_chain.json"),
    include_bytes!("../corpus/bundle/denied.json"),
    include_bytes!("../corpus/bundle/cancelled.json"),
    include_bytes!("../corpus/bundle/expired.json"),
];
/// Anvil's account that signs responses on the dev chain.
const BRIDGE: usize = 9;

struct Fixed {
    verifier: Verifier,
    domain: SigningDomain,
    key: SigningKey,
    bundles: Vec<Bundle>,
}

static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let anchors: TrustAnchors = serde_json::from_slice(ANCHORS).expect("anchors");
    let domain = SigningDomain::new(anchors.chain_id, anchors.contract);
    let verifier = Verifier::new(anchors, None).expect("anchors");
    let bundles: Vec<Bundle> = TRUE.iter().map(|bytes| Bundle::parse(bytes).expect("a true bundle")).collect();
    assert!(bundles.iter().all(|bundle| verifier.check_bundle_offline(bundle).verified()));
    Fixed { verifier, domain, key: SigningKey::dev(BRIDGE).expect("a dev key"), bundles }
});

fuzz_target!(|data: &[u8]| {
    verified_only_if_true(data);
    let Ok(tree) = serde_json::from_slice::<Value>(data) else { return };
    let Ok(canonical) = serde_json_canonicalizer::to_vec(&tree) else { return };
    verified_only_if_true(&canonical);
    if let Ok(bundle) = Bundle::parse(&canonical) {
        nothing_but_the_bridges_words(signed_anew(bundle));
    }
});

/// A bundle may end earlier than the life that it tells; nothing else about it may differ.
fn verified_only_if_true(bytes: &[u8]) {
    let Ok(bundle) = Bundle::parse(bytes) else { return };
    assert_eq!(bundle.canonical().as_deref(), Ok(bytes), "a bundle has two spellings");
    if FIXED.verifier.check_bundle_offline(&bundle).verified() {
        let is_part_of = |whole: &Bundle| {
            let mut part = whole.clone();
            part.consumption = part.consumption.filter(|_| bundle.consumption.is_some());
            part.outcome = part.outcome.filter(|_| bundle.outcome.is_some());
            part == bundle
        };
        assert!(FIXED.bundles.iter().any(is_part_of), "a forgery verifies");
    }
}

fn signed_anew(mut bundle: Bundle) -> Bundle {
    let sign = |response: &mut AuthResponse| {
        if let Ok(hash) = crypto::evidence_hash(response.evidence.as_ref()) {
            response.evidence_hash = hash;
        }
        if let Ok(signature) = FIXED.key.sign(crypto::response_digest(&FIXED.domain, response)) {
            response.signature = signature;
        }
    };
    sign(&mut bundle.decision);
    bundle.consumption.iter_mut().for_each(|part| sign(&mut part.response));
    bundle.outcome.iter_mut().for_each(|part| sign(&mut part.response));
    bundle
}

/// A bridge that lies can deny by its own word alone, and date what it signs; it cannot make up what people and the
/// chain said.
fn nothing_but_the_bridges_words(bundle: Bundle) {
    if !FIXED.verifier.check_bundle_offline(&bundle).verified() {
        return;
    }
    if bundle.decision.evidence.is_none() {
        assert_eq!((bundle.consumption, bundle.outcome), (None, None));
        return;
    }
    let same = |whole: &&Bundle| whole.decision.authorization_id == bundle.decision.authorization_id;
    let Some(whole) = FIXED.bundles.iter().find(same) else { panic!("an authorization that nobody asked for") };
    assert_eq!(bundle.request, whole.request);
    assert_eq!(bundle.decision.decision, whole.decision.decision);
    assert_eq!(bundle.decision.evidence, whole.decision.evidence);
    if let Some(part) = &bundle.consumption {
        assert_eq!(Some(part.claim), whole.consumption.as_ref().map(|theirs| theirs.claim));
    }
    if let Some(part) = &bundle.outcome {
        assert_eq!(
            Some((part.outcome, &part.result)),
            whole.outcome.as_ref().map(|theirs| (theirs.outcome, &theirs.result))
        );
    }
}
