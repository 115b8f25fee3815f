//! What an order is. Pure: parse, don't validate.

mod check;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::check::mood;
pub use self::check::{check_times, text};

/// Items of one order at most: a table's round, not a warehouse's.
pub const ITEMS_MAX: usize = 50;
/// Pieces of one item at most.
pub const QUANTITY_MAX: i64 = 100;
/// Characters of an id that a client chooses.
pub const NAME_CHARS_MAX: usize = 128;
/// Characters of a note.
pub const NOTE_CHARS_MAX: usize = 200;
/// Attributes of one order at most.
pub const ATTRIBUTES_MAX: usize = 16;
/// Characters of an attribute's value.
pub const ATTRIBUTE_CHARS_MAX: usize = 256;

/// What a customer asks for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// Who orders: an id of the caller's choice.
    #[schema(min_length = 1, max_length = 128, example = "ada")]
    pub customer_id: String,
    /// What is ordered.
    #[schema(min_items = 1, max_items = 50)]
    pub items: Vec<NewItem>,
    /// How it is paid.
    pub payment: PaymentMethod,
    /// The total the customer saw, in minor units; another one is refused as `price_changed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_total: Option<i64>,
    /// How the customer hears of it; the shop's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// How urgent it is where workers pull their tickets, 1 (first) to 9; 5 if absent. A minute of waiting is
    /// worth a level, so nothing is put off for ever.
    #[schema(minimum = 1, maximum = 9)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i16>,
    /// A pre-order: when it is to be ready. It is begun some minutes before; until then it can be moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub pickup_at: Option<Timestamp>,
    /// Until when it is worth having: an order that is not ready by then is given up and its money returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ready_by: Option<Timestamp>,
    /// Anything the caller wants to find the order by. `rehearse.*` are the rehearsal's moods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// One item as it is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    /// A menu item's id.
    #[schema(min_length = 1, max_length = 128, example = "cappuccino")]
    pub item: String,
    /// How many.
    #[schema(minimum = 1, maximum = 100, example = 1)]
    pub quantity: i64,
    /// The price the customer saw, in minor units; another one is refused as `price_changed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<i64>,
    /// For the barista.
    #[schema(max_length = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How an order is paid.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentMethod {
    /// The payment provider's token for a card or a wallet; never a card number.
    #[schema(min_length = 1, max_length = 128, example = "tok_visa")]
    pub method_token: String,
}

/// How a customer hears of an order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// Where the notice goes.
    pub channel: Channel,
    /// An endpoint that the operator configured, by its name, never an address; the notifier if absent.
    #[schema(max_length = 128)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Where notices go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The notifier, by signed webhook.
    #[default]
    Webhook,
    /// The service's own log.
    Log,
}

/// An order as it was accepted: the input of its saga, and never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Who ordered.
    pub customer_id: String,
    /// What, at the menu's prices.
    pub items: Vec<OrderLine>,
    /// ISO 4217.
    pub currency: String,
    /// Minor units.
    pub total: i64,
    /// What the customer says at the counter.
    pub pickup_code: String,
    /// The payment provider's token.
    pub method_token: String,
    /// How the customer hears of it.
    pub channel: Channel,
    /// When it is to be ready, of a pre-order, as it was placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pickup_at: Option<Timestamp>,
    /// Until when it is worth having.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_by: Option<Timestamp>,
    /// The endpoint that the notice goes to, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify_to: Option<String>,
    /// What it can be found by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// How urgent its tickets are, where workers pull them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i16>,
    /// Whether stand-ins play the participants.
    pub rehearsal: bool,
    /// What it takes from the stock.
    pub needs: Vec<Need>,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrderLine {
    /// The menu item's id.
    pub item: String,
    /// How many.
    pub quantity: i64,
    /// Minor units a piece.
    pub unit_price: i64,
    /// Minor units for the line.
    pub line_total: i64,
    /// For the barista.
    pub note: Option<String>,
    /// The queue from which a worker pulls it; the kitchen is handed it if absent. Settled when the order is placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// A quantity of one ingredient, in the stock's unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The ingredient.
    pub ingredient: String,
    /// How much; positive.
    pub quantity: i64,
}

impl Order {
    /// The order's mood for a stand-in, if it has one.
    pub fn mood(&self, of: &str) -> Option<&str> {
        if !self.rehearsal || self.attributes.is_empty() {
            return None;
        }
        self.attributes.get(&format!("rehearse.{of}")).map(String::as_str)
    }
}

/// Why an order cannot be what it says. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field that is too long, empty, or holds characters that nothing can store.
    #[error("{0} must be {1}")]
    Field(String, String),
    /// Not a quantity that a shop serves.
    #[error("{pointer} must be 1 to {max}")]
    Quantity {
        /// JSON pointer.
        pointer: String,
        /// The most.
        max: i64,
    },
    /// A time that nobody can keep.
    #[error("{0} must be {1}")]
    Time(&'static str, &'static str),
    /// A card number where none may be. The number itself is not repeated.
    #[error("{0} looks like a card number; send the provider's token instead")]
    CardNumber(String),
    /// A mood that no stand-in has.
    #[error("{0} is not a mood of the rehearsal")]
    Mood(String),
    /// A mood for a participant that is real.
    #[error("{0} is for rehearsals, and this shop's participants are real")]
    RehearsalOnly(String),
}

impl Malformed {
    /// The same, of an order that is a member of something else.
    pub fn inside(self, member: &str) -> Self {
        match self {
            Self::Field(pointer, must) => Self::Field(member.to_owned() + &pointer, must),
            Self::Quantity { pointer, max } => {
                Self::Quantity { pointer: member.to_owned() + &pointer, max }
            }
            Self::CardNumber(pointer) => Self::CardNumber(member.to_owned() + &pointer),
            other => other,
        }
    }
}

impl NewOrder {
    /// Checks everything that needs no menu. `is_real` tells which stand-ins' moods are refused.
    pub fn check(&self, is_real: impl Fn(&str) -> bool) -> Result<(), Malformed> {
        text("/customer_id", &self.customer_id, 1, NAME_CHARS_MAX)?;
        text("/payment/method_token", &self.payment.method_token, 1, NAME_CHARS_MAX)?;
        if self.items.is_empty() || self.items.len() > ITEMS_MAX {
            return Err(Malformed::Quantity { pointer: "/items".into(), max: ITEMS_MAX as i64 });
        }
        for (index, item) in self.items.iter().enumerate() {
            text(&format!("/items/{index}/item"), &item.item, 1, NAME_CHARS_MAX)?;
            if let Some(note) = &item.note {
                text(&format!("/items/{index}/note"), note, 0, NOTE_CHARS_MAX)?;
            }
            if !(1..=QUANTITY_MAX).contains(&item.quantity) {
                let pointer = format!("/items/{index}/quantity");
                return Err(Malformed::Quantity { pointer, max: QUANTITY_MAX });
            }
        }
        if let Some(notify) = &self.notify
            && let Some(to) = &notify.to
        {
            text("/notify/to", to, 1, NAME_CHARS_MAX)?;
            if !to.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it)) {
                let must = "the name of an endpoint, of letters, digits and any of . _ -";
                return Err(Malformed::Field("/notify/to".into(), must.to_owned()));
            }
            if notify.channel == Channel::Log {
                let must = "absent, for the log has no endpoints".to_owned();
                return Err(Malformed::Field("/notify/to".into(), must));
            }
        }
        if self.priority.is_some_and(|it| !(1..=9).contains(&it)) {
            return Err(Malformed::Field("/priority".into(), "1 to 9".to_owned()));
        }
        if self.attributes.len() > ATTRIBUTES_MAX {
            let must = format!("{ATTRIBUTES_MAX} entries at most");
            return Err(Malformed::Field("/attributes".into(), must));
        }
        for (name, value) in &self.attributes {
            text("/attributes (a name)", name, 1, NAME_CHARS_MAX)?;
            text(&format!("/attributes/{name}"), value, 0, ATTRIBUTE_CHARS_MAX)?;
            if let Some(of) = name.strip_prefix("rehearse.") {
                mood(name, of, value, &is_real)?;
            }
        }
        Ok(())
    }
}
