//! When an endpoint is left alone: one circuit breaker an endpoint, a pure state machine.
//!
//! Only trouble of the connection counts: a refused connection, a timeout, a server error, an
//! answer that is no JSON-RPC. A JSON-RPC error is an answer, so one class of errors that every
//! endpoint gives alike opens no circuit.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Failures in a row that open a circuit.
pub const FAILURES_MAX: u32 = 3;
/// First and longest time that an open circuit is left alone.
const OPEN_FIRST: Duration = Duration::from_millis(500);
const OPEN_MAX: Duration = Duration::from_secs(30);

/// Whether an endpoint is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// It works.
    Closed,
    /// Its pause is over: the next question shows whether it works.
    HalfOpen,
    /// It is asked only when there is no other.
    Open,
}

impl CircuitState {
    pub const fn as_str(self) -> &'static str {
        match self {
            CircuitState::Closed => "closed",
            CircuitState::HalfOpen => "half_open",
            CircuitState::Open => "open",
        }
    }
}

/// The breaker of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct Circuit {
    failures: u32,
    open_until: Option<Instant>,
    last_error: Option<String>,
}

impl Circuit {
    pub fn state(&self, now: Instant) -> CircuitState {
        match self.open_until {
            None => CircuitState::Closed,
            Some(until) if now >= until => CircuitState::HalfOpen,
            Some(_) => CircuitState::Open,
        }
    }

    /// When an open circuit may be tried again; the past for one that is not open.
    pub fn retry_at(&self) -> Option<Instant> {
        self.open_until
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    pub fn succeeded(&mut self) {
        *self = Circuit::default();
    }

    /// Counts a failure. From [`FAILURES_MAX`] in a row on the pause doubles, up to a bound;
    /// `jitter` in [0, 1] takes up to half of it away, so that many bridges do not come back at once.
    pub fn failed(&mut self, now: Instant, error: String, jitter: f64) {
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error);
        if self.failures >= FAILURES_MAX {
            let doublings = (self.failures - FAILURES_MAX).min(16);
            let pause = OPEN_FIRST.saturating_mul(1 << doublings).min(OPEN_MAX);
            self.open_until = Some(now + pause.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0));
        }
    }

    /// Leaves an endpoint alone that answers, but not of this chain.
    pub fn condemn(&mut self, now: Instant, why: String) {
        self.failures = self.failures.max(FAILURES_MAX);
        self.last_error = Some(why);
        self.open_until = Some(now + OPEN_MAX);
    }

    /// Leaves an endpoint alone that asked for it (HTTP 429), without counting a failure.
    pub fn rest(&mut self, now: Instant, pause: Duration, why: String) {
        self.last_error = Some(why);
        self.open_until = Some(now + pause.min(OPEN_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_three_failures_and_closes_with_one_success() {
        let now = Instant::now();
        let mut circuit = Circuit::default();
        for _ in 1..FAILURES_MAX {
            circuit.failed(now, "refused".to_owned(), 0.0);
            assert_eq!(circuit.state(now), CircuitState::Closed);
        }
        circuit.failed(now, "refused".to_owned(), 0.0);
        assert_eq!(circuit.state(now), CircuitState::Open);
        assert_eq!(circuit.state(now + OPEN_FIRST), CircuitState::HalfOpen);
        circuit.failed(now + OPEN_FIRST, "refused".to_owned(), 0.0);
        assert_eq!(circuit.state(now + OPEN_FIRST + OPEN_FIRST), CircuitState::Open);
        circuit.succeeded();
        assert_eq!((circuit.state(now), circuit.failures(), circuit.last_error()), (CircuitState::Closed, 0, None));
    }

    #[test]
    fn its_pause_has_a_bound_and_jitter_takes_at_most_half() {
        let now = Instant::now();
        for (jitter, least, most) in [(0.0, OPEN_MAX, OPEN_MAX), (1.0, OPEN_MAX / 2, OPEN_MAX / 2)] {
            let mut circuit = Circuit::default();
            for _ in 0..100 {
                circuit.failed(now, "timeout".to_owned(), jitter);
            }
            let pause = circuit.retry_at().unwrap() - now;
            assert!(pause >= least && pause <= most, "{pause:?}");
        }
    }

    #[test]
    fn a_rest_is_no_failure() {
        let now = Instant::now();
        let mut circuit = Circuit::default();
        circuit.rest(now, Duration::from_secs(2), "429".to_owned());
        assert_eq!((circuit.state(now), circuit.failures()), (CircuitState::Open, 0));
        assert_eq!(circuit.state(now + Duration::from_secs(2)), CircuitState::HalfOpen);
    }
}
