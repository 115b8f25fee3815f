//! What a journal adds up to for one of its steps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Signal, Wait};

/// How far one step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Not begun.
    Pending,
    /// It may have happened: begun, or between two attempts.
    Open,
    /// It is suspended until a time or a signal comes.
    Waiting,
    /// It happened.
    Done,
    /// It will not happen, and did not, unless an earlier attempt is in doubt.
    Refused,
    /// It may have happened, and is not tried any more.
    GivenUp,
}

/// How far the compensation of one step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compensation {
    /// Not asked for, or not begun.
    No,
    /// Begun.
    Open,
    /// Taken back.
    Done,
}

/// One step's share of the state.
#[derive(Debug, Clone)]
pub struct StepState {
    /// How far it has come.
    pub progress: Progress,
    /// Attempts that have ended, takeovers included.
    pub attempts: u32,
    /// Whether an attempt that has ended may have happened, though a later one was refused.
    pub in_doubt: bool,
    /// What it left in the journal.
    pub output: Option<Arc<RawValue>>,
    /// What it waits for, while it does.
    pub wait: Option<Wait>,
    /// The number of the line since which it waits.
    pub wait_seq: i32,
    /// Whether the time that it waited for has come.
    pub is_time_over: bool,
    /// Why it was refused, if it was.
    pub refusal: Option<String>,
    /// How far its compensation has come.
    pub compensation: Compensation,
    /// Attempts at the compensation that have ended, takeovers included.
    pub compensation_attempts: u32,
    /// What the compensation left in the journal.
    pub compensation_output: Option<Arc<RawValue>>,
}

impl StepState {
    /// Not begun.
    pub(super) fn pending() -> Self {
        Self {
            progress: Progress::Pending,
            attempts: 0,
            in_doubt: false,
            output: None,
            wait: None,
            wait_seq: 0,
            is_time_over: false,
            refusal: None,
            compensation: Compensation::No,
            compensation_attempts: 0,
            compensation_output: None,
        }
    }

    /// Whether what it waits for has come.
    pub fn is_called(&self, signals: &[Signal]) -> bool {
        let awaited = self.wait.iter().flat_map(|it| &it.signals);
        let new = signals.iter().rev().take_while(|it| it.seq > self.wait_seq);
        self.is_time_over || new.into_iter().any(|it| awaited.clone().any(|name| *name == it.name))
    }

    /// Ends the wait.
    pub(super) fn settle(&mut self, progress: Progress, attempt: u32) {
        (self.progress, self.attempts) = (progress, attempt);
        (self.wait, self.is_time_over) = (None, false);
    }

    /// Waits from this line on.
    pub(super) fn suspend(&mut self, wait: &Wait, seq: i32) {
        (self.progress, self.is_time_over) = (Progress::Waiting, false);
        (self.wait, self.wait_seq) = (Some(wait.clone()), seq);
    }

    /// Whether there may be something to take back.
    pub(super) fn may_have_happened(&self) -> bool {
        match self.progress {
            Progress::Open | Progress::Waiting | Progress::Done | Progress::GivenUp => true,
            Progress::Refused => self.in_doubt,
            Progress::Pending => false,
        }
    }
}
