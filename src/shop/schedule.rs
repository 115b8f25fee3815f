//! What a schedule is: an order that is placed again and again. Pure; what follows from one when it is looked at is
//! [`look`].

pub mod look;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::order::{Malformed, NewOrder, text};

/// Characters of a schedule's name.
pub const NAME_CHARS_MAX: usize = 64;
/// The longest interval: a year, and a day for the leap.
pub const EVERY_S_MAX: i32 = 366 * 86_400;
/// The narrowest catch-up window: longer than [`look::HOLD`], so that a tick outlives the replica that took it up.
pub const CATCH_UP_S_MIN: i32 = 30;
/// The widest: nobody wants yesterday's coffee.
pub const CATCH_UP_S_MAX: i32 = 86_400;
/// The window when nothing is said.
pub const CATCH_UP_S_DEFAULT: i32 = 60;
/// The attribute by which the orders of a schedule can be listed.
pub const ATTRIBUTE: &str = "schedule";
/// A schedule as it is to be.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSchedule {
    /// When: minute, hour, day of the month, month, day of the week. Either this or `every_seconds`.
    #[serde(default)]
    #[schema(max_length = 512, example = "30 8 * * 1-5")]
    pub cron: Option<String>,
    /// When: every so many seconds, counted from the creation. Either this or `cron`.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 31_622_400)]
    pub every_seconds: Option<i32>,
    /// By whose clock, an IANA time zone. `cron` needs one; an interval goes by none.
    #[serde(default)]
    #[schema(max_length = 128, example = "Europe/Paris")]
    pub time_zone: Option<String>,
    /// What to place at every tick, as for `POST /v1/orders`. It is given the attribute `schedule`.
    pub order: NewOrder,
    /// What becomes of a tick while the order of the tick before is open.
    #[serde(default)]
    pub overlap: Overlap,
    /// How late a tick may still place its order, after an outage or a refusal that passes.
    #[serde(default = "catch_up_default")]
    #[schema(minimum = 30, maximum = 86_400, example = 60)]
    pub catch_up_seconds: i32,
}

fn catch_up_default() -> i32 {
    CATCH_UP_S_DEFAULT
}

/// What becomes of a tick while the order of the tick before is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The tick is skipped, and counted.
    #[default]
    Skip,
    /// Its order is placed all the same.
    Allow,
    /// It waits until the other order has ended; further ticks are skipped meanwhile.
    BufferOne,
    /// Its order is placed, and the other one cancelled.
    CancelOther,
}

impl Overlap {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Allow => "allow",
            Self::BufferOne => "buffer_one",
            Self::CancelOther => "cancel_other",
        }
    }

    /// As it was stored.
    pub fn read(text: &str) -> Self {
        let all = [Self::Allow, Self::BufferOne, Self::CancelOther];
        all.into_iter().find(|it| it.as_str() == text).unwrap_or_default()
    }
}

impl NewSchedule {
    /// Checks what needs neither calendar nor menu.
    pub fn check(&self) -> Result<(), Malformed> {
        let wrong = |pointer: &str, must: String| Err(Malformed::Field(pointer.to_owned(), must));
        if self.cron.is_some() == self.every_seconds.is_some() {
            let must = "there, or every_seconds, and not both".to_owned();
            return wrong("/cron", must);
        }
        if self.every_seconds.is_some_and(|it| !(1..=EVERY_S_MAX).contains(&it)) {
            return wrong("/every_seconds", format!("1 to {EVERY_S_MAX}"));
        }
        if self.cron.is_some() && self.time_zone.is_none() {
            return wrong("/time_zone", "there, for cron goes by a wall clock".to_owned());
        }
        if !(CATCH_UP_S_MIN..=CATCH_UP_S_MAX).contains(&self.catch_up_seconds) {
            return wrong("/catch_up_seconds", format!("{CATCH_UP_S_MIN} to {CATCH_UP_S_MAX}"));
        }
        if self.order.attributes.contains_key(ATTRIBUTE) {
            let must = "absent: it will be the schedule's name".to_owned();
            return wrong("/order/attributes/schedule", must);
        }
        Ok(())
    }
}

/// Checks a schedule's name.
pub fn check_name(name: &str) -> Result<(), Malformed> {
    let is_allowed = |it: u8| it.is_ascii_alphanumeric() || b"._-".contains(&it);
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(is_allowed) {
        return text("the schedule's name", name, 1, NAME_CHARS_MAX);
    }
    let must = format!("1 to {NAME_CHARS_MAX} letters, digits and any of . _ -");
    Err(Malformed::Field("the schedule's name".to_owned(), must))
}

/// The order of a tick: what was asked for, with what it is found by.
pub fn order_of(name: &str, mut order: NewOrder) -> NewOrder {
    order.attributes.insert(ATTRIBUTE.to_owned(), name.to_owned());
    order
}
