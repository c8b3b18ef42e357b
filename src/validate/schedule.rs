//! Windows and freezes of the operator's configuration: what was written, made into what was meant.

use crate::diagnostic::code::Code;
use crate::diagnostic::{Diagnostic, Report};
use crate::model::config::{Freeze, Schedule, Window};
use crate::moment::{Day, Zone, minute};
use crate::parse::raw::config::{RawFreeze, RawWindow};
use crate::parse::tree::Tree;

/// As the schema lists them.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// What was written.
pub struct Written<'a> {
    pub time_zone: Option<&'a str>,
    pub windows: Vec<RawWindow>,
    pub freezes: Vec<RawFreeze>,
}

pub fn schedule(written: Written<'_>, tree: &Tree, report: &mut Report) -> Schedule {
    let mut wrong = |at: &str, message: String| {
        report.add(Diagnostic::new(Code::BadValue, message, &tree.of(at)));
    };
    let mut schedule = Schedule::default();
    if let Some(name) = written.time_zone {
        match Zone::named(name) {
            Some(zone) => schedule.zone = zone,
            None => wrong("/timeZone", format!("`{name}` is no time zone; they are named like `Europe/Berlin`")),
        }
    }
    for (index, raw) in written.windows.into_iter().enumerate() {
        let mut of_day = |field: &str, text: &str| {
            let found = minute(text);
            if found.is_none() {
                wrong(&format!("/windows/{index}/{field}"), format!("`{text}` is no time of a day, such as `02:00`"));
            }
            found
        };
        let (Some(from), Some(to)) = (of_day("from", &raw.from), of_day("to", &raw.to)) else { continue };
        if from == to || from == 1440 {
            wrong(
                &format!("/windows/{index}"),
                "a window must end after it begins, or on the next day before".to_owned(),
            );
            continue;
        }
        let named = |day: &String| DAYS.iter().position(|known| known == day).and_then(|n| u8::try_from(n).ok());
        let days = if raw.days.is_empty() { (0..7).collect() } else { raw.days.iter().filter_map(named).collect() };
        schedule.windows.push(Window { days, from, to, stacks: raw.stacks });
    }
    for (index, raw) in written.freezes.into_iter().enumerate() {
        let mut day = |field: &str, text: &str| {
            let found = Day::parse(text);
            if found.is_none() {
                wrong(&format!("/freezes/{index}/{field}"), format!("`{text}` is no day, such as `2026-12-20`"));
            }
            found
        };
        let (Some(first), Some(last)) = (day("from", &raw.from), day("to", &raw.to)) else { continue };
        if last < first {
            wrong(&format!("/freezes/{index}"), "the last day of a freeze comes before its first".to_owned());
            continue;
        }
        schedule.freezes.push(Freeze { first, last, reason: raw.reason, stacks: raw.stacks });
    }
    schedule
}
