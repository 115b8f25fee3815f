//! How the stand-ins fail, on request.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

/// What a mood is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// The payment provider's captures; voids and look-ups always work.
    Payment,
    /// Its refunds.
    Refund,
    /// The kitchen, all of it.
    Kitchen,
    /// The receiver of notices.
    Notification,
}

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mood {
    /// Captures are declined.
    Decline,
    /// Tickets are refused for want of ingredients.
    OutOfIngredients,
    /// It takes about 5 s.
    Slow,
    /// Every call is answered 503.
    Down,
    /// Tickets are begun and get no further; looks are answered.
    Stuck,
    /// Tickets are accepted, and then no look is answered.
    Hang,
    /// The work is done and its first answer is dropped.
    AnswerLost,
    /// Nothing is answered, and the work is done long after.
    Late,
    /// One minor unit too much is captured.
    WrongAmount,
}

impl Area {
    /// The mood of that name, if this area has it.
    pub fn mood(self, name: &str) -> Option<Mood> {
        Some(match (self, name) {
            (Self::Payment, "decline") => Mood::Decline,
            (Self::Payment, "late") => Mood::Late,
            (Self::Payment, "wrong_amount") => Mood::WrongAmount,
            (Self::Payment | Self::Kitchen, "answer_lost") => Mood::AnswerLost,
            (Self::Kitchen, "out_of_ingredients") => Mood::OutOfIngredients,
            (Self::Kitchen, "stuck") => Mood::Stuck,
            (Self::Kitchen, "hang") => Mood::Hang,
            (_, "slow") => Mood::Slow,
            (_, "down") => Mood::Down,
            _ => return None,
        })
    }
}

/// Everybody's mood, and how long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Moods {
    /// Of [`Area::Payment`].
    pub(super) payment: Option<Mood>,
    /// Of [`Area::Refund`].
    pub(super) refund: Option<Mood>,
    /// Of [`Area::Kitchen`].
    pub(super) kitchen: Option<Mood>,
    /// Of [`Area::Notification`].
    pub(super) notification: Option<Mood>,
    /// How long the kitchen takes in its normal mood, in milliseconds.
    pub(super) prep_ms: u64,
    /// How long whatever is slow takes, in milliseconds.
    pub(super) slow_ms: u64,
    /// How late a late capture is, in milliseconds.
    pub(super) late_ms: u64,
}

impl Default for Moods {
    /// All well. Slow is longer than a patient person waits and shorter than every deadline; late is
    /// longer than a caller whose connection was cut goes on at once.
    fn default() -> Self {
        Self {
            payment: None,
            refund: None,
            kitchen: None,
            notification: None,
            prep_ms: 0,
            slow_ms: 5_000,
            late_ms: 3_000,
        }
    }
}

impl Moods {
    /// The mood in which one call is taken: the order's own before everybody's. A name that this area
    /// does not have is no mood; orders are checked for those when they are placed.
    pub(super) fn of(&self, area: Area, own: Option<&str>) -> Option<Mood> {
        let everybodys = match area {
            Area::Payment => self.payment,
            Area::Refund => self.refund,
            Area::Kitchen => self.kitchen,
            Area::Notification => self.notification,
        };
        own.and_then(|name| area.mood(name)).or(everybodys)
    }

    /// How long whatever is slow takes.
    pub(super) fn slow(&self) -> Duration {
        Duration::from_millis(self.slow_ms)
    }

    /// How late a late capture is.
    pub(super) fn late(&self) -> Duration {
        Duration::from_millis(self.late_ms)
    }
}

/// A change of [`Moods`]: what is absent stays, `null` goes back to the default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    #[serde(default, deserialize_with = "present")]
    payment: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    refund: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    kitchen: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    notification: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    prep_ms: Option<Option<u64>>,
    #[serde(default, deserialize_with = "present")]
    slow_ms: Option<Option<u64>>,
    #[serde(default, deserialize_with = "present")]
    late_ms: Option<Option<u64>>,
}

/// Tells `null` from absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Change {
    /// The moods after the change; `None` when an area does not have the mood that it asks for.
    pub(super) fn apply(self, mut moods: Moods) -> Option<Moods> {
        let default = Moods::default();
        for (asked, area, mood) in [
            (self.payment, Area::Payment, &mut moods.payment),
            (self.refund, Area::Refund, &mut moods.refund),
            (self.kitchen, Area::Kitchen, &mut moods.kitchen),
            (self.notification, Area::Notification, &mut moods.notification),
        ] {
            match asked {
                Some(Some(name)) => *mood = Some(area.mood(&name)?),
                Some(None) => *mood = None,
                None => {}
            }
        }
        for (asked, usual, ms) in [
            (self.prep_ms, default.prep_ms, &mut moods.prep_ms),
            (self.slow_ms, default.slow_ms, &mut moods.slow_ms),
            (self.late_ms, default.late_ms, &mut moods.late_ms),
        ] {
            if let Some(asked) = asked {
                *ms = asked.unwrap_or(usual);
            }
        }
        Some(moods)
    }
}
