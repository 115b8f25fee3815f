//! What follows from a schedule when it is looked at: which tick is taken up, and what becomes of the others. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Overlap;
use crate::shop::calendar::Rhythm;

/// How long a tick is its taker's alone: far longer than placing an order takes. Then its taker counts as dead.
pub const HOLD: SignedDuration = SignedDuration::from_secs(15);
/// How often it is looked whether a buffered tick may have its order.
const BUFFER_EVERY: SignedDuration = SignedDuration::from_secs(2);
/// The first pause before an order that was refused is tried again; each is twice the one before.
const RETRY_MIN: SignedDuration = SignedDuration::from_secs(1);
/// The longest one.
const RETRY_MAX: SignedDuration = SignedDuration::from_secs(60);
/// How long a replica sleeps at most. A change is heeded at once by the replica that it was made at, so it costs so much
/// only where that one is gone.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long it sleeps at least.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A tick that was taken up and is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// The tick.
    pub tick: Timestamp,
    /// Until when its order may be placed; `None` while it is buffered.
    pub until: Option<Timestamp>,
}

/// How a schedule stands when it is looked at.
#[derive(Debug, Clone)]
pub struct Standing {
    /// When its ticks come.
    pub rhythm: Rhythm,
    /// What to do while the last order is open.
    pub overlap: Overlap,
    /// How late a tick may be.
    pub catch_up: SignedDuration,
    /// The next tick; `None` while it is paused.
    pub next: Option<Timestamp>,
    /// A tick that is not over.
    pub pending: Option<Pending>,
    /// Whether the order of the tick before is open.
    pub is_open: bool,
}

/// What to do about a tick now, outside of the row's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Rest,
    /// Place its order, then cancel the other one if it says so.
    Place {
        /// The tick.
        tick: Timestamp,
        /// Whether the order of the tick before is to be cancelled.
        cancel_other: bool,
    },
    /// Find out whether its order was placed; place it no more.
    Settle(Timestamp),
}

/// What becomes of a schedule that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// What to do.
    pub act: Act,
    /// A tick that is over without an order, and why.
    pub over: Option<(Timestamp, Over)>,
    /// Ticks that came too late.
    pub missed: u64,
    /// Ticks that found the order before them open.
    pub skipped: u64,
    /// The next tick.
    pub next: Option<Timestamp>,
    /// The tick that is not over.
    pub pending: Option<Pending>,
    /// When to look again.
    pub wake: Option<Timestamp>,
}

/// Why a tick has no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// It came too late.
    Missed,
    /// The order before it was open.
    Skipped,
}

impl Over {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Skipped => "skipped",
        }
    }
}

impl Standing {
    /// What follows now.
    pub fn look(&self, now: Timestamp) -> Outlook {
        match self.pending {
            // One that was begun comes first: its order may be there already.
            Some(Pending { tick, until: Some(until) }) => self.go_on_with(tick, until, now),
            Some(buffered) => self.look_at_ticks(Some(buffered), now),
            None => self.look_at_ticks(None, now),
        }
    }

    /// A tick whose order was to be placed, by somebody who was killed or refused.
    fn go_on_with(&self, tick: Timestamp, until: Timestamp, now: Timestamp) -> Outlook {
        let is_past = now > until || self.next.is_none_or(|it| it <= now);
        let act = match is_past {
            true => Act::Settle(tick),
            false => Act::Place { tick, cancel_other: self.cancels() },
        };
        Outlook { act, wake: Some(soon(now, HOLD)), ..self.as_is() }
    }

    fn look_at_ticks(&self, buffered: Option<Pending>, now: Timestamp) -> Outlook {
        let mut outlook = self.as_is();
        let mut fresh = None;
        if let Some(due) = self.next.and_then(|it| self.rhythm.due(it, now)) {
            // Of several the last one only: one order, however long nobody looked.
            let is_fresh = now.duration_since(due.latest) <= self.catch_up;
            outlook.missed = due.count - u64::from(is_fresh);
            outlook.next = due.next;
            match is_fresh {
                true => fresh = Some(due.latest),
                false => outlook.over = Some((due.latest, Over::Missed)),
            }
        }
        let skip = |mut outlook: Outlook, tick: Option<Timestamp>| {
            if let Some(tick) = tick {
                (outlook.skipped, outlook.over) = (1, Some((tick, Over::Skipped)));
            }
            outlook
        };
        let waits = self.is_open && self.overlap != Overlap::Allow;
        let outlook = match (buffered, fresh) {
            (Some(_), tick) if waits => skip(outlook, tick),
            // It has its turn. Ticks that are due have theirs when it is over.
            (Some(Pending { tick, .. }), _) => self.take_up(self.as_is(), tick, now),
            (None, None) => outlook,
            (None, Some(tick)) if !waits || self.cancels() => self.take_up(outlook, tick, now),
            (None, Some(tick)) if self.overlap == Overlap::BufferOne => {
                Outlook { pending: Some(Pending { tick, until: None }), ..outlook }
            }
            (None, tick) => skip(outlook, tick),
        };
        if outlook.act != Act::Rest {
            return outlook;
        }
        let look = outlook.pending.map(|_| soon(now, BUFFER_EVERY));
        Outlook { wake: [outlook.next, look].into_iter().flatten().min(), ..outlook }
    }

    /// A tick has its turn: its window begins with it, and not before it is taken up.
    fn take_up(&self, outlook: Outlook, tick: Timestamp, now: Timestamp) -> Outlook {
        let was_buffered = self.pending.is_some();
        let until = soon(if was_buffered { now } else { tick }, self.catch_up);
        Outlook {
            act: Act::Place { tick, cancel_other: self.cancels() },
            pending: Some(Pending { tick, until: Some(until) }),
            wake: Some(soon(now, HOLD)),
            ..outlook
        }
    }

    fn cancels(&self) -> bool {
        self.is_open && self.overlap == Overlap::CancelOther
    }

    fn as_is(&self) -> Outlook {
        Outlook {
            act: Act::Rest,
            over: None,
            missed: 0,
            skipped: 0,
            next: self.next,
            pending: self.pending,
            wake: None,
        }
    }
}

/// When an order that was refused is tried again; `None` when that would be too late. A tick is tried until its window
/// ends, or the next one is due.
pub fn retry_at(
    attempts: u32,
    until: Timestamp,
    next: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let pause = RETRY_MIN.saturating_mul(1 << attempts.min(10)).min(RETRY_MAX);
    let at = soon(now, pause);
    (at <= until && next.is_some_and(|it| at < it)).then_some(at)
}

/// How long to sleep before the next look.
pub fn pause(now: Timestamp, wake: Option<Timestamp>) -> Duration {
    let wait = wake.map(|it| it.duration_since(now));
    let wait = wait.map(|it| Duration::try_from(it).unwrap_or(LOOK_AGAIN));
    wait.unwrap_or(LOOK_EVERY).clamp(LOOK_AGAIN, LOOK_EVERY)
}

fn soon(now: Timestamp, after: SignedDuration) -> Timestamp {
    now.checked_add(after).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
