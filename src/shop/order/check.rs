//! What is refused of an order's texts, times and moods.

use jiff::{SignedDuration, Timestamp};

use super::Malformed;
use crate::shop::card::is_card_number;

/// How far ahead an order can be placed.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(24 * 60);

/// The moods of the rehearsal, by what they are for.
const MOODS: [(&str, &[&str]); 5] = [
    ("payment", &["decline", "slow", "down", "answer_lost", "late", "wrong_amount"]),
    ("refund", &["down", "slow"]),
    ("kitchen", &["out_of_ingredients", "slow", "stuck", "hang", "down", "answer_lost"]),
    ("inventory", &["refuse"]),
    ("notification", &["down", "slow"]),
];

/// Refuses times that are over, too far ahead, or that exclude each other.
pub fn check_times(
    now: Timestamp,
    pickup_at: Option<Timestamp>,
    ready_by: Option<Timestamp>,
) -> Result<(), Malformed> {
    let ahead = |it: Timestamp| it > now && it.duration_since(now) <= AHEAD_MAX;
    if pickup_at.is_some_and(|it| !ahead(it)) {
        return Err(Malformed::Time("/pickup_at", "ahead, by 60 days at most"));
    }
    if ready_by.is_some_and(|it| !ahead(it)) {
        return Err(Malformed::Time("/ready_by", "ahead, by 60 days at most"));
    }
    match pickup_at.zip(ready_by) {
        Some((pickup_at, ready_by)) if ready_by < pickup_at => {
            Err(Malformed::Time("/ready_by", "no earlier than pickup_at"))
        }
        _ => Ok(()),
    }
}

pub(super) fn mood(
    name: &str,
    of: &str,
    value: &str,
    is_real: impl Fn(&str) -> bool,
) -> Result<(), Malformed> {
    let known = MOODS.iter().find(|(it, _)| *it == of);
    if !known.is_some_and(|(_, moods)| moods.contains(&value)) {
        return Err(Malformed::Mood(format!("{name}={value}")));
    }
    if is_real(of) { Err(Malformed::RehearsalOnly(name.to_owned())) } else { Ok(()) }
}

/// A text that can be stored and shown: of a bounded length, without NUL, and no card number.
pub fn text(pointer: &str, value: &str, min: usize, max: usize) -> Result<(), Malformed> {
    let length = value.chars().count();
    if length < min || length > max {
        return Err(Malformed::Field(pointer.to_owned(), format!("{min} to {max} characters")));
    }
    if value.contains('\0') {
        return Err(Malformed::Field(pointer.to_owned(), "free of NUL characters".to_owned()));
    }
    if is_card_number(value) {
        return Err(Malformed::CardNumber(pointer.to_owned()));
    }
    Ok(())
}
