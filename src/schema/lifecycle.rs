//! The life of a request, as the bridge journals it: one pure, total function.
//!
//! The live path and the recovery after a crash both go through [`RequestState::next`];
//! whatever it refuses never happened.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// Journalled, not yet seen on chain.
    Received,
    /// Requested on chain, undecided.
    Pending,
    Approved,
    Denied,
    Cancelled,
    /// A confirmed block at or after the expiry shows it undecided or unconsumed.
    Expired,
    /// The contract would not take it.
    Refused,
    Consumed,
    Recorded,
}

/// What can happen to a request. Each comes from a confirmed event of the chain, but
/// `Refused` (a reverted request transaction) and `Forgotten` (the chain lost what it had).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LifecycleEvent {
    Requested,
    Approved,
    Denied,
    Cancelled,
    ExpiryPassed,
    Refused,
    Consumed,
    Recorded,
    /// A rollback of the node or a reorg removed the request itself.
    Forgotten,
}

/// An event that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request that is {state} cannot take the event {event:?}")]
pub struct IllegalEvent {
    pub state: RequestState,
    pub event: LifecycleEvent,
}

impl RequestState {
    pub const ALL: [RequestState; 9] = [
        RequestState::Received,
        RequestState::Pending,
        RequestState::Approved,
        RequestState::Denied,
        RequestState::Cancelled,
        RequestState::Expired,
        RequestState::Refused,
        RequestState::Consumed,
        RequestState::Recorded,
    ];

    /// The state after an event. An event that repeats what is already so changes nothing.
    ///
    /// # Errors
    /// [`IllegalEvent`] where the contract could not have emitted the event.
    pub fn next(self, event: LifecycleEvent) -> Result<RequestState, IllegalEvent> {
        use LifecycleEvent as E;
        use RequestState as S;
        match (self, event) {
            (S::Received, E::Requested) => Ok(S::Pending),
            (S::Received, E::Refused) => Ok(S::Refused),
            (S::Pending, E::Approved) => Ok(S::Approved),
            (S::Pending | S::Approved, E::Denied) => Ok(S::Denied),
            (S::Pending | S::Approved, E::Cancelled) => Ok(S::Cancelled),
            (S::Received | S::Pending | S::Approved, E::ExpiryPassed) => Ok(S::Expired),
            (S::Approved, E::Consumed) => Ok(S::Consumed),
            (S::Consumed, E::Recorded) => Ok(S::Recorded),

            (S::Pending | S::Approved | S::Denied | S::Cancelled | S::Consumed | S::Recorded, E::Forgotten) => {
                Ok(S::Received)
            }
            (S::Received, E::Forgotten) => Ok(S::Received),

            (S::Pending, E::Requested)
            | (S::Approved, E::Approved)
            | (S::Denied, E::Denied)
            | (S::Cancelled, E::Cancelled)
            | (S::Expired, E::ExpiryPassed)
            | (S::Refused, E::Refused)
            | (S::Consumed, E::Consumed)
            | (S::Recorded, E::Recorded) => Ok(self),

            // Seen again from the chain's start, an older event of the same life is no news.
            (S::Approved | S::Denied | S::Cancelled | S::Expired | S::Consumed | S::Recorded, E::Requested)
            | (S::Denied | S::Cancelled | S::Expired | S::Consumed | S::Recorded, E::Approved)
            | (S::Recorded, E::Consumed) => Ok(self),

            (state, event) => Err(IllegalEvent { state, event }),
        }
    }

    /// Whether the bridge still has something to do or to wait for.
    pub const fn is_open(self) -> bool {
        match self {
            RequestState::Received | RequestState::Pending | RequestState::Approved | RequestState::Consumed => true,
            RequestState::Denied
            | RequestState::Cancelled
            | RequestState::Expired
            | RequestState::Refused
            | RequestState::Recorded => false,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            RequestState::Received => "received",
            RequestState::Pending => "pending",
            RequestState::Approved => "approved",
            RequestState::Denied => "denied",
            RequestState::Cancelled => "cancelled",
            RequestState::Expired => "expired",
            RequestState::Refused => "refused",
            RequestState::Consumed => "consumed",
            RequestState::Recorded => "recorded",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        RequestState::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for RequestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::LifecycleEvent as E;
    use super::RequestState as S;
    use super::*;

    const EVENTS: [E; 9] = [
        E::Requested,
        E::Approved,
        E::Denied,
        E::Cancelled,
        E::ExpiryPassed,
        E::Refused,
        E::Consumed,
        E::Recorded,
        E::Forgotten,
    ];

    #[test]
    fn the_straight_life_and_its_ends() {
        let life = [E::Requested, E::Approved, E::Consumed, E::Recorded];
        assert_eq!(life.iter().try_fold(S::Received, |s, e| s.next(*e)), Ok(S::Recorded));
        assert_eq!(S::Approved.next(E::Denied), Ok(S::Denied));
        assert_eq!(S::Pending.next(E::Consumed), Err(IllegalEvent { state: S::Pending, event: E::Consumed }));
        assert_eq!(S::Consumed.next(E::Denied), Err(IllegalEvent { state: S::Consumed, event: E::Denied }));
        assert_eq!(S::Denied.next(E::Consumed), Err(IllegalEvent { state: S::Denied, event: E::Consumed }));
    }

    #[test]
    fn nothing_but_a_rollback_leaves_an_end() {
        for state in S::ALL.into_iter().filter(|s| !s.is_open()) {
            for event in EVENTS.into_iter().filter(|e| *e != E::Forgotten) {
                match state.next(event) {
                    Ok(next) => assert_eq!(next, state, "{event:?}"),
                    Err(illegal) => assert_eq!((illegal.state, illegal.event), (state, event)),
                }
            }
        }
    }

    #[test]
    fn every_event_is_idempotent() {
        for state in S::ALL {
            for event in EVENTS {
                if let Ok(next) = state.next(event) {
                    assert_eq!(next.next(event), Ok(next), "{state} {event:?}");
                }
            }
        }
    }

    #[test]
    fn names_round_trip() {
        for state in S::ALL {
            assert_eq!(S::parse(state.as_str()), Some(state));
        }
        assert_eq!(S::parse("gone"), None);
    }
}
