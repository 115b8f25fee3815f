//! Whom the shop calls: their limits, their circuits, and what stands between an order and them.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Shop, ShopError,
    saga::NOTIFIER,
    view::OrderView,
    why::{self, HeldUp},
};
use crate::saga::{
    Step,
    journal::Changed,
    limits::{
        breaker::{Breaker, Micros},
        desk::Standing,
    },
};
pub use crate::saga::{journal::Change, limits::breaker::Hold};

/// Changes that are shown of a participant.
const CHANGES_MAX: i64 = 50;

/// A participant: how much of us it takes, and whether it answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct ParticipantView {
    /// `payment`, `kitchen` or `notifier`.
    #[schema(example = "payment")]
    pub name: String,
    /// Calls in flight at most, over all replicas; null for no limit.
    pub max_in_flight: Option<i32>,
    /// Calls a second at most, over all replicas; null for no limit.
    pub rate: Option<f64>,
    /// Calls in flight, over all replicas; null where nothing is limited and nobody counts.
    pub in_flight: Option<u32>,
    /// Orders that wait until they may call it.
    pub waiting: u32,
    /// Its circuit.
    pub circuit: CircuitView,
    /// What each replica holds of the limit.
    pub replicas: Vec<ShareView>,
    /// Who changed what, the newest first; where one participant is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<ChangeView>>,
}

/// The circuit of a participant.
#[derive(Debug, Serialize, ToSchema)]
pub struct CircuitView {
    /// `closed`: calls go out. `open`: none does. `half_open`: one does, and decides.
    #[schema(example = "closed")]
    pub state: &'static str,
    /// Whether an operator holds it so.
    pub held: bool,
    /// Since when calls are held up, or since when it is held.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// When the next call is made to see whether it answers.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_probe_at: Option<Timestamp>,
    /// How often it has opened since it was closed.
    pub openings: u32,
    /// Calls in a row that nobody knows the outcome of, as far as it has not opened for them.
    pub failures: u32,
}

/// What a replica holds of a limit.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShareView {
    /// The replica.
    pub boot_id: Uuid,
    /// What it calls itself.
    pub name: String,
    /// Calls that it may have in flight.
    pub slots: u32,
    /// Calls that it has.
    pub in_flight: u32,
    /// Its orders that wait.
    pub waiting: u32,
}

/// A change that somebody made.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangeView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Calls in flight at most, from then on.
    pub max_in_flight: Option<i32>,
    /// Calls a second at most, from then on.
    pub rate: Option<f64>,
    /// How the circuit stood from then on: its state, or `held_open`, `held_closed`.
    pub circuit: String,
}

fn time(at: Micros) -> Timestamp {
    Timestamp::from_microsecond(at).unwrap_or_default()
}

impl CircuitView {
    fn of(breaker: &Breaker) -> Self {
        let closed = Self {
            state: "closed",
            held: false,
            since: None,
            next_probe_at: None,
            openings: 0,
            failures: 0,
        };
        match breaker {
            Breaker::Closed { streak } => Self { failures: streak.failures, ..closed },
            Breaker::Open { since, probe_at, openings } => Self {
                state: "open",
                since: Some(time(*since)),
                next_probe_at: Some(time(*probe_at)),
                openings: *openings,
                ..closed
            },
            Breaker::HalfOpen { since, openings, .. } => Self {
                state: "half_open",
                since: Some(time(*since)),
                openings: *openings,
                ..closed
            },
            Breaker::HeldOpen { since } => {
                Self { state: "open", held: true, since: Some(time(*since)), ..closed }
            }
            Breaker::HeldClosed { since } => {
                Self { held: true, since: Some(time(*since)), ..closed }
            }
        }
    }
}

impl ParticipantView {
    fn of(standing: Standing, changes: Option<Vec<Changed>>) -> Self {
        let is_counted = standing.max_in_flight.is_some()
            || standing.rate.is_some()
            || !standing.breaker.is_closed();
        Self {
            max_in_flight: standing.max_in_flight,
            rate: standing.rate,
            in_flight: is_counted.then(|| standing.in_use()),
            waiting: standing.waiting(),
            circuit: CircuitView::of(&standing.breaker),
            replicas: standing.shares.into_iter().map(ShareView::of).collect(),
            changes: changes.map(|it| it.into_iter().map(ChangeView::of).collect()),
            name: standing.name,
        }
    }
}

impl ShareView {
    fn of(holder: crate::saga::limits::desk::Holder) -> Self {
        let written = holder.written;
        Self {
            boot_id: holder.boot_id,
            name: holder.name,
            slots: written.slots,
            in_flight: written.in_use,
            waiting: written.waiting,
        }
    }
}

impl ChangeView {
    fn of(change: Changed) -> Self {
        Self {
            at: change.at.to_jiff(),
            by: change.by,
            reason: change.reason,
            max_in_flight: change.max_in_flight,
            rate: change.rate,
            circuit: change.breaker,
        }
    }
}

/// Whom a step calls.
fn called_by(step: &str) -> Option<&'static str> {
    match step {
        super::saga::Payment::NAME => super::saga::Payment::PARTICIPANT,
        super::saga::Preparation::NAME => super::saga::Preparation::PARTICIPANT,
        super::saga::Notification::NAME => Some(NOTIFIER),
        _ => None,
    }
}

impl Shop {
    /// All participants.
    pub async fn all_participants(&self) -> Result<Vec<ParticipantView>, ShopError> {
        let standings = self.engine.participants(&self.read, None).await?;
        Ok(standings.into_iter().map(|it| ParticipantView::of(it, None)).collect())
    }

    /// A participant, with what was changed about it.
    pub async fn participant(&self, name: &str) -> Result<ParticipantView, ShopError> {
        let standing = self.engine.participants(&self.read, Some(name)).await?.pop();
        let standing = standing.ok_or(ShopError::NotFound("participant"))?;
        let changes = self.engine.participant_changes(&self.read, name, CHANGES_MAX).await?;
        Ok(ParticipantView::of(standing, Some(changes)))
    }

    /// Sets a participant's limits.
    pub async fn limit(&self, name: &str, change: &Change) -> Result<(), ShopError> {
        let is_set = self.engine.limit(&self.write, name, change).await?;
        is_set.then_some(()).ok_or(ShopError::NotFound("participant"))
    }

    /// Holds a participant's circuit, or lets go of it.
    pub async fn hold_circuit(
        &self,
        name: &str,
        hold: Hold,
        by: &str,
        reason: &str,
    ) -> Result<(), ShopError> {
        let is_held = self.engine.hold(&self.write, name, hold, by, reason).await?;
        is_held.then_some(()).ok_or(ShopError::NotFound("participant"))
    }

    /// What an order waits for before its step at hand may call anybody, if it does. The replica that drives it
    /// knows; the others go by what that one wrote last.
    pub(super) async fn held_up(&self, order: &OrderView) -> Result<Option<HeldUp>, ShopError> {
        let Some(participant) = why::running_step(order).and_then(called_by) else {
            return Ok(None);
        };
        let known_here = self.engine.waits_at_gate(order.id);
        if known_here == Some(false) {
            return Ok(None);
        }
        let standing = self.engine.participants(&self.read, Some(participant)).await?.pop();
        let is_held_up = |it: &Standing| known_here.unwrap_or_else(|| it.holds_up(order.id));
        Ok(standing.filter(is_held_up).and_then(|it| held_up_by(participant, &it)))
    }
}

fn held_up_by(participant: &'static str, standing: &Standing) -> Option<HeldUp> {
    let in_use = standing.in_use();
    let max = standing.max_in_flight.map(|it| u32::try_from(it).unwrap_or(0));
    let circuit = CircuitView::of(&standing.breaker);
    if circuit.state != "closed" {
        let (since, next_probe_at) = (circuit.since.unwrap_or_default(), circuit.next_probe_at);
        return Some(HeldUp::Circuit { participant, since, next_probe_at, held: circuit.held });
    }
    match (max, standing.rate) {
        (Some(max), None) => Some(HeldUp::Slot { participant, in_use, max }),
        (Some(max), Some(_)) if in_use >= max => Some(HeldUp::Slot { participant, in_use, max }),
        (_, Some(rate)) => Some(HeldUp::Rate { participant, rate }),
        (None, None) => None,
    }
}
