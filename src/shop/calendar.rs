//! When a schedule's ticks come. Pure: cron expressions, intervals, and what a change of the clocks does to them.
//!
//! **Cron.** Five fields: minute, hour, day of the month, month, day of the week (0 to 7, both ends are Sunday); `*`,
//! lists, ranges, steps, and English names of months and days. Where both days are restricted either may match, as
//! cron has always had it.
//!
//! **When the clocks change.** An expression that names hours is about the wall clock, and each of its times comes
//! once a day: one that the clocks leap over comes at the first minute after the gap, and one that they show twice comes
//! the first time only. An expression with every hour (`*`) is about the passing of time: a time that the clocks
//! leap over does not come, and one that they show twice comes twice. An interval knows no clocks.

use jiff::{
    SignedDuration, Timestamp, ToSpan as _,
    civil::{Date, DateTime},
    tz::{AmbiguousOffset, TimeZone},
};

/// How far ahead a tick is looked for. The 29th of February may be eight years away.
const YEARS_AHEAD: i16 = 9;
/// Missed ticks that are counted one by one: a month of minutes. Of a longer outage there are at least so many.
const COUNTED_MAX: u64 = 50_000;
/// Before this much of the past no tick is late but only missed; the widest catch-up window.
pub const CATCH_UP_MAX: SignedDuration = SignedDuration::from_hours(24);
/// Characters of an expression: every minute of an hour, listed, has 169.
const CRON_CHARS_MAX: usize = 512;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A cron expression that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days_of_month: u64,
    months: u64,
    days_of_week: u64,
    /// Whether one of the two kinds of day is enough.
    either_day: bool,
}

/// A field: its name, its numbers, and the names that stand for numbers from the least on.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of the month", min: 1, max: 31, names: &[] },
    Field { name: "month", min: 1, max: 12, names: &MONTHS },
    Field { name: "day of the week", min: 0, max: 7, names: &DAYS },
];

impl Cron {
    /// Reads an expression; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > CRON_CHARS_MAX {
            return Err(format!("a cron expression has {CRON_CHARS_MAX} characters at most"));
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = words.as_slice() else {
            let what = "minute, hour, day of the month, month, day of the week";
            return Err(format!("a cron expression has five fields: {what}"));
        };
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        let mut days_of_week = weekdays.read(weekday)?;
        // Seven is Sunday, too.
        days_of_week |= days_of_week >> 7 & 1;
        Ok(Self {
            minutes: minutes.read(minute)?,
            hours: hours.read(hour)?,
            days_of_month: days.read(day)?,
            months: months.read(month)?,
            days_of_week,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        })
    }

    /// The first tick after a moment; `None` when there is none for years.
    pub fn next_after(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        if self.hours.count_ones() == 24 {
            return self.next_by_time(zone, after);
        }
        // From a moment's local time on, what comes later locally never comes earlier: times that repeat count the first
        // time, and those of a gap are at its end.
        let from = zone.to_datetime(after);
        let mut date = from.date();
        let last = last_date(date)?;
        while date <= last {
            if self.has_date(date) {
                let first_hour = if date == from.date() { from.hour() } else { 0 };
                let found = self
                    .times(date, first_hour)
                    .find_map(|local| moment(zone, local).filter(|moment| *moment > after));
                if found.is_some() {
                    return found;
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The same for an expression with every hour: minute by minute, as time passes.
    fn next_by_time(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        let mut at = Timestamp::from_second(after.as_second().div_euclid(60) * 60).ok()?;
        at = at.checked_add(1.minute()).ok()?;
        let last = last_date(zone.to_datetime(at).date())?;
        loop {
            let local = zone.to_datetime(at);
            if local.date() > last {
                return None;
            }
            at = if !self.has_date(local.date()) {
                let tomorrow = local.date().tomorrow().ok()?.to_zoned(zone.clone()).ok()?;
                tomorrow.timestamp().max(at.checked_add(1.minute()).ok()?)
            } else if has(self.minutes, local.minute()) {
                return Some(at);
            } else {
                at.checked_add(1.minute()).ok()?
            };
        }
    }

    /// The local times of a date, in order.
    fn times(&self, date: Date, first_hour: i8) -> impl Iterator<Item = DateTime> {
        let hours = (first_hour..24).filter(|it| has(self.hours, *it));
        hours.flat_map(move |hour| {
            let minutes = (0..60).filter(|it| has(self.minutes, *it));
            minutes.map(move |minute| date.at(hour, minute, 0, 0))
        })
    }

    fn has_date(&self, date: Date) -> bool {
        let of_month = has(self.days_of_month, date.day());
        let of_week = has(self.days_of_week, date.weekday().to_sunday_zero_offset());
        let day = if self.either_day { of_month || of_week } else { of_month && of_week };
        day && has(self.months, date.month())
    }
}

impl Field {
    /// The numbers that a field stands for, as bits.
    fn read(&self, text: &str) -> Result<u64, String> {
        text.split(',').try_fold(0, |bits, part| Ok(bits | self.part(part)?))
    }

    fn part(&self, text: &str) -> Result<u64, String> {
        let wrong = || format!("`{text}` is no {}", self.name);
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(number(step).ok_or_else(wrong)?)),
            None => (text, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((from, to)) => {
                (self.number(from).ok_or_else(wrong)?, self.number(to).ok_or_else(wrong)?)
            }
            // `5/10` goes on to the end, as in `5-59/10`.
            None => {
                let one = self.number(range).ok_or_else(wrong)?;
                (one, if step.is_some() { self.max } else { one })
            }
        };
        let step = step.unwrap_or(1);
        if from > to || step == 0 {
            return Err(wrong());
        }
        let numbers = (from..=to).step_by(usize::try_from(step).map_err(|_| wrong())?);
        Ok(numbers.fold(0, |bits, it| bits | 1 << it))
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|it| it.eq_ignore_ascii_case(text));
        let named = named.and_then(|it| u32::try_from(it).ok()).map(|it| it + self.min);
        named.or_else(|| number(text)).filter(|it| (self.min..=self.max).contains(it))
    }
}

/// Digits only: the standard parser takes a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|it| it.is_ascii_digit()).then(|| text.parse().ok())?
}

fn has(bits: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|it| bits >> it & 1 == 1)
}

fn last_date(from: Date) -> Option<Date> {
    from.checked_add(YEARS_AHEAD.years()).ok()
}

/// When the wall clock first shows a local time, or has leapt over it. `None` on a day that did not happen.
fn moment(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
        AmbiguousOffset::Gap { before, after } => {
            let leap = zone.following(after.to_timestamp(local).ok()?).next()?.timestamp();
            let (from, to) = (before.to_datetime(leap), after.to_datetime(leap));
            let midnight = local.date().at(0, 0, 0, 0);
            let day_is_left_out = from <= midnight && to >= midnight.checked_add(1.day()).ok()?;
            (!day_is_left_out).then_some(leap)
        }
    }
}

/// When ticks come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rhythm {
    /// By the wall clock of a time zone.
    Cron {
        /// The expression.
        cron: Cron,
        /// Whose clock.
        zone: TimeZone,
    },
    /// Every so many seconds.
    Every {
        /// At least one.
        seconds: i64,
        /// Where they are counted from.
        anchor: Timestamp,
    },
}

/// The ticks that are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueTicks {
    /// How many; of very many, at least so many.
    pub count: u64,
    /// The last one.
    pub latest: Timestamp,
    /// The one that is not due yet; `None` when none follows.
    pub next: Option<Timestamp>,
}

impl Rhythm {
    /// The first tick after a moment.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { cron, zone } => cron.next_after(zone, after),
            Self::Every { seconds, anchor } => {
                let passed = after.duration_since(*anchor).as_nanos();
                let every = i128::from(*seconds) * 1_000_000_000;
                let count = i64::try_from(passed.div_euclid(every) + 1).ok()?;
                let then = SignedDuration::from_secs(seconds.checked_mul(count)?);
                anchor.checked_add(then).ok()
            }
        }
    }

    /// The ticks from `first`, which is one, up to `now`; `None` when `first` is still to come.
    pub fn due(&self, first: Timestamp, now: Timestamp) -> Option<DueTicks> {
        if first > now {
            return None;
        }
        if let Self::Every { seconds, .. } = self {
            let count = now.duration_since(first).as_secs() / seconds;
            let latest = first.checked_add(SignedDuration::from_secs(count * seconds)).ok()?;
            let count = u64::try_from(count).unwrap_or(0) + 1;
            return Some(DueTicks { count, latest, next: self.next_after(latest) });
        }
        let mut due = DueTicks { count: 1, latest: first, next: self.next_after(first) };
        while let Some(tick) = due.next.filter(|it| *it <= now) {
            due.latest = tick;
            due.next = self.next_after(tick);
            if due.count < COUNTED_MAX {
                due.count += 1;
            } else if let Ok(recently) = now.checked_sub(CATCH_UP_MAX) {
                // What lies further back makes no difference any more.
                due.next = self.next_after(recently.max(tick));
            }
        }
        Some(due)
    }

    /// The next ticks, beginning with one.
    pub fn upcoming(&self, first: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(Some(first), |it| self.next_after(*it)).take(count).collect()
    }
}

#[cfg(test)]
mod tests;
