//! What needs a person: alarms that stay until what caused them is over.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::metrics;
use crate::schema::Timestamp;

/// Longest detail that an alarm keeps, in characters.
pub const DETAIL_CHARS_MAX: usize = 500;

/// What can need a person, in the order in which alarms are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    LowBalance,
    FeeCeiling,
    ChainIdentity,
    ClockSkew,
    DiskFull,
    ChannelNotWritable,
    EndpointDown,
    EndpointsDisagree,
    NonceConflict,
}

impl Alarm {
    pub const ALL: [Alarm; 9] = [
        Alarm::LowBalance,
        Alarm::FeeCeiling,
        Alarm::ChainIdentity,
        Alarm::ClockSkew,
        Alarm::DiskFull,
        Alarm::ChannelNotWritable,
        Alarm::EndpointDown,
        Alarm::EndpointsDisagree,
        Alarm::NonceConflict,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Alarm::LowBalance => "low_balance",
            Alarm::FeeCeiling => "fee_ceiling",
            Alarm::ChainIdentity => "chain_identity",
            Alarm::ClockSkew => "clock_skew",
            Alarm::DiskFull => "disk_full",
            Alarm::ChannelNotWritable => "channel_not_writable",
            Alarm::EndpointDown => "endpoint_down",
            Alarm::EndpointsDisagree => "endpoints_disagree",
            Alarm::NonceConflict => "nonce_conflict",
        }
    }

    /// What is wrong, in one line.
    pub const fn text(self) -> &'static str {
        match self {
            Alarm::LowBalance => "the requester's balance is below fees.low_balance_gwei",
            Alarm::FeeCeiling => "the chain asks for more than fees.max_fee_gwei, so a transaction waits",
            Alarm::ChainIdentity => "an endpoint serves another chain or contract than the journal is about",
            Alarm::ClockSkew => "this host's clock and the chain's are further apart than requests.clock_skew_s",
            Alarm::DiskFull => "the disk is full, so nothing new can be journalled or answered",
            Alarm::ChannelNotWritable => "the channel directory cannot be written, so answers wait in the journal",
            Alarm::EndpointDown => "an endpoint does not answer",
            Alarm::EndpointsDisagree => "the endpoints disagree about the chain, so nothing is decided",
            Alarm::NonceConflict => "a transaction that the journal does not know used one of the requester's nonces",
        }
    }

    /// What the operator does about it.
    pub const fn next_step(self) -> &'static str {
        match self {
            Alarm::LowBalance => "send coins to the requester's account",
            Alarm::FeeCeiling => "wait for fees to fall, or raise fees.max_fee_gwei and restart the bridge",
            Alarm::ChainIdentity => {
                "give an endpoint of the journal's chain; for another chain, use another --state-dir and --channel"
            }
            Alarm::ClockSkew => "check this host's time synchronisation, then the node's",
            Alarm::DiskFull => "free space on the disk of the state directory and of the channel",
            Alarm::ChannelNotWritable => "check owner, mode and mount of the channel directory",
            Alarm::EndpointDown => "check the node and the network between; one endpoint is enough to go on",
            Alarm::EndpointsDisagree => "find the node that lags or is on another fork, and mend it or take it out",
            Alarm::NonceConflict => "find out who else holds the requester's key, and rotate it (docs/operations.md)",
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An alarm that is on. Where it is serialised, its text and next step go with it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ActiveAlarm {
    pub alarm: Alarm,
    /// What exactly was found, as of the last change.
    pub detail: String,
    /// When it came on; a change of the detail leaves this as it is.
    pub since: Timestamp,
}

impl Serialize for ActiveAlarm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ActiveAlarm", 5)?;
        fields.serialize_field("alarm", &self.alarm)?;
        fields.serialize_field("text", self.alarm.text())?;
        fields.serialize_field("detail", &self.detail)?;
        fields.serialize_field("next_step", self.alarm.next_step())?;
        fields.serialize_field("since", &self.since)?;
        fields.end()
    }
}

/// The alarms of one process; clones share them.
///
/// A change is logged once and sets the gauge `guardrail_alarm`. A detail that differs at each
/// raise is logged at each raise, so what moves all the time (a balance, an age) is better rounded.
#[derive(Clone, Debug, Default)]
pub struct Alarms {
    active: Arc<Mutex<BTreeMap<Alarm, ActiveAlarm>>>,
}

impl Alarms {
    /// Turns an alarm on, or gives one that is on another detail.
    ///
    /// The detail is shown to whoever may read the health page: no URL goes in but a
    /// [`ShownUrl`](super::live::ShownUrl).
    pub fn raise(&self, alarm: Alarm, detail: impl Into<String>) {
        let detail = cut(detail.into(), DETAIL_CHARS_MAX);
        let mut active = self.lock();
        metrics::alarm_raised(alarm);
        let since = match active.get(&alarm) {
            Some(known) if known.detail == detail => return,
            Some(known) => known.since,
            None => Timestamp::now(),
        };
        tracing::error!(target: "guardrail::bridge", %alarm, detail, next_step = alarm.next_step(), "{}", alarm.text());
        active.insert(alarm, ActiveAlarm { alarm, detail, since });
    }

    /// Turns an alarm off, if it is on.
    pub fn clear(&self, alarm: Alarm) {
        let mut active = self.lock();
        metrics::alarm_cleared(alarm);
        if let Some(over) = active.remove(&alarm) {
            tracing::info!(target: "guardrail::bridge", %alarm, since = %over.since, "the alarm is over");
        }
    }

    /// What is on, in the order of [`Alarm::ALL`].
    pub fn active(&self) -> Vec<ActiveAlarm> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Alarm, ActiveAlarm>> {
        // Every change is one insertion or removal, so a panic elsewhere leaves nothing half done.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most this many characters of a text, with an ellipsis in place of what is gone.
pub(super) fn cut(mut text: String, chars_max: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
        if text.pop().is_some() {
            text.push('…');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use std::io::Write;

    /// What is logged while `act` runs, one line each.
    fn logged(act: impl FnOnce()) -> Vec<String> {
        #[derive(Clone, Default)]
        struct Buffer(Arc<Mutex<Vec<u8>>>);
        impl Write for Buffer {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        // With one subscriber alone, `tracing` asks the thread that comes first to a line whether
        // anybody listens, for good; with two it asks every subscriber.
        let _second = tracing::Dispatch::new(tracing_subscriber::registry());
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, act);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| line.trim_start().to_owned()).collect()
    }

    #[test]
    fn every_alarm_has_one_name_and_words_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for alarm in Alarm::ALL {
            assert_eq!(serde_json::to_value(alarm).unwrap(), alarm.as_str());
            for words in [alarm.as_str(), alarm.text(), alarm.next_step()] {
                assert!(!words.is_empty() && !words.contains('\n') && seen.insert(words), "{words}");
            }
        }
        assert!(Alarm::ALL.is_sorted());
        let page = include_str!("../../docs/operations.md");
        for alarm in Alarm::ALL {
            assert!(page.contains(&format!("| `{alarm}` | {} |", alarm.text())), "docs/operations.md: {alarm}");
        }
    }

    #[test]
    fn active_alarms_keep_their_order_and_the_time_they_came_on() {
        let alarms = Alarms::default();
        for alarm in Alarm::ALL.into_iter().rev() {
            alarms.raise(alarm, "one");
        }
        let before = alarms.active();
        assert_eq!(before.iter().map(|a| a.alarm).collect::<Vec<_>>(), Alarm::ALL);
        alarms.clone().raise(Alarm::DiskFull, "two");
        alarms.clear(Alarm::LowBalance);
        let mut expected = before[1..].to_vec();
        expected[3].detail = "two".to_owned();
        assert_eq!(alarms.active(), expected);
    }

    #[test]
    fn a_change_is_logged_once() {
        let lines = logged(|| {
            let alarms = Alarms::default();
            alarms.raise(Alarm::DiskFull, "journal");
            alarms.raise(Alarm::DiskFull, "journal");
            alarms.raise(Alarm::DiskFull, "channel");
            alarms.clear(Alarm::DiskFull);
            alarms.clear(Alarm::DiskFull);
            alarms.clear(Alarm::FeeCeiling);
        });
        let raised = |detail: &str| {
            format!(
                "ERROR guardrail::bridge: {} alarm=disk_full detail={detail:?} next_step={:?}",
                Alarm::DiskFull.text(),
                Alarm::DiskFull.next_step()
            )
        };
        assert_eq!(lines[..2], [raised("journal"), raised("channel")]);
        assert!(lines[2].starts_with("INFO guardrail::bridge: the alarm is over alarm=disk_full since="), "{lines:?}");
        assert_eq!(lines.len(), 3, "{lines:?}");
    }

    #[test]
    fn the_gauge_follows() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let gauges = || handle.render().lines().filter(|l| l.starts_with("guardrail_alarm{")).count();
        ::metrics::with_local_recorder(&recorder, || {
            let alarms = Alarms::default();
            alarms.raise(Alarm::ClockSkew, "40 s");
            assert!(handle.render().contains("guardrail_alarm{alarm=\"clock_skew\"} 1\n"));
            alarms.clear(Alarm::ClockSkew);
            assert!(handle.render().contains("guardrail_alarm{alarm=\"clock_skew\"} 0\n"));
            assert_eq!(gauges(), 1);
        });
    }

    #[test]
    fn a_detail_has_a_limit() {
        let alarms = Alarms::default();
        alarms.raise(Alarm::DiskFull, "ö".repeat(DETAIL_CHARS_MAX));
        assert_eq!(alarms.active()[0].detail, "ö".repeat(DETAIL_CHARS_MAX));
        alarms.raise(Alarm::DiskFull, "ö".repeat(DETAIL_CHARS_MAX + 1));
        assert_eq!(alarms.active()[0].detail, "ö".repeat(DETAIL_CHARS_MAX - 1) + "…");
        assert_eq!(cut("ab".to_owned(), 0), "");
    }

    #[test]
    fn an_active_alarm_carries_its_words() {
        let active = ActiveAlarm {
            alarm: Alarm::LowBalance,
            detail: "0.05 coin".to_owned(),
            since: Timestamp::from_unix_ms(1_000),
        };
        let json = serde_json::json!({
            "alarm": "low_balance", "text": Alarm::LowBalance.text(), "detail": "0.05 coin",
            "next_step": Alarm::LowBalance.next_step(), "since": "1970-01-01T00:00:01.000Z",
        });
        assert_eq!(serde_json::to_value(&active).unwrap(), json);
        assert_eq!(serde_json::from_value::<ActiveAlarm>(json).unwrap(), active);
    }
}
