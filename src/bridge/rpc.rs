//! What an endpoint's answer to a broadcast means.

use alloy::transports::{RpcError, TransportErrorKind};

/// The three outcomes of a send. Only the last frees a nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    Accepted,
    /// Nobody knows: a timeout, a lost reply, an answer of a proxy. The default.
    PossiblySent(String),
    /// The node looked at the transaction and will not have it.
    CertainlyRejected(String),
}

/// What geth, reth, erigon, nethermind and Anvil say of a transaction that they already have.
const KNOWN: [&str; 4] = ["already known", "known transaction", "already imported", "alreadyknown"];

/// What nodes say of a transaction that can never be in their pool as it is.
const REJECTED: [&str; 9] = [
    "insufficient funds",
    "intrinsic gas too low",
    "exceeds block gas limit",
    "gas limit is too high",
    "max fee per gas less than block base fee",
    "max priority fee per gas higher than max fee per gas",
    "invalid chain id",
    "oversized data",
    "transaction gas limit too high",
];

/// Classifies the answer to `eth_sendRawTransaction`.
///
/// Nodes have no common error codes for this, so the texts decide; whatever is not on the
/// lists may have been sent.
pub fn classify_send<T>(answer: Result<T, RpcError<TransportErrorKind>>) -> SendOutcome {
    match answer {
        Ok(_) => SendOutcome::Accepted,
        Err(RpcError::ErrorResp(payload)) => classify_text(&payload.message),
        Err(error) => SendOutcome::PossiblySent(error.to_string()),
    }
}

/// Classifies the message of a JSON-RPC error in answer to a broadcast.
pub fn classify_text(message: &str) -> SendOutcome {
    let text = message.to_lowercase();
    if KNOWN.iter().any(|known| text.contains(known)) {
        SendOutcome::Accepted
    } else if REJECTED.iter().any(|rejected| text.contains(rejected)) {
        SendOutcome::CertainlyRejected(message.to_owned())
    } else {
        SendOutcome::PossiblySent(message.to_owned())
    }
}

/// The revert of an `eth_call` or `eth_estimateGas`, as the contract's error; `None` where the
/// call failed for another reason than the contract's word.
pub fn revert_of(error: &RpcError<TransportErrorKind>) -> Option<String> {
    let payload = error.as_error_resp()?;
    if let Some(data) = payload.as_revert_data() {
        return Some(crate::contract::revert_reason(&data).unwrap_or_else(|| payload.message.to_string()));
    }
    payload.message.contains("revert").then(|| payload.message.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::rpc::json_rpc::ErrorPayload;

    fn answer(message: &'static str) -> SendOutcome {
        let payload = ErrorPayload { code: -32000, message: message.into(), data: None };
        classify_send::<()>(Err(RpcError::ErrorResp(payload)))
    }

    #[test]
    fn only_a_clear_no_is_a_rejection() {
        assert_eq!(classify_send(Ok(())), SendOutcome::Accepted);
        assert_eq!(answer("already known"), SendOutcome::Accepted);
        assert!(matches!(answer("insufficient funds for gas * price + value"), SendOutcome::CertainlyRejected(_)));
        assert!(matches!(answer("nonce too low"), SendOutcome::PossiblySent(_)));
        assert!(matches!(answer("replacement transaction underpriced"), SendOutcome::PossiblySent(_)));
        assert!(matches!(answer("internal error"), SendOutcome::PossiblySent(_)));
        let lost = RpcError::Transport(TransportErrorKind::BackendGone);
        assert!(matches!(classify_send::<()>(Err(lost)), SendOutcome::PossiblySent(_)));
    }
}
