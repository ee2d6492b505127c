//! One integration binary: real Anvil, real bridge processes, real files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod administration;
mod agent_flows;
mod auditing;
mod bad_input;
mod bridge_daemon;
mod bridge_life;
mod bundle_by_others;
mod bundle_lives;
mod bundle_mutations;
mod bundles;
mod contract_wallet;
mod crash_matrix;
mod demo_scenario;
mod disk_full;
mod evidence_fixture;
mod fault_support;
mod hostile_rpc;
mod inbox;
mod independent_checkers;
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
mod tampering;
mod two_bridges;
mod vectors;
mod wallets;
