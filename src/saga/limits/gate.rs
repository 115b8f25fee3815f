//! A participant's gate at this replica: who is out, who waits, and what we may use of its limits.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use uuid::Uuid;

use super::{
    LimitSettings,
    admit::Way,
    breaker::{Breaker, Probed},
    inside::{Inside, Waiter},
    pass::{Outcome, Pass},
    share::{Ask, Seen, Settled},
};

/// Nothing is in the way of a call, and nothing of interest in its end.
const FREE: u8 = 0;
/// Calls have to be let out one by one.
const GUARDED: u8 = 1;
/// The next answer is of interest.
const LISTENING: u8 = 2;

/// A participant's gate.
#[derive(Debug)]
pub(in crate::saga) struct Gate {
    name: &'static str,
    /// What calls have to look at before anything else.
    mode: AtomicU8,
    in_flight: AtomicU32,
    /// Sagas that wait; those on their way out count until they are.
    waiting: Arc<AtomicU32>,
    inside: Mutex<Inside>,
    settings: LimitSettings,
    /// Wakes the keeper.
    wake: Arc<Notify>,
}

/// What a saga finds at the gate.
pub(super) enum Entry {
    Out(Pass),
    Waits(Place),
}

/// A place in the queue; given up when dropped.
#[derive(Debug)]
pub(super) struct Place {
    called: oneshot::Receiver<Pass>,
    waiting: Arc<AtomicU32>,
}

impl Place {
    /// Resolves when it is this saga's turn. Cancellation safe: a pass that nobody takes goes to the next.
    pub(super) async fn called(&mut self) -> Option<Pass> {
        (&mut self.called).await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gate {
    pub(super) fn new(name: &'static str, settings: LimitSettings, wake: Arc<Notify>) -> Self {
        let (in_flight, waiting) = (AtomicU32::new(0), Arc::default());
        let inside = Mutex::new(Inside::new());
        Self { name, mode: AtomicU8::new(FREE), in_flight, waiting, inside, settings, wake }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls of ours that are out.
    fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Sagas of ours that wait.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Acquire)
    }

    /// Lets a saga out, or gives it a place.
    pub(super) fn enter(self: &Arc<Self>, saga_id: Uuid, way: Way) -> Entry {
        if self.mode.load(Ordering::Acquire) & GUARDED == 0 {
            self.in_flight.fetch_add(1, Ordering::AcqRel);
            return Entry::Out(Pass::of(self.clone(), saga_id, false, false));
        }
        let mut inside = self.lock();
        let now = Instant::now();
        if !inside.has_before(way) && inside.may_go(self.in_flight(), now) {
            return Entry::Out(self.let_out(&mut inside, saga_id));
        }
        let (sender, called) = oneshot::channel();
        inside.enqueue(way, Waiter { saga_id, sender });
        metrics::counter!("crema_participant_waits_total", "participant" => self.name).increment(1);
        if self.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            inside.is_urgent = true;
        }
        self.tell_keeper(&mut inside);
        Entry::Waits(Place { called, waiting: self.waiting.clone() })
    }

    /// Marks a call as out that may go.
    fn let_out(self: &Arc<Self>, inside: &mut Inside, saga_id: Uuid) -> Pass {
        let is_probe = inside.go(saga_id);
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        Pass::of(self.clone(), saga_id, is_probe, true)
    }

    /// Lets out whoever may go.
    pub(super) fn dispatch(self: &Arc<Self>) {
        let mut inside = self.lock();
        let now = Instant::now();
        while inside.may_go(self.in_flight(), now) {
            let Some(waiter) = inside.next() else { break };
            // One that has left its place meanwhile costs nothing.
            if waiter.sender.is_closed() {
                continue;
            }
            let pass = self.let_out(&mut inside, waiter.saga_id);
            if let Err(pass) = waiter.sender.send(pass) {
                inside.come_back(pass.saga_id, pass.is_probe);
                self.in_flight.fetch_sub(1, Ordering::AcqRel);
                pass.void();
            }
        }
        inside.look_for_turns(self.in_flight(), self.waiting());
        self.set_mode(&mut inside);
        self.tell_keeper(&mut inside);
    }

    /// A call has ended.
    pub(super) fn leave(self: &Arc<Self>, saga_id: Uuid, is_named: bool) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        if self.mode.load(Ordering::Acquire) & GUARDED == 0 && !is_named {
            return;
        }
        let mut inside = self.lock();
        inside.named.remove(&saga_id);
        drop(inside);
        self.dispatch();
    }

    /// Takes what a call tells of the participant.
    pub(super) fn hear(&self, saga_id: Uuid, outcome: Outcome, is_probe: bool) {
        let is_failure = matches!(outcome, Outcome::Failure(_));
        if !is_failure && !is_probe && self.mode.load(Ordering::Acquire) == FREE {
            return;
        }
        let mut inside = self.lock();
        if is_probe {
            inside.probed(match outcome {
                Outcome::Answer => Probed::Answer,
                Outcome::Failure(retry_after) => Probed::Failure(retry_after),
                Outcome::Unknown => Probed::Lost,
            });
        } else {
            match outcome {
                Outcome::Answer => inside.answered(),
                Outcome::Failure(retry_after) => {
                    inside.failed(&self.settings, saga_id, retry_after);
                }
                Outcome::Unknown => return,
            }
        }
        self.set_mode(&mut inside);
        self.tell_keeper(&mut inside);
    }

    fn set_mode(&self, inside: &mut Inside) {
        if self.waiting() == 0 {
            inside.ramp = None;
        }
        let guarded = if inside.is_guarded(self.waiting()) { GUARDED } else { FREE };
        let listening = if inside.listens() { LISTENING } else { FREE };
        self.mode.store(guarded | listening, Ordering::Release);
    }

    /// Wakes the keeper, unless it has a time set already that will do.
    fn tell_keeper(&self, inside: &mut Inside) {
        let due = inside.due(&self.settings, self.in_flight(), self.waiting());
        let in_time = |due: Instant| inside.keeper_comes.is_some_and(|it| it <= due);
        if due.is_some_and(|it| !in_time(it)) {
            inside.keeper_comes = due;
            self.wake.notify_one();
        }
    }

    /// When the keeper has to see to this gate, if ever as things stand.
    pub(super) fn due(&self) -> Option<Instant> {
        let mut inside = self.lock();
        inside.keeper_comes = inside.due(&self.settings, self.in_flight(), self.waiting());
        inside.keeper_comes
    }

    /// Whether the keeper has something to exchange now.
    pub(super) fn is_exchange_due(&self, now: Instant) -> bool {
        let inside = self.lock();
        let due = inside.exchange_due(&self.settings, self.in_flight(), self.waiting());
        due.is_some_and(|it| it <= now)
    }

    /// What we ask of the others now. What was heard is taken along, and put back should it not arrive.
    pub(super) fn ask(&self, boot_id: Uuid) -> (Ask, Vec<Uuid>) {
        let mut inside = self.lock();
        inside.ask(boot_id, self.in_flight(), self.waiting(), Instant::now())
    }

    /// The exchange did not come about.
    pub(super) fn put_back(&self, ask: Ask, pause: Duration) {
        let mut inside = self.lock();
        inside.put_back(ask, Instant::now() + pause);
        self.set_mode(&mut inside);
    }

    /// Takes what was settled, unless we are another replica by now. Returns the breaker's change, if any.
    pub(super) fn take(
        self: &Arc<Self>,
        seen: &Seen,
        settled: Settled,
        is_still_us: impl FnOnce() -> bool,
    ) -> Option<(&'static str, &'static str)> {
        let mut inside = self.lock();
        if !is_still_us() {
            return None;
        }
        let before = inside.breaker.name();
        inside.take(seen, settled, Instant::now(), &self.settings);
        let after = inside.breaker.name();
        if before != after && inside.breaker.is_closed() {
            inside.ramp = Some(self.settings.ramp);
        }
        self.set_mode(&mut inside);
        drop(inside);
        self.dispatch();
        (before != after).then_some((before, after))
    }

    /// Tells how the gate stands.
    pub(super) fn measure(&self) {
        let state = match self.lock().breaker {
            Breaker::Closed { .. } | Breaker::HeldClosed { .. } => 0.0,
            Breaker::HalfOpen { .. } => 1.0,
            Breaker::Open { .. } | Breaker::HeldOpen { .. } => 2.0,
        };
        metrics::gauge!("crema_breaker_state", "participant" => self.name).set(state);
        metrics::gauge!("crema_participant_waiting", "participant" => self.name)
            .set(f64::from(self.waiting()));
    }

    /// What is in the table is not what it was.
    pub(super) fn hear_of(&self, versions: i64) {
        let mut inside = self.lock();
        if inside.versions != versions {
            (inside.versions, inside.is_urgent) = (versions, true);
            self.tell_keeper(&mut inside);
        }
    }

    /// We are another replica from now on, to which nothing was given.
    pub(super) fn forget(&self) {
        let mut inside = self.lock();
        inside.forget();
        self.set_mode(&mut inside);
        self.tell_keeper(&mut inside);
    }
}
