//! The one table from what the shop refuses to what the customer is told.

use super::problem::{Code, Problem};
use crate::shop::{ShopError, menu::Unpriced, order::Malformed};

impl From<ShopError> for Problem {
    fn from(error: ShopError) -> Self {
        let detail = error.to_string();
        match error {
            ShopError::Malformed(malformed) => malformed.into(),
            ShopError::Unpriced(unpriced) => unpriced.into(),
            ShopError::EndpointUnknown(_) => {
                let must = "must be the name of an endpoint that is set up";
                Self::new(Code::EndpointUnknown, detail).at("/notify/to", must)
            }
            ShopError::OutOfStock(ingredient) => {
                Self::new(Code::OutOfStock, detail).with("ingredient", ingredient)
            }
            ShopError::ShopClosed(_) => Self::new(Code::ShopClosed, detail),
            ShopError::AtCapacity => Self::new(Code::AtCapacity, detail).retry_after(5),
            ShopError::KeyReused => Self::new(Code::IdempotencyKeyReused, detail),
            ShopError::InProgress => Self::new(Code::InProgress, detail),
            ShopError::NotPlacing => Self::new(Code::Unavailable, detail),
            ShopError::OutcomeUnknown => Self::new(Code::OutcomeUnknown, detail),
            ShopError::NotFound(_) => Self::new(Code::NotFound, detail),
            ShopError::NotPlacedYet => Self::new(Code::NotPlacedYet, detail),
            ShopError::SeqBeyondEnd(last) => {
                Self::new(Code::SeqBeyondEnd, detail).with("last_seq", last)
            }
            // Not `status`: that member is HTTP's (RFC 9457).
            ShopError::TooLate(status) => {
                Self::new(Code::TooLate, detail).with("order_status", status)
            }
            ShopError::WrongCode => Self::new(Code::WrongCode, detail),
            ShopError::NotCollectable(status) => {
                Self::new(Code::NotReady, detail).with("order_status", status)
            }
            ShopError::OrderClosed(status) => {
                Self::new(Code::OrderClosed, detail).with("order_status", status)
            }
            ShopError::TooManySignals => Self::new(Code::TooManySignals, detail),
            ShopError::SignalReserved(_) => Self::new(Code::SignalReserved, detail),
            ShopError::AlreadyStarted => Self::new(Code::AlreadyStarted, detail),
            ShopError::VersionChanged => Self::new(Code::VersionChanged, detail),
            ShopError::AlreadyDecided => Self::new(Code::AlreadyDecided, detail),
            ShopError::SettlementUnfit(_) => Self::new(Code::SettlementUnfit, detail),
            ShopError::AlreadyCollected => Self::new(Code::AlreadyCollected, detail),
            ShopError::NotWaiting => Self::new(Code::NotParked, detail),
            ShopError::LeaseLost => Self::new(Code::LeaseLost, detail),
            ShopError::TaskWithdrawn => Self::new(Code::TaskWithdrawn, detail),
            ShopError::TaskDone => Self::new(Code::TaskDone, detail),
            ShopError::StockTooLow => Self::new(Code::StockConflict, detail),
            ShopError::Journal(error) if error.is_of_another_release() => {
                let detail = "The order is of another release, which this replica does not know; \
                              one of that release answers for it.";
                Self::new(Code::Unavailable, detail).retry_after(5)
            }
            ShopError::CronInvalid(why) => Self::new(Code::CronInvalid, detail).at("/cron", why),
            ShopError::TimeZoneUnknown(_) => {
                let must = "must be a name of the IANA time zone database";
                Self::new(Code::TimeZoneUnknown, detail).at("/time_zone", must)
            }
            ShopError::TooManySchedules => Self::new(Code::ScheduleLimit, detail),
            ShopError::Journal(error) => {
                tracing::error!(%error, "an order's journal cannot be read");
                Self::internal()
            }
            ShopError::Unreachable(error) => {
                // The database's own words are for the log, never for the customer.
                tracing::error!(%error, "the database did not answer as it should");
                Self::new(Code::Unavailable, "The service cannot reach its database at the moment.")
            }
        }
    }
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        let detail = malformed.to_string();
        match malformed {
            Malformed::Field(pointer, must) => {
                Self::new(Code::BodyInvalid, detail).at(pointer, format!("must be {must}"))
            }
            Malformed::Quantity { pointer, max } => {
                Self::new(Code::QuantityLimit, detail).at(pointer, format!("must be 1 to {max}"))
            }
            Malformed::Time(pointer, must) => {
                Self::new(Code::PickupTimeInvalid, detail).at(pointer, format!("must be {must}"))
            }
            Malformed::CardNumber(pointer) => {
                Self::new(Code::CardNumberRefused, detail).at(pointer, "looks like a card number")
            }
            Malformed::Mood(_) => Self::new(Code::BodyInvalid, detail),
            Malformed::RehearsalOnly(_) => Self::new(Code::RehearsalOnly, detail),
        }
    }
}

impl From<Unpriced> for Problem {
    fn from(unpriced: Unpriced) -> Self {
        let detail = unpriced.to_string();
        match unpriced {
            Unpriced::Unknown(item) | Unpriced::OffSale(item) => {
                Self::new(Code::ItemUnknown, detail).with("item", item)
            }
            Unpriced::Changed { what, seen, now } => {
                let problem = Self::new(Code::PriceChanged, detail).with("what", what);
                problem.with("seen", seen).with("now", now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_has_one_code_at_the_counter_and_on_its_schedule() {
        let text = || "x".to_owned();
        let changed = Unpriced::Changed { what: text(), seen: 1, now: 2 };
        let quantity = Malformed::Quantity { pointer: text(), max: 1 };
        let refusals = [
            ShopError::Malformed(Malformed::Field(text(), text())),
            ShopError::Malformed(quantity),
            ShopError::Malformed(Malformed::CardNumber(text())),
            ShopError::Malformed(Malformed::Mood(text())),
            ShopError::Malformed(Malformed::RehearsalOnly(text())),
            ShopError::Unpriced(Unpriced::Unknown(text())),
            ShopError::Unpriced(Unpriced::OffSale(text())),
            ShopError::Unpriced(changed),
            ShopError::EndpointUnknown(text()),
            ShopError::OutOfStock(text()),
            ShopError::ShopClosed(text()),
            ShopError::AtCapacity,
            ShopError::KeyReused,
            ShopError::InProgress,
            ShopError::NotPlacing,
            ShopError::OutcomeUnknown,
        ];
        for refusal in refusals {
            let code = refusal.code();
            assert_eq!(Problem::from(refusal).code.as_str(), code);
        }
    }
}
