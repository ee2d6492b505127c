//! What comes next in a critical execution, decided from what is on disk (PROTOCOL section 8).
//!
//! The same pure function serves the live path and the restart. Only a process that itself
//! asked for the consumption and wrote the intent may run the tool; whoever comes after a
//! crash finds out and records, and runs nothing.

/// How far the claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    None,
    /// Its secret is durable, and nobody was asked to consume under it yet.
    Drawn,
    /// A process before this one may have asked, and may have gone on.
    AskedBefore,
    /// This process asked.
    AskedNow,
}

/// What is proven about the consumption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumption {
    Unproven,
    /// Proven to be under our claim.
    Ours,
    /// The bridge proved or signed that it did not come about.
    Refused,
}

/// Whether it is written that the tool is about to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    None,
    /// By a process before this one.
    Before,
    /// By this process, which has not run the tool yet.
    Now,
}

/// How far the outcome is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeOnDisk {
    None,
    Written,
    /// The chain's own record was verified.
    Recorded,
}

/// What is known of one authorization's execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub claim: Claim,
    pub consumption: Consumption,
    pub intent: Intent,
    pub outcome: OutcomeOnDisk,
}

/// The next thing to do; each is one side effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    DrawClaim,
    /// Note durably that the consumption is being asked for.
    MarkAsked,
    /// Publish the wish to consume, and wait for the proof.
    AwaitConsumption,
    WriteIntent,
    Run,
    /// Consumed, and nobody can know whether the tool ran.
    WriteUnknown,
    PublishOutcome,
    Done,
    /// The consumption did not come about: nothing ran and nothing will.
    NotAuthorized,
    /// Consumed, and the secret that could record an outcome is gone.
    Unrecordable,
}

/// Total: every combination has one answer, and what cannot happen gets the strictest.
pub fn next_step(facts: Facts) -> NextStep {
    match facts.outcome {
        OutcomeOnDisk::Recorded => return NextStep::Done,
        OutcomeOnDisk::Written => return NextStep::PublishOutcome,
        OutcomeOnDisk::None => {}
    }
    match (facts.consumption, facts.claim, facts.intent) {
        (Consumption::Refused, _, _) => NextStep::NotAuthorized,

        (Consumption::Unproven, Claim::None, Intent::None) => NextStep::DrawClaim,
        // An intent without its claim: somebody lost files. Nothing can be recorded, nothing may run.
        (Consumption::Unproven, Claim::None, Intent::Before | Intent::Now) => NextStep::Unrecordable,
        (Consumption::Unproven, Claim::Drawn, _) => NextStep::MarkAsked,
        (Consumption::Unproven, Claim::AskedBefore | Claim::AskedNow, _) => NextStep::AwaitConsumption,

        (Consumption::Ours, Claim::AskedNow, Intent::None) => NextStep::WriteIntent,
        (Consumption::Ours, Claim::AskedNow, Intent::Now) => NextStep::Run,
        (Consumption::Ours, Claim::AskedNow, Intent::Before) => NextStep::WriteUnknown,
        (Consumption::Ours, Claim::AskedBefore | Claim::Drawn, _) => NextStep::WriteUnknown,
        (Consumption::Ours, Claim::None, _) => NextStep::Unrecordable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: [Claim; 4] = [Claim::None, Claim::Drawn, Claim::AskedBefore, Claim::AskedNow];
    const CONSUMPTIONS: [Consumption; 3] = [Consumption::Unproven, Consumption::Ours, Consumption::Refused];
    const INTENTS: [Intent; 3] = [Intent::None, Intent::Before, Intent::Now];
    const OUTCOMES: [OutcomeOnDisk; 3] = [OutcomeOnDisk::None, OutcomeOnDisk::Written, OutcomeOnDisk::Recorded];

    fn all() -> impl Iterator<Item = Facts> {
        CLAIMS.into_iter().flat_map(|claim| {
            CONSUMPTIONS.into_iter().flat_map(move |consumption| {
                INTENTS.into_iter().flat_map(move |intent| {
                    OUTCOMES.into_iter().map(move |outcome| Facts { claim, consumption, intent, outcome })
                })
            })
        })
    }

    #[test]
    fn the_whole_table() {
        use NextStep::*;
        // Rows: claim none, drawn, asked before, asked now. Columns: intent none, before, now.
        let unproven = [
            [DrawClaim, Unrecordable, Unrecordable],
            [MarkAsked, MarkAsked, MarkAsked],
            [AwaitConsumption, AwaitConsumption, AwaitConsumption],
            [AwaitConsumption, AwaitConsumption, AwaitConsumption],
        ];
        let ours = [
            [Unrecordable, Unrecordable, Unrecordable],
            [WriteUnknown, WriteUnknown, WriteUnknown],
            [WriteUnknown, WriteUnknown, WriteUnknown],
            [WriteIntent, WriteUnknown, Run],
        ];
        let at = |facts: Facts| {
            let row = CLAIMS.iter().position(|c| *c == facts.claim).unwrap();
            let column = INTENTS.iter().position(|i| *i == facts.intent).unwrap();
            match (facts.outcome, facts.consumption) {
                (OutcomeOnDisk::Recorded, _) => Done,
                (OutcomeOnDisk::Written, _) => PublishOutcome,
                (OutcomeOnDisk::None, Consumption::Refused) => NotAuthorized,
                (OutcomeOnDisk::None, Consumption::Unproven) => unproven[row][column],
                (OutcomeOnDisk::None, Consumption::Ours) => ours[row][column],
            }
        };
        assert_eq!(all().count(), 108);
        for facts in all() {
            assert_eq!(next_step(facts), at(facts), "{facts:?}");
        }
    }

    #[test]
    fn exactly_one_state_of_the_world_runs_the_tool() {
        let running: Vec<Facts> = all().filter(|facts| next_step(*facts) == NextStep::Run).collect();
        let only = Facts {
            claim: Claim::AskedNow,
            consumption: Consumption::Ours,
            intent: Intent::Now,
            outcome: OutcomeOnDisk::None,
        };
        assert_eq!(running, [only]);
    }

    /// What a process that starts now finds, after one that was killed at any point.
    #[test]
    fn after_a_restart_nothing_consumed_runs() {
        let restarted = |facts: Facts| Facts {
            claim: match facts.claim {
                Claim::AskedNow => Claim::AskedBefore,
                other => other,
            },
            intent: match facts.intent {
                Intent::Now => Intent::Before,
                other => other,
            },
            ..facts
        };
        for facts in all().filter(|f| f.consumption == Consumption::Ours && f.outcome == OutcomeOnDisk::None) {
            let step = next_step(restarted(facts));
            assert!(matches!(step, NextStep::WriteUnknown | NextStep::Unrecordable), "{facts:?} {step:?}");
        }
    }

    #[test]
    fn the_live_path_in_the_order_of_the_protocol() {
        let mut facts = Facts {
            claim: Claim::None,
            consumption: Consumption::Unproven,
            intent: Intent::None,
            outcome: OutcomeOnDisk::None,
        };
        let mut steps = Vec::new();
        while steps.last() != Some(&NextStep::Done) {
            let step = next_step(facts);
            match step {
                NextStep::DrawClaim => facts.claim = Claim::Drawn,
                NextStep::MarkAsked => facts.claim = Claim::AskedNow,
                NextStep::AwaitConsumption => facts.consumption = Consumption::Ours,
                NextStep::WriteIntent => facts.intent = Intent::Now,
                NextStep::Run => facts.outcome = OutcomeOnDisk::Written,
                NextStep::PublishOutcome => facts.outcome = OutcomeOnDisk::Recorded,
                NextStep::Done | NextStep::WriteUnknown | NextStep::NotAuthorized | NextStep::Unrecordable => {}
            }
            steps.push(step);
        }
        use NextStep::*;
        assert_eq!(steps, [DrawClaim, MarkAsked, AwaitConsumption, WriteIntent, Run, PublishOutcome, Done]);
    }
}
