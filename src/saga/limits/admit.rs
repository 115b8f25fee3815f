//! How a saga passes a gate on its way to a call.

use std::{future::pending, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::{
    super::{
        Core, Engine,
        event::StepIndex,
        runner::{Running, Turn},
    },
    gate::{Entry, Place},
    pass::Pass,
};

/// Which way a saga goes. Who goes back goes first: there is less of that, and money of others in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::saga) enum Way {
    Back,
    Forward,
}

impl<E: Send + Sync + 'static> Engine<E> {
    /// Lets a call out that is beside the sagas' own, as soon as nothing is in its way. `None`: not within this
    /// time. Cancellation safe.
    pub async fn go_out(
        &self,
        participant: &str,
        saga_id: Uuid,
        at_most: Duration,
    ) -> Option<Pass> {
        let Some(gate) = self.core.limits.gate(participant) else {
            return Some(Pass::of_nobody(saga_id));
        };
        match gate.enter(saga_id, Way::Forward) {
            Entry::Out(pass) => Some(pass),
            Entry::Waits(mut place) => timeout(at_most, place.called()).await.ok().flatten(),
        }
    }
}

impl<E: Send + Sync + 'static> Core<E> {
    /// Lets a saga out to the participant of this step, at once where nothing is in the way. An error is what its
    /// task does instead: something has arrived for it, or it is not ours any more.
    pub(in crate::saga) async fn admit(
        &self,
        running: &Running<E>,
        step: StepIndex,
        way: Way,
    ) -> Result<Pass, Turn> {
        let planned = running.plan.steps.get(usize::from(step));
        let called = planned.and_then(|it| it.step.participant(&running.input));
        let Some(gate) = called.and_then(|it| self.limits.gate(it)) else {
            return Ok(Pass::of_nobody(running.saga_id));
        };
        match gate.enter(running.saga_id, way) {
            Entry::Out(pass) => Ok(pass),
            Entry::Waits(place) => self.wait_at_gate(running, place).await,
        }
    }

    async fn wait_at_gate(&self, running: &Running<E>, mut place: Place) -> Result<Pass, Turn> {
        let live = &running.presence.live;
        let _waiting = live.wait_at_gate();
        // The time that a saga has as a whole runs on; that of an attempt has not begun.
        let deadline = running.until_deadline().map(|it| Instant::now() + it);
        loop {
            if live.has_items() {
                return Err(Turn::Again);
            }
            tokio::select! {
                biased;
                () = live.lost.cancelled() => break,
                () = self.drain.cancelled() => break,
                () = live.nudge.notified() => {}
                () = until(deadline) => return Err(Turn::Again),
                pass = place.called() => return pass.ok_or(Turn::Rests),
            }
        }
        self.limits.stands(running.saga_id);
        Err(Turn::Rests)
    }
}

/// Resolves at this time, or never. Costs no timer where there is none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
