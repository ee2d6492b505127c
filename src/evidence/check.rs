//! Verification of a bundle: its anchors are the pinned ones, and each response passes PROTOCOL section 7.

use serde::Serialize;

use super::bundle::{Bundle, Consumption, RecordedOutcome};
use super::report::{Report, StepVerdict};
use super::verdict::VerifyFailure;
use super::verify::{Expected, Verifier};
use crate::crypto;
use crate::schema::AuthResponse;

/// What a bundle's verification found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BundleReport {
    /// In which fields the bundle's anchors are not the pinned ones; then nothing else is checked.
    pub anchors: Vec<String>,
    pub decision: Option<Report>,
    pub consumption: Option<Report>,
    pub outcome: Option<Report>,
}

/// Why a bundle does not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleFailure {
    #[error("the bundle's anchors are not the pinned ones: {0}")]
    Anchors(String),
    #[error("the {response}: {failure}")]
    Response {
        response: &'static str,
        #[source]
        failure: VerifyFailure,
    },
}

impl BundleReport {
    /// The reports of the responses that the bundle holds, in order, each with what it is about.
    pub fn responses(&self) -> impl Iterator<Item = (&'static str, &Report)> {
        let all = [("decision", &self.decision), ("consumption", &self.consumption), ("outcome", &self.outcome)];
        all.into_iter().filter_map(|(name, report)| report.as_ref().map(|report| (name, report)))
    }

    /// The first failure, which is the verdict.
    pub fn failure(&self) -> Option<BundleFailure> {
        if let Some(first) = self.anchors.first() {
            return Some(BundleFailure::Anchors(first.clone()));
        }
        self.responses().find_map(|(response, report)| {
            report.failure.clone().map(|failure| BundleFailure::Response { response, failure })
        })
    }

    pub fn verified(&self) -> bool {
        self.anchors.is_empty() && self.decision.is_some() && self.responses().all(|(_, report)| report.verified())
    }

    /// Whether step 6 passed for every response.
    pub fn chain_checked(&self) -> bool {
        self.decision.is_some() && self.responses().all(|(_, report)| report.chain() == StepVerdict::Passed)
    }

    fn unpinned(anchors: Vec<String>) -> Self {
        BundleReport { anchors, decision: None, consumption: None, outcome: None }
    }
}

/// One response of a bundle, and what it must say.
struct Held<'a> {
    response: &'a AuthResponse,
    expected: Expected,
}

impl Verifier {
    /// Checks a bundle with no network: its anchors, and steps 1 to 5 of each response.
    pub fn check_bundle_offline(&self, bundle: &Bundle) -> BundleReport {
        match self.pinned_for(bundle) {
            Err(differences) => BundleReport::unpinned(differences),
            Ok(pinned) => {
                let report = |held: Held<'_>| pinned.report_offline(&bundle.request, held.response, held.expected);
                BundleReport {
                    anchors: Vec::new(),
                    decision: Some(report(decision(bundle))),
                    consumption: consumption(bundle).map(report),
                    outcome: outcome(bundle).map(report),
                }
            }
        }
    }

    /// Checks a bundle, with step 6 and the votes of contracts where the verifier has an endpoint.
    pub async fn check_bundle(&self, bundle: &Bundle) -> BundleReport {
        let pinned = match self.pinned_for(bundle) {
            Err(differences) => return BundleReport::unpinned(differences),
            Ok(pinned) => pinned,
        };
        let report = async |held: Held<'_>| pinned.report(&bundle.request, held.response, held.expected).await;
        let mut found = BundleReport::unpinned(Vec::new());
        found.decision = Some(report(decision(bundle)).await);
        if let Some(held) = consumption(bundle) {
            found.consumption = Some(report(held).await);
        }
        if let Some(held) = outcome(bundle) {
            found.outcome = Some(report(held).await);
        }
        found
    }

    /// The epoch whose anchors a decision is held against: the evidence's, and for the bridge's word alone the lowest
    /// pinned one that names the signer. A bundle then has one form, also once later epochs are pinned.
    pub fn epoch_of(&self, decision: &AuthResponse) -> Option<u64> {
        if let Some(evidence) = &decision.evidence {
            return Some(evidence.epoch);
        }
        let signer = crypto::recover(crypto::response_digest(self.domain(), decision), &decision.signature).ok()?;
        let names_it = self.anchors().epochs.iter().filter(|epoch| epoch.bridges.iter().any(|b| b.signer == signer));
        names_it.map(|epoch| epoch.epoch).min()
    }

    /// This verifier with the anchors of the bundle's epoch alone, where the bundle's are the pinned ones.
    fn pinned_for(&self, bundle: &Bundle) -> Result<Verifier, Vec<String>> {
        let mut differences = bundle.anchors.differences(self.anchors());
        let epoch = bundle.anchors.epoch().epoch;
        // With evidence, step 1 compares it.
        if bundle.decision.evidence.is_none() && self.epoch_of(&bundle.decision) != Some(epoch) {
            differences.push(format!("epoch {epoch} is not the lowest that names the signer"));
        }
        match self.at_epoch(epoch) {
            Some(pinned) if differences.is_empty() => Ok(pinned),
            Some(_) | None => Err(differences),
        }
    }
}

fn decision(bundle: &Bundle) -> Held<'_> {
    Held { response: &bundle.decision, expected: Expected::Decision }
}

fn consumption(bundle: &Bundle) -> Option<Held<'_>> {
    let Consumption { claim, response } = bundle.consumption.as_ref()?;
    let expected = Expected::Consumption { id: Some(bundle.decision.authorization_id), claim: Some(*claim) };
    Some(Held { response, expected })
}

fn outcome(bundle: &Bundle) -> Option<Held<'_>> {
    let (RecordedOutcome { outcome, result, response }, consumed) =
        (bundle.outcome.as_ref()?, bundle.consumption.as_ref()?);
    let id = bundle.decision.authorization_id;
    // A result that was parsed has a canonical form; zero is nothing's hash.
    let hash = crypto::outcome_hash(id, consumed.claim, *outcome, result).unwrap_or_default();
    Some(Held { response, expected: Expected::Record { id: Some(id), recorded: Some((*outcome, hash)) } })
}
