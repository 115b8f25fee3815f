//! The first transition of a saga: its row and its first line.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    definition::Plan,
    engine::{Engine, StartError},
    event::{Event, State},
    journal::{Row, Transition},
    step::Lane,
};

/// What starts a saga, not yet committed.
pub(super) struct First<E> {
    pub plan: Arc<Plan<E>>,
    /// What it leads to.
    pub state: State,
    pub transition: Transition<E>,
}

impl<E: Send + Sync + 'static> Engine<E> {
    /// Draws up the start of a saga.
    pub(super) fn first<I>(
        &self,
        (name, version): (&'static str, i32),
        saga_id: Uuid,
        input: &I,
        effects: Vec<E>,
        lane: Lane,
    ) -> Result<First<E>, StartError>
    where
        I: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let plan = self.core.plans.get(&(name.to_owned(), version)).cloned();
        let plan = plan.ok_or(StartError::Unregistered(name))?;
        let json = serde_json::value::to_raw_value(input)
            .map_err(|error| StartError::Input(error.to_string()))?;
        let mut state = State::new(plan.shape.clone());
        let event = Event::Started { input: json.into() };
        let line = event.line(&plan.shape);
        if state.apply(&event).is_err() {
            return Err(StartError::Impossible);
        }
        let transition = Transition {
            saga_id,
            start: Some((plan.name, plan.version)),
            first_seq: 1,
            lines: vec![line],
            row: Row::first(plan.label),
            effects,
            lane,
            taken: Vec::new(),
        };
        Ok(First { plan, state, transition })
    }
}
