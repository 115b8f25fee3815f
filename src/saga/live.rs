//! The sagas in the memory of this replica.

mod at_gate;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::journal::{
    bucket_of,
    inbox::{Item, Request},
};

/// What the rest of the engine sees of a saga in memory.
#[derive(Debug, Default)]
pub(super) struct Live {
    inbox: Mutex<Inbox>,
    /// Something arrived.
    pub nudge: Notify,
    /// The bucket is no longer ours: let go without writing.
    pub lost: CancellationToken,
    progress: Mutex<Option<Value>>,
    /// Somebody wanted to load the saga while it was still here.
    wanted: Mutex<Option<Arrival>>,
    /// It stands at a participant's gate, and nothing of it runs.
    at_gate: AtomicBool,
    /// Held while no other saga may run that may have killed its replicas.
    alone: Mutex<Option<OwnedSemaphorePermit>>,
}

/// How a saga comes into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Arrival {
    /// It was suspended: no attempt was under way.
    Woken,
    /// Its row says that it runs, and it may be that nobody has it: an answer of the database was lost.
    Missed,
    /// Its bucket was handed over in order, or is back after we had let go of it: no process ended.
    HandedOver,
    /// Its replica died.
    TakenOver,
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: Vec<Item>,
    seen: HashSet<Uuid>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    fn deliver(&self, item: &Item) {
        let mut inbox = lock(&self.inbox);
        if inbox.seen.insert(item.inbox_id) {
            inbox.waiting.push(item.clone());
            drop(inbox);
            self.nudge.notify_one();
        }
    }

    /// Takes what arrived, in its order.
    pub(super) fn take_inbox(&self) -> Vec<Item> {
        std::mem::take(&mut lock(&self.inbox).waiting)
    }

    /// Takes what arrived and needs no attempt to end: everything before the first request that does.
    pub(super) fn take_notes(&self) -> Vec<Item> {
        let mut inbox = lock(&self.inbox);
        let ends = |it: &Item| {
            !matches!(it.request(), Some(Request::Signal | Request::Pause | Request::Resume))
        };
        let notes = inbox.waiting.iter().position(ends).unwrap_or(inbox.waiting.len());
        inbox.waiting.drain(..notes).collect()
    }

    /// Whether anything waits.
    pub(super) fn has_items(&self) -> bool {
        !lock(&self.inbox).waiting.is_empty()
    }

    /// Whether a cancellation waits.
    pub(super) fn has_cancel(&self) -> bool {
        lock(&self.inbox).waiting.iter().any(|it| it.kind == "cancel")
    }

    /// Keeps the others waiting until [`Self::let_others_in`].
    pub(super) fn run_alone(&self, permit: OwnedSemaphorePermit) {
        *lock(&self.alone) = Some(permit);
    }

    /// The saga has survived: the next one may try.
    pub(super) fn let_others_in(&self) {
        lock(&self.alone).take();
    }

    /// How far the running attempt has come.
    pub(super) fn set_progress(&self, progress: Option<Value>) {
        *lock(&self.progress) = progress;
    }
}

/// All of them, by id.
#[derive(Debug, Default)]
pub(super) struct LiveSagas {
    sagas: Mutex<HashMap<Uuid, Arc<Live>>>,
    reloads: Mutex<Vec<(Uuid, Arrival)>>,
    doubted: Mutex<BTreeSet<i16>>,
    swept: Mutex<Swept>,
    left: Notify,
}

/// What the last sweep found.
#[derive(Debug, Default)]
struct Swept {
    at: Option<Instant>,
    absent: HashSet<Uuid>,
}

impl LiveSagas {
    /// Whether the last sweep is this long ago; the next is counted from now then.
    pub(super) fn is_time_to_sweep(&self, every: Duration) -> bool {
        let mut swept = lock(&self.swept);
        let is_due = swept.at.is_some_and(|it| it.elapsed() >= every);
        if is_due || swept.at.is_none() {
            swept.at = Some(Instant::now());
        }
        is_due
    }

    /// Of these, the ones that are not here and were not at the last sweep.
    pub(super) fn stranded(&self, running: Vec<Uuid>) -> Vec<Uuid> {
        let sagas = lock(&self.sagas);
        let absent: HashSet<Uuid> =
            running.into_iter().filter(|it| !sagas.contains_key(it)).collect();
        let mut swept = lock(&self.swept);
        let stranded = absent.intersection(&swept.absent).copied().collect();
        swept.absent = absent;
        stranded
    }

    /// Enters a saga. `None` when it is here already: it may be about to leave, so it is read again once
    /// it has. What is left of it from before its bucket changed hands is told to let go.
    pub(super) fn enter(self: &Arc<Self>, saga_id: Uuid, arrival: Arrival) -> Option<Presence> {
        let live = Arc::new(Live::default());
        let mut sagas = lock(&self.sagas);
        if let Some(present) = sagas.get(&saga_id) {
            let mut wanted = lock(&present.wanted);
            *wanted = (*wanted).max(Some(arrival.max(Arrival::Missed)));
            if arrival >= Arrival::HandedOver {
                present.lost.cancel();
            }
            return None;
        }
        sagas.insert(saga_id, live.clone());
        Some(Presence { saga_id, live, all: self.clone() })
    }

    /// Notes a saga that has to be read again.
    pub(super) fn ask_to_reload(&self, saga_id: Uuid, arrival: Arrival) {
        lock(&self.reloads).push((saga_id, arrival));
    }

    /// Takes what was noted.
    pub(super) fn take_reloads(&self) -> Vec<(Uuid, Arrival)> {
        std::mem::take(&mut lock(&self.reloads))
    }

    /// Notes buckets of which rows may say "running" though nobody has them in memory.
    pub(super) fn doubt(&self, buckets: &[i16]) {
        lock(&self.doubted).extend(buckets);
    }

    /// Takes what was noted.
    pub(super) fn take_doubted(&self) -> BTreeSet<i16> {
        std::mem::take(&mut lock(&self.doubted))
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.sagas).len()
    }

    /// How far the running attempt of a saga has come, if it runs here and says so.
    pub(super) fn progress(&self, saga_id: Uuid) -> Option<Value> {
        let live = lock(&self.sagas).get(&saga_id).cloned()?;
        let progress = lock(&live.progress);
        progress.clone()
    }

    /// Hands items to the sagas they are for, and returns the ids of those that are not here.
    pub(super) fn deliver(&self, items: &[Item]) -> Vec<Uuid> {
        let sagas = lock(&self.sagas);
        let mut absent = Vec::new();
        for item in items {
            match sagas.get(&item.saga_id) {
                Some(live) => live.deliver(item),
                None if !absent.contains(&item.saga_id) => absent.push(item.saga_id),
                None => {}
            }
        }
        absent
    }

    /// Tells all sagas to let go.
    pub(super) fn lose_all(&self) {
        for live in lock(&self.sagas).values() {
            live.lost.cancel();
        }
    }

    /// Waits until no saga is in memory, at most this long.
    pub(super) async fn drain(&self, at_most: Duration) {
        let wait = async {
            loop {
                let left = self.left.notified();
                tokio::pin!(left);
                left.as_mut().enable();
                if lock(&self.sagas).is_empty() {
                    return;
                }
                left.await;
            }
        };
        // What is left then is told to let go, bucket by bucket.
        let _ = tokio::time::timeout(at_most, wait).await;
    }

    /// Tells the sagas of these buckets to let go.
    pub(super) fn let_go(&self, buckets: &[i16]) {
        for (id, live) in lock(&self.sagas).iter() {
            if buckets.contains(&i16::from(bucket_of(*id))) {
                live.lost.cancel();
            }
        }
    }

    /// Tells the sagas of these buckets to let go, and waits until they have, at most this long.
    pub(super) async fn lose(&self, buckets: &[i16], at_most: Duration) {
        let is_ours = |id: &Uuid| buckets.contains(&i16::from(bucket_of(*id)));
        let wait = async {
            loop {
                let left = self.left.notified();
                tokio::pin!(left);
                left.as_mut().enable();
                let mut any = false;
                for (_, live) in lock(&self.sagas).iter().filter(|(id, _)| is_ours(id)) {
                    live.lost.cancel();
                    any = true;
                }
                if !any {
                    return;
                }
                left.await;
            }
        };
        if tokio::time::timeout(at_most, wait).await.is_err() {
            tracing::warn!("some sagas did not let go in time; the fence holds them off");
        }
    }
}

/// A saga's presence in memory; leaves when dropped.
#[derive(Debug)]
pub(super) struct Presence {
    pub saga_id: Uuid,
    pub live: Arc<Live>,
    all: Arc<LiveSagas>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.live.let_others_in();
        lock(&self.all.sagas).remove(&self.saga_id);
        if let Some(arrival) = *lock(&self.live.wanted) {
            self.all.ask_to_reload(self.saga_id, arrival);
        }
        self.all.left.notify_waiters();
    }
}
