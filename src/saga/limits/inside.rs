//! What a gate knows and decides under its lock.

mod due;

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use super::{
    LimitSettings,
    admit::Way,
    breaker::{Breaker, Heard, Micros, Probed, Stimulus},
    pass::Pass,
    share::{Ask, Seen, Settled, Written},
};

/// Sagas whose calls are out that are named to the other replicas.
const NAMED_MAX: usize = 256;

/// A saga that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub saga_id: Uuid,
    pub sender: oneshot::Sender<Pass>,
}

/// The one call of a half-open breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// Is not ours.
    No,
    /// Is ours to make.
    Ours,
    /// Is ours, and out.
    Out,
}

/// The inside of a gate.
#[derive(Debug)]
pub(super) struct Inside {
    /// Who goes back, and who goes forward.
    queues: [VecDeque<Waiter>; 2],
    /// Sagas whose calls are out, as far as they were let out one by one.
    pub named: HashSet<Uuid>,
    max: Option<u32>,
    rate: Option<f64>,
    pub breaker: Breaker,
    probe_at: Option<Instant>,
    probe: Probe,
    probed: Option<Probed>,
    heard: Heard,
    /// What was heard here alone would open the breaker: nobody goes before that is settled.
    holds_back: bool,
    /// Slots that we may use, where there is a limit.
    held: u32,
    /// When calls may go out that we reserved by the rate.
    reserved: VecDeque<Instant>,
    late_max: Duration,
    /// Calls that may be out at once while what has waited for a breaker is let out.
    pub ramp: Option<u32>,
    written: Written,
    /// Of the table, as far as we heard.
    pub versions: i64,
    pub is_urgent: bool,
    last: Instant,
    not_before: Instant,
    pub keeper_comes: Option<Instant>,
}

impl Inside {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            queues: Default::default(),
            named: HashSet::new(),
            max: None,
            rate: None,
            breaker: Breaker::fresh(),
            probe_at: None,
            probe: Probe::No,
            probed: None,
            heard: Heard::default(),
            holds_back: false,
            held: 0,
            reserved: VecDeque::new(),
            late_max: Duration::MAX,
            ramp: None,
            written: Written::default(),
            versions: -1,
            is_urgent: false,
            last: now,
            not_before: now,
            keeper_comes: None,
        }
    }

    fn is_limited(&self) -> bool {
        self.max.is_some() || self.rate.is_some()
    }

    /// Whether calls have to be let out one by one.
    pub(super) fn is_guarded(&self, waiting: u32) -> bool {
        let has_queue = self.ramp.is_some() && waiting > 0;
        self.is_limited() || !self.breaker.is_closed() || self.holds_back || has_queue
    }

    /// Whether the next answer is of interest.
    pub(super) fn listens(&self) -> bool {
        self.breaker.is_suspect() || !self.heard.is_nothing() || self.ramp.is_some()
    }

    /// Whether somebody waits who goes before.
    pub(super) fn has_before(&self, way: Way) -> bool {
        let [back, forward] = &self.queues;
        !back.is_empty() || (way == Way::Forward && !forward.is_empty())
    }

    fn has_queue(&self) -> bool {
        self.has_before(Way::Forward)
    }

    pub(super) fn enqueue(&mut self, way: Way, waiter: Waiter) {
        let [back, forward] = &mut self.queues;
        let queue = if way == Way::Back { back } else { forward };
        // Who has left is not waited for; now and then they are swept out.
        if queue.len() == queue.capacity() {
            queue.retain(|it| !it.sender.is_closed());
        }
        queue.push_back(waiter);
    }

    pub(super) fn next(&mut self) -> Option<Waiter> {
        let [back, forward] = &mut self.queues;
        back.pop_front().or_else(|| forward.pop_front())
    }

    /// Whether the next call may go out now.
    pub(super) fn may_go(&mut self, in_flight: u32, now: Instant) -> bool {
        self.drop_late(now);
        if !self.has_room(in_flight) {
            return false;
        }
        self.rate.is_none() || self.reserved.front().is_some_and(|it| *it <= now)
    }

    /// Whether nothing but the rate is in the way of the next call.
    fn has_room(&self, in_flight: u32) -> bool {
        let is_open = match self.breaker.is_closed() {
            true => self.ramp.is_none_or(|it| in_flight < it),
            false => self.probe == Probe::Ours,
        };
        is_open && !self.holds_back && (self.max.is_none() || in_flight < self.held)
    }

    /// Drops turns that come too late: calls would bunch up.
    fn drop_late(&mut self, now: Instant) {
        let is_late = |it: &Instant| now.saturating_duration_since(*it) > self.late_max;
        while self.reserved.front().is_some_and(is_late) {
            self.reserved.pop_front();
        }
    }

    /// A call that may go goes. True: it is the one of a half-open breaker.
    pub(super) fn go(&mut self, saga_id: Uuid) -> bool {
        self.named.insert(saga_id);
        if self.rate.is_some() {
            self.reserved.pop_front();
        }
        let is_probe = self.probe == Probe::Ours;
        if is_probe {
            self.probe = Probe::Out;
        }
        is_probe
    }

    /// It did not go after all: nobody was there.
    pub(super) fn come_back(&mut self, saga_id: Uuid, is_probe: bool) {
        self.named.remove(&saga_id);
        if is_probe {
            self.probe = Probe::Ours;
        }
    }

    pub(super) fn probed(&mut self, probed: Probed) {
        (self.probe, self.probed) = (Probe::No, Some(probed));
    }

    /// Notes an answer. It is reported only where somebody may count failures.
    pub(super) fn answered(&mut self) {
        self.ramp = self.ramp.map(|it| it.saturating_add(1));
        self.heard = Heard::default();
        if self.breaker.is_suspect() {
            self.heard.answered();
        }
    }

    /// Notes a failure. One alone is reported when no answer follows soon; those that are enough, at once.
    pub(super) fn failed(
        &mut self,
        settings: &LimitSettings,
        saga_id: Uuid,
        retry_after: Option<Micros>,
    ) {
        self.heard.failed(saga_id, retry_after);
        let Breaker::Closed { streak } = &self.breaker else { return };
        let heard = Stimulus::Heard(self.heard.clone());
        self.holds_back = !self.breaker.next(&settings.breaker, &heard, streak.last).is_closed();
        self.is_urgent |= self.holds_back;
    }

    /// Asks at once when nothing is missing but a turn by the rate.
    pub(super) fn look_for_turns(&mut self, in_flight: u32, waiting: u32) {
        let lacks = self.rate.is_some() && self.reserved.is_empty();
        self.is_urgent |= lacks && waiting > 0 && self.has_room(in_flight);
    }

    /// What we ask of the others, and which sagas' calls are out.
    pub(super) fn ask(
        &mut self,
        boot_id: Uuid,
        in_use: u32,
        waiting: u32,
        now: Instant,
    ) -> (Ask, Vec<Uuid>) {
        self.drop_late(now);
        if self.probe == Probe::Ours && waiting == 0 {
            self.probed(Probed::Lost);
        }
        (self.is_urgent, self.last) = (false, now);
        let keep = if self.max.is_some() { self.held.max(in_use) } else { in_use };
        let reserved = u32::try_from(self.reserved.len()).unwrap_or(u32::MAX);
        let is_probing = self.probe == Probe::Out;
        let (heard, probed) = (std::mem::take(&mut self.heard), self.probed.take());
        let running = self.named.iter().take(NAMED_MAX).copied().collect();
        (Ask { boot_id, keep, in_use, waiting, reserved, heard, is_probing, probed }, running)
    }

    pub(super) fn put_back(&mut self, ask: Ask, not_before: Instant) {
        let newer = std::mem::take(&mut self.heard);
        (self.heard, self.probed) = (newer.after(ask.heard), self.probed.or(ask.probed));
        (self.is_urgent, self.not_before, self.holds_back) = (true, not_before, false);
    }

    pub(super) fn take(
        &mut self,
        seen: &Seen,
        settled: Settled,
        now: Instant,
        settings: &LimitSettings,
    ) {
        if self.rate != seen.rate {
            self.reserved.clear();
        }
        let later =
            |at: i64| now + Duration::from_micros(u64::try_from(at - seen.now).unwrap_or(0));
        self.reserved.extend(settled.reserved.into_iter().map(later));
        (self.max, self.rate, self.late_max) = (seen.max_in_flight, seen.rate, settings.late_max);
        (self.held, self.holds_back) = (settled.slots.unwrap_or(0), false);
        self.written = settled.written;
        self.probe_at = match &settled.breaker {
            Breaker::Open { probe_at, .. } => Some(later(*probe_at)),
            _ => None,
        };
        self.breaker = settled.breaker;
        self.probe = match (&self.breaker, settled.is_probe, self.probe) {
            (Breaker::HalfOpen { .. }, true, _) => Probe::Ours,
            (Breaker::HalfOpen { .. }, false, Probe::Out) => Probe::Out,
            _ => Probe::No,
        };
    }

    pub(super) fn forget(&mut self) {
        (self.held, self.written, self.probe) = (0, Written::default(), Probe::No);
        (self.probed, self.is_urgent) = (None, true);
        self.heard = Heard::default();
        self.reserved.clear();
    }
}
