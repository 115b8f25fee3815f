//! Going on with a saga that another replica had, and telling one that kills its replicas.

use tokio::sync::OwnedSemaphorePermit;

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
    /// sagas run one at a time. `None`: it is not ours any more, or we stop.
    pub(super) async fn wait_to_be_alone(
        &self,
        running: &Running<E>,
    ) -> Option<Option<OwnedSemaphorePermit>> {
        if running.state.takeovers_in_a_row < TAKEOVERS_BEFORE_ALONE {
            return Some(None);
        }
        tokio::select! {
            () = running.presence.live.lost.cancelled() => None,
            () = self.drain.cancelled() => None,
            permit = self.alone.clone().acquire_owned() => Some(permit.ok()),
        }
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
