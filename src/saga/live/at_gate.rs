//! Sagas that stand at a participant's gate, as the rest of the engine sees them.

use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::{Live, LiveSagas, lock};

/// A saga's stand at a gate, for as long as this lives.
pub(in crate::saga) struct AtGate<'a>(&'a Live);

impl Live {
    /// Stands at a gate for as long as the answer lives.
    pub(in crate::saga) fn wait_at_gate(&self) -> AtGate<'_> {
        self.at_gate.store(true, Ordering::Release);
        AtGate(self)
    }
}

impl Drop for AtGate<'_> {
    fn drop(&mut self) {
        self.0.at_gate.store(false, Ordering::Release);
    }
}

impl LiveSagas {
    /// Whether a saga stands at a gate, if it is here.
    pub(in crate::saga) fn waits_at_gate(&self, saga_id: Uuid) -> Option<bool> {
        lock(&self.sagas).get(&saga_id).map(|it| it.at_gate.load(Ordering::Acquire))
    }
}
