//! Which kind of ledger something is about. Only a flag says so, never a file or an answer.

use std::fmt;

use serde::Serialize;

/// The ledger behind a JSON-RPC endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LedgerKind {
    /// A contract on an EVM chain.
    Evm,
    /// The in-memory ledger of `--mock-chain`: a show, which proves nothing.
    Mock,
}

impl LedgerKind {
    /// The name in the EIP-712 domain: what is signed for one kind counts for no other.
    pub const fn domain_name(self) -> &'static str {
        match self {
            LedgerKind::Evm => "Guardrail",
            LedgerKind::Mock => "Guardrail Mock",
        }
    }

    pub const fn is_mock(self) -> bool {
        match self {
            LedgerKind::Evm => false,
            LedgerKind::Mock => true,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            LedgerKind::Evm => "evm",
            LedgerKind::Mock => "mock",
        }
    }
}

impl fmt::Display for LedgerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
