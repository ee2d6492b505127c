//! The in-memory ledger behind `--mock-chain`: the whole flow with no node, and no proof of anything.
//!
//! The seam between Guardrail and a ledger is Ethereum's JSON-RPC, so bridge, commands and
//! verifier run unchanged against this one. [`authorization`] is the contract, [`acts`] what it
//! does, [`chain`] the blocks, [`pool`] what waits for one, [`rpc`] and [`eth`] the endpoint,
//! [`approvals`] the approvers that sign by themselves, [`server`] runs them. What counts here
//! is signed under the EIP-712 name "Guardrail Mock", which no verifier takes without being told to.

mod acts;
pub mod approvals;
pub mod authorization;
pub mod chain;
pub mod eth;
#[cfg(test)]
mod fixture;
pub mod pool;
pub mod rpc;
pub mod server;

use alloy::primitives::{Address, address};

pub use chain::{Chain, ChainSettings, LedgerEvent};
pub use server::{Approvals, MockConfig, MockLedger, Observer};

/// Where the contract is: the end of keccak256("Guardrail Mock"). It is no address that a
/// deployment gives on any chain, so a transaction for one ledger calls nothing on another.
pub const CONTRACT: Address = address!("79ac1bdf56b747c86019bb6acfbb81adc0662f4e");

/// How `web3_clientVersion` begins.
pub const CLIENT: &str = "Guardrail Mock/";

/// Whether a client's version says that it is this ledger.
pub fn is_mock_client(version: &str) -> bool {
    version.starts_with(CLIENT)
}

#[derive(Debug, thiserror::Error)]
pub enum MockError {
    #[error("the mock ledger cannot be set up: {0}")]
    Setup(String),
    #[error("the mock ledger listens on loopback addresses alone, {0} is none")]
    NotLoopback(std::net::SocketAddr),
    #[error("the mock ledger cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("the mock ledger's keys: {0}")]
    Key(#[from] crate::crypto::key::KeyError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::keccak256;

    #[test]
    fn the_contract_is_where_its_name_says_and_the_client_says_what_it_is() {
        assert_eq!(CONTRACT, Address::from_slice(&keccak256("Guardrail Mock")[12..]));
        assert_ne!(CONTRACT, fixture::dev(8).address().create(0));
        assert!(is_mock_client("Guardrail Mock/0.1.0"));
        assert!(!is_mock_client("anvil/v1.7.1") && !is_mock_client("Guardrail/0.1.0"));
    }
}
