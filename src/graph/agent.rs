//! The step loop: run a node, write a checkpoint, ask the router.
//!
//! *Invariants.* A node is begun only from a checkpoint or with every step since it free of
//! traces. No code in this module knows what a node does, and no node knows what comes next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::authorization::Arrival;
use super::checkpoint::{CheckpointStore, NewCheckpoint, ThreadLock};
use super::config::AgentConfig;
use super::end::{AgentError, RunEnd, RunEndReason};
use super::events::{AgentEvent, EventSink};
use super::records::Records;
use super::state::{AgentState, CheckpointId, ThreadId, leaves_traces};
use super::topology::{Graph, INTERRUPT_BEFORE, Node, START, Target};
use crate::channel::Channel;
use crate::crypto::random;
use crate::evidence::Verifier;
use crate::llm::{Planner, ToolSpecView};
use crate::risk::{RiskAssessment, RiskPolicy};
use crate::schema::Timestamp;
use crate::tools::{Registry, Workspace};

/// What a person at the terminal is asked.
#[derive(Clone, Copy, Debug)]
pub struct OperatorQuestion<'a> {
    pub tool_name: &'a str,
    pub parameters: &'a Map<String, Value>,
    pub assessment: &'a RiskAssessment,
}

/// The person at the terminal. An error of the terminal is a no.
#[async_trait]
pub trait Operator: Send + Sync {
    async fn ask(&self, question: &OperatorQuestion<'_>) -> bool;
}

/// Where the verifier comes from. A run that asks for nothing never opens it, so it calls no chain.
#[async_trait]
pub trait VerifierSource: Send + Sync {
    /// Pins the anchors and connects to the agent's own endpoint; an error says what to do.
    async fn open(&self) -> Result<Verifier, NoVerifier>;
}

/// Why there is nothing to verify with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoVerifier {
    pub reason: String,
    /// What was found is not what is pinned; nothing is wrong with the connection.
    pub untrusted: bool,
}

#[async_trait]
impl VerifierSource for Verifier {
    async fn open(&self) -> Result<Verifier, NoVerifier> {
        Ok(self.clone())
    }
}

/// What a run does where the graph is interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtInterrupt {
    /// Waits for the decision, up to the authorization timeout.
    #[default]
    Wait,
    /// Publishes the request and leaves; `--resume` goes on.
    Leave,
}

/// Everything an agent is made of.
pub struct AgentParts {
    pub config: AgentConfig,
    /// From `tool_config.yaml`: how long a decision is waited for.
    pub authorization_timeout: Duration,
    pub at_interrupt: AtInterrupt,
    pub registry: Registry,
    pub risk: RiskPolicy,
    pub planner: Arc<dyn Planner>,
    pub channel: Channel,
    /// Opened when something is first asked for; where that fails, nothing is.
    pub verifier: Arc<dyn VerifierSource>,
    pub store: CheckpointStore,
    pub state_dir: PathBuf,
    pub workspace: Workspace,
    /// Without one, what an operator would have to decide is refused.
    pub operator: Option<Arc<dyn Operator>>,
    pub events: Arc<dyn EventSink>,
}

/// An agent. Several runs may go on at once, each on a thread of its own.
pub struct Agent {
    pub(super) parts: AgentParts,
    pub(super) records: Records,
    /// What the planner is told of the tools.
    pub(super) tools: Vec<ToolSpecView>,
    opened: OnceCell<Verifier>,
    graph: Graph,
}

/// What every node of one run may use.
pub(super) struct Run<'a> {
    pub lock: &'a ThreadLock,
    pub stop: &'a CancellationToken,
    /// When the run or its resumption began.
    pub began: Timestamp,
}

/// How a node ended.
pub(super) enum Step {
    Done,
    /// The run ends before this node; a resumed one begins it anew.
    Leave(RunEndReason),
}

/// Where a run is: the state, what comes next, and what of it is on disk.
struct Position {
    state: AgentState,
    node: Option<Node>,
    next: Target,
    saved: CheckpointId,
    steps_unsaved: u32,
}

impl Agent {
    /// Checks the graph and the configuration, and opens the record directories.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn new(parts: AgentParts) -> Result<Self, AgentError> {
        parts.config.validate()?;
        let graph = Graph::standard()?;
        let records = Records::open(&parts.state_dir)?;
        let tools = parts
            .registry
            .specs()
            .map(|spec| ToolSpecView {
                name: spec.name.clone(),
                description: spec.description.clone(),
                parameters: spec.parameters.clone(),
            })
            .collect();
        Ok(Agent { parts, records, tools, opened: OnceCell::new(), graph })
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub fn store(&self) -> &CheckpointStore {
        &self.parts.store
    }

    /// Runs a prompt, in a new thread or as the next turn of one.
    ///
    /// # Errors
    /// [`AgentError::Unfinished`] for a thread that is in the middle of a run; otherwise what
    /// failed. The last checkpoint stands.
    pub async fn run(
        &self,
        thread: Option<ThreadId>,
        prompt: &str,
        stop: &CancellationToken,
    ) -> Result<RunEnd, AgentError> {
        let thread = match thread {
            Some(thread) => thread,
            None => ThreadId::generate(Timestamp::now(), random::bytes().map_err(AgentError::Random)?),
        };
        let lock = self.parts.store.lock_thread(&thread)?;
        let (mut state, parent) = match self.parts.store.latest(&thread)? {
            None => (AgentState::new(thread), None),
            Some(latest) => match latest.next {
                Target::End => (latest.state, Some(latest.id.number)),
                Target::Node(_) => return Err(AgentError::Unfinished { checkpoint: latest.id }),
            },
        };
        state.begin_turn(prompt);
        let next = Target::Node(START);
        let saved = self.save(&lock, parent, None, next, &state)?;
        self.emit(AgentEvent::Started { checkpoint: saved.clone(), planner: self.parts.planner.describe() });
        self.go(&lock, Position { state, node: None, next, saved, steps_unsaved: 0 }, stop).await
    }

    /// Goes on from a checkpoint. From an earlier one than the latest this is a fork; what was
    /// consumed, run or begun since then is on disk and is not repeated.
    ///
    /// # Errors
    /// [`AgentError`]; a thread that another process works on names that process.
    pub async fn resume(&self, id: &CheckpointId, stop: &CancellationToken) -> Result<RunEnd, AgentError> {
        let lock = self.parts.store.lock_thread(&id.thread)?;
        let checkpoint = self.parts.store.get(id)?;
        let mut position = Position {
            state: checkpoint.state,
            node: checkpoint.node,
            next: checkpoint.next,
            saved: checkpoint.id,
            steps_unsaved: 0,
        };
        if position.state.end.as_ref().is_some_and(super::state::EndReason::can_go_on) {
            position.state.renew_limits();
            position.next = Target::Node(START);
            position.steps_unsaved = 1;
        }
        self.emit(AgentEvent::Resumed {
            checkpoint: id.clone(),
            next: position.next,
            planner: self.parts.planner.describe(),
        });
        self.go(&lock, position, stop).await
    }

    async fn go(&self, lock: &ThreadLock, mut at: Position, stop: &CancellationToken) -> Result<RunEnd, AgentError> {
        let run = Run { lock, stop, began: Timestamp::now() };
        let deadline = Instant::now() + self.parts.config.run_timeout();
        loop {
            let node = match at.next {
                Target::Node(node) => node,
                Target::End => return self.finish(&run, at, None),
            };
            if stop.is_cancelled() {
                return self.finish(&run, at, Some(RunEndReason::Stopped));
            }
            if Instant::now() >= deadline {
                let limit_s = self.parts.config.agent.run_timeout;
                return self.finish(&run, at, Some(RunEndReason::RunTimeout { limit_s }));
            }
            if at.steps_unsaved > 0 && self.needs_checkpoint_before(node, &at.state) {
                self.save_position(&run, &mut at)?;
            }
            let mut state = at.state.clone();
            match self.step(&run, node, &at.saved, &mut state).await {
                Ok(Step::Done) => {}
                Ok(Step::Leave(reason)) => return self.finish(&run, at, Some(reason)),
                // Before its node began: the checkpoint stands, and a resumed run tries again.
                Err(AgentError::Verifier { reason, untrusted }) => {
                    return self.finish(&run, at, Some(RunEndReason::NoVerifier { reason, untrusted }));
                }
                Err(error) => return Err(error),
            }
            at.next = self.graph.next(node, node.router().decide(&state))?;
            at.state = state;
            at.node = Some(node);
            at.steps_unsaved += 1;
            if at.steps_unsaved >= self.parts.config.agent.checkpoint_interval || node.always_checkpointed() {
                self.save_position(&run, &mut at)?;
            }
        }
    }

    async fn step(
        &self,
        run: &Run<'_>,
        node: Node,
        saved: &CheckpointId,
        state: &mut AgentState,
    ) -> Result<Step, AgentError> {
        let mut arrival = None;
        match node {
            // Asking is no use where the answer could not be checked.
            Node::BlockchainRequest | Node::AuthorizationHandler | Node::CriticalExecution => {
                self.open_verifier().await?
            }
            Node::Reasoning | Node::RiskAssessment | Node::SafeExecution | Node::ErrorHandler => {}
        }
        if node == INTERRUPT_BEFORE {
            match self.wait_at_interrupt(run, state).await? {
                Arrival::Leave(reason) => return Ok(Step::Leave(reason)),
                other => arrival = Some(other),
            }
        }
        tracing::debug!(target: "guardrail::graph", thread = %state.thread, %node, "node");
        self.emit(AgentEvent::NodeStarted { node });
        match node {
            Node::Reasoning => self.reasoning(run, state).await,
            Node::RiskAssessment => self.risk_assessment(run, state).await,
            Node::SafeExecution => self.safe_execution(run, saved, state).await,
            Node::BlockchainRequest => self.blockchain_request(run, state).await,
            Node::AuthorizationHandler => self.authorization_handler(run, state, arrival).await,
            Node::CriticalExecution => self.critical_execution(run, state).await,
            Node::ErrorHandler => Ok(self.error_handler(state)),
        }
    }

    async fn open_verifier(&self) -> Result<(), AgentError> {
        let open = || async { self.parts.verifier.open().await };
        self.opened
            .get_or_try_init(open)
            .await
            .map(|_| ())
            .map_err(|no| AgentError::Verifier { reason: no.reason, untrusted: no.untrusted })
    }

    /// The verifier, once the node that needs it was begun.
    pub(super) fn verifier(&self) -> Result<&Verifier, AgentError> {
        self.opened
            .get()
            .ok_or_else(|| AgentError::Verifier { reason: "it was not opened".to_owned(), untrusted: false })
    }

    /// A node that leaves traces is begun from a checkpoint of its own, whatever the interval is.
    fn needs_checkpoint_before(&self, node: Node, state: &AgentState) -> bool {
        match node {
            Node::SafeExecution => state.assessment.as_ref().is_none_or(|a| leaves_traces(a.tier)),
            Node::BlockchainRequest | Node::AuthorizationHandler | Node::CriticalExecution => true,
            Node::Reasoning | Node::RiskAssessment | Node::ErrorHandler => false,
        }
    }

    fn finish(&self, run: &Run<'_>, mut at: Position, leaving: Option<RunEndReason>) -> Result<RunEnd, AgentError> {
        if at.steps_unsaved > 0 {
            self.save_position(run, &mut at)?;
        }
        let reason = match (leaving, &at.state.end) {
            (Some(reason), _) => reason,
            (None, Some(why)) => RunEndReason::Ended { why: why.clone() },
            // The error handler left its error standing: the edge to the end that is never taken.
            (None, None) => RunEndReason::Ended {
                why: super::state::EndReason::ErrorLimit {
                    last: at.state.error_state.as_ref().map(|e| e.detail.clone()).unwrap_or_default(),
                },
            },
        };
        self.emit(AgentEvent::Finished { checkpoint: at.saved.clone(), reason: reason.clone() });
        Ok(RunEnd { thread: run.lock.thread().clone(), checkpoint: at.saved, reason, state: at.state })
    }

    fn save_position(&self, run: &Run<'_>, at: &mut Position) -> Result<(), AgentError> {
        at.saved = self.save(run.lock, Some(at.saved.number), at.node, at.next, &at.state)?;
        at.steps_unsaved = 0;
        Ok(())
    }

    fn save(
        &self,
        lock: &ThreadLock,
        parent: Option<u32>,
        node: Option<Node>,
        next: Target,
        state: &AgentState,
    ) -> Result<CheckpointId, AgentError> {
        let new = NewCheckpoint { parent, node, next, state, now: Timestamp::now() };
        let checkpoint = self.parts.store.put(lock, new)?;
        tracing::debug!(target: "guardrail::graph", %checkpoint, %next, "checkpoint");
        self.emit(AgentEvent::CheckpointSaved { checkpoint: checkpoint.clone(), next });
        Ok(checkpoint)
    }

    pub(super) fn emit(&self, event: AgentEvent) {
        self.parts.events.emit(&event);
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
