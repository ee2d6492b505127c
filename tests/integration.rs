//! One integration binary: real Anvil, real bridge processes, real files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod administration;
mod agent_flows;
mod bad_input;
mod bridge_daemon;
mod bridge_life;
mod crash_matrix;
mod demo_scenario;
mod disk_full;
mod fault_support;
mod hostile_rpc;
mod inbox;
mod jsonrpc;
mod keeping;
mod layering;
mod ledger_conformance;
mod many_pending;
mod node_kills;
mod node_life;
mod overflow;
mod proxy;
mod random_kills;
mod risk_data;
mod subscription;
mod support;
mod two_bridges;
mod vectors;
