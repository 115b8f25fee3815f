//! What lets a call out, for as long as the call lasts.

use std::sync::Arc;

use uuid::Uuid;

use super::{super::step::StepError, breaker::Micros, gate::Gate};

/// What a call tells of its participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It answers, whatever it answers.
    Answer,
    /// It does not; with its wish for a pause, in microseconds.
    Failure(Option<Micros>),
    /// Nothing: the call ended for a reason of ours, or had shown signs of life before.
    Unknown,
}

/// A call that is out. Dropped, it is not in flight any more.
#[derive(Debug)]
pub struct Pass {
    gate: Option<Arc<Gate>>,
    pub(super) saga_id: Uuid,
    /// The one call of a half-open breaker.
    pub(super) is_probe: bool,
    /// Whether the gate knows by name who is out.
    pub(super) is_named: bool,
    is_alive: bool,
}

impl Pass {
    /// For a step that calls nobody.
    pub(super) fn of_nobody(saga_id: Uuid) -> Self {
        Self { gate: None, saga_id, is_probe: false, is_named: false, is_alive: false }
    }

    pub(super) fn of(gate: Arc<Gate>, saga_id: Uuid, is_probe: bool, is_named: bool) -> Self {
        Self { gate: Some(gate), saga_id, is_probe, is_named, is_alive: false }
    }

    /// Takes it back before anybody has it: whoever made it undoes what it stands for.
    pub(super) fn void(mut self) {
        self.gate = None;
    }

    /// The participant has shown that it lives.
    pub(in crate::saga) fn sign_of_life(&mut self) {
        if !std::mem::replace(&mut self.is_alive, true) {
            self.tell(Outcome::Answer);
        }
    }

    /// The call has ended so. `is_ours`: because we wanted it to.
    pub fn ended<T>(&mut self, answer: &Result<T, StepError>, is_ours: bool) {
        self.tell(match answer {
            Ok(_) | Err(StepError::Refused { .. } | StepError::NeedsAttention { .. }) => {
                Outcome::Answer
            }
            Err(StepError::InDoubt { .. }) if is_ours || self.is_alive => Outcome::Unknown,
            // What nobody came to do in time tells nothing of who is called.
            Err(StepError::GivenUp { .. }) => Outcome::Unknown,
            Err(StepError::InDoubt { retry_after, .. }) => Outcome::Failure(
                retry_after.map(|it| Micros::try_from(it.as_micros()).unwrap_or(Micros::MAX / 4)),
            ),
        });
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(gate) = &self.gate {
            gate.hear(self.saga_id, outcome, std::mem::take(&mut self.is_probe));
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            if self.is_probe {
                gate.hear(self.saga_id, Outcome::Unknown, true);
            }
            gate.leave(self.saga_id, self.is_named);
        }
    }
}
