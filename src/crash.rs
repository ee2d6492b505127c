//! Named points at which a test can kill this very process, as a power cut would.
//!
//! Without the feature `failpoints` a point is nothing. With it, `FAILPOINTS="NAME=return"` in
//! the environment kills at the first pass, `NAME=2*off->return` at the third.

/// Every point, in the order of a request's life. `docs/crash_matrix.md` has a row for each.
pub const POINTS: [&str; 26] = [
    "claim.before",
    "claim.after",
    "sign.transaction.before",
    "sign.transaction.after",
    "journal.intake.before",
    "journal.intake.after",
    "journal.nonce.before",
    "journal.nonce.after",
    "send.before",
    "send.after",
    "receipt.before",
    "receipt.after",
    "journal.events.before",
    "journal.events.after",
    "sign.response.before",
    "sign.response.after",
    "journal.response.before",
    "journal.response.after",
    "publish.before",
    "publish.after",
    "journal.published.before",
    "journal.published.after",
    "finish.before",
    "finish.after",
    "journal.replacement.before",
    "journal.replacement.after",
];

/// Reads `FAILPOINTS`; what it configures holds while the returned guard lives.
#[cfg(feature = "failpoints")]
pub fn arm() -> fail::FailScenario<'static> {
    fail::FailScenario::setup()
}

/// Passes a point of [`POINTS`].
#[cfg(feature = "failpoints")]
pub fn point(name: &str) {
    debug_assert!(POINTS.contains(&name), "{name} is no point of the list");
    fail::fail_point!(name, |_| kill());
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn point(_name: &str) {}

/// SIGKILL: no handler runs, nothing is flushed.
#[cfg(feature = "failpoints")]
fn kill() {
    let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal is fatal and cannot be held back; getting here means that it was not sent.
    if killed.is_err() {
        std::process::abort();
    }
}
