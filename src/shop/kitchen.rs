//! The kitchen: a ticket an order, watched until it is prepared.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::participant::{Call, Participant};
use crate::saga::step::{Cx, StepError};

/// Pause before the second look; the first comes at once.
const POLL_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between two looks: well below the 10 s of silence that end the attempt.
const POLL_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Looks that may fail in a row before the attempt is over: one bad answer says little about a
/// preparation of a quarter of an hour.
const POLL_FAILURES_MAX: u32 = 3;

/// One line of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketItem {
    /// The menu's name for it.
    pub item: String,
    /// How many.
    pub quantity: u32,
    /// The customer's wish.
    pub note: Option<String>,
}

/// How a preparation stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Where it is on its way.
    pub state: TicketState,
    /// How far it has come, if the kitchen tells.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Why it failed, as a stable code.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whatever the kitchen changes while it is at it: a time, mostly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_at: Option<Value>,
}

impl Ticket {
    /// What workers have made.
    pub(super) fn pulled() -> Self {
        Self { state: TicketState::Prepared, progress: None, reason: None, heartbeat_at: None }
    }

    /// Whether somebody is at work, since it looked like that. That it is answered says that the kitchen's server
    /// lives, not that its people do. A ticket that has not been begun is nobody's yet: nothing of it moves,
    /// and nothing is wrong.
    fn is_alive_since(&self, before: &Self) -> bool {
        self.state == TicketState::Queued || self != before
    }

    fn percent(&self) -> Option<Value> {
        self.progress.map(|it| json!({ "percent": it.percent.min(100) }))
    }
}

/// How far a preparation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
}

/// Where a ticket is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketState {
    /// Accepted, not begun.
    Queued,
    /// Being made.
    Preparing,
    /// Made.
    Prepared,
    /// Cannot be made; nothing is left to call off.
    Failed,
    /// Called off before or after it was made.
    CalledOff,
}

/// What a call-off found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalledOff {
    /// It had been made already: waste.
    pub prepared: bool,
}

/// The kitchen's client.
#[derive(Debug, Clone)]
pub struct Kitchen {
    participant: Participant,
}

#[derive(Serialize)]
struct TicketBody<'a> {
    order_id: Uuid,
    items: &'a [TicketItem],
}

#[derive(Serialize)]
struct CallOffBody {
    order_id: Uuid,
}

impl Kitchen {
    /// Calls `participant` as a kitchen.
    pub fn new(participant: Participant) -> Self {
        Self { participant }
    }

    /// Hands the kitchen its ticket and watches it until it is prepared. The order reads `PREPARING`
    /// from the kitchen's yes on. Its yes is a heartbeat, and so is every look that shows a sign of life.
    ///
    /// # Errors
    /// Refused when the kitchen cannot make it; in doubt when it no longer answers, and when the
    /// saga is asked to cancel meanwhile: the call-off then tells what had happened.
    pub async fn prepare(
        &self,
        cx: &Cx,
        call: Call<'_>,
        items: &[TicketItem],
    ) -> Result<Ticket, StepError> {
        tokio::select! {
            biased;
            () = cx.cancelled() => Err(self.participant.doubt("left, to be called off", None)),
            ticket = self.watch(cx, call, items) => ticket,
        }
    }

    async fn watch(
        &self,
        cx: &Cx,
        call: Call<'_>,
        items: &[TicketItem],
    ) -> Result<Ticket, StepError> {
        let mut ticket = self.start(call, items).await?;
        cx.reached("PREPARING").await;
        cx.heartbeat(ticket.percent());
        let (mut pause, mut failures) = (Duration::ZERO, 0);
        loop {
            match ticket.state {
                TicketState::Prepared => return Ok(ticket),
                TicketState::Failed => {
                    let code = ticket.reason.unwrap_or_else(|| "failed".to_owned());
                    return Err(StepError::refused(code, "the kitchen cannot make it"));
                }
                TicketState::CalledOff => {
                    return Err(StepError::refused("called_off", "the ticket was called off"));
                }
                TicketState::Queued | TicketState::Preparing => tokio::time::sleep(pause).await,
            }
            match self.poll(call).await {
                Ok(seen) => {
                    if seen.is_alive_since(&ticket) {
                        cx.heartbeat(seen.percent());
                    }
                    (ticket, failures) = (seen, 0);
                }
                Err(error) => {
                    failures += 1;
                    if failures >= POLL_FAILURES_MAX {
                        return Err(error);
                    }
                }
            }
            pause = (pause * 2).clamp(POLL_PAUSE, POLL_PAUSE_MAX);
        }
    }

    /// Hands the kitchen its ticket; a ticket already known answers how it stands.
    ///
    /// # Errors
    /// Refused (`out_of_ingredients`, `called_off`, …) or in doubt.
    pub async fn start(&self, call: Call<'_>, items: &[TicketItem]) -> Result<Ticket, StepError> {
        let body = TicketBody { order_id: call.order_id, items };
        self.participant.post("tickets", call, &body).await
    }

    /// How a ticket stands.
    ///
    /// # Errors
    /// In doubt, also when the kitchen does not know the ticket: it may yet arrive.
    pub async fn poll(&self, call: Call<'_>) -> Result<Ticket, StepError> {
        let ticket = self.participant.find("tickets", call).await?;
        ticket.ok_or_else(|| self.participant.doubt("it does not know the ticket", None))
    }

    /// Closes a ticket's key for ever, whether or not it was ever seen, and tells what had happened.
    ///
    /// # Errors
    /// Mostly in doubt; a call-off has nothing to be refused for.
    pub async fn call_off(&self, call: Call<'_>) -> Result<CalledOff, StepError> {
        let body = CallOffBody { order_id: call.order_id };
        self.participant.post("call_offs", call, &body).await
    }
}
