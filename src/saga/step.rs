//! What the author of a saga writes: a [`Step`], what it leaves behind, and how it may fail.

mod cx;

use std::{future::Future, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use self::cx::Cx;
use super::event::Wait;

/// One step of a saga and its compensation.
///
/// Only [`execute`](Step::execute) must be written. It may be called more than once (after a time-out,
/// or when a replica died between the call and the journal) but always with the same [`Cx::key`], so
/// hand that key to whomever you call.
///
/// Invariant: a step never touches the database. What it changes in our own tables it returns as
/// *effects*, which commit together with the journal line that tells of them.
pub trait Step: Send + Sync + 'static {
    /// The step's name in the journal and the API; never change it while a saga is open.
    const NAME: &'static str;
    /// The saga's label once this step is done, if it changes it.
    const LABEL_DONE: Option<&'static str> = None;
    /// The participant that it calls: what [`limits`](super::limits) and a circuit breaker stand before.
    const PARTICIPANT: Option<&'static str> = None;
    /// Whether the step calls nobody: it answers at once, from the journal and its input, and what it does is its
    /// effects. It is taken in the commit of the step before it: there is no intent of a call to be durable first.
    const IS_LOCAL: bool = false;
    /// Whether there can be anything to take back. The saga goes back past a step of which there cannot.
    const IS_COMPENSATED: bool = true;

    /// What the saga as a whole was started with.
    type Input: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What this step leaves in the journal for later steps and for its own compensation.
    type Output: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Changes to the saga's own tables, as data.
    type Effect: Send + Sync + 'static;

    /// How long to try, and how often.
    fn policy(&self) -> Policy {
        Policy::default()
    }

    /// Whether this saga's step calls its participant at all.
    fn calls(&self, _input: &Self::Input) -> bool {
        true
    }

    /// The call out into the world. Cancellation safety: it is dropped when its time is over, which
    /// the engine takes as *in doubt*.
    fn execute(
        &self,
        cx: &Cx,
        input: &Self::Input,
    ) -> impl Future<Output = Result<Done<Self::Output, Self::Effect>, StepError>> + Send;

    /// Takes the step back. `output` is `None` when no answer ever came: the step may or may not have
    /// happened, so compensate by key, and let "there was nothing to take back" be success.
    fn compensate(
        &self,
        _cx: &Cx,
        _input: &Self::Input,
        _output: Option<Self::Output>,
    ) -> impl Future<Output = Result<Done<Value, Self::Effect>, StepError>> + Send {
        async { Ok(Done::new(Value::Null)) }
    }

    /// What follows in our own tables when a person told that the step happened, and left this.
    fn settled(&self, _: &Self::Input, left: Self::Output) -> Done<Self::Output, Self::Effect> {
        Done::new(left)
    }

    /// The same of its compensation, where the step left `_output`. An error says what is missing.
    fn compensation_settled(
        &self,
        _input: &Self::Input,
        _output: Option<Self::Output>,
        left: Value,
    ) -> Result<Done<Value, Self::Effect>, StepError> {
        Ok(Done::new(left))
    }
}

/// What a step or a compensation leaves behind, or what it waits for.
#[derive(Debug)]
pub struct Done<O, E> {
    pub(super) left: Left<O>,
    /// Applied in the commit that journals it.
    pub effects: Vec<E>,
    /// The lane that commit takes.
    pub lane: Lane,
}

/// What goes into the journal.
#[derive(Debug)]
pub(super) enum Left<O> {
    Output(O),
    Waits(Wait),
}

impl<O, E> Done<O, E> {
    /// An output without effects.
    pub fn new(output: O) -> Self {
        Self { left: Left::Output(output), effects: Vec::new(), lane: Lane::Own }
    }

    /// Not done yet: the saga is suspended until a time or a signal comes, which costs a row and nothing
    /// else. Then the step is called again, with the same key and as the same attempt; [`Cx::timed_out`]
    /// and [`Cx::signals`] tell what came. Only for steps: a compensation that waits is tried again.
    pub fn waiting(wait: Wait) -> Self {
        Self { left: Left::Waits(wait), effects: Vec::new(), lane: Lane::Own }
    }

    /// Whether it is a wait.
    pub(super) fn waits(&self) -> bool {
        matches!(self.left, Left::Waits(_))
    }

    /// Adds an effect on rows that no other saga touches.
    pub fn with(mut self, effect: E) -> Self {
        self.effects.push(effect);
        self
    }

    /// Adds an effect on rows that other sagas touch too (stock, say); it may be refused.
    pub fn with_shared(mut self, effect: E) -> Self {
        self.effects.push(effect);
        self.lane = Lane::Shared;
        self
    }
}

/// Which writer commits a transition (`journal` tells why there are two kinds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Touches nothing that is shared between replicas but the fence.
    Own,
    /// Touches rows that many sagas contend for: one batch at a time.
    Shared,
}

/// Why an attempt did not succeed. The difference decides both whether it is tried again and
/// whether the step itself must be compensated: a refusal speaks for its own attempt only.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StepError {
    /// It did not happen and will not: neither retried nor compensated, unless an earlier attempt was in
    /// doubt. What that one did is taken back by key then.
    #[error("refused ({code}): {detail}")]
    Refused {
        /// A stable, machine-readable reason (`payment_declined`).
        code: String,
        /// For people.
        detail: String,
    },
    /// No answer that can be trusted (time-out, 5xx, connection cut). It may have happened: retried
    /// with the same key, and compensated as if it had when the attempts run out.
    #[error("in doubt: {detail}")]
    InDoubt {
        /// For people.
        detail: String,
        /// The participant's own wish for the next attempt; never shortens the policy's delay.
        retry_after: Option<Duration>,
    },
    /// It may have happened, and to try again is of no use: compensated as if it had. Past the pivot, where
    /// nothing can be taken back, it is in doubt like others.
    #[error("given up: {detail}")]
    GivenUp {
        /// For people.
        detail: String,
    },
    /// Something only a person can settle (a participant that captured another amount, say). The
    /// saga is parked with this reason; attempts go on at the longest delay and none is counted.
    #[error("needs a person ({reason}): {detail}")]
    NeedsAttention {
        /// A stable, machine-readable reason (`amount_mismatch`).
        reason: String,
        /// For people.
        detail: String,
    },
}

impl StepError {
    /// It did not happen and will not.
    pub fn refused(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Refused { code: code.into(), detail: detail.into() }
    }

    /// It may have happened.
    pub fn in_doubt(detail: impl Into<String>) -> Self {
        Self::InDoubt { detail: detail.into(), retry_after: None }
    }
}

/// When an attempt is over, and when the next one starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Attempts in all, the first included; at least 1.
    pub attempts_max: u32,
    /// Longest time for one attempt.
    pub start_to_close: Duration,
    /// Longest silence between two heartbeats of one attempt; `None` asks for none.
    pub heartbeat: Option<Duration>,
    /// Delay before the second attempt.
    pub backoff: Duration,
    /// Factor from one delay to the next.
    pub backoff_factor: f64,
    /// Longest delay, before jitter.
    pub backoff_max: Duration,
    /// Share by which a delay is spread both ways, 0.0 to 1.0.
    pub jitter: f64,
}

impl Default for Policy {
    /// The well-known tutorial's policy (1 s, ×2.0, 100 s, 3 attempts, 30 s start-to-close), with jitter.
    fn default() -> Self {
        Self {
            attempts_max: 3,
            start_to_close: Duration::from_secs(30),
            heartbeat: None,
            backoff: Duration::from_secs(1),
            backoff_factor: 2.0,
            backoff_max: Duration::from_secs(100),
            jitter: 0.2,
        }
    }
}

impl Policy {
    /// The delay after the `attempt`-th attempt (from 1) failed:
    /// `min(backoff × factor^(attempt−1), backoff_max) × (1 + jitter × spread)`, and never less than
    /// `retry_after`. `spread` is in −1.0 ..= 1.0. Jitter comes after the cap: otherwise everything
    /// that waits at the cap would wake in step.
    pub fn delay(&self, attempt: u32, spread: f64, retry_after: Option<Duration>) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX).min(1_000);
        let grown = self.backoff.as_secs_f64() * self.backoff_factor.powi(exponent);
        let capped = grown.min(self.backoff_max.as_secs_f64());
        let jittered = (capped * (1.0 + self.jitter * spread)).max(0.0);
        let delay = Duration::try_from_secs_f64(jittered).unwrap_or(self.backoff_max);
        delay.max(retry_after.unwrap_or_default())
    }
}
