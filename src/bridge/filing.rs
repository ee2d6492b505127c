//! Files: what a step takes of the channel, where each goes afterwards, and answers made visible.

use super::BridgeError;
use super::answers::Answers;
use super::engine::{Bridge, Progress};
use super::intake::{self, Rules, Taken};
use super::journal::Writes;
use super::metrics;
use super::planner::Planner;
use super::step::{ANSWERS_MAX, File, Filed, Outcome};
use crate::channel::{Claimed, Incoming, ResponseKind};
use crate::crash;
use crate::schema::{AuthRequest, Refusal, RequestId, Rule, Timestamp};

impl Bridge {
    /// Moves files as the journal now says; gives those that can be forgotten.
    pub(super) fn file(&mut self, files: &[File], filed: Vec<Filed>) -> Result<Vec<Incoming>, BridgeError> {
        let mut done = Vec::new();
        for (File { claimed, .. }, filed) in files.iter().zip(filed) {
            match filed {
                Filed::Journalled(id) => {
                    tracing::info!(target: "guardrail::bridge", request = %id, file = claimed.incoming.file_name(), "journalled");
                    match claimed.incoming {
                        Incoming::Slot { .. } => {
                            self.inbox.rename_slot_claim(claimed, &id)?;
                        }
                        // The journal has it, and a denial by the same approver would have the same name.
                        Incoming::Vote { .. } => done.push(claimed.incoming.clone()),
                        Incoming::Request(_) => {
                            metrics::request_journalled();
                            self.tell(|| Progress::Journalled(id));
                        }
                        Incoming::Consume { .. } | Incoming::Outcome(_) => {}
                    }
                }
                Filed::Forget(incoming) => done.push(incoming),
                Filed::Rename(id) => {
                    self.inbox.rename_slot_claim(claimed, &id)?;
                }
                Filed::Quarantine(refusal) => {
                    metrics::refused(refusal.rule);
                    self.inbox.channel().quarantine(&claimed.path, &refusal)?;
                    self.files.trim = true;
                }
                Filed::Keep => {}
            }
        }
        if std::mem::take(&mut self.files.trim)
            && let Err(error) = self.inbox.channel().trim_quarantine()
        {
            tracing::error!(target: "guardrail::bridge", %error, "the quarantine cannot be kept short");
        }
        Ok(done)
    }

    /// Forgets claimed files whose work is done.
    pub(super) fn finish(&self, done: &[Incoming]) -> Result<(), BridgeError> {
        if !done.is_empty() {
            crash::point("finish.before");
            self.inbox.finish_all(done)?;
            crash::point("finish.after");
        }
        Ok(())
    }

    /// Publishes journalled responses, and forgets the files whose work is done by that.
    pub(super) fn publish(&mut self) -> Result<(), BridgeError> {
        let waiting = self.journal.read().unpublished(ANSWERS_MAX)?;
        let mut published = Vec::new();
        let mut held = false;
        let mut trouble = None;
        for response in waiting.iter() {
            let kind = kind_of(&response.name, &response.request_id);
            let visible = if response.slot {
                self.inbox.publish_slot_response(&response.bytes)
            } else {
                self.inbox.publish_response(&response.request_id, kind, &response.bytes).map(|()| true)
            };
            match visible {
                Ok(true) => published.push((response, kind)),
                // Whoever holds the slot's lock holds up the slot alone.
                Ok(false) => held = true,
                Err(error) => {
                    trouble = Some(BridgeError::from(error));
                    break;
                }
            }
        }
        self.files.unpublished = held || trouble.is_some() || waiting.len() == ANSWERS_MAX;
        if !published.is_empty() {
            crash::point("publish.after");
            crash::point("journal.published.before");
            self.journal.atomically(|writes| {
                published.iter().try_for_each(|(response, _)| writes.set_published(&response.name, true))
            })?;
            crash::point("journal.published.after");
            let mut done = Vec::with_capacity(published.len());
            for (response, kind) in published {
                tracing::info!(target: "guardrail::bridge", request = %response.request_id, response = response.name, "published");
                metrics::response_published(kind);
                self.tell(|| Progress::Published(response.name.clone()));
                done.push(finished_by(&response.request_id, kind));
            }
            self.finish(&done)?;
        }
        trouble.map_or(Ok(()), Err)
    }
}

/// Takes claimed files into the journal; what becomes of each goes into the outcome.
pub(super) fn take_files(
    writes: &Writes<'_>,
    planner: &mut Planner,
    answers: &Answers,
    config: &super::BridgeConfig,
    files: &[File],
    outcome: &mut Outcome,
) -> Result<(), BridgeError> {
    for File { claimed, again } in files {
        let taken = {
            let rules = Rules {
                config,
                domain: answers.domain(),
                requester: planner.submitter.account(),
                epoch: &planner.epoch,
                contract_approvers: &planner.contract_approvers,
                now: Timestamp::now(),
            };
            intake::take(writes, &rules, claimed)?
        };
        let filed = match taken {
            Taken::Journalled(id) => {
                if let Incoming::Vote { id, .. } = claimed.incoming {
                    planner.look_again([id]);
                }
                Filed::Journalled(id)
            }
            // After a restart a claimed file that the journal knows is no replay but work in hand.
            Taken::Known { republish } if *again => known_again(writes, claimed, republish)?,
            Taken::Known { republish } => {
                if let Some(name) = republish {
                    writes.set_published(&name, false)?;
                    outcome.answered += 1;
                }
                Filed::Quarantine(Refusal::new(Rule::Replay, "it was seen before"))
            }
            Taken::Refused { refusal, answer } => {
                if let Some(answer) = answer {
                    writes.insert_response(&answers.refusal(&answer, &refusal)?)?;
                    outcome.answered += 1;
                }
                Filed::Quarantine(refusal)
            }
        };
        outcome.files.push(filed);
    }
    Ok(())
}

/// A claimed file from before the start: kept while there is work for it, forgotten when the
/// crash came just before that.
fn known_again(writes: &Writes<'_>, claimed: &Claimed, republish: Option<String>) -> Result<Filed, BridgeError> {
    let over = match republish {
        Some(name) => writes.response(&name)?.is_some(),
        None => true,
    };
    if over {
        return Ok(Filed::Forget(claimed.incoming.clone()));
    }
    if let (Incoming::Slot { .. }, Ok(bytes)) = (&claimed.incoming, &claimed.content) {
        return Ok(Filed::Rename(AuthRequest::parse(bytes)?.request_id.clone()));
    }
    Ok(Filed::Keep)
}

fn kind_of(name: &str, id: &RequestId) -> ResponseKind {
    if name == ResponseKind::Recorded.file_name(id) {
        return ResponseKind::Recorded;
    }
    let claim = name
        .strip_suffix(".consumed.json")
        .and_then(|stem| stem.split_once('.'))
        .and_then(|(_, claim)| claim.parse().ok());
    claim.map_or(ResponseKind::Decision, ResponseKind::Consumed)
}

/// The file whose work is done once a response is published.
fn finished_by(id: &RequestId, kind: ResponseKind) -> Incoming {
    match kind {
        ResponseKind::Decision => Incoming::Request(id.clone()),
        ResponseKind::Consumed(claim) => Incoming::Consume { request_id: id.clone(), claim },
        ResponseKind::Recorded => Incoming::Outcome(id.clone()),
    }
}
