//! A schedule as it is shown.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::shop::{books::schedules::ScheduleRow, schedule::Overlap};

/// Ticks that are shown ahead.
const UPCOMING: usize = 5;

/// A schedule on the wire.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ScheduleView {
    /// Its name.
    #[schema(example = "ada-every-morning")]
    pub name: String,
    /// When, by the wall clock of `time_zone`.
    #[schema(example = "30 8 * * 1-5")]
    pub cron: Option<String>,
    /// When, in seconds between ticks.
    pub every_seconds: Option<i32>,
    /// An IANA time zone.
    #[schema(example = "Europe/Paris")]
    pub time_zone: String,
    /// What becomes of a tick while the order of the tick before is open.
    pub overlap: Overlap,
    /// How late a tick may still place its order.
    pub catch_up_seconds: i32,
    /// What is placed, without how it is paid; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub order: Option<Value>,
    /// Whether it is paused.
    pub paused: bool,
    /// The last pause or resumption.
    pub switched: Option<Switch>,
    /// The next ticks; none while it is paused.
    #[schema(value_type = Vec<String>)]
    pub next: Vec<Timestamp>,
    /// A tick that is not over.
    pub pending: Option<PendingTick>,
    /// The last tick that is over.
    pub last_tick: Option<LastTick>,
    /// The order of the last tick that had one.
    pub last_order_id: Option<Uuid>,
    /// The last refusal of an order.
    pub last_error: Option<TickError>,
    /// Ticks that placed their order.
    pub placed: i64,
    /// Ticks whose order was refused.
    pub refused: i64,
    /// Ticks that found the order before them open.
    pub skipped: i64,
    /// Ticks that would have come too late.
    pub missed: i64,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last created, replaced, paused or resumed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A pause or a resumption.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Switch {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// By whom.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// A tick that is not over.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PendingTick {
    /// The tick.
    #[schema(value_type = String, format = DateTime)]
    pub tick: Timestamp,
    /// `placing`, or `buffered` while the order of the tick before is open.
    #[schema(example = "placing")]
    pub state: &'static str,
}

/// What became of a tick.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LastTick {
    /// The tick.
    #[schema(value_type = String, format = DateTime)]
    pub tick: Timestamp,
    /// `placed`, `refused`, `skipped` or `missed`.
    #[schema(example = "placed")]
    pub outcome: String,
    /// Its order, if it has one.
    pub order_id: Option<Uuid>,
}

/// Why the order of a tick was refused.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TickError {
    /// The tick.
    #[schema(value_type = String, format = DateTime)]
    pub tick: Timestamp,
    /// The code that `POST /v1/orders` would have answered.
    #[schema(example = "shop_closed")]
    pub code: String,
    /// What was wrong.
    pub detail: String,
}

impl ScheduleView {
    pub(super) fn of(row: ScheduleRow) -> Self {
        let next = row
            .next_at
            .and_then(|first| Some(row.rhythm().ok()?.upcoming(first.to_jiff(), UPCOMING)));
        let mut order: Option<Value> = serde_json::from_str(&row.new_order).ok();
        if let Some(Value::Object(order)) = &mut order {
            // Who may read a schedule need not be able to pay with it.
            order.remove("payment");
        }
        let outcome = row.last_tick_at.zip(row.last_outcome);
        let error = row.last_error_at.zip(row.last_error_code.zip(row.last_error_detail));
        let state = if row.pending_until.is_some() { "placing" } else { "buffered" };
        Self {
            name: row.name,
            cron: row.cron,
            every_seconds: row.every_s,
            time_zone: row.time_zone,
            overlap: Overlap::read(&row.overlap),
            catch_up_seconds: row.catch_up_s,
            order,
            paused: row.paused,
            switched: row.switched_at.map(|at| Switch {
                at: at.to_jiff(),
                by: row.switched_by,
                reason: row.switched_reason,
            }),
            next: next.unwrap_or_default(),
            pending: row.pending_at.map(|it| PendingTick { tick: it.to_jiff(), state }),
            last_tick: outcome.map(|(tick, outcome)| LastTick {
                tick: tick.to_jiff(),
                order_id: row.last_order_id.filter(|_| outcome == "placed"),
                outcome,
            }),
            last_order_id: row.last_order_id,
            last_error: error.map(|(tick, (code, detail))| TickError {
                tick: tick.to_jiff(),
                code,
                detail,
            }),
            placed: row.placed,
            refused: row.refused,
            skipped: row.skipped,
            missed: row.missed,
            created_at: row.created_at.to_jiff(),
            updated_at: row.updated_at.to_jiff(),
        }
    }
}
