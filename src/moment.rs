//! Points in time as people write and read them, and the time zones that they do it in.
//!
//! Takes seconds since 1970, UTC. Gives texts, and days and minutes of a zone.
//!
//! Never asks a clock. The zones come with the program, so that the same zone is the same everywhere.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Seconds since 1970, UTC.
pub type Seconds = i64;

/// A time zone by its name, such as `Europe/Berlin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A day as the zone counts them, with 0 for Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(Date);

impl Zone {
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The day on which a moment falls, and the minute of that day.
    pub fn local(&self, at: Seconds) -> (Day, u16) {
        let local = self.0.to_datetime(timestamp(at));
        (Day(local.date()), u16::try_from(local.hour()).unwrap_or(0) * 60 + u16::try_from(local.minute()).unwrap_or(0))
    }

    /// When it is that minute of that day. A minute that a change of the clocks leaves out is the one after it.
    pub fn at(&self, day: Day, minute: u16) -> Seconds {
        let (hour, minute) = (i8::try_from(minute / 60).unwrap_or(0), i8::try_from(minute % 60).unwrap_or(0));
        let time = Time::new(hour, minute, 0, 0).unwrap_or(Time::midnight());
        let local = DateTime::from_parts(day.0, time);
        self.0.to_ambiguous_timestamp(local).compatible().map_or(Seconds::MAX, Timestamp::as_second)
    }

    /// As `2026-01-31 02:00 Europe/Berlin`.
    pub fn show(&self, at: Seconds) -> String {
        format!("{} {}", self.0.to_datetime(timestamp(at)).strftime("%Y-%m-%d %H:%M"), self.name())
    }
}

impl Day {
    /// Reads `2026-01-31`.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    /// 0 is Monday.
    pub fn of_week(self) -> u8 {
        u8::try_from(self.0.weekday().to_monday_zero_offset()).unwrap_or(0)
    }

    pub fn after(self, days: i32) -> Self {
        Self(self.0.saturating_add(days.days()))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

fn timestamp(at: Seconds) -> Timestamp {
    Timestamp::from_second(at).unwrap_or(Timestamp::MAX)
}

/// As `2026-01-31T23:59:59Z`.
pub fn utc(at: Seconds) -> String {
    timestamp(at).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads `02:00` and `24:00` as minutes of a day.
pub fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
    let (hour, minute) = (two(hour)?, two(minute)?);
    ((hour < 24 && minute < 60) || (hour == 24 && minute == 0)).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::{Day, Zone, minute, utc};

    #[test]
    fn days_are_counted_as_calendars_do() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn a_zone_knows_its_summer_time() {
        let berlin = Zone::named("Europe/Berlin").expect("a zone");
        let day = |text: &str| Day::parse(text).expect("a day");
        assert_eq!(utc(berlin.at(day("2026-01-05"), 120)), "2026-01-05T01:00:00Z");
        assert_eq!(utc(berlin.at(day("2026-07-06"), 120)), "2026-07-06T00:00:00Z");
        // There is no 02:30 on that day.
        assert_eq!(utc(berlin.at(day("2026-03-29"), 150)), "2026-03-29T01:30:00Z");
        assert_eq!(berlin.local(berlin.at(day("2026-07-06"), 125)), (day("2026-07-06"), 125));
        assert_eq!(berlin.show(0), "1970-01-01 01:00 Europe/Berlin");
        assert_eq!((day("2026-01-05").of_week(), day("2026-01-05").after(-1).of_week()), (0, 6));
        assert_eq!(Zone::named("Europe/Berln"), None);
    }

    #[test]
    fn minutes_of_a_day_are_read() {
        assert_eq!(["00:00", "02:30", "24:00"].map(minute), [Some(0), Some(150), Some(1440)]);
        assert_eq!(["24:01", "2:30", "12:60", "noon"].map(minute), [None; 4]);
    }
}
