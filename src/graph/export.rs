//! Puts the records of one request together into the bundle of PROTOCOL section 10.

use super::records::{Evidence, RecordError, Records};
use crate::evidence::bundle::{BundleAnchors, Consumption, RecordedOutcome};
use crate::evidence::{Bundle, Verifier};
use crate::schema::{AuthResponse, Decision, RequestId};

/// Why there is no bundle of a request.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("there is no evidence of request {0} here")]
    NoEvidence(RequestId),
    #[error("the evidence is of epoch {0}, which the anchors do not pin")]
    Epoch(u64),
    #[error("the anchors pin no bridge that signed the decision")]
    Signer,
    #[error("of request {id} the {what} is missing here")]
    Incomplete { id: RequestId, what: &'static str },
}

impl Records {
    /// The bundle of a request for a verifier's anchors, with what is here of it: consumption and outcome where
    /// their proofs came. Nothing is verified.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn bundle(&self, id: &RequestId, verifier: &Verifier) -> Result<Bundle, ExportError> {
        let (Some(request), Some(first)) = (self.request(id)?, self.response(id, Evidence::Response)?) else {
            return Err(ExportError::NoEvidence(id.clone()));
        };
        let answer = self.response(id, Evidence::Consumed)?;
        let (decision, consumed) = match answer {
            Some(consumed) if consumed.decision == Decision::Consumed => (first, Some(consumed)),
            // Proven, and later than the approval: it is the decision that stood.
            Some(denied) if denied.decision == Decision::Denied && denied.evidence.is_some() => (denied, None),
            Some(_) | None => (first, None),
        };
        let epoch = verifier.epoch_of(&decision).ok_or(ExportError::Signer)?;
        let consumption = consumed.map(|response| self.consumption(id, response)).transpose()?;
        let outcome = match &consumption {
            Some(_) => self.recorded(id)?,
            None => None,
        };
        let anchors = BundleAnchors::of(verifier.anchors(), epoch).ok_or(ExportError::Epoch(epoch))?;
        Ok(Bundle { request, anchors, decision, consumption, outcome })
    }

    fn consumption(&self, id: &RequestId, response: AuthResponse) -> Result<Consumption, ExportError> {
        let incomplete = || ExportError::Incomplete { id: id.clone(), what: "claim" };
        let claim = self.claim(id)?.ok_or_else(incomplete)?.message.claim;
        Ok(Consumption { claim, response })
    }

    fn recorded(&self, id: &RequestId) -> Result<Option<RecordedOutcome>, ExportError> {
        let Some(response) = self.response(id, Evidence::Recorded)? else { return Ok(None) };
        let incomplete = || ExportError::Incomplete { id: id.clone(), what: "outcome" };
        let record = self.outcome(id)?.ok_or_else(incomplete)?;
        Ok(Some(RecordedOutcome { outcome: record.message.outcome, result: record.result, response }))
    }
}
