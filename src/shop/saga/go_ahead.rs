//! The step before the kitchen: an order waits here until it may be made. Large ones for a person's word, pre-orders for
//! their time. Most wait for nothing, and then it costs nothing: it is written with the payment.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    saga::{
        Cx, Done, Policy, Step, StepError, Wait,
        journal::task::{TASK, TASK_CLAIMED},
    },
    shop::{books::Effect, message::amount, order::Order},
};

/// The signal that moves an order's pickup time.
pub const PICKUP_SIGNAL: &str = "pickup_at";
/// The signal that carries a person's word about a large order.
pub const APPROVAL_SIGNAL: &str = "approval";
/// Signals that have routes of their own, and are not taken by the one for all others.
pub const RESERVED_SIGNALS: [&str; 4] = [PICKUP_SIGNAL, APPROVAL_SIGNAL, TASK, TASK_CLAIMED];

/// A wake-up this much early is not sent back to sleep: whoever computed when to wake knew the database's
/// clock to some milliseconds only.
const EARLY_AT_MOST: SignedDuration = SignedDuration::from_millis(500);

/// What an order may have to wait for before it is made.
#[derive(Debug, Clone, Copy)]
pub struct GoAheadPolicy {
    /// How long before its pickup time an order is begun.
    pub lead: Duration,
    /// From this total on, in minor units, a person has to approve an order; `None`: of no order.
    pub approval_over: Option<i64>,
    /// How long that person has.
    pub approval_timeout: Duration,
    /// Whether an order that nobody decided on in that time is made all the same.
    pub approves_by_default: bool,
}

impl Default for GoAheadPolicy {
    fn default() -> Self {
        Self {
            lead: Duration::from_secs(600),
            approval_over: None,
            approval_timeout: Duration::from_secs(900),
            approves_by_default: false,
        }
    }
}

impl GoAheadPolicy {
    /// Whether a person has to approve this order.
    pub fn needs_approval(&self, order: &Order) -> bool {
        self.approval_over.is_some_and(|it| order.total >= it)
    }
}

/// Waits until the order may be made.
pub struct GoAhead {
    pub(super) policy: GoAheadPolicy,
}

/// A person's word about a large order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether it may be made.
    pub approved: bool,
    /// Who says so.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A pickup time as a signal carries it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Moved {
    /// When the order is to be ready.
    pub pickup_at: Timestamp,
}

/// What the step leaves in the journal.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WentAhead {
    /// Whose word it was, where one was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// The pickup time that it was begun for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pickup_at: Option<Timestamp>,
}

impl Step for GoAhead {
    const NAME: &'static str = "go_ahead";
    const IS_LOCAL: bool = true;
    const IS_COMPENSATED: bool = false;
    type Input = Order;
    type Output = WentAhead;
    type Effect = Effect;

    fn policy(&self) -> Policy {
        Policy { start_to_close: Duration::from_secs(5), ..Policy::default() }
    }

    async fn execute(&self, cx: &Cx, order: &Order) -> Result<Done<WentAhead, Effect>, StepError> {
        let approved_by = match self.word(cx, order)? {
            Word::Needed(wait) => return Ok(Done::waiting(wait)),
            Word::Given(by) => by,
        };
        let pickup_at = pickup_at(cx.signals(PICKUP_SIGNAL).map(|it| it.data.get()), order);
        let begin =
            pickup_at.map(|it| it - SignedDuration::try_from(self.policy.lead).unwrap_or_default());
        match begin {
            Some(begin) if begin - EARLY_AT_MOST > cx.now => {
                let wait = Wait::until(begin, "for the time to begin").or_signal(PICKUP_SIGNAL);
                Ok(Done::waiting(wait))
            }
            _ => Ok(Done::new(WentAhead { approved_by, pickup_at })),
        }
    }
}

/// The word on an order that needs one.
enum Word {
    Needed(Wait),
    Given(Option<String>),
}

impl GoAhead {
    fn word(&self, cx: &Cx, order: &Order) -> Result<Word, StepError> {
        if !self.policy.needs_approval(order) {
            return Ok(Word::Given(None));
        }
        let first = cx.signals(APPROVAL_SIGNAL).next();
        let decision = first.and_then(|it| serde_json::from_str::<Decision>(it.data.get()).ok());
        match decision {
            Some(Decision { approved: true, by, .. }) => Ok(Word::Given(Some(by))),
            Some(Decision { by, reason, .. }) => {
                let reason = reason.map(|it| format!(": {it}")).unwrap_or_default();
                Err(StepError::refused("approval_refused", format!("{by} refused it{reason}")))
            }
            None if cx.timed_out() && self.policy.approves_by_default => {
                Ok(Word::Given(Some("nobody, in time".to_owned())))
            }
            None if cx.timed_out() => {
                Err(StepError::refused("approval_timed_out", "nobody approved it in time"))
            }
            None => {
                let timeout = SignedDuration::try_from(self.policy.approval_timeout);
                let until = cx.now + timeout.unwrap_or_default();
                let what =
                    format!("for a person to approve {}", amount(order.total, &order.currency));
                let wait = Wait::until(until, what).or_signal(APPROVAL_SIGNAL).needing("approval");
                Ok(Word::Needed(wait))
            }
        }
    }
}

/// When an order is to be picked up: as it was last moved to, else as it was placed.
pub fn pickup_at<'a>(
    moved: impl DoubleEndedIterator<Item = &'a str>,
    order: &Order,
) -> Option<Timestamp> {
    let moved = moved.rev().find_map(|it| serde_json::from_str::<Moved>(it).ok());
    moved.map(|it| it.pickup_at).or(order.pickup_at)
}
