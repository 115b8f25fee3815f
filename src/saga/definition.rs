//! A saga is a value: a named, versioned list of steps.
//!
//! Nothing is replayed, so there is no determinism rule: a step may do anything. A saga in flight keeps
//! the version it was started with; register the old list beside the new one until the last is closed.

use std::{any::Any, collections::HashMap, marker::PhantomData, sync::Arc};

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use uuid::Uuid;

use super::{
    event::{Kind, Shape, State},
    meters::StepMeters,
    step::{Cx, Done, Lane, Left, Policy, Step, StepError},
};

/// What a saga was started with, its type rubbed out.
pub(super) type Input = Arc<dyn Any + Send + Sync>;

/// A list of steps under a name and a version.
pub struct Saga<I, E> {
    pub(super) plan: Plan<E>,
    input: PhantomData<fn(I)>,
}

/// A [`Saga`] without its input type: what the engine walks along.
pub struct Plan<E> {
    /// The definition's name; part of the journal.
    pub name: &'static str,
    /// The definition's version; pinned on every saga started under it.
    pub version: i32,
    /// The label a saga starts with.
    pub label: &'static str,
    pub(super) steps: Vec<Planned<E>>,
    pub(super) shape: Arc<[Shape]>,
    pub(super) closing: Box<Closing<E>>,
    pub(super) deadline: Option<Box<Deadline>>,
    pub(super) decode: fn(&str) -> Result<Input, serde_json::Error>,
}

/// Decides the end. `None` only for an input of another saga.
type Closing<E> = dyn Fn(&Input, &Ending<'_>) -> Option<Close<E>> + Send + Sync;

/// Until when a saga has time, by its input and its start.
type Deadline = dyn Fn(&Input, Timestamp) -> Option<Timestamp> + Send + Sync;

/// One step of a plan.
pub(super) struct Planned<E> {
    pub name: &'static str,
    pub label_done: Option<&'static str>,
    pub kind: Kind,
    pub participant: Option<&'static str>,
    pub is_local: bool,
    pub is_compensated: bool,
    pub policy: Policy,
    pub step: Box<dyn AnyStep<E>>,
    pub meters: StepMeters,
}

/// How a saga came to its end.
pub struct Ending<'a> {
    /// The saga.
    pub saga_id: Uuid,
    /// Why it went backwards; `None` when it was completed.
    pub cause: Option<&'a str>,
    /// Who cancelled it, if anybody did.
    pub cancelled_by: Option<&'a str>,
    /// Why, in the words of whoever did.
    pub cancel_reason: Option<&'a str>,
    /// What its journal adds up to.
    pub state: &'a State,
}

impl Ending<'_> {
    /// What the compensation of a step left in the journal; `None` when it was not compensated.
    pub fn compensated(&self, step: &str) -> Option<Value> {
        serde_json::from_str(self.state.compensation_output(step)?).ok()
    }
}

/// The end of a saga: its final status, and what commits with it.
#[derive(Debug)]
pub struct Close<E> {
    /// The final status, which is also the final label.
    pub status: &'static str,
    /// Why, in a stable code.
    pub reason: Option<String>,
    /// Applied in the commit that closes the saga.
    pub effects: Vec<E>,
    /// The lane that commit takes.
    pub lane: Lane,
}

impl<I, E> Saga<I, E>
where
    I: Serialize + DeserializeOwned + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// An empty list. `label` is what a saga's label says from its start; `closing` decides its final
    /// status, is pure, and is called once the last step or the last compensation is behind.
    pub fn new(
        name: &'static str,
        version: i32,
        label: &'static str,
        closing: impl Fn(&I, &Ending<'_>) -> Close<E> + Send + Sync + 'static,
    ) -> Self {
        let closing =
            move |input: &Input, ending: &Ending<'_>| Some(closing(input.downcast_ref()?, ending));
        let decode = |json: &str| Ok(Arc::new(serde_json::from_str::<I>(json)?) as Input);
        let (steps, shape) = (Vec::new(), Arc::new([]));
        let (closing, deadline) = (Box::new(closing) as _, None);
        let plan = Plan { name, version, label, steps, shape, closing, deadline, decode };
        Self { plan, input: PhantomData }
    }

    /// Sets until when a saga has time, by its input and its start. When that is over before the pivot, the
    /// attempt that runs ends in doubt and the saga goes back, because of
    /// [`TIMED_OUT`](super::decide::TIMED_OUT).
    pub fn deadline(
        mut self,
        deadline: impl Fn(&I, Timestamp) -> Option<Timestamp> + Send + Sync + 'static,
    ) -> Self {
        let deadline = move |input: &Input, started| deadline(input.downcast_ref()?, started);
        self.plan.deadline = Some(Box::new(deadline));
        self
    }

    /// Adds a step that must be done, and is compensated when a later one cannot be.
    pub fn step<S: Step<Input = I, Effect = E>>(self, step: S) -> Self {
        self.push(step, Kind::Required)
    }

    /// Adds the step after which nothing goes back any more.
    pub fn pivot<S: Step<Input = I, Effect = E>>(self, step: S) -> Self {
        self.push(step, Kind::Pivot)
    }

    /// Adds a step that the saga can go on without.
    pub fn best_effort<S: Step<Input = I, Effect = E>>(self, step: S) -> Self {
        self.push(step, Kind::BestEffort)
    }

    fn push<S: Step<Input = I, Effect = E>>(mut self, step: S, kind: Kind) -> Self {
        let plan = &mut self.plan;
        let policy = step.policy();
        let (name, label_done) = (S::NAME, S::LABEL_DONE);
        let (step, meters) = (Box::new(step), StepMeters::default());
        let (participant, is_local) = (S::PARTICIPANT, S::IS_LOCAL);
        let is_compensated = S::IS_COMPENSATED;
        plan.steps.push(Planned {
            name,
            label_done,
            kind,
            participant,
            is_local,
            is_compensated,
            policy,
            step,
            meters,
        });
        let shape = |it: &Planned<E>| Shape {
            name: it.name,
            kind: it.kind,
            is_compensated: it.is_compensated,
        };
        plan.shape = plan.steps.iter().map(shape).collect();
        self
    }
}

/// The sagas that a program knows, each by its name and version. Versions of one saga stand side by side, for as long as
/// sagas of them are open.
pub struct Definitions<E> {
    pub(super) plans: HashMap<(String, i32), Arc<Plan<E>>>,
}

impl<E> Default for Definitions<E> {
    fn default() -> Self {
        Self { plans: HashMap::new() }
    }
}

impl<E> Definitions<E> {
    /// Adds a saga.
    pub fn register<I>(mut self, saga: Saga<I, E>) -> Self {
        let plan = saga.plan;
        self.plans.insert((plan.name.to_owned(), plan.version), Arc::new(plan));
        self
    }

    /// One version of a saga.
    pub fn get(&self, name: &str, version: i32) -> Option<&Arc<Plan<E>>> {
        self.plans.get(&(name.to_owned(), version))
    }

    /// The newest version of a saga.
    pub fn newest(&self, name: &str) -> Option<&Arc<Plan<E>>> {
        self.plans.values().filter(|it| it.name == name).max_by_key(|it| it.version)
    }
}

/// A [`Step`] with its types rubbed out, so that steps of many types fit in one list.
pub(super) trait AnyStep<E>: Send + Sync {
    /// Whom this saga's step calls, if it calls anybody.
    fn participant(&self, input: &Input) -> Option<&'static str>;
    fn execute<'a>(&'a self, cx: &'a Cx, input: &'a Input) -> BoxFuture<'a, Answer<E>>;
    fn compensate<'a>(
        &'a self,
        cx: &'a Cx,
        input: &'a Input,
        output: Option<&'a str>,
    ) -> BoxFuture<'a, Answer<E>>;
    /// What a person has told of the step, or of its compensation.
    fn settled(&self, input: &Input, output: &Value, is_compensation: bool) -> Answer<E>;
}

/// What a step or a compensation answers, its output as JSON.
pub(super) type Answer<E> = Result<Done<Box<RawValue>, E>, StepError>;

impl<S: Step> AnyStep<S::Effect> for S {
    fn participant(&self, input: &Input) -> Option<&'static str> {
        S::PARTICIPANT.filter(|_| input.downcast_ref().is_some_and(|it| Step::calls(self, it)))
    }

    fn execute<'a>(&'a self, cx: &'a Cx, input: &'a Input) -> BoxFuture<'a, Answer<S::Effect>> {
        Box::pin(async move { encode(Step::execute(self, cx, typed::<S>(input)?).await?) })
    }

    fn compensate<'a>(
        &'a self,
        cx: &'a Cx,
        input: &'a Input,
        output: Option<&'a str>,
    ) -> BoxFuture<'a, Answer<S::Effect>> {
        Box::pin(async move {
            let output = output.map(serde_json::from_str).transpose().map_err(|error| {
                let detail = format!("the output of `{}` cannot be read: {error}", S::NAME);
                StepError::NeedsAttention { reason: "journal_unreadable".into(), detail }
            })?;
            encode(Step::compensate(self, cx, typed::<S>(input)?, output).await?)
        })
    }

    fn settled(&self, input: &Input, output: &Value, is_compensation: bool) -> Answer<S::Effect> {
        let input = typed::<S>(input)?;
        if is_compensation {
            return encode(Step::compensation_settled(self, input, output.clone())?);
        }
        let output = S::Output::deserialize(output)
            .map_err(|error| StepError::refused("settlement_unfit", error.to_string()))?;
        encode(Step::settled(self, input, output))
    }
}

fn typed<S: Step>(input: &Input) -> Result<&S::Input, StepError> {
    input.downcast_ref().ok_or_else(|| StepError::NeedsAttention {
        reason: "journal_unreadable".into(),
        detail: format!("the saga's input is not what `{}` asks for", S::NAME),
    })
}

fn encode<O: Serialize, E>(done: Done<O, E>) -> Answer<E> {
    let left = match done.left {
        Left::Waits(wait) => Left::Waits(wait),
        Left::Output(output) => Left::Output(to_raw_value(&output).map_err(|error| {
            let detail = format!("the output cannot be written as JSON: {error}");
            StepError::NeedsAttention { reason: "journal_unwritable".into(), detail }
        })?),
    };
    Ok(Done { left, effects: done.effects, lane: done.lane })
}
