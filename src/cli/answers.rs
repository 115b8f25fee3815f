//! What the client knows of the server's answers. Unknown members are ignored and missing ones have
//! defaults, so that a client outlives the server's next version.

use serde::Deserialize;
use serde_json::Value;

/// An order.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) customer_id: String,
    pub(super) status: String,
    pub(super) closed_reason: Option<String>,
    pub(super) attention: Option<Value>,
    pub(super) cancellation: Option<String>,
    pub(super) pickup_code: Option<String>,
    pub(super) items: Vec<Line>,
    pub(super) currency: String,
    pub(super) total: i64,
    pub(super) money: Money,
    pub(super) steps: Vec<Step>,
    pub(super) created_at: String,
}

impl Order {
    /// Whether nothing changes any more.
    pub(super) fn is_closed(&self) -> bool {
        ["COMPLETED", "FAILED", "CANCELLED", "REFUNDED"].contains(&self.status.as_str())
    }

    pub(super) fn is_completed(&self) -> bool {
        self.status == "COMPLETED"
    }
}

/// A line of an order.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    pub(super) item: String,
    pub(super) quantity: i64,
    pub(super) line_total: i64,
}

/// What became of the money, in minor units.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Money {
    pub(super) captured: i64,
    pub(super) refunded: i64,
}

/// A step of an order's saga.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) attempts: i64,
    pub(super) last_error: Option<Value>,
    pub(super) progress: Option<Value>,
    pub(super) compensation: Option<Compensation>,
}

/// How the taking back of a step stands.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Compensation {
    pub(super) state: String,
    pub(super) attempts: i64,
}

/// A page of orders.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Page {
    pub(super) orders: Vec<Order>,
    pub(super) next_cursor: Option<String>,
}

/// An order's journal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct History {
    pub(super) events: Vec<Journaled>,
}

/// A line of the journal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Journaled {
    pub(super) seq: i64,
    pub(super) at: String,
    pub(super) kind: String,
    pub(super) step: Option<String>,
    pub(super) attempt: Option<i64>,
}

/// Why an order stands where it does.
#[derive(Debug, Deserialize)]
pub(super) struct Why {
    pub(super) why: String,
}

/// What changed between two lines of a journal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Diff {
    pub(super) patch: Vec<Change>,
    pub(super) money: Money,
}

/// An operation of a JSON Patch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    pub(super) op: String,
    pub(super) path: String,
    pub(super) value: Option<Value>,
}

/// A journal that was folded, and compared with what is stored.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Replay {
    pub(super) equal: bool,
    pub(super) differences: Vec<Difference>,
    pub(super) lines: Vec<Replayed>,
}

/// A line that was folded, and what it leads to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Replayed {
    #[serde(flatten)]
    pub(super) line: Journaled,
    pub(super) status: String,
    pub(super) attention: Option<String>,
    pub(super) money: Money,
}

/// A fact that the journal and the tables tell differently.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Difference {
    pub(super) what: String,
    pub(super) journal: Value,
    pub(super) stored: Value,
}

/// What placing or cancelling would do.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct DryRun {
    pub(super) dry_run: bool,
    pub(super) replayed: bool,
    pub(super) order: Order,
    pub(super) steps: Vec<Predicted>,
    pub(super) ends_as: Vec<String>,
    pub(super) closed_reason: Option<String>,
    pub(super) refund: Refund,
    pub(super) stock: Vec<StockChange>,
}

/// A step that would follow, or be compensated.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Predicted {
    pub(super) name: String,
    pub(super) does: Option<String>,
    pub(super) status_done: Option<String>,
    pub(super) certain: bool,
}

/// What would be returned, in minor units.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refund {
    pub(super) amount: i64,
    pub(super) at_most: Option<i64>,
    pub(super) currency: String,
}

/// What would change in the stock.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct StockChange {
    pub(super) ingredient: String,
    pub(super) unit: String,
    pub(super) reserved: i64,
    pub(super) left: i64,
}

/// The schedules.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Schedules {
    pub(super) schedules: Vec<Schedule>,
}

/// A schedule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Schedule {
    pub(super) name: String,
    pub(super) cron: Option<String>,
    pub(super) every_seconds: Option<i64>,
    pub(super) time_zone: String,
    pub(super) overlap: String,
    pub(super) catch_up_seconds: i64,
    pub(super) order: Template,
    pub(super) paused: bool,
    pub(super) switched: Option<Switch>,
    pub(super) next: Vec<String>,
    pub(super) pending: Option<Tick>,
    pub(super) last_tick: Option<Tick>,
    pub(super) last_error: Option<Tick>,
    pub(super) placed: i64,
    pub(super) refused: i64,
    pub(super) skipped: i64,
    pub(super) missed: i64,
}

/// What a schedule places.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Template {
    pub(super) customer_id: String,
    pub(super) items: Vec<Line>,
}

/// A pause or a resumption.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Switch {
    pub(super) at: String,
    pub(super) by: Option<String>,
    pub(super) reason: Option<String>,
}

/// A tick: one that is under way, that is over, or whose order was refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tick {
    pub(super) tick: String,
    pub(super) state: String,
    pub(super) outcome: String,
    pub(super) order_id: Option<String>,
    pub(super) code: String,
    pub(super) detail: String,
}
