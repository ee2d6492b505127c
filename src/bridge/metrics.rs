//! What the bridge counts and measures. The names stand here and nowhere else.
//!
//! The functions go to the recorder of the `metrics` crate, and nowhere while none is installed.

use std::time::Duration;

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use alloy::primitives::U256;

use super::alarms::Alarm;
use super::journal::ItemKind;
use super::live::ShownUrl;
use crate::channel::ResponseKind;
use crate::schema::{RequestState, Rule};

const ALARM: &str = "guardrail_alarm";
const REQUESTS: &str = "guardrail_requests";
const REQUESTS_TOTAL: &str = "guardrail_requests_total";
const RESPONSES_TOTAL: &str = "guardrail_responses_total";
const REFUSED_TOTAL: &str = "guardrail_refused_total";
const TRANSACTIONS_TOTAL: &str = "guardrail_transactions_total";
const REPLACEMENTS_TOTAL: &str = "guardrail_replacements_total";
const IN_FLIGHT: &str = "guardrail_in_flight";
const NONCE_NEXT: &str = "guardrail_nonce_next";
const BALANCE_WEI: &str = "guardrail_balance_wei";
const REQUESTS_PAID_FOR: &str = "guardrail_requests_paid_for";
const HEAD_NUMBER: &str = "guardrail_head_number";
const CONFIRMED_NUMBER: &str = "guardrail_confirmed_number";
const REORGS_TOTAL: &str = "guardrail_reorgs_total";
const ENDPOINT_UP: &str = "guardrail_endpoint_up";
const JOURNAL_COMMIT_SECONDS: &str = "guardrail_journal_commit_seconds";
const SEND_SECONDS: &str = "guardrail_send_seconds";

/// How a nonce ended. Each nonce counts once, however often its fee was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// Mined, and did what it was for.
    Mined,
    Reverted,
    /// Every endpoint refused it for certain, and the nonce was freed.
    Rejected,
    /// A transaction that the journal does not know took the nonce.
    Displaced,
}

impl TransactionOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            TransactionOutcome::Mined => "mined",
            TransactionOutcome::Reverted => "reverted",
            TransactionOutcome::Rejected => "rejected",
            TransactionOutcome::Displaced => "displaced",
        }
    }
}

/// Says what each name means, and sets the alarms to 0. Once, after the recorder is installed
/// and before an alarm can be raised.
pub fn describe() {
    describe_gauge!(ALARM, "1 while the alarm is on");
    describe_gauge!(REQUESTS, Unit::Count, "Requests in the journal, by state");
    describe_counter!(REQUESTS_TOTAL, Unit::Count, "Requests taken into the journal since the start");
    describe_counter!(RESPONSES_TOTAL, Unit::Count, "Responses published since the start, by kind");
    describe_counter!(REFUSED_TOTAL, Unit::Count, "Files refused since the start, by the rule they broke");
    describe_counter!(
        TRANSACTIONS_TOTAL,
        Unit::Count,
        "Nonces that ended since the start, by kind of work and outcome"
    );
    describe_counter!(REPLACEMENTS_TOTAL, Unit::Count, "Transactions sent again at a higher fee since the start");
    describe_gauge!(IN_FLIGHT, Unit::Count, "Nonces whose transactions are journalled and not yet mined");
    describe_gauge!(NONCE_NEXT, "The nonce of the next new transaction");
    describe_gauge!(BALANCE_WEI, "The requester's balance in wei");
    describe_gauge!(REQUESTS_PAID_FOR, Unit::Count, "Requests that the balance still pays for at the present fee");
    describe_gauge!(HEAD_NUMBER, "Number of the newest block");
    describe_gauge!(CONFIRMED_NUMBER, "Number of the newest block that is deep enough to count");
    describe_counter!(REORGS_TOTAL, Unit::Count, "Times that the chain lost blocks which had counted, since the start");
    describe_gauge!(ENDPOINT_UP, "1 while the endpoint answers, 0 while its circuit is open");
    describe_histogram!(JOURNAL_COMMIT_SECONDS, Unit::Seconds, "How long a durable write to the journal takes");
    describe_histogram!(SEND_SECONDS, Unit::Seconds, "How long broadcasting a transaction takes");
    for alarm in Alarm::ALL {
        alarm_cleared(alarm);
    }
}

pub(super) fn alarm_raised(alarm: Alarm) {
    gauge!(ALARM, "alarm" => alarm.as_str()).set(1.0);
}

pub(super) fn alarm_cleared(alarm: Alarm) {
    gauge!(ALARM, "alarm" => alarm.as_str()).set(0.0);
}

/// How many requests the journal holds in a state.
pub fn requests(state: RequestState, count: u64) {
    gauge!(REQUESTS, "state" => state.as_str()).set(count as f64);
}

/// A new request is in the journal.
pub fn request_journalled() {
    counter!(REQUESTS_TOTAL).increment(1);
}

/// A response was published.
pub fn response_published(kind: ResponseKind) {
    let kind = match kind {
        ResponseKind::Decision => "decision",
        ResponseKind::Consumed(_) => "consumed",
        ResponseKind::Recorded => "recorded",
    };
    counter!(RESPONSES_TOTAL, "kind" => kind).increment(1);
}

/// A file was refused.
pub fn refused(rule: Rule) {
    counter!(REFUSED_TOTAL, "rule" => rule.text()).increment(1);
}

/// A nonce ended.
pub fn transaction(kind: ItemKind, outcome: TransactionOutcome) {
    counter!(TRANSACTIONS_TOTAL, "kind" => kind.as_str(), "outcome" => outcome.as_str()).increment(1);
}

/// A transaction's fee was raised.
pub fn replacement() {
    counter!(REPLACEMENTS_TOTAL).increment(1);
}

/// How many nonces are on their way.
pub fn in_flight(count: usize) {
    gauge!(IN_FLIGHT).set(count as f64);
}

/// The nonce that comes next.
pub fn nonce_next(nonce: u64) {
    gauge!(NONCE_NEXT).set(nonce as f64);
}

/// The requester's balance; what a scrape shows is the nearest 64-bit float.
pub fn balance_wei(balance: U256) {
    gauge!(BALANCE_WEI).set(f64::from(balance));
}

/// How many requests the balance still pays for.
pub fn requests_paid_for(count: u64) {
    gauge!(REQUESTS_PAID_FOR).set(count as f64);
}

/// The newest block.
pub fn head_number(number: u64) {
    gauge!(HEAD_NUMBER).set(number as f64);
}

/// The newest block that is deep enough to count.
pub fn confirmed_number(number: u64) {
    gauge!(CONFIRMED_NUMBER).set(number as f64);
}

/// Blocks that had counted are gone.
pub fn reorg() {
    counter!(REORGS_TOTAL).increment(1);
}

/// An endpoint answers.
pub fn endpoint_up(url: &ShownUrl) {
    gauge!(ENDPOINT_UP, "url" => url.to_string()).set(1.0);
}

/// An endpoint's circuit is open.
pub fn endpoint_down(url: &ShownUrl) {
    gauge!(ENDPOINT_UP, "url" => url.to_string()).set(0.0);
}

/// A transaction of the journal was committed.
pub fn journal_commit(took: Duration) {
    histogram!(JOURNAL_COMMIT_SECONDS).record(took);
}

/// A transaction was broadcast, whatever came of it.
pub fn send(took: Duration) {
    histogram!(SEND_SECONDS).record(took);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Sha256Digest;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn every_function_sets_the_name_that_is_described() {
        let recorder = PrometheusBuilder::new().build_recorder();
        ::metrics::with_local_recorder(&recorder, || {
            describe();
            alarm_raised(Alarm::FeeCeiling);
            requests(RequestState::Pending, 3);
            request_journalled();
            response_published(ResponseKind::Consumed(Sha256Digest::ZERO));
            refused(Rule::RiskFloor);
            transaction(ItemKind::Decide, TransactionOutcome::Mined);
            replacement();
            in_flight(2);
            nonce_next(41);
            balance_wei(U256::from(10).pow(U256::from(18)));
            requests_paid_for(900);
            head_number(12);
            confirmed_number(11);
            reorg();
            endpoint_up(&ShownUrl::new("http://one:8545"));
            endpoint_down(&ShownUrl::new("http://two:8545"));
            journal_commit(Duration::from_millis(2));
            send(Duration::from_millis(30));
        });
        let text = recorder.handle().render();
        for line in [
            "guardrail_alarm{alarm=\"fee_ceiling\"} 1",
            "guardrail_alarm{alarm=\"disk_full\"} 0",
            "guardrail_requests{state=\"pending\"} 3",
            "guardrail_requests_total 1",
            "guardrail_responses_total{kind=\"consumed\"} 1",
            "guardrail_refused_total{rule=\"risk floor\"} 1",
            "guardrail_transactions_total{kind=\"decide\",outcome=\"mined\"} 1",
            "guardrail_replacements_total 1",
            "guardrail_in_flight 2",
            "guardrail_nonce_next 41",
            "guardrail_balance_wei 1000000000000000000",
            "guardrail_requests_paid_for 900",
            "guardrail_head_number 12",
            "guardrail_confirmed_number 11",
            "guardrail_reorgs_total 1",
            "guardrail_endpoint_up{url=\"http://one:8545\"} 1",
            "guardrail_endpoint_up{url=\"http://two:8545\"} 0",
            "guardrail_journal_commit_seconds_count 1",
            "guardrail_send_seconds_sum 0.03",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
        }
        // Nothing is recorded without a description, and nothing described is left out.
        let names = |prefix: &str| -> std::collections::BTreeSet<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
            lines.filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect()
        };
        assert_eq!(names("# HELP "), names("# TYPE "));
        assert_eq!(names("# TYPE ").len(), 17);
        let page = include_str!("../../docs/operations.md");
        for name in names("# TYPE ") {
            assert!(page.contains(&format!("| `{name}")), "docs/operations.md: {name}");
        }
    }
}
