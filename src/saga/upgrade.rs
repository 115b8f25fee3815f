//! What would become of an open saga under another version of its definition. Pure: lines and plans in, changes out.
//!
//! A saga is pinned to the version it began with, so a new version changes nothing for it. The question is asked all
//! the same before an old version is taken out, or when a list was changed in place, which must not be: does its
//! journal still fold, and does it lead to where it leads now? Where it leads is its [`Route`]: what
//! [`decide`] says next, and what it would say after that as long as all goes well.

mod check;

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

pub use self::check::{Affected, Report, VersionOpen, check};
use super::{
    EngineSettings,
    decide::{Action, decide},
    definition::Plan,
    event::{Event, Kind, State},
    fold::Fold,
    journal::JournalLine,
};

/// What is to be done with a saga, in order, as long as all goes well: the step at hand first.
pub type Route = Vec<String>;

/// One thing that would change for a saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Change {
    /// The version that it is pinned to is not registered.
    VersionMissing,
    /// A line of its journal does not fold.
    LineBroken {
        /// The version under which it does not.
        version: i32,
        /// The line, from 1.
        seq: i32,
        /// Its kind.
        kind: String,
        /// Why.
        error: String,
    },
    /// What it was started with cannot be read.
    InputBroken {
        /// The version that cannot.
        version: i32,
        /// Why.
        error: String,
    },
    /// What would be done now is another thing.
    StepAtHand {
        /// Under the version it is pinned to.
        pinned: String,
        /// Under the newest one.
        newest: String,
    },
    /// What would be done after that are other things.
    StepsToCome {
        /// Under the version it is pinned to.
        pinned: Route,
        /// Under the newest one.
        newest: Route,
    },
}

/// Holds a journal against the version that it is pinned to and against the newest one.
pub(super) fn compare<E>(
    lines: &[JournalLine],
    pinned: Option<&Plan<E>>,
    newest: Option<&Plan<E>>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut route = |plan: &Plan<E>| match route(lines, plan) {
        Ok(route) => Some(route),
        Err(broken) => {
            changes.push(broken);
            None
        }
    };
    let under_pinned = pinned.and_then(&mut route);
    let is_another = |it: &&Plan<E>| pinned.is_none_or(|pinned| pinned.version != it.version);
    let under_newest = newest.filter(is_another).and_then(&mut route);
    if pinned.is_none() {
        changes.insert(0, Change::VersionMissing);
    }
    if let (Some(pinned), Some(newest)) = (under_pinned, under_newest) {
        changes.extend(differences(pinned, newest));
    }
    changes
}

fn differences(pinned: Route, newest: Route) -> impl Iterator<Item = Change> {
    let split = |route: Route| {
        let mut steps = route.into_iter();
        (steps.next().unwrap_or_default(), steps.collect::<Route>())
    };
    let ((at_hand, to_come), (new_at_hand, new_to_come)) = (split(pinned), split(newest));
    let at_hand = (at_hand != new_at_hand)
        .then_some(Change::StepAtHand { pinned: at_hand, newest: new_at_hand });
    let to_come = (to_come != new_to_come)
        .then_some(Change::StepsToCome { pinned: to_come, newest: new_to_come });
    at_hand.into_iter().chain(to_come)
}

/// Where a journal leads under a plan.
fn route<E>(lines: &[JournalLine], plan: &Plan<E>) -> Result<Route, Change> {
    let version = plan.version;
    let mut fold = Fold::new(plan, &EngineSettings::default());
    for line in lines {
        let JournalLine { seq, kind, .. } = line;
        fold.add(line).map_err(|error| {
            let error = error.to_string();
            Change::LineBroken { version, seq: *seq, kind: kind.clone(), error }
        })?;
    }
    if let Some(Err(error)) = lines.first().map(|it| (plan.decode)(&it.data)) {
        return Err(Change::InputBroken { version, error: error.to_string() });
    }
    Ok(onwards(plan, fold.state))
}

/// What follows from a state as long as all goes well.
fn onwards<E>(plan: &Plan<E>, mut state: State) -> Route {
    let nothing: Arc<RawValue> = RawValue::NULL.to_owned().into();
    let named = |step: u8| match plan.shape.get(usize::from(step)) {
        Some(it) if it.kind == Kind::Pivot => format!("{} (pivot)", it.name),
        Some(it) if it.kind == Kind::BestEffort => format!("{} (best effort)", it.name),
        Some(it) => it.name.to_owned(),
        None => step.to_string(),
    };
    let mut route = Route::new();
    loop {
        let (said, event) = match decide(&plan.shape, &state) {
            Action::Execute { step, attempt } => {
                let output = nothing.clone();
                (format!("execute {}", named(step)), Event::StepDone { step, attempt, output })
            }
            Action::Compensate { step, attempt } => {
                let (said, output) = (format!("compensate {}", named(step)), nothing.clone());
                (said, Event::CompensationDone { step, attempt, output })
            }
            Action::TurnBack { cause } => {
                (format!("turn back ({cause})"), Event::Compensating { cause })
            }
            Action::Wait { step } => {
                let attempt = state.steps.get(usize::from(step)).map_or(1, |it| it.attempts + 1);
                (format!("wait at {}", named(step)), Event::TimerFired { step, attempt })
            }
            Action::Pause => {
                let (by, reason, until_ms) = (String::new(), None, None);
                ("paused".to_owned(), Event::Resumed { by, reason, until_ms, paused_ms: 0 })
            }
            Action::Close => {
                route.push("close".to_owned());
                return route;
            }
            Action::Rest => return route,
        };
        route.push(said);
        // What is decided can be done; should it not be, the route ends there, the same under every version.
        if state.apply(&event).is_err() {
            return route;
        }
    }
}
