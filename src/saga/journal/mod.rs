//! The journal: every SQL statement of the engine, and the group commit.
//!
//! Transitions of all running sagas go through a few writers, each with a connection of its own, that
//! commit them in batches and answer after COMMIT. A batch is one chain: the **fence** (the buckets of the
//! batch, FOR SHARE, with the epochs we believe in), the **guarded update** of the saga rows
//! (`seq = n − 1`; for the pivot also "not cancelled"), and the lines **only for the rows it returned**. A
//! row that is not returned is a verdict, never an error, and never fails its neighbours.
//!
//! Two lanes. The *own* lane touches nothing that replicas share but the fence: up to two connections.
//! The *shared* lane is for effects on rows that many sagas contend for (stock): one batch at a time.
//!
//! Lock order everywhere: fence, saga rows, then whatever the saga's `apply` locks, in its own fixed order.

mod commit;
pub(super) mod dry;
pub(super) mod feed;
pub(super) mod foreign;
pub(super) mod inbox;
pub(super) mod lease;
pub(super) mod limits;
pub(super) mod load;
pub(super) mod open;
pub(super) mod past;
mod queue;
pub(super) mod read;
pub(super) mod signal;
mod single;
pub mod task;
mod unknown;
mod write;
mod writer;

use std::{borrow::Cow, sync::Arc};

use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::PgConnection;
use tokio::sync::oneshot;
use uuid::Uuid;

use self::queue::{Answered, Noted, Queue};
pub use self::{
    inbox::CancelVerdict,
    lease::Replica,
    limits::{Change, Changed},
    read::{JournalLine, SagaRow, count_open},
    signal::{Asked, Only, SIGNALS_MAX},
};
pub(super) use self::{
    write::Fence,
    writer::{WriterSettings, spawn_writers},
};
use super::{line::Line, step::Lane};

/// The bucket of a saga: the last byte of its id.
pub fn bucket_of(saga_id: Uuid) -> u8 {
    saga_id.as_bytes()[15]
}

/// One step of one saga's life, as it is to be committed.
#[derive(Debug)]
pub(super) struct Transition<E> {
    pub saga_id: Uuid,
    /// Set for a saga's first transition: its definition's name and version.
    pub start: Option<(&'static str, i32)>,
    /// The number of the first line; the row must stand at the one before.
    pub first_seq: i32,
    pub lines: Vec<Line>,
    pub row: Row,
    pub effects: Vec<E>,
    pub lane: Lane,
    /// Inbox rows that this transition journals, deleted in its commit.
    pub taken: Vec<Uuid>,
}

/// What the saga's row says after a transition.
#[derive(Debug)]
pub(super) struct Row {
    pub label: Cow<'static, str>,
    pub cursor: i16,
    pub past_pivot: bool,
    /// The transition passes the pivot, or turns back for want of answers: refuse it when a cancellation
    /// has been accepted.
    pub unless_cancelled: bool,
    /// Suspends: wakes after this many milliseconds by the database's clock.
    pub wake_in_ms: Option<i64>,
    pub attention: Option<String>,
    pub closed: Option<(Cow<'static, str>, Option<String>)>,
}

impl Row {
    /// A saga that was just started.
    pub(super) fn first(label: &'static str) -> Self {
        Self {
            label: Cow::Borrowed(label),
            cursor: 0,
            past_pivot: false,
            unless_cancelled: false,
            wake_in_ms: None,
            attention: None,
            closed: None,
        }
    }

    /// The final status, of a saga that closes.
    fn closed_status(&self) -> Option<&str> {
        self.closed.as_ref().map(|(status, _)| status.as_ref())
    }

    /// Why it closes so.
    fn closed_reason(&self) -> Option<&str> {
        self.closed.as_ref().and_then(|(_, reason)| reason.as_deref())
    }
}

/// What became of a transition. Losing is a value here, not an error.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Durable.
    Written,
    /// The bucket is another replica's by now: let go.
    Fenced,
    /// A cancellation was accepted before.
    Cancelled,
    /// The row does not stand where the transition starts: read the saga again.
    Stale,
    /// The effects were refused; nothing was written.
    Refused(Refusal),
    /// The database does not accept this transition, and would not the next time either.
    Impossible(String),
}

/// Why effects were refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// A stable code.
    pub code: &'static str,
    /// For people.
    pub detail: String,
    /// For programs; `Null` when the code says all.
    pub data: Value,
}

/// The effects of one transition, as a saga's `apply` is given them.
#[derive(Debug)]
pub struct Entry<'a, E> {
    /// The saga.
    pub saga_id: Uuid,
    /// Its effects, in the order in which its steps returned them.
    pub effects: &'a [E],
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// Done, and commits with the transition.
    Yes,
    /// Not done; nothing of the transition is written.
    Refused(Refusal),
    /// Not in this batch: it depends on another entry of it.
    Later,
}

/// Applies the effects of a batch set-wise, inside the transaction that journals them; one answer an
/// entry, in order. An error fails the batch, which is then tried in halves.
pub type Apply<E> = for<'a> fn(
    &'a mut PgConnection,
    &'a [Entry<'a, E>],
) -> BoxFuture<'a, sqlx::Result<Vec<Applied>>>;

struct Pending<E> {
    transition: Transition<E>,
    answer: oneshot::Sender<(Verdict, Vec<E>, Noted)>,
    answered: Answered,
}

impl<E> Pending<E> {
    fn answer(self, verdict: Verdict) {
        // Nobody listens any more: then the count goes down at once.
        let _ = self.answer.send((verdict, self.transition.effects, self.answered.note()));
    }
}

/// The way to the writers. Clones share the queues.
pub(super) struct Journal<E> {
    own: Arc<Queue<Pending<E>>>,
    shared: Arc<Queue<Pending<E>>>,
    answered: Answered,
}

impl<E> Clone for Journal<E> {
    fn clone(&self) -> Self {
        let (own, shared) = (self.own.clone(), self.shared.clone());
        Self { own, shared, answered: self.answered.clone() }
    }
}

impl<E> Journal<E> {
    pub(super) fn new() -> Self {
        let answered = Answered::default();
        let queue = || Arc::new(Queue::new(answered.clone()));
        Self { own: queue(), shared: queue(), answered }
    }

    /// Commits a transition, and gives its effects back. Cancellation safe in this sense: the writer owns
    /// it, so a caller that goes away changes nothing about whether it is written.
    pub(super) async fn commit(&self, transition: Transition<E>) -> (Verdict, Vec<E>) {
        let (answer, verdict) = oneshot::channel();
        let queue = match transition.lane {
            Lane::Own => &self.own,
            Lane::Shared => &self.shared,
        };
        queue.push(Pending { transition, answer, answered: self.answered.clone() });
        // Only a writer that was stopped drops its queue; whoever takes over then reads the journal.
        verdict
            .await
            .map_or_else(|_| (Verdict::Fenced, Vec::new()), |(it, effects, _)| (it, effects))
    }
}
