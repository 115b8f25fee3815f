//! A journal read from its first line on, without a look at the row: after every line it tells what the row has to
//! say there. Pure. The past is shown by it, and what is stored now is proven by it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    EngineSettings,
    decide::{Action, decide},
    definition::Plan,
    event::{Direction, Event, Progress, Shape, State},
    history::{HistoryError, to_sqlx},
    journal::read::{JournalLine, SagaRow},
    wait::FOREVER,
};

/// How far two clocks may be apart.
const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(5);

/// What the lines so far add up to.
#[derive(Debug, Clone)]
pub struct Fold {
    /// What the saga is called: its label.
    pub label: String,
    /// Where its steps stand.
    pub state: State,
    /// Why it closed so.
    pub closed_reason: Option<String>,
    /// What the row's version counts: the commits, and the requests of others, which raise it once when they are
    /// accepted and once more with their line.
    pub version: i64,
    /// When the last line was written; `None` before the first.
    pub at: Option<Timestamp>,
    /// When the saga goes on, if its last line makes it wait.
    pub due_at: Option<Timestamp>,
    /// Whether that wait is long enough to be slept through, as a row with a time to wake.
    is_suspended: bool,
    /// Whether the end of that wait is a time of the clock rather than a time after the last line.
    is_by_clock: bool,
    pub(super) has_deadline: bool,
    shape: Arc<[Shape]>,
    labels: Vec<Option<&'static str>>,
    horizon: SignedDuration,
    crash_loop_wait: SignedDuration,
    forever: SignedDuration,
}

impl Fold {
    /// Before the first line.
    pub(super) fn new<E>(plan: &Plan<E>, settings: &EngineSettings) -> Self {
        let signed = |it| SignedDuration::try_from(it).unwrap_or(SignedDuration::MAX);
        Self {
            label: plan.label.to_owned(),
            state: State::new(plan.shape.clone()),
            closed_reason: None,
            version: 0,
            at: None,
            due_at: None,
            is_suspended: false,
            is_by_clock: false,
            has_deadline: false,
            shape: plan.shape.clone(),
            labels: plan.steps.iter().map(|it| it.label_done).collect(),
            horizon: signed(settings.horizon),
            crash_loop_wait: signed(settings.crash_loop_wait),
            forever: signed(FOREVER),
        }
    }

    /// Adds the next line. One that cannot follow changes nothing.
    pub(super) fn add(&mut self, line: &JournalLine) -> Result<(), HistoryError> {
        let (step, at) = (line.step.as_deref(), line.at.to_jiff());
        let event = Event::read(&self.shape, &line.kind, step, line.attempt, &line.data)?;
        self.state.apply(&event)?;
        // The lines of one commit have one time, and no two commits of a saga have the same: the second is not
        // begun before the first is acknowledged.
        self.version += i64::from(self.at != Some(at));
        self.at = Some(at);
        self.wait(&event, at);
        match event {
            Event::StepDone { step, .. } => {
                if let Some(label) = self.labels.get(usize::from(step)).copied().flatten() {
                    label.clone_into(&mut self.label);
                }
            }
            Event::StepReached { label, .. } => self.label = label,
            Event::Closed { status, reason } => (self.label, self.closed_reason) = (status, reason),
            Event::CancelRequested { .. }
            | Event::RetryRequested { .. }
            | Event::SignalReceived { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Settled { .. } => self.version += 1,
            _ => {}
        }
        Ok(())
    }

    fn wait(&mut self, event: &Event, at: Timestamp) {
        let in_ms = |ms: u64| SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
        let after = |it: SignedDuration| Some(at.checked_add(it).unwrap_or(Timestamp::MAX));
        let action = decide(&self.shape, &self.state);
        self.due_at = match (&action, event) {
            (Action::Wait { .. }, _) => {
                let at = |it| Timestamp::from_millisecond(it).ok();
                self.state.waits_until_ms().map_or_else(|| after(self.forever), at)
            }
            (Action::Pause, _) => after(self.forever),
            (_, Event::AttemptFailed { retry_in_ms, .. })
            | (_, Event::CompensationFailed { retry_in_ms, .. })
            | (_, Event::Parked { retry_in_ms, .. }) => after(in_ms(*retry_in_ms)),
            (_, Event::CrashLoop { .. }) => after(self.crash_loop_wait),
            (_, Event::SignalReceived { .. }) if !self.ends_a_wait() => self.due_at,
            (_, Event::Resumed { until_ms, .. }) => {
                until_ms.and_then(|it| Timestamp::from_millisecond(it).ok())
            }
            _ => None,
        };
        self.is_by_clock = matches!(action, Action::Wait { .. } | Action::Pause)
            || matches!(event, Event::SignalReceived { .. } | Event::Resumed { .. });
        self.is_suspended = self.due_at.is_some_and(|it| it.duration_since(at) > self.horizon);
    }

    /// Whether the step at hand goes on because of what was just received.
    fn ends_a_wait(&self) -> bool {
        let at_hand = self.state.steps.get(usize::from(self.state.cursor));
        at_hand.is_some_and(|it| it.progress == Progress::Waiting)
    }

    /// Whether a row that wakes then agrees with the journal. A wait until a time of the clock wakes where the
    /// replica believes that time to be, and a saga that has a deadline not later than that: whoever wakes early
    /// looks at the clock and waits on.
    pub(super) fn agrees_with(&self, wake_at: Option<Timestamp>) -> bool {
        let is_early_enough = || {
            let latest = self.due_at.and_then(|it| it.checked_add(CLOCKS_APART).ok());
            wake_at.zip(latest).is_some_and(|(it, latest)| it <= latest)
        };
        wake_at == self.due_at || (self.is_by_clock || self.has_deadline) && is_early_enough()
    }

    /// The final status, once it is closed.
    pub fn closed_status(&self) -> Option<&str> {
        match &self.state.direction {
            Direction::Closed(status) => Some(status),
            Direction::Forward | Direction::Backward(_) => None,
        }
    }

    /// When the saga wakes, while it is suspended.
    pub fn wake_at(&self, as_of: Timestamp) -> Option<Timestamp> {
        self.due_at.filter(|it| self.is_suspended && *it > as_of)
    }

    /// Whether the row may have forgotten the time to wake: nothing was to be slept through, or the owner has the
    /// saga in memory again, since it is due soon.
    pub(super) fn may_be_awake(&self, as_of: Timestamp) -> bool {
        let soon = as_of.checked_add(self.horizon).unwrap_or(Timestamp::MAX);
        !self.is_suspended || self.due_at.is_none_or(|it| it <= soon)
    }

    /// The row as it stood then. What never changes is taken over from the row as it stands now.
    pub(super) fn row(&self, now: &SagaRow, as_of: Timestamp) -> SagaRow {
        SagaRow {
            label: self.label.clone(),
            seq: self.state.seq,
            version: self.version,
            past_pivot: self.state.past_pivot(),
            cancel_requested: self.state.cancelled_by.is_some(),
            wake_at: self.wake_at(as_of).map(to_sqlx),
            attention: self.state.attention.clone(),
            closed_status: self.closed_status().map(str::to_owned),
            closed_reason: self.closed_reason.clone(),
            updated_at: to_sqlx(self.at.unwrap_or(as_of)),
            read_at: to_sqlx(as_of),
            ..now.clone()
        }
    }
}
