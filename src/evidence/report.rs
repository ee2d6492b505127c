//! What a verification found, step by step, for a person or a machine to read.

use std::fmt;

use serde::Serialize;

use super::verdict::{Cure, VerifyFailure};
use crate::schema::Decision;

/// The steps of PROTOCOL section 7, by number and name.
pub const STEPS: [(u8, &str); 6] =
    [(1, "request"), (2, "hashes"), (3, "votes"), (4, "proof"), (5, "signature"), (6, "chain")];
/// The step that asks an endpoint.
pub const CHAIN_STEP: u8 = 6;

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepVerdict {
    Passed,
    Failed,
    /// Nobody asked for it: there is no endpoint.
    NotChecked,
    /// It cannot be decided without an endpoint.
    NotCheckable,
    /// There is nothing to check: the bridge's word alone.
    NotApplicable,
    /// A step before it failed.
    NotReached,
}

impl fmt::Display for StepVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            StepVerdict::Passed => "passed",
            StepVerdict::Failed => "failed",
            StepVerdict::NotChecked => "not checked",
            StepVerdict::NotCheckable => "not checkable",
            StepVerdict::NotApplicable => "does not apply",
            StepVerdict::NotReached => "not reached",
        })
    }
}

/// One step of one response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepReport {
    pub step: u8,
    pub name: &'static str,
    pub verdict: StepVerdict,
    /// What was established, or why it was not.
    pub detail: String,
}

/// Every step of one response, in order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub decision: Decision,
    pub steps: Vec<StepReport>,
    /// The first failure, which is the verdict.
    #[serde(skip)]
    pub failure: Option<VerifyFailure>,
}

impl Report {
    pub fn verified(&self) -> bool {
        self.failure.is_none()
    }

    /// What step 6 came to.
    pub fn chain(&self) -> StepVerdict {
        self.steps.last().map_or(StepVerdict::NotReached, |step| step.verdict)
    }

    /// Sets what step 6 came to, once the steps before it passed.
    pub(super) fn with_chain(mut self, checked: Result<String, VerifyFailure>) -> Self {
        if let Some(last) = self.steps.last_mut() {
            (last.verdict, last.detail) = match &checked {
                Ok(detail) => (StepVerdict::Passed, detail.clone()),
                Err(failure) => (StepVerdict::Failed, failure.reason.clone()),
            };
        }
        self.failure = self.failure.or(checked.err());
        self
    }
}

/// Collects what each step established while a response is walked through.
#[derive(Debug, Default)]
pub(super) struct Trail {
    steps: Vec<(u8, StepVerdict, String)>,
}

impl Trail {
    pub fn pass(&mut self, step: u8, detail: String) {
        self.steps.push((step, StepVerdict::Passed, detail));
    }

    pub fn does_not_apply(&mut self, step: u8, why: &str) {
        self.steps.push((step, StepVerdict::NotApplicable, why.to_owned()));
    }

    /// The report: what is on the trail, then the failure, then what was not reached.
    ///
    /// A failure may name an earlier step than the last that passed: the block's time is compared
    /// once step 4 has proven it. Then that step is the failed one, and later ones do not count.
    pub fn report(self, decision: Decision, failure: Option<VerifyFailure>) -> Report {
        let steps = STEPS
            .iter()
            .map(|&(step, name)| {
                let walked = self.steps.iter().find(|(walked, ..)| *walked == step);
                let (verdict, detail) = match (&failure, walked) {
                    (Some(failure), _) if failure.step == step => {
                        let verdict = match failure.cure {
                            Cure::AskTheChain => StepVerdict::NotCheckable,
                            Cure::None | Cure::AskAgain => StepVerdict::Failed,
                        };
                        (verdict, failure.reason.clone())
                    }
                    (Some(failure), _) if failure.step < step => (StepVerdict::NotReached, String::new()),
                    (_, Some((_, verdict, detail))) => (*verdict, detail.clone()),
                    (None, None) if step == CHAIN_STEP => {
                        (StepVerdict::NotChecked, "no endpoint was given to check the chain with".to_owned())
                    }
                    (_, None) => (StepVerdict::NotReached, String::new()),
                };
                StepReport { step, name, verdict, detail }
            })
            .collect();
        Report { decision, steps, failure }
    }
}
