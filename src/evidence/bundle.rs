//! The bundle: one file from which a stranger decides, years later and offline, whether an action was
//! approved, by whom, and what came of it (PROTOCOL section 10).

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::schema::anchors::{EpochAnchors, TrustAnchors};
use crate::schema::request::field_refusal;
use crate::schema::{AuthRequest, AuthResponse, Decision, Outcome, Refusal, Rule, Sha256Digest, hex, json as jcs};

/// Largest bundle, in bytes: a request, three responses of a full batch each, a tool's result.
pub const BUNDLE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Deepest nesting of a bundle: a message's own, inside `outcome.result`.
pub const BUNDLE_NESTING_MAX: usize = jcs::NESTING_MAX + 2;
/// The version in the member `bundle`.
pub const BUNDLE_VERSION: u64 = 1;

/// One request with all that came of it. Parsed, it obeys the rules of its shape; nothing is verified yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    pub request: AuthRequest,
    pub anchors: BundleAnchors,
    pub decision: AuthResponse,
    pub consumption: Option<Consumption>,
    pub outcome: Option<RecordedOutcome>,
}

/// The trust anchors that the evidence was checked against: section 9 without what each reader sets
/// for itself, and with one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleAnchors {
    pub chain_id: u64,
    #[serde(with = "hex::b256")]
    pub genesis_hash: B256,
    #[serde(with = "hex::address")]
    pub contract: Address,
    #[serde(with = "hex::b256")]
    pub code_hash: B256,
    /// Seconds.
    pub max_lifetime: u64,
    pub epochs: [EpochAnchors; 1],
}

/// Under which claim it was consumed, and the proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumption {
    pub claim: Sha256Digest,
    pub response: AuthResponse,
}

/// What came of it, and the proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedOutcome {
    pub outcome: Outcome,
    /// What the tool returned, as the outcome hash covers it.
    pub result: Value,
    pub response: AuthResponse,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    bundle: u64,
    request: Value,
    anchors: BundleAnchors,
    decision: AuthResponse,
    #[serde(deserialize_with = "Option::deserialize")]
    consumption: Option<Consumption>,
    #[serde(deserialize_with = "Option::deserialize")]
    outcome: Option<RecordedOutcome>,
}

impl BundleAnchors {
    /// The part of pinned anchors that a bundle of an epoch repeats, where the epoch is pinned.
    pub fn of(anchors: &TrustAnchors, epoch: u64) -> Option<Self> {
        Some(BundleAnchors {
            chain_id: anchors.chain_id,
            genesis_hash: anchors.genesis_hash,
            contract: anchors.contract,
            code_hash: anchors.code_hash,
            max_lifetime: anchors.max_lifetime,
            epochs: [anchors.epoch(epoch)?.clone()],
        })
    }

    pub fn epoch(&self) -> &EpochAnchors {
        let [epoch] = &self.epochs;
        epoch
    }

    /// Every field in which these are not the pinned ones.
    pub fn differences(&self, pinned: &TrustAnchors) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |name: &str, here: String, there: String| {
            if here != there {
                found.push(format!("{name} is {here}, pinned is {there}"));
            }
        };
        compare("chain_id", self.chain_id.to_string(), pinned.chain_id.to_string());
        compare("genesis_hash", self.genesis_hash.to_string(), pinned.genesis_hash.to_string());
        compare("contract", self.contract.to_string(), pinned.contract.to_string());
        compare("code_hash", self.code_hash.to_string(), pinned.code_hash.to_string());
        compare("max_lifetime", self.max_lifetime.to_string(), pinned.max_lifetime.to_string());
        let ours = self.epoch();
        match pinned.epoch(ours.epoch) {
            None => found.push(format!("epoch {} is not pinned", ours.epoch)),
            Some(theirs) => {
                let parts = [
                    ("approvers", ours.approvers == theirs.approvers),
                    ("policy", ours.policy == theirs.policy),
                    ("bridges", ours.bridges == theirs.bridges),
                ];
                let differing = parts.into_iter().filter(|(_, same)| !same);
                found.extend(
                    differing.map(|(name, _)| format!("{name} of epoch {} are not the pinned ones", ours.epoch)),
                );
            }
        }
        found
    }
}

impl Bundle {
    /// Parses a bundle from the bytes of a file.
    ///
    /// # Errors
    /// The first rule that the bytes break: size, section 1, canonical form, then the shape of section 10.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if u64::try_from(bytes.len()).is_ok_and(|length| length > BUNDLE_BYTES_MAX) {
            return Err(too_large());
        }
        let tree = jcs::parse_strict_within(bytes, BUNDLE_NESTING_MAX)?;
        let canonical = jcs::canonical(&tree)?;
        if canonical != bytes {
            let at = canonical.iter().zip(bytes).take_while(|(ours, theirs)| ours == theirs).count();
            return Err(Refusal::new(Rule::Canonical, format!("from byte {at} on, it is not its own JCS (RFC 8785)")));
        }
        if !tree.is_object() {
            return Err(Refusal::new(Rule::NotAnObject, "a bundle is a JSON object"));
        }
        let wire = Wire::deserialize(tree).map_err(field_refusal)?;
        if wire.bundle != BUNDLE_VERSION {
            return Err(Refusal::new(
                Rule::FieldValue,
                format!("bundle: expected {BUNDLE_VERSION}, found {}", wire.bundle),
            ));
        }
        shallow("request", &wire.request)?;
        let bundle = Bundle {
            request: AuthRequest::from_tree(wire.request)?,
            anchors: wire.anchors,
            decision: wire.decision,
            consumption: wire.consumption,
            outcome: wire.outcome,
        };
        bundle.check_shape()?;
        Ok(bundle)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Refusal`] where the parts break a rule of section 10, which a bundle that was parsed does not.
    pub fn canonical(&self) -> Result<Vec<u8>, Refusal> {
        self.check_shape()?;
        let bytes = jcs::canonical(&json!({
            "bundle": BUNDLE_VERSION,
            "request": self.request.tree(),
            "anchors": self.anchors,
            "decision": self.decision,
            "consumption": self.consumption,
            "outcome": self.outcome,
        }))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > BUNDLE_BYTES_MAX) {
            return Err(too_large());
        }
        Ok(bytes)
    }

    /// A consumption follows an approval, an outcome a consumption; each response is of its kind.
    fn check_shape(&self) -> Result<(), Refusal> {
        let shape = |detail: String| Err(Refusal::new(Rule::FieldValue, detail));
        let said = self.decision.decision;
        match said {
            Decision::Approved | Decision::Denied => {}
            Decision::Consumed | Decision::Recorded => return shape(format!("decision: it says {}", said.as_str())),
        }
        if let Some(Consumption { response, .. }) = &self.consumption {
            if said != Decision::Approved {
                return shape(format!("consumption: of what was {}", said.as_str()));
            }
            if response.decision != Decision::Consumed {
                return shape(format!("consumption: it says {}", response.decision.as_str()));
            }
        }
        if let Some(RecordedOutcome { response, result, .. }) = &self.outcome {
            if self.consumption.is_none() {
                return shape("outcome: of what was not consumed".to_owned());
            }
            if response.decision != Decision::Recorded {
                return shape(format!("outcome: it says {}", response.decision.as_str()));
            }
            shallow("result", result)?;
        }
        Ok(())
    }
}

fn too_large() -> Refusal {
    Refusal::new(Rule::TooLarge, format!("a bundle has at most {BUNDLE_BYTES_MAX} bytes"))
}

/// A message inside a bundle nests no deeper than one that stands alone.
fn shallow(name: &str, value: &Value) -> Result<(), Refusal> {
    let levels = jcs::nesting(value);
    if levels > jcs::NESTING_MAX {
        return Err(Refusal::new(Rule::Nesting, format!("{name}: {levels} levels")));
    }
    Ok(())
}
