//! The books: every SQL statement of the shop.
//!
//! What orders change is data ([`Effect`]), applied set-wise by `apply` inside the transaction that
//! journals it. Lock order within `apply`, the same everywhere: keys, the shop's row, pickup codes, stock
//! (by name).

pub(super) mod audit;
mod effects;
mod keys;
pub(super) mod list;
pub mod menu;
pub(super) mod orders;
pub mod outbox;
pub(super) mod partitions;
mod place;
pub(super) mod schedules;
pub(super) mod setting;
pub mod stock;
pub(super) mod ticks;

use serde_json::Value;
use uuid::Uuid;

pub use self::effects::apply;
use super::order::{Channel, Need};
use crate::saga::journal::task::NewTask;

/// A change to the shop's tables, to be committed with a journal line.
#[derive(Debug)]
pub enum Effect {
    /// The order is accepted: its key, facts, pickup code and reservation.
    Place(Box<Placing>),
    /// The reserved ingredients are used up. Refused when they are not there any more.
    Deduct(Vec<Need>),
    /// The reservation is given back, and the pickup code with it.
    Release {
        /// What was reserved.
        needs: Vec<Need>,
        /// The order's pickup code.
        pickup_code: String,
    },
    /// Money came in.
    Capture(Money),
    /// Money went back.
    Refund(Money),
    /// The customer is to be told.
    Notice(Notice),
    /// Workers are to be asked; made again they stay as they are.
    Tasks(Vec<NewTask>),
    /// What workers were asked is not wanted any more.
    Withdraw,
}

/// What [`Effect::Place`] writes.
#[derive(Debug)]
pub struct Placing {
    /// Who ordered.
    pub customer_id: String,
    /// The customer's idempotency key and the hash of what was asked.
    pub key: Option<(String, [u8; 32])>,
    /// The menu by which it was priced.
    pub menu_version: i64,
    /// What is reserved.
    pub needs: Vec<Need>,
    /// ISO 4217.
    pub currency: String,
    /// Minor units.
    pub total: i64,
    /// A code that is free, as far as we know.
    pub pickup_code: String,
    /// Whether stand-ins play the participants.
    pub rehearsal: bool,
    /// What it can be found by; `None` when there is nothing.
    pub attributes: Option<Value>,
}

/// An entry of the ledger.
#[derive(Debug)]
pub struct Money {
    /// Minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// The provider's receipt.
    pub receipt: String,
}

/// A notice for the outbox.
#[derive(Debug)]
pub struct Notice {
    /// Stable over retries.
    pub message_id: String,
    /// Where it goes.
    pub channel: Channel,
    /// JSON text.
    pub body: String,
    /// The attempts after which it was given up already: then it is only listed.
    pub given_up_after: Option<u32>,
}

/// The codes of refusals by `apply`.
pub mod refusal {
    /// The key stands for an order already; `data` says which, and what was asked then.
    pub const KEY_TAKEN: &str = "key_taken";
    /// The shop is paused or closed.
    pub const SHOP_CLOSED: &str = "shop_closed";
    /// As many orders are open as the shop takes.
    pub const AT_CAPACITY: &str = "at_capacity";
    /// The menu is a newer one than the order was priced by.
    pub const MENU_CHANGED: &str = "menu_changed";
    /// The pickup code is another order's.
    pub const CODE_TAKEN: &str = "code_taken";
    /// Not enough of an ingredient; `data` says of which.
    pub const OUT_OF_STOCK: &str = "out_of_stock";
    /// What was reserved is not there any more.
    pub const INVENTORY_FAILED: &str = "inventory_failed";
}

/// The bucket of an order, as the tables want it.
fn bucket(order_id: Uuid) -> i16 {
    i16::from(crate::saga::journal::bucket_of(order_id))
}
