//! The vocabulary of the journal, and the state which a journal adds up to. Pure: no clock, no database.
//!
//! [`State::apply`] is the one place where states change. Recovery, the history view, tests and the
//! running engine all fold the same lines through it, so there is no second code path for crashes.

mod apply;
mod state;
mod step;
mod wait;

use std::sync::Arc;

use serde_json::value::RawValue;

pub use self::{
    state::{Direction, Illegal, Kind, Shape, State},
    step::{Compensation, Progress, StepState},
    wait::{Paused, Settlement, Signal, Wait},
};

/// A step's place in its plan, from 0.
pub type StepIndex = u8;

/// One line of the journal. Lines are added, never changed.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are named after what the variants' comments say")]
pub enum Event {
    /// The saga was accepted; its input is the line's data.
    Started { input: Arc<RawValue> },
    /// A running attempt reached a point with a label of its own.
    StepReached { step: StepIndex, attempt: u32, label: String },
    /// The step happened; the next step may happen from now on.
    StepDone { step: StepIndex, attempt: u32, output: Arc<RawValue> },
    /// The step did not happen in this attempt and will not. Whether an earlier one may have happened all the
    /// same is said by `in_doubt`; then it is compensated.
    StepRefused { step: StepIndex, attempt: u32, code: String, detail: String, in_doubt: bool },
    /// The attempt ended in doubt; the next one follows after `retry_in_ms`.
    AttemptFailed { step: StepIndex, attempt: u32, detail: String, retry_in_ms: u64 },
    /// The last attempt ended in doubt: the step may have happened.
    StepGivenUp { step: StepIndex, attempt: u32, detail: String },
    /// The step suspended: it is called again when its time has come, or a signal it waits for.
    StepWaiting { step: StepIndex, attempt: u32, wait: Wait },
    /// The time that the step waited for has come.
    TimerFired { step: StepIndex, attempt: u32 },
    /// A person is needed (`reason`); attempts go on.
    Parked { step: StepIndex, attempt: u32, reason: String, detail: String, retry_in_ms: u64 },
    /// Somebody asked for the cancellation, and it was accepted.
    CancelRequested { by: String, reason: Option<String> },
    /// From here on the saga goes backwards.
    Compensating { cause: String },
    /// The step was taken back.
    CompensationDone { step: StepIndex, attempt: u32, output: Arc<RawValue> },
    /// The compensation did not succeed; it is tried again, without end.
    CompensationFailed { step: StepIndex, attempt: u32, detail: String, retry_in_ms: u64 },
    /// A replica went on where another one was lost; or, `handed_over`, where none was: it had been given
    /// away in order, or had been let go and taken back by the same process. Whatever attempt ran then counts.
    TakenUp { replica: String, handed_over: bool },
    /// A saga that keeps killing its replica was set aside.
    CrashLoop { takeovers: u32 },
    /// An operator asked for the next attempt now.
    RetryRequested { by: String, reason: Option<String> },
    /// A signal came, whether or not anything waits for it. `key` tells repetitions of one apart from others.
    SignalReceived { name: String, key: Option<String>, by: String, data: Arc<RawValue> },
    /// No step is begun any more. What is left of the wait at hand stands still.
    Paused { by: String, reason: Option<String>, at_ms: i64, left_ms: Option<u64> },
    /// Steps are begun again; what was left of the wait at hand runs on until then. What the saga has in all
    /// is longer by the time it was paused.
    Resumed { by: String, reason: Option<String>, until_ms: Option<i64>, paused_ms: u64 },
    /// A person told what became of a step or a compensation that needed one.
    Settled { step: StepIndex, attempt: u32, settlement: Settlement, by: String, reason: String },
    /// The time that the saga as a whole has is over.
    DeadlinePassed,
    /// The end, for ever.
    Closed { status: String, reason: Option<String> },
}
