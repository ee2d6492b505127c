//! The agent's graph: plan, assess, run or ask, verify, consume, act, record.
//!
//! [`topology`] is the graph as data, [`router`] its three decisions, [`agent`] the step loop.
//! The nodes are in [`nodes`], [`authorization`] and [`execution`]; [`critical`] decides what
//! comes next in a critical execution. [`state`] is what a [`checkpoint`] holds, [`records`]
//! what is kept beside checkpoints. *Invariants.* Only an approval that this process verified
//! leads to a critical tool. What is published was in a checkpoint before. Nothing here
//! prints; [`events`] tell.

pub mod agent;
mod authorization;
pub mod checkpoint;
pub mod config;
mod consumption;
pub mod critical;
pub mod end;
pub mod events;
mod execution;
mod export;
mod ids;
mod nodes;
pub mod records;
pub mod router;
pub mod state;
#[cfg(test)]
mod test_bench;
pub mod topology;

pub use agent::{Agent, AgentParts, AtInterrupt, NoVerifier, Operator, OperatorQuestion, VerifierSource};
pub use checkpoint::{Checkpoint, CheckpointStore, CheckpointSummary, StoreError};
pub use config::AgentConfig;
pub use end::{AgentError, ExitCode, RunEnd, RunEndReason};
pub use events::{AgentEvent, EventSink};
pub use export::ExportError;
pub use records::Records;
pub use state::{AgentState, CheckpointId, EndReason, ThreadId};
pub use topology::{Graph, Node};
