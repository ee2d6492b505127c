//! Hours and days at which few people watch.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::config::{OffHoursModifier, RiskError};
use crate::schema::Timestamp;

const MINUTES_PER_DAY: u16 = 24 * 60;

/// A span of the day, `HH:MM-HH:MM`; one that ends before it begins runs over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourRange {
    from_min: u16,
    to_min: u16,
}

impl HourRange {
    /// 18:00-08:00.
    pub const NIGHT: HourRange = HourRange { from_min: 18 * 60, to_min: 8 * 60 };

    fn contains(self, minute: u16) -> bool {
        if self.from_min < self.to_min {
            (self.from_min..self.to_min).contains(&minute)
        } else {
            minute >= self.from_min || minute < self.to_min
        }
    }
}

impl FromStr for HourRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected hours as 18:00-08:00, found `{text}`");
        let (from, to) = text.split_once('-').ok_or_else(expected)?;
        let from_min = minute_of_day(from).ok_or_else(expected)?;
        let to_min = minute_of_day(to).ok_or_else(expected)?;
        if from_min == to_min {
            return Err(format!("hours `{text}` are empty; for a whole day name it under `days`"));
        }
        Ok(HourRange { from_min, to_min })
    }
}

fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 || !text.bytes().all(|b| b.is_ascii_digit() || b == b':') {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let of_day = hours * 60 + minutes;
    (minutes < 60 && of_day <= MINUTES_PER_DAY).then_some(of_day)
}

impl fmt::Display for HourRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HourRange { from_min, to_min } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from_min / 60, from_min % 60, to_min / 60, to_min % 60)
    }
}

impl Serialize for HourRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HourRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A day of the week, in lower case in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl From<jiff::civil::Weekday> for Weekday {
    fn from(day: jiff::civil::Weekday) -> Self {
        use jiff::civil::Weekday as Civil;
        match day {
            Civil::Monday => Weekday::Monday,
            Civil::Tuesday => Weekday::Tuesday,
            Civil::Wednesday => Weekday::Wednesday,
            Civil::Thursday => Weekday::Thursday,
            Civil::Friday => Weekday::Friday,
            Civil::Saturday => Weekday::Saturday,
            Civil::Sunday => Weekday::Sunday,
        }
    }
}

/// The configured off-hours with their time zone looked up.
#[derive(Clone, Debug)]
pub(super) struct OffHours {
    hours: HourRange,
    days: Vec<Weekday>,
    zone: TimeZone,
}

impl OffHours {
    pub(super) fn new(config: &OffHoursModifier) -> Result<Self, RiskError> {
        let zone =
            TimeZone::get(&config.time_zone).map_err(|_| RiskError::TimeZone { name: config.time_zone.clone() })?;
        Ok(OffHours { hours: config.hours, days: config.days.clone(), zone })
    }

    /// The local day and time if `now` is off-hours. A moment that no calendar holds is.
    pub(super) fn contains(&self, now: Timestamp) -> Option<String> {
        let Ok(instant) = jiff::Timestamp::from_millisecond(now.unix_ms()) else {
            return Some("the moment is outside the calendar".to_owned());
        };
        let local = instant.to_zoned(self.zone.clone());
        let minute = local.hour().unsigned_abs() as u16 * 60 + u16::from(local.minute().unsigned_abs());
        let day = Weekday::from(local.weekday());
        (self.days.contains(&day) || self.hours.contains(minute)).then(|| {
            let zone = self.zone.iana_name().unwrap_or("configured zone");
            format!("{day:?} {:02}:{:02} ({zone})", local.hour(), local.minute())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn hours_have_one_spelling() {
        assert_eq!("18:00-08:00".parse(), Ok(HourRange::NIGHT));
        assert_eq!(HourRange::NIGHT.to_string(), "18:00-08:00");
        for bad in ["", "18-8", "18:00", "25:00-08:00", "24:01-08:00", "18:60-08:00", "+8:00-09:00", "08:00-08:00"] {
            assert!(bad.parse::<HourRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nights_and_weekends_in_the_configured_zone() {
        let config = OffHoursModifier { time_zone: "Europe/Berlin".to_owned(), ..OffHoursModifier::default() };
        let hours = OffHours::new(&config).unwrap();
        // Berlin is one hour ahead of UTC in November and two in July.
        assert_eq!(hours.contains(at("2026-11-23T06:59:59.999Z")).as_deref(), Some("Monday 07:59 (Europe/Berlin)"));
        assert_eq!(hours.contains(at("2026-11-23T07:00:00.000Z")), None);
        assert_eq!(hours.contains(at("2026-11-23T16:59:00.000Z")), None);
        assert_eq!(hours.contains(at("2026-11-23T17:00:00.000Z")).as_deref(), Some("Monday 18:00 (Europe/Berlin)"));
        assert_eq!(hours.contains(at("2026-07-20T16:00:00.000Z")).as_deref(), Some("Monday 18:00 (Europe/Berlin)"));
        assert_eq!(hours.contains(at("2026-11-22T12:00:00.000Z")).as_deref(), Some("Sunday 13:00 (Europe/Berlin)"));
    }

    #[test]
    fn a_range_within_one_day_does_not_wrap() {
        let lunch: HourRange = "12:00-13:00".parse().unwrap();
        assert_eq!([719, 720, 779, 780].map(|minute| lunch.contains(minute)), [false, true, true, false]);
    }
}
