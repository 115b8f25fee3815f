//! The runner: one task a running saga: decide, act, write down, until it rests.
//!
//! A task owns its saga's state in memory and no connection; it waits for participants and for the journal's
//! answers only. A wait longer than the horizon suspends the saga: that costs its row and nothing here.

use std::{borrow::Cow, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    Core,
    decide::{Action, decide},
    definition::{Input, Plan},
    draft::Draft,
    event::{Event, State},
    journal::{
        Refusal, Verdict,
        inbox::Item,
        load::{self, Loaded},
    },
    lease::as_ms,
    live::Presence,
    step::StepError,
};

/// A saga that was taken up this often in a row without getting anywhere runs alone.
const TAKEOVERS_BEFORE_ALONE: u32 = 2;
/// One that then was taken up this often more, alone, is a crash loop.
const TAKEOVERS_ALONE_MAX: u32 = 5;
/// From this attempt on a failing compensation parks the saga; attempts go on.
const COMPENSATION_ATTEMPTS_BEFORE_PARKING: u32 = 10;
/// How long a saga waits for the cancellation that fenced off its pivot before it looks again.
const CANCELLATION_WAIT: Duration = Duration::from_millis(50);

/// A saga in the hands of its task.
pub(super) struct Running<E> {
    pub saga_id: Uuid,
    pub plan: Arc<Plan<E>>,
    pub input: Input,
    pub state: Arc<State>,
    pub label: Cow<'static, str>,
    pub presence: Presence,
}

/// Whether a task goes on after a turn.
pub(super) enum Turn {
    Again,
    /// Closed, suspended, or not ours any more.
    Rests,
    /// The database knows better: read the saga again.
    Reload,
}

impl<E: Send + Sync + 'static> Core<E> {
    /// Starts a task for a saga that has just been accepted.
    pub(super) fn run_started(self: &Arc<Self>, running: Running<E>) {
        let core = self.clone();
        self.tasks.spawn(async move { core.run(running, Duration::ZERO, false).await });
    }

    /// Takes up what a bucket's former owner left running, page by page.
    pub(super) async fn load_running(self: &Arc<Self>, bucket: i16) -> sqlx::Result<()> {
        let mut after = Uuid::nil();
        loop {
            let page = load::running(&self.drive, bucket, after, self.settings.page).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.saga_id;
            self.resume(page, true).await?;
        }
    }

    /// Wakes what is due within the horizon.
    pub(super) async fn load_due(self: &Arc<Self>) -> sqlx::Result<()> {
        while self.live.len() < self.settings.live_max {
            let buckets = self.ownership.buckets();
            let (horizon, page) = (as_ms(self.settings.horizon), self.settings.page);
            let due = load::due(&self.drive, &buckets, horizon, page).await?;
            let is_last = (due.len() as i64) < page;
            self.resume(due, false).await?;
            if is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads these sagas' journals and starts their tasks. `taken_up`: another replica may have been in the
    /// middle of an attempt.
    pub(super) async fn resume(
        self: &Arc<Self>,
        loaded: Vec<Loaded>,
        taken_up: bool,
    ) -> sqlx::Result<()> {
        let entered: Vec<(Loaded, Presence)> = loaded
            .into_iter()
            .filter_map(|it| self.live.enter(it.saga_id).map(|presence| (it, presence)))
            .collect();
        let ids: Vec<Uuid> = entered.iter().map(|(it, _)| it.saga_id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut journals = load::journals(&self.drive, &ids).await?;
        for (row, presence) in entered {
            let lines = journals.remove(&row.saga_id).unwrap_or_default();
            let due_in = Duration::from_millis(u64::try_from(row.due_in_ms).unwrap_or(0));
            match self.rebuild(&row, &lines, presence) {
                Ok(running) => {
                    let core = self.clone();
                    self.tasks.spawn(async move { core.run(running, due_in, taken_up).await });
                }
                Err(reason) => {
                    tracing::error!(saga_id = %row.saga_id, reason, "a saga cannot be taken up");
                    let wait = as_ms(Duration::from_secs(100));
                    load::set_aside(&self.drive, row.saga_id, "journal_unreadable", wait).await?;
                }
            }
        }
        Ok(())
    }

    fn rebuild(
        &self,
        row: &Loaded,
        lines: &[load::StoredLine],
        presence: Presence,
    ) -> Result<Running<E>, String> {
        let key = (row.definition.clone(), row.definition_version);
        let plan = self.plans.get(&key).cloned().ok_or("this binary lacks its definition")?;
        let mut state = State::new(plan.shape.clone());
        let mut input = None;
        for line in lines {
            let (step, attempt) = (line.step.as_deref(), line.attempt);
            let event = Event::read(&plan.shape, &line.kind, step, attempt, &line.data)
                .map_err(|error| error.to_string())?;
            state.apply(&event).map_err(|error| error.to_string())?;
            if let Event::Started { input: json } = &event {
                input = Some((plan.decode)(json.get()).map_err(|error| error.to_string())?);
            }
        }
        let input = input.ok_or("its journal is empty")?;
        let (saga_id, label) = (row.saga_id, Cow::Owned(row.label.clone()));
        Ok(Running { saga_id, plan, input, state: Arc::new(state), label, presence })
    }

    /// A saga's task.
    async fn run(self: Arc<Self>, mut running: Running<E>, due_in: Duration, taken_up: bool) {
        let live = running.presence.live.clone();
        if !due_in.is_zero() {
            tokio::select! {
                () = live.lost.cancelled() => return,
                () = self.drain.cancelled() => return,
                () = live.nudge.notified() => live.nudge.notify_one(),
                () = sleep(due_in) => {}
            }
        }
        let mut alone = None;
        if taken_up {
            if running.state.takeovers_in_a_row >= TAKEOVERS_BEFORE_ALONE {
                tokio::select! {
                    () = live.lost.cancelled() => return,
                    permit = self.alone.clone().acquire_owned() => alone = permit.ok(),
                }
            }
            if !self.take_up(&mut running).await {
                return;
            }
        }
        loop {
            if live.lost.is_cancelled() || self.drain.is_cancelled() {
                return;
            }
            match self.turn(&mut running).await {
                Turn::Again => alone = None,
                Turn::Rests => return,
                Turn::Reload => break,
            }
        }
        let saga_id = running.saga_id;
        drop((running, alone));
        self.live.ask_to_reload(saga_id);
        self.look_now.notify_one();
    }

    /// Reads those sagas again that found the database to know better.
    pub(super) async fn reload(self: &Arc<Self>) -> sqlx::Result<()> {
        let sagas = self.live.take_reloads();
        if sagas.is_empty() {
            return Ok(());
        }
        let loaded = load::wake(&self.drive, &sagas).await?;
        self.resume(loaded, false).await
    }

    /// Journals the takeover, or sets a saga aside that kills its replicas.
    async fn take_up(&self, running: &mut Running<E>) -> bool {
        let takeovers = running.state.takeovers_in_a_row;
        let mut draft = Draft::new(running);
        if takeovers >= TAKEOVERS_BEFORE_ALONE + TAKEOVERS_ALONE_MAX {
            draft.add(Event::CrashLoop { takeovers });
            draft.suspend(self.settings.crash_loop_wait);
        } else {
            draft.add(Event::TakenUp { replica: self.settings.name.clone() });
        }
        matches!(self.write(running, draft).await, Ok(Turn::Again))
    }

    async fn turn(&self, running: &mut Running<E>) -> Turn {
        let items = running.presence.live.take_inbox();
        if !items.is_empty() {
            return self.take_items(running, items).await;
        }
        let mut draft = Draft::new(running);
        match decide(&running.plan.shape, &running.state) {
            Action::Rest => return Turn::Rests,
            Action::TurnBack { .. } | Action::Close => draft.settle(running),
            Action::Execute { step, attempt } => {
                let Some(answer) = self.attempt(running, step, attempt).await else {
                    return Turn::Rests;
                };
                // Lines may have been written while it ran (`Cx::reached`).
                draft = Draft::new(running);
                draft.answer(running, step, attempt, answer);
            }
            Action::Compensate { step, attempt } => {
                let Some(answer) = self.compensate(running, step, attempt).await else {
                    return Turn::Rests;
                };
                let parks = attempt >= COMPENSATION_ATTEMPTS_BEFORE_PARKING;
                draft.compensation_answer(running, step, attempt, answer, parks);
            }
        }
        self.submit(running, draft).await
    }

    /// Journals what others asked for.
    async fn take_items(&self, running: &mut Running<E>, items: Vec<Item>) -> Turn {
        let mut draft = Draft::new(running);
        draft.take(&items);
        draft.settle(running);
        let turn = self.submit(running, draft).await;
        if matches!(turn, Turn::Reload) {
            running.presence.live.put_back(items);
        }
        turn
    }

    /// Writes a draft and follows its verdict.
    async fn submit(&self, running: &mut Running<E>, draft: Draft<E>) -> Turn {
        let (at_hand, wait) = (draft.at_hand(), draft.wait());
        match self.write(running, draft).await {
            Ok(Turn::Again) => match wait {
                Some(wait) if wait > self.settings.horizon => Turn::Rests,
                Some(wait) => self.pause(running, wait).await,
                None => Turn::Again,
            },
            Ok(turn) => turn,
            Err(refusal) => {
                let mut draft = Draft::new(running);
                match at_hand {
                    Some((step, attempt)) if !running.is_going_back() => {
                        let error = StepError::refused(refusal.code, refusal.detail);
                        draft.answer(running, step, attempt, Err(error));
                    }
                    _ => draft.park(running, at_hand, refusal.code, refusal.detail),
                }
                Box::pin(self.submit(running, draft)).await
            }
        }
    }

    /// Waits in memory for less than the horizon.
    async fn pause(&self, running: &Running<E>, wait: Duration) -> Turn {
        let live = &running.presence.live;
        if live.has_items() {
            return Turn::Again;
        }
        tokio::select! {
            () = live.lost.cancelled() => Turn::Rests,
            () = self.drain.cancelled() => Turn::Rests,
            () = live.nudge.notified() => Turn::Again,
            () = sleep(wait) => Turn::Again,
        }
    }

    /// Commits a draft. An error is a refusal of its effects: nothing was written.
    pub(super) async fn write(
        &self,
        running: &mut Running<E>,
        draft: Draft<E>,
    ) -> Result<Turn, Refusal> {
        let started = Instant::now();
        let (transition, next, label) = draft.into_transition(running, self.settings.horizon);
        let closes = transition.row.closed.is_some();
        let kinds: Vec<&'static str> = transition.lines.iter().map(|it| it.kind).collect();
        let verdict = self.journal.commit(transition).await;
        tracing::trace!(saga_id = %running.saga_id, ?kinds, ?verdict, took = ?started.elapsed());
        match verdict {
            Verdict::Written => {
                for kind in kinds {
                    metrics::counter!("crema_transitions_total", "kind" => kind).increment(1);
                }
                (running.state, running.label) = (Arc::new(next), label);
                Ok(if closes { Turn::Rests } else { Turn::Again })
            }
            Verdict::Fenced => Ok(Turn::Rests),
            Verdict::Stale => Ok(Turn::Reload),
            Verdict::Cancelled => {
                self.look_now.notify_one();
                let nudge = running.presence.live.nudge.notified();
                let arrived = tokio::time::timeout(CANCELLATION_WAIT, nudge).await.is_ok();
                Ok(if arrived { Turn::Again } else { Turn::Reload })
            }
            Verdict::Refused(refusal) => Err(refusal),
            Verdict::Impossible(detail) => {
                tracing::error!(saga_id = %running.saga_id, detail, "a transition is impossible");
                let detail = "the database refuses this transition; see the log".to_owned();
                Err(Refusal {
                    code: "transition_impossible",
                    detail,
                    data: serde_json::Value::Null,
                })
            }
        }
    }
}
