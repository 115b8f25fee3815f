//! What an attempt is told, and how it talks back.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Step;
use crate::saga::{
    event::{Signal, State},
    wire::{Mouth, Report, wire},
};

/// What an attempt is told about where it stands, and its line back to the engine.
#[derive(Debug, Clone)]
pub struct Cx {
    /// The saga.
    pub saga_id: Uuid,
    /// The step's name.
    pub step: &'static str,
    /// From 1; rises over retries and takeovers, so it never comes twice for one step.
    pub attempt: u32,
    /// The time, by the database's clock.
    pub now: Timestamp,
    pub(in crate::saga) state: Arc<State>,
    pub(in crate::saga) mouth: Mouth,
}

impl Cx {
    /// A stand-alone context, for calling a participant outside a saga and in tests.
    pub fn detached(saga_id: Uuid, step: &'static str) -> Self {
        let state = Arc::new(State::default());
        Self { saga_id, step, attempt: 1, now: Timestamp::now(), state, mouth: wire().0 }
    }

    /// The idempotency key: the same for every attempt at this step of this saga.
    pub fn key(&self) -> String {
        format!("{}/{}", self.saga_id, self.step)
    }

    /// What an earlier step left in the journal, typed by the step that left it; `None` when it has
    /// not been done, or its output does not decode.
    pub fn output<S: Step>(&self) -> Option<S::Output> {
        serde_json::from_str(self.state.output(S::NAME)?).ok()
    }

    /// Whether the time that this step waited for has come.
    pub fn timed_out(&self) -> bool {
        self.state.named(self.step).is_some_and(|it| it.is_time_over)
    }

    /// Until when this step waits, if it has waited and does not for signals alone.
    pub fn waits_until(&self) -> Option<Timestamp> {
        let until_ms = self.state.named(self.step)?.wait.as_ref()?.until_ms?;
        Timestamp::from_millisecond(until_ms).ok()
    }

    /// The signals of a name that the saga has received so far, in order; also those from before anything
    /// waited for them.
    pub fn signals(&self, name: &str) -> impl DoubleEndedIterator<Item = &Signal> {
        self.state.signals.iter().filter(move |it| it.name == name)
    }

    /// Tells the engine that the attempt is alive, and how far it has come.
    pub fn heartbeat(&self, progress: Option<Value>) {
        self.mouth.tell(Report::Heartbeat(progress));
    }

    /// Journals that the attempt has reached a point worth a label of its own, and returns once that
    /// is durable. Cancellation safe; a line already on its way may still be written.
    pub async fn reached(&self, label: &'static str) {
        let (journaled, written) = oneshot::channel();
        self.mouth.tell(Report::Reached { label, journaled });
        // An error says that nobody listens: the attempt is over, or none of the engine's.
        let _ = written.await;
    }

    /// Resolves when the saga is asked to cancel. An attempt that returns early then leaves the
    /// compensation to the engine; one that does not is dropped after a grace period.
    pub async fn cancelled(&self) {
        self.mouth.cancelled().await;
    }
}
