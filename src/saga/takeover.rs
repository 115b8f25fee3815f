//! Going on with a saga that another replica had, and telling one that kills its replicas.

use std::pin::pin;

use tokio::time::sleep;

use super::{
    Core,
    draft::Draft,
    event::Event,
    live::Arrival,
    runner::{Running, Turn},
};

/// A saga that was taken up this often in a row without getting anywhere runs alone.
const TAKEOVERS_BEFORE_ALONE: u32 = 2;
/// One that then was taken up this often more, alone, is a crash loop.
const TAKEOVERS_ALONE_MAX: u32 = 5;

impl<E: Send + Sync + 'static> Core<E> {
    /// One that was taken up again and again without getting anywhere may be what killed its replicas: such
    /// sagas start one at a time. Tells whether this one keeps the others waiting; `None`: it is not ours any
    /// more, or we stop. One that is to be cancelled waits for nobody: it calls its step no more.
    pub(super) async fn wait_to_be_alone(&self, running: &Running<E>) -> Option<bool> {
        if running.state.takeovers_in_a_row < TAKEOVERS_BEFORE_ALONE {
            return Some(false);
        }
        let live = &running.presence.live;
        let turns_back = !running.is_going_back() && !running.state.past_pivot();
        let mut alone = pin!(self.alone.clone().acquire_owned());
        loop {
            if turns_back && live.has_cancel() {
                return Some(false);
            }
            tokio::select! {
                () = live.lost.cancelled() => return None,
                () = self.drain.cancelled() => return None,
                () = live.nudge.notified() => {}
                permit = &mut alone => {
                    live.run_alone(permit.ok()?);
                    return Some(true);
                }
            }
        }
    }

    /// The turn of a saga that keeps others waiting. It lets the next one in when the turn is over, when its
    /// attempt gives a sign of life, or when it has survived for a while: an attempt may take long, and what
    /// waits behind it is innocent for the most part.
    pub(super) async fn turn_alone(&self, running: &mut Running<E>) -> Turn {
        let live = running.presence.live.clone();
        let turn = {
            let mut turn = pin!(self.turn(running));
            tokio::select! {
                biased;
                turn = &mut turn => turn,
                () = sleep(self.settings.alone_for) => {
                    live.let_others_in();
                    turn.await
                }
            }
        };
        live.let_others_in();
        turn
    }

    /// Journals the takeover, or sets a saga aside that kills its replicas.
    pub(super) async fn take_up(&self, running: &mut Running<E>, arrival: Arrival) -> Turn {
        let takeovers = running.state.takeovers_in_a_row;
        let is_crash_loop = takeovers >= TAKEOVERS_BEFORE_ALONE + TAKEOVERS_ALONE_MAX;
        let mut draft = Draft::new(running);
        if is_crash_loop {
            draft.add(Event::CrashLoop { takeovers });
            draft.suspend(self.settings.crash_loop_wait);
        } else {
            let handed_over = arrival != Arrival::TakenOver;
            draft.add(Event::TakenUp { replica: self.settings.name.clone(), handed_over });
        }
        match self.write(running, draft).await {
            Ok(Turn::Again) if is_crash_loop => Turn::Rests,
            Ok(turn) => turn,
            Err(_) => Turn::Reload,
        }
    }
}
