//! File names of the channel: each kind has one spelling, and parses back to what it names.

use alloy::primitives::Address;

use crate::schema::{AuthorizationId, RequestId, Sha256Digest};

/// What a file in `requests/`, `votes/` or the single slot is, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Request(RequestId),
    Consume {
        request_id: RequestId,
        claim: Sha256Digest,
    },
    Outcome(RequestId),
    Vote {
        id: AuthorizationId,
        approver: Address,
    },
    /// `auth_request.json`, under a fresh name once it is claimed.
    Slot {
        claimed_as: Option<String>,
    },
}

/// The inbox of the simplest clients.
pub const SLOT_REQUEST: &str = "auth_request.json";
/// The answer to a request that came by the single slot.
pub const SLOT_RESPONSE: &str = "auth_response.json";
const SLOT_CLAIMED: &str = "auth_request.";

impl Incoming {
    /// Parses a file name of `requests/` or `claimed/`.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".json")?;
        if let Some(id) = stem.strip_suffix(".outcome") {
            return id.parse().ok().map(Incoming::Outcome);
        }
        if let Some(rest) = stem.strip_suffix(".consume") {
            let (id, claim) = rest.split_once('.')?;
            return Some(Incoming::Consume { request_id: id.parse().ok()?, claim: claim.parse().ok()? });
        }
        if stem.starts_with("0x") {
            let (id, approver) = stem.split_once('.')?;
            let lower = approver.bytes().all(|b| !b.is_ascii_uppercase());
            let approver = approver.parse().ok().filter(|_| lower && approver.starts_with("0x"))?;
            return Some(Incoming::Vote { id: id.parse().ok()?, approver });
        }
        if name.starts_with(SLOT_CLAIMED) && name != SLOT_REQUEST {
            return Some(Incoming::Slot { claimed_as: Some(name.to_owned()) });
        }
        stem.parse().ok().map(Incoming::Request)
    }

    pub fn file_name(&self) -> String {
        match self {
            Incoming::Request(id) => format!("{id}.json"),
            Incoming::Consume { request_id, claim } => format!("{request_id}.{claim}.consume.json"),
            Incoming::Outcome(id) => format!("{id}.outcome.json"),
            Incoming::Vote { id, approver } => format!("{id}.{approver:#x}.json"),
            Incoming::Slot { claimed_as: Some(name) } => name.clone(),
            Incoming::Slot { claimed_as: None } => SLOT_REQUEST.to_owned(),
        }
    }

    /// The name under which a claimed slot file is kept until it is parsed.
    pub fn slot_claim(random: [u8; 8]) -> Self {
        Incoming::Slot { claimed_as: Some(format!("{SLOT_CLAIMED}{}.json", alloy::hex::encode(random))) }
    }
}

/// Which answer to a request a file in `responses/` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseKind {
    /// Approved or denied.
    Decision,
    /// Consumed, or why it could not be, under this claim.
    Consumed(Sha256Digest),
    Recorded,
}

impl ResponseKind {
    pub fn file_name(self, id: &RequestId) -> String {
        match self {
            ResponseKind::Decision => format!("{id}.json"),
            ResponseKind::Consumed(claim) => format!("{id}.{claim}.consumed.json"),
            ResponseKind::Recorded => format!("{id}.recorded.json"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back() {
        let id: RequestId = "0193a1b2-0000-7000-8000-000000000001".parse().unwrap();
        let claim: Sha256Digest = "ab".repeat(32).parse().unwrap();
        let vote = Incoming::Vote {
            id: format!("0x{}", "cd".repeat(32)).parse().unwrap(),
            approver: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap(),
        };
        for incoming in [
            Incoming::Request(id.clone()),
            Incoming::Consume { request_id: id.clone(), claim },
            Incoming::Outcome(id),
            vote.clone(),
            Incoming::slot_claim([7; 8]),
        ] {
            assert_eq!(Incoming::parse(&incoming.file_name()), Some(incoming));
        }
        assert!(vote.file_name().ends_with(".0x70997970c51812dc3a010c7d01b50e0d17dc79c8.json"));
        for stranger in
            ["x.json", "auth_request.json", ".json", "0193a1b2-0000-7000-8000-000000000001", "a.outcome.json", "..json"]
        {
            assert_eq!(Incoming::parse(stranger), None, "{stranger}");
        }
    }
}
