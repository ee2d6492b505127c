//! What a run looks like on a terminal: one line or two an event, what matters in colour.

use std::io::Write;

use serde_json::Value;

use super::mock;
use super::pending::printable;
use crate::graph::events::WaitingFor;
use crate::graph::{AgentEvent, EventSink};
use crate::risk::RiskRoute;
use crate::schema::{LedgerKind, Timestamp};

/// Longest value that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 160;

/// ANSI colours, where the terminal wants them (https://no-color.org).
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    pub fn for_stderr() -> Self {
        Paint { on: crate::telemetry::colours() }
    }

    #[cfg(test)]
    pub fn plain() -> Self {
        Paint { on: false }
    }

    #[cfg(test)]
    pub fn coloured() -> Self {
        Paint { on: true }
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.code("2", text)
    }

    pub fn good(self, text: &str) -> String {
        self.code("32", text)
    }

    pub fn bad(self, text: &str) -> String {
        self.code("31", text)
    }

    /// What is only a show.
    pub fn mock(self, text: &str) -> String {
        self.code("1;35", text)
    }

    pub fn attention(self, text: &str) -> String {
        self.code("1;33", text)
    }
}

/// Follows a run on stderr.
pub struct Screen {
    ledger: LedgerKind,
    paint: Paint,
    /// Nodes and checkpoints too.
    debug: bool,
    /// What another terminal needs to reach the same set-up, each with a space before it.
    flags: String,
}

impl Screen {
    pub fn new(ledger: LedgerKind, debug: bool, flags: String) -> Self {
        Screen { ledger, paint: Paint::for_stderr(), debug, flags }
    }
}

impl EventSink for Screen {
    fn emit(&self, event: &AgentEvent) {
        let Some(mut text) = line(self.paint, self.debug, &self.flags, event) else { return };
        if self.ledger.is_mock() && is_of_ledger(event) {
            text.push_str(&self.paint.mock(mock::suffix(self.ledger)));
        }
        // A closed terminal must not stop a run.
        if writeln!(std::io::stderr().lock(), "{text}").is_err() {
            tracing::debug!(target: "guardrail::cli", "stderr is closed");
        }
    }
}

/// Whether an event tells of the ledger, or of what it is asked for.
fn is_of_ledger(event: &AgentEvent) -> bool {
    match event {
        AgentEvent::Started { .. }
        | AgentEvent::Resumed { .. }
        | AgentEvent::AuthorizationRequested { .. }
        | AgentEvent::Waiting { .. }
        | AgentEvent::ResponseRejected { .. }
        | AgentEvent::DecisionVerified { .. }
        | AgentEvent::AuthorizationEnded { .. }
        | AgentEvent::Consumed { .. }
        | AgentEvent::OutcomeRecorded { .. }
        | AgentEvent::OutcomeUnconfirmed { .. } => true,
        AgentEvent::NodeStarted { .. }
        | AgentEvent::CheckpointSaved { .. }
        | AgentEvent::Thought { .. }
        | AgentEvent::ActionChosen { .. }
        | AgentEvent::RiskAssessed { .. }
        | AgentEvent::OperatorAnswered { .. }
        | AgentEvent::ActionRefused { .. }
        | AgentEvent::ToolStarted { .. }
        | AgentEvent::ToolFinished { .. }
        | AgentEvent::RequestPublished { .. }
        | AgentEvent::ClaimDrawn { .. }
        | AgentEvent::ConsumeAsked { .. }
        | AgentEvent::IntentWritten { .. }
        | AgentEvent::CriticalStarted { .. }
        | AgentEvent::OutcomeWritten { .. }
        | AgentEvent::ErrorHandled { .. }
        | AgentEvent::Finished { .. } => false,
    }
}

/// One JSON object a line on stdout, for `--json`; on the mock ledger each says so.
pub struct JsonLines {
    ledger: LedgerKind,
}

impl JsonLines {
    pub fn new(ledger: LedgerKind) -> Self {
        JsonLines { ledger }
    }

    fn line(&self, event: &AgentEvent) -> serde_json::Result<String> {
        let mut value = serde_json::to_value(event)?;
        if let (LedgerKind::Mock, Some(fields)) = (self.ledger, value.as_object_mut()) {
            fields.insert("ledger".to_owned(), self.ledger.as_str().into());
        }
        serde_json::to_string(&value)
    }
}

impl EventSink for JsonLines {
    fn emit(&self, event: &AgentEvent) {
        let written = self
            .line(event)
            .map_err(std::io::Error::other)
            .and_then(|line| writeln!(std::io::stdout().lock(), "{line}"));
        if let Err(error) = written {
            tracing::debug!(target: "guardrail::cli", %error, "stdout is closed");
        }
    }
}

fn line(paint: Paint, debug: bool, flags: &str, event: &AgentEvent) -> Option<String> {
    let text = match event {
        AgentEvent::Started { checkpoint, planner } => {
            format!(
                "{} {}\n{}",
                paint.bold("agent"),
                paint.dim(&format!("thread {}", checkpoint.thread)),
                paint.attention(planner)
            )
        }
        AgentEvent::Resumed { checkpoint, planner, .. } => {
            format!("{} from checkpoint {checkpoint}\n{}", paint.bold("resumed"), paint.attention(planner))
        }
        AgentEvent::NodeStarted { node } => return debug.then(|| paint.dim(&format!("  node {node}"))),
        AgentEvent::CheckpointSaved { checkpoint, .. } => {
            return debug.then(|| paint.dim(&format!("  checkpoint {checkpoint}")));
        }
        AgentEvent::Thought { text } => format!("{} {}", paint.dim("thinks "), printable(text)),
        AgentEvent::ActionChosen { tool_name, parameters } => {
            let shown: Vec<String> = parameters
                .iter()
                .filter(|(name, _)| *name != "reasoning")
                .map(|(name, value)| format!("{name}={}", short(value)))
                .collect();
            format!("{} {} {}", paint.dim("chooses"), paint.bold(&printable(tool_name)), shown.join(" "))
        }
        AgentEvent::RiskAssessed { assessment, .. } => {
            let why: Vec<String> = assessment
                .modifiers
                .iter()
                .map(|m| format!("{} {:+}", m.name, f64::from(m.delta_bps) / 10_000.0))
                .collect();
            let route = match assessment.route {
                RiskRoute::Execute => paint.good("runs"),
                RiskRoute::ExecuteAndReview => paint.good("runs, listed for review"),
                RiskRoute::AskOperator => paint.attention("asks the terminal"),
                RiskRoute::RequireAuthorization => paint.attention("needs approval on chain"),
            };
            let base = assessment.base.as_f64();
            format!(
                "{} {} ({}; base {base}{}{}) → {route}",
                paint.dim("risk   "),
                assessment.score,
                assessment.tier,
                if why.is_empty() { "" } else { ", " },
                why.join(", ")
            )
        }
        AgentEvent::OperatorAnswered { granted, .. } => {
            format!("{} {}", paint.dim("answer "), if *granted { "yes" } else { "no" })
        }
        AgentEvent::ActionRefused { tool_name, reason } => {
            paint.bad(&format!("refused {tool_name}: {}", printable(reason)))
        }
        AgentEvent::ToolStarted { .. } => return None,
        AgentEvent::ToolFinished { tool_name, ok, value } => {
            let mark = if *ok { paint.good("done   ") } else { paint.bad("failed ") };
            format!("{mark} {tool_name} → {}", short(value))
        }
        AgentEvent::AuthorizationRequested { request_id, tool_name, risk_score, action_hash, resumes_from } => format!(
            "\n{} {tool_name} at risk {risk_score} does not run without approval\n        request {request_id}\n        action  {action_hash}\n        the agent is stopped at checkpoint {resumes_from}",
            paint.attention("STOP   ")
        ),
        AgentEvent::RequestPublished { .. } => return debug.then(|| paint.dim("  request published")),
        AgentEvent::Waiting { what: WaitingFor::Consumption | WaitingFor::Record, .. } => return None,
        AgentEvent::Waiting { request_id, what: WaitingFor::Decision, until } => {
            let left_s = until.unix_s().saturating_sub(Timestamp::now().unix_s());
            format!(
                "{} for a decision, {left_s} s left\n        guardrail{flags} approve {request_id}\n        guardrail{flags} deny {request_id} --reason …",
                paint.attention("waits  ")
            )
        }
        AgentEvent::ResponseRejected { step, reason, .. } => paint
            .bad(&format!("a response failed verification at step {step} and was quarantined: {}", printable(reason))),
        AgentEvent::DecisionVerified { approved: true, approvers, conditions, tx_hash, block_number, .. } => {
            let who: Vec<String> = approvers.iter().map(|a| a.to_checksum(None)).collect();
            let conditions = if conditions.is_empty() {
                String::new()
            } else {
                format!("\n        conditions: {}", printable(&conditions.join("; ")))
            };
            format!(
                "{} by {}\n        transaction {tx_hash}, block {block_number}; votes, proofs and signature verified{conditions}",
                paint.good("APPROVED"),
                who.join(" and ")
            )
        }
        AgentEvent::DecisionVerified { refusal, approvers, tx_hash, block_number, .. } => {
            let by: Vec<String> =
                approvers.iter().filter(|a| !a.is_zero()).map(|a| format!(" by {}", a.to_checksum(None))).collect();
            let why = refusal.as_ref().map(|(_, reason)| printable(reason)).unwrap_or_default();
            let place = if tx_hash.is_zero() {
                String::new()
            } else {
                format!("\n        transaction {tx_hash}, block {block_number}")
            };
            format!("{}{}: {why}{place}", paint.bad("DENIED"), by.concat())
        }
        AgentEvent::AuthorizationEnded { reason, .. } => format!("{} {}", paint.bad("no decision:"), printable(reason)),
        AgentEvent::ClaimDrawn { .. } | AgentEvent::ConsumeAsked { .. } => {
            return debug.then(|| paint.dim("  consuming the authorization"));
        }
        AgentEvent::Consumed { tx_hash, block_number, chain, .. } => {
            format!(
                "{} once, for this process alone\n        transaction {tx_hash}, block {block_number}; {chain}",
                paint.good("consumed")
            )
        }
        AgentEvent::IntentWritten { .. } => return debug.then(|| paint.dim("  intent written")),
        AgentEvent::CriticalStarted { tool_name, .. } => {
            format!("{} {tool_name} runs with its permit", paint.attention("RESUMES"))
        }
        AgentEvent::OutcomeWritten { outcome, .. } => format!("{} {outcome}", paint.dim("outcome")),
        AgentEvent::OutcomeRecorded { tx_hash, block_number, .. } => {
            format!("{} on chain\n        transaction {tx_hash}, block {block_number}", paint.good("recorded"))
        }
        AgentEvent::OutcomeUnconfirmed { reason, .. } => {
            paint.bad(&format!("the outcome is not seen on chain yet: {}", printable(reason)))
        }
        AgentEvent::ErrorHandled { node, detail, .. } => paint.bad(&format!("error in {node}: {}", printable(detail))),
        AgentEvent::Finished { .. } => return None,
    };
    Some(text)
}

/// A value on one line, not longer than [`SHOWN_CHARS_MAX`].
fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text = printable(&text.replace('\n', " "));
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text;
    }
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{cut}… ({} characters)", text.chars().count())
}
