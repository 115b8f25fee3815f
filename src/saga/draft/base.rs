//! What is written of a transition when the local steps in it are refused.

use uuid::Uuid;

use super::{Action, Draft, State, StepIndex, decide};

/// A draft as it was before the first local step was added. Its effects are with the whole one, in front.
pub(in crate::saga) struct Base<E> {
    draft: Draft<E>,
    effects: usize,
}

impl<E: Send + Sync + 'static> Draft<E> {
    /// The local step that follows without asking the world, if one does.
    pub(in crate::saga) fn next_local(&self) -> Option<(StepIndex, u32)> {
        if self.wait.is_some() {
            return None;
        }
        match decide(&self.plan.shape, &self.state) {
            Action::Execute { step, attempt } => {
                let is_local = self.plan.steps.get(usize::from(step))?.is_local;
                is_local.then_some((step, attempt))
            }
            Action::Compensate { .. }
            | Action::TurnBack { .. }
            | Action::Wait { .. }
            | Action::Pause
            | Action::Close
            | Action::Rest => None,
        }
    }

    /// Where the saga stands after this.
    pub(in crate::saga) fn state(&self) -> &State {
        &self.state
    }

    /// Remembers the draft as it is, for the case that what is added from here on is refused.
    pub(in crate::saga) fn keep_base(&mut self) {
        if self.base.is_some() {
            return;
        }
        let draft = Self {
            plan: self.plan.clone(),
            first_seq: self.first_seq,
            state: self.state.clone(),
            events: self.events.clone(),
            effects: Vec::new(),
            lane: self.lane,
            label: self.label.clone(),
            unless_cancelled: self.unless_cancelled,
            clock: self.clock.clone(),
            deadline_ms: self.deadline_ms,
            wait: self.wait,
            closed: self.closed.clone(),
            taken: self.taken.clone(),
            at_hand: self.at_hand,
            base: None,
        };
        self.base = Some(Box::new(Base { draft, effects: self.effects.len() }));
    }

    /// The requests that this journals.
    pub(in crate::saga) fn taken(&self) -> Vec<Uuid> {
        self.taken.clone()
    }

    /// Removes requests whose answer was refused, so that they are not made again and again.
    pub(in crate::saga) fn remove(&mut self, taken: Vec<Uuid>) {
        self.taken = taken;
    }

    /// Takes what was remembered.
    pub(in crate::saga) fn take_base(&mut self) -> Option<Box<Base<E>>> {
        self.base.take()
    }
}

impl<E> Base<E> {
    /// The draft without its local steps; `effects` are those of the whole one.
    pub(in crate::saga) fn with(self, mut effects: Vec<E>) -> Draft<E> {
        effects.truncate(self.effects);
        Draft { effects, ..self.draft }
    }
}
