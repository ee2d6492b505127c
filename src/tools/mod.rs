//! The tools an agent may call: one registry, one validator, one file a tool.
//!
//! *Invariants.* Nothing outside the workspace is opened or written, whatever a symbolic
//! link says. No program is started through a shell. A critical tool does nothing without a
//! [`Permit`], and only a verified consumption makes one. No tool strips input silently: it
//! is taken as it is or refused with the rule it breaks.

mod delete_database;
mod deploy_to_production;
pub mod error;
#[cfg(test)]
mod fixture;
mod git;
mod git_commit;
mod language;
mod output;
mod permit;
mod process;
mod read_file;
mod registry;
mod run_unit_tests;
mod search_codebase;
pub mod settings;
mod spec;
pub mod validators;
mod workspace;
mod write_file;

pub use error::ToolError;
pub use permit::Permit;
pub use registry::{Registry, ValidCall};
pub use settings::{ToolConfig, ToolSettings};
pub use spec::ToolSpec;
pub use workspace::Workspace;
