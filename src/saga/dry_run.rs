//! Transitions that are tried and taken back: the verdict is the real one, nothing of it stays. All of it happens
//! inside a transaction of the caller's, who rolls it back; no writer and no step is ever asked.

use std::{collections::HashSet, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    decide::{Action, decide},
    definition::{Close, Ending, Plan, Planned},
    engine::{Engine, StartError, Started},
    event::{Direction, Event, Kind, Progress, State},
    history::HistoryError,
    journal::{Verdict, dry, inbox, inbox::CancelVerdict},
    past::Past,
    step::{Lane, Policy},
};

/// A step as its plan has it.
#[derive(Debug, Clone, Copy)]
pub struct StepOutline {
    /// Its name.
    pub name: &'static str,
    /// What the saga is called once it is done, if that changes.
    pub label_done: Option<&'static str>,
    /// How much the saga depends on it.
    pub kind: Kind,
    /// How long it is tried, and how often.
    pub policy: Policy,
}

/// How a saga would go back from where it stands.
#[derive(Debug)]
pub struct WayBack<E> {
    /// The steps that would be compensated, in the order of that; and whether they certainly happened.
    pub steps: Vec<(StepOutline, bool)>,
    /// Its end; `None` when it would not come to one this way.
    pub close: Option<Close<E>>,
}

fn outline<E>(planned: &Planned<E>) -> StepOutline {
    let Planned { name, label_done, kind, policy, .. } = planned;
    StepOutline { name, label_done: *label_done, kind: *kind, policy: *policy }
}

impl<E: Send + Sync + 'static> Engine<E> {
    /// The steps of a saga, in order; `None` when it is not registered.
    pub fn outline(&self, definition: (&'static str, i32)) -> Option<Vec<StepOutline>> {
        let plan = self.core.plans.get(&(definition.0.to_owned(), definition.1))?;
        Some(plan.steps.iter().map(outline).collect())
    }

    /// What [`start`](Engine::start) would answer. The saga is there until the caller rolls back.
    pub async fn dry_start<I>(
        &self,
        connection: &mut PgConnection,
        definition: (&'static str, i32),
        saga_id: Uuid,
        input: &I,
        effects: Vec<E>,
        lane: Lane,
    ) -> sqlx::Result<Result<Started, StartError>>
    where
        I: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let transition = match self.first(definition, saga_id, input, effects, lane) {
            Ok(first) => first.transition,
            Err(error) => return Ok(Err(error)),
        };
        let (apply, ownership) = (self.core.apply, &self.core.ownership);
        let verdict = dry::verdict(connection, apply, ownership, transition).await?;
        Ok(match verdict {
            Some(Verdict::Written) => Ok(Started::Accepted),
            Some(Verdict::Refused(refusal)) => Ok(Started::Refused(refusal)),
            Some(Verdict::Impossible(_)) => Err(StartError::Impossible),
            Some(Verdict::Fenced | Verdict::Cancelled | Verdict::Stale) | None => {
                Err(StartError::NotOwned)
            }
        })
    }

    /// What [`cancel`](Engine::cancel) would answer, and the saga after that. Its row is locked, so it stands
    /// still, until the caller rolls back.
    pub async fn dry_cancel(
        &self,
        connection: &mut PgConnection,
        saga_id: Uuid,
        by: &str,
        reason: Option<&str>,
    ) -> sqlx::Result<(CancelVerdict, Option<Past<E>>)> {
        let data = json!({ "by": by, "reason": reason }).to_string();
        let verdict = inbox::cancel_within(connection, saga_id, &data).await?;
        Ok((verdict, self.past_within(connection, saga_id).await?))
    }
}

impl<E: Send + Sync + 'static> Past<E> {
    /// The way back of a saga that was cancelled by somebody where it stands now, given what each compensation
    /// would leave in the journal. A step that is at hand may be running, and so may have happened.
    pub fn way_back(
        &self,
        by: &str,
        left: impl Fn(&str, &State) -> Value,
    ) -> Result<WayBack<E>, HistoryError> {
        let mut state = self.fold(&self.lines)?.state;
        if matches!(state.direction, Direction::Closed(_)) {
            return Ok(WayBack { steps: Vec::new(), close: None });
        }
        if state.cancelled_by.is_none() {
            state.apply(&Event::CancelRequested { by: by.to_owned(), reason: None })?;
        }
        let certain = self.happened(&mut state)?;
        let mut steps = Vec::new();
        loop {
            match decide(&self.plan.shape, &state) {
                Action::TurnBack { cause } => state.apply(&Event::Compensating { cause })?,
                Action::Compensate { step, attempt } => {
                    let Some(planned) = self.plan.steps.get(usize::from(step)) else { break };
                    steps.push((outline(planned), certain.contains(planned.name)));
                    let output = raw(&left(planned.name, &state));
                    state.apply(&Event::CompensationDone { step, attempt, output })?;
                }
                Action::Close => break,
                // Past the pivot: nothing goes back any more.
                Action::Execute { .. } | Action::Wait { .. } | Action::Pause | Action::Rest => {
                    return Ok(WayBack { steps, close: None });
                }
            }
        }
        let close = self.end(&self.plan, &state);
        Ok(WayBack { steps, close })
    }

    /// The steps that certainly happened. The one at hand is made one that may have, unless it is the pivot, which
    /// an accepted cancellation keeps from happening.
    fn happened(&self, state: &mut State) -> Result<HashSet<&'static str>, HistoryError> {
        let named = self.plan.steps.iter().zip(&state.steps);
        let certain = named.filter(|(_, it)| it.progress == Progress::Done).map(|(it, _)| it.name);
        let certain = certain.collect();
        let step = state.cursor;
        let at_hand = state.steps.get(usize::from(step));
        let begins = at_hand.is_some_and(|it| it.progress == Progress::Pending);
        if begins && state.direction == Direction::Forward && !state.is_pivot(step) {
            let (detail, retry_in_ms) = (String::new(), 0);
            state.apply(&Event::AttemptFailed { step, attempt: 1, detail, retry_in_ms })?;
        }
        Ok(certain)
    }

    fn end(&self, plan: &Plan<E>, state: &State) -> Option<Close<E>> {
        let input = self.lines.first().map(|it| (plan.decode)(&it.data))?.ok()?;
        let cause = match &state.direction {
            Direction::Backward(cause) => Some(cause.as_str()),
            Direction::Forward | Direction::Closed(_) => None,
        };
        let cancelled_by = state.cancelled_by.as_deref();
        let (saga_id, cancel_reason) = (self.row.saga_id, state.cancel_reason.as_deref());
        let ending = Ending { saga_id, cause, cancelled_by, cancel_reason, state };
        (plan.closing)(&input, &ending)
    }
}

fn raw(value: &Value) -> Arc<RawValue> {
    // A value is always JSON; what is not would be null.
    serde_json::value::to_raw_value(value)
        .map_or_else(|_| RawValue::NULL.to_owned().into(), Arc::from)
}
