//! Counters of what every saga does at every step, looked up once: finding one by its name and labels costs
//! more than counting. The recorder of metrics is made before the first saga runs.

use std::{sync::OnceLock, time::Duration};

use metrics::{Counter, Histogram};

use super::line::KINDS;

/// What is counted of a step that was done.
#[derive(Debug, Default)]
pub(super) struct StepMeters {
    done: OnceLock<Counter>,
    seconds: OnceLock<Histogram>,
}

impl StepMeters {
    /// Counts an attempt that succeeded.
    pub(super) fn count_done(&self, step: &'static str) {
        let counter =
            || metrics::counter!("crema_attempts_total", "step" => step, "outcome" => "done");
        self.done.get_or_init(counter).increment(1);
    }

    /// Records how long an attempt took.
    pub(super) fn record(&self, step: &'static str, took: Duration) {
        let histogram = || metrics::histogram!("crema_step_seconds", "step" => step);
        self.seconds.get_or_init(histogram).record(took.as_secs_f64());
    }
}

/// What is recorded of every batch of a lane.
#[derive(Debug, Clone)]
pub(super) struct LaneMeters {
    /// Seconds from the first statement to the answer of the COMMIT.
    pub commit_seconds: Histogram,
    /// Transitions.
    pub batch_size: Histogram,
}

impl LaneMeters {
    pub(super) fn new(lane: &'static str) -> Self {
        Self {
            commit_seconds: metrics::histogram!("crema_journal_commit_seconds", "lane" => lane),
            batch_size: metrics::histogram!("crema_journal_batch_size", "lane" => lane),
        }
    }
}

/// Counts a line that was committed.
pub(super) fn count_line(kind: &'static str) {
    static LINES: [OnceLock<Counter>; KINDS.len()] = [const { OnceLock::new() }; KINDS.len()];
    let of_kind = KINDS.iter().zip(&LINES).find(|(it, _)| **it == kind);
    if let Some((_, line)) = of_kind {
        line.get_or_init(|| metrics::counter!("crema_transitions_total", "kind" => kind))
            .increment(1);
    }
}
