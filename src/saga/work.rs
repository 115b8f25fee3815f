//! Handing out work: who waits here for tasks, and the one look that all of them share.
//!
//! A worker that asks while there is nothing is held. However many are held, one look serves them: every two
//! seconds while anybody waits, at once when a commit hints that there is work, and every ten seconds in any case, so
//! that a queue which nobody serves is noticed. A look wakes as many as there are tasks to claim. Who comes while
//! the last look found nothing, and nobody hinted since, costs no statement at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    Core,
    journal::{
        bucket_of,
        task::{
            look::{self, QueueLook},
            settle,
        },
    },
};

/// Time between two looks while somebody waits for work that there is not.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Time between two looks while there is work that a limit keeps back.
const LOOK_SOON: Duration = Duration::from_millis(250);
/// Time between two looks while nobody waits: to notice queues that nobody serves.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// For how long nobody may ask for work that is due: a worker that is held is seen every few seconds.
pub const UNSERVED_AFTER: Duration = Duration::from_secs(15);
/// Tasks given up by one statement.
const GIVEN_UP_AT_ONCE: usize = 100;

/// Those who wait here for work.
#[derive(Default)]
pub(super) struct Work {
    waiting: Mutex<BTreeMap<u64, Waiting>>,
    due: Notify,
    /// The last look found nothing to hand out, and nobody hinted since.
    is_quiet: AtomicBool,
}

struct Waiting {
    queues: Vec<String>,
    worker: String,
    wake: Arc<Notify>,
}

/// A place among those who wait, until dropped.
pub(super) struct Place {
    work: Arc<Work>,
    number: u64,
    pub(super) wake: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.work.lock().remove(&self.number);
    }
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be something to hand out: look.
    pub(super) fn hint(&self) {
        self.is_quiet.store(false, Ordering::Relaxed);
        self.due.notify_one();
    }

    /// Whether there is nothing to hand out, as far as known.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed)
    }

    /// Waits from now on: the longest waiting are woken first.
    pub(super) fn enter(self: &Arc<Self>, queues: &[String], worker: &str) -> Place {
        let wake = Arc::new(Notify::new());
        let mut waiting = self.lock();
        let number = waiting.last_key_value().map_or(0, |(last, _)| last + 1);
        // Whoever is the first to wait shortens the time to the next look.
        if waiting.is_empty() {
            self.due.notify_one();
        }
        let (queues, worker) = (queues.to_vec(), worker.to_owned());
        waiting.insert(number, Waiting { queues, worker, wake: wake.clone() });
        drop(waiting);
        Place { work: self.clone(), number, wake }
    }

    /// Who asks for what, each once.
    fn asking(&self) -> Vec<(String, String)> {
        let waiting = self.lock();
        let pairs = waiting
            .values()
            .flat_map(|it| it.queues.iter().map(|queue| (queue.clone(), it.worker.clone())));
        pairs.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Wakes as many as can claim something. True when somebody waits on for work that a limit keeps back.
    fn wake(&self, looks: &[QueueLook]) -> bool {
        let mut left: BTreeMap<&str, i64> =
            looks.iter().map(|it| (it.queue.as_str(), it.claimable())).collect();
        let mut is_kept_back = false;
        for waiting in self.lock().values() {
            let has_some =
                waiting.queues.iter().find(|it| left.get(it.as_str()).is_some_and(|it| *it > 0));
            if let Some(count) = has_some.and_then(|it| left.get_mut(it.as_str())) {
                *count -= 1;
                waiting.wake.notify_one();
            }
            is_kept_back |= looks
                .iter()
                .any(|it| it.due > it.claimable() && waiting.queues.contains(&it.queue));
        }
        is_kept_back
    }
}

impl<E: Send + Sync + 'static> Core<E> {
    /// Looks for all who wait, until everything ends.
    pub(super) async fn hand_out(self: Arc<Self>) {
        let (mut unserved, mut known) = (BTreeSet::new(), BTreeSet::new());
        let (mut every, mut last_watch) = (LOOK_EVERY, None::<Instant>);
        loop {
            let asking = self.work.asking();
            let is_time_to_watch = last_watch.is_none_or(|it| it.elapsed() >= WATCH_EVERY);
            if !asking.is_empty() || is_time_to_watch {
                match look::look(&self.drive, &asking).await {
                    Ok(looks) => {
                        let is_quiet = looks.iter().all(|it| it.due == 0);
                        self.work.is_quiet.store(is_quiet, Ordering::Relaxed);
                        let is_kept_back = self.work.wake(&looks);
                        every = if is_kept_back { LOOK_SOON } else { LOOK_EVERY };
                        self.give_up_silent(&looks).await;
                        if is_time_to_watch {
                            last_watch = Some(Instant::now());
                            watch(&looks, &mut unserved, &mut known);
                        }
                    }
                    Err(error) => tracing::warn!(%error, "the queues were not looked at"),
                }
            }
            let pause = if asking.is_empty() { WATCH_EVERY } else { every };
            tokio::select! {
                () = self.halt.cancelled() => return,
                () = self.work.due.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Gives up what was tried as often as it may be, and tells the sagas.
    async fn give_up_silent(&self, looks: &[QueueLook]) {
        if looks.iter().all(|it| it.exhausted == 0) {
            return;
        }
        match settle::give_up(&self.drive, GIVEN_UP_AT_ONCE).await {
            Ok(sagas) => {
                tracing::warn!(
                    tasks = sagas.len(),
                    "tasks were given up: their workers fell silent"
                );
                if sagas.iter().any(|it| self.ownership.epoch(bucket_of(*it)).is_some()) {
                    self.look_now.notify_one();
                }
            }
            Err(error) => tracing::warn!(%error, "silent tasks were not given up"),
        }
    }
}

/// Tells of queues with work that nobody asks for: once when it begins, once when it ends, and as metrics.
fn watch(looks: &[QueueLook], unserved: &mut BTreeSet<String>, known: &mut BTreeSet<String>) {
    let gone: Vec<String> =
        known.iter().filter(|it| looks.iter().all(|look| look.queue != **it)).cloned().collect();
    for queue in gone {
        known.remove(&queue);
        tell(&queue, &[0.0; 4]);
    }
    for look in looks {
        let is_unserved = look.is_unserved(UNSERVED_AFTER.as_secs_f64());
        known.insert(look.queue.clone());
        let oldest_s = look.oldest_s.unwrap_or(0.0).max(0.0);
        let numbers =
            [f64::from(u8::from(is_unserved)), look.due as f64, look.leased as f64, oldest_s];
        tell(&look.queue, &numbers);
        let (queue, due) = (look.queue.as_str(), look.due);
        if is_unserved && unserved.insert(queue.to_owned()) {
            tracing::warn!(queue, due, oldest_s, "nobody asks for work of this queue");
        } else if !is_unserved && unserved.remove(queue) {
            tracing::info!(queue, "this queue is served again");
        }
    }
    unserved.retain(|it| looks.iter().any(|look| look.queue == *it));
}

fn tell(queue: &str, [unserved, due, leased, oldest_s]: &[f64; 4]) {
    let label = |it: &str| it.to_owned();
    metrics::gauge!("crema_queue_unserved", "queue" => label(queue)).set(*unserved);
    metrics::gauge!("crema_queue_depth", "queue" => label(queue), "state" => "ready").set(*due);
    metrics::gauge!("crema_queue_depth", "queue" => label(queue), "state" => "leased").set(*leased);
    metrics::gauge!("crema_queue_oldest_age_seconds", "queue" => label(queue)).set(*oldest_s);
}
