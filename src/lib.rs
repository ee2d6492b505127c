//! A guard for autonomous DevOps agents: what is critical runs only after people approved
//! that exact action on a chain.

pub mod atomic_file;
pub mod audit;
pub mod bridge;
pub mod channel;
pub mod cli;
pub mod config;
pub mod contract;
pub mod crash;
pub mod crypto;
pub mod evidence;
pub mod graph;
pub mod llm;
pub mod mock;
pub mod node;
pub mod risk;
pub mod schema;
pub mod shutdown;
pub mod suggest;
pub mod telemetry;
pub mod tools;
pub mod web;
