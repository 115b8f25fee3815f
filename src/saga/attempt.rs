//! One attempt at a step: its time, its heartbeats, and what it says on the way.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll, time::Duration};

use futures::FutureExt;
use tokio::time::{Instant, sleep_until};

use super::{
    Core,
    definition::{Answer, Planned},
    draft::Draft,
    event::{State, StepIndex},
    limits::{Pass, Way},
    runner::{Running, Turn},
    step::{Cx, Done, Left, StepError},
    wire::{Ear, Report, wire},
};

/// Far enough to mean never, near enough for the timer.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

impl<E: Send + Sync + 'static> Core<E> {
    /// Calls a step, once its participant may be called, and drafts what follows. An error is what the task does
    /// instead of going on.
    pub(super) async fn execute(
        &self,
        running: &mut Running<E>,
        step: StepIndex,
        attempt: u32,
    ) -> Result<Draft<E>, Turn> {
        let heard = running.state.signals.len();
        let mut pass = self.admit(running, step, Way::Forward).await?;
        let answer = self.attempt(running, step, attempt, &mut pass).await?;
        pass.ended(&answer, running.is_cut_off());
        drop(pass);
        // What was received while it ran may be what it is about to wait for: it is asked again.
        if answer.as_ref().is_ok_and(Done::waits) && running.state.signals.len() > heard {
            return Err(Turn::Again);
        }
        // On top of what was written while it ran (`Cx::reached`).
        let mut draft = Draft::new(running);
        draft.answer(running, step, attempt, answer);
        self.follow(running, &mut draft);
        Ok(draft)
    }

    /// Calls a step. An error is what the task does instead of going on: the saga is not ours any more, say.
    pub(super) async fn attempt(
        &self,
        running: &mut Running<E>,
        step: StepIndex,
        attempt: u32,
        pass: &mut Pass,
    ) -> Result<Answer<E>, Turn> {
        let plan = running.plan.clone();
        let planned = plan.steps.get(usize::from(step)).ok_or(Turn::Rests)?;
        count_begun(planned.name, attempt);
        let (cx, reports) = context(running, &running.state, planned.name, attempt);
        let input = running.input.clone();
        let work = AssertUnwindSafe(planned.step.execute(&cx, &input)).catch_unwind();
        let mut work = pin!(work.map(|it| it.unwrap_or_else(|_| Err(panicked()))));
        let started = Instant::now();
        // A step that is done at once costs no timer.
        let mut answer = match futures::poll!(&mut work) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        };
        if answer.is_none() {
            let live = running.presence.live.clone();
            let policy = planned.policy;
            let mut heard = started;
            let deadline = started + running.until_deadline().unwrap_or(NEVER);
            let mut grace = started + NEVER;
            answer = loop {
                let silence = policy.heartbeat.map_or(started + NEVER, |it| heard + it);
                tokio::select! {
                    biased;
                    () = live.lost.cancelled() => return Err(Turn::Rests),
                    answer = &mut work => break Some(answer),
                    report = reports.next() => {
                        heard = Instant::now();
                        live.let_others_in();
                        pass.sign_of_life();
                        self.hear(running, (step, attempt), report).await?;
                    }
                    () = sleep_until(started + policy.start_to_close) => {
                        break Some(Err(late("no answer", policy.start_to_close)));
                    }
                    () = sleep_until(deadline) => break Some(Err(StepError::in_doubt("the deadline has passed"))),
                    () = sleep_until(silence) => {
                        break Some(Err(late("no heartbeat", silence - heard)));
                    }
                    () = live.nudge.notified(), if !reports.is_cancelled() => {
                        if live.has_cancel() && !running.state.past_pivot() {
                            reports.cancel();
                            grace = Instant::now() + self.settings.cancel_grace;
                        }
                        self.take_note(running).await?;
                    }
                    () = sleep_until(grace) => break Some(Err(StepError::in_doubt("cancelled"))),
                }
            };
            live.set_progress(None);
        }
        let answer = answer.ok_or(Turn::Rests)?;
        count(planned, &answer, started);
        Ok(answer)
    }

    /// Adds the local steps that follow to the commit of the step before them. One that does not answer at
    /// once, or not without fail, gets a turn of its own.
    pub(super) fn follow(&self, running: &Running<E>, draft: &mut Draft<E>) {
        while let Some((step, attempt)) = draft.next_local() {
            let Some(planned) = running.plan.steps.get(usize::from(step)) else { return };
            if running.presence.live.has_items() {
                return;
            }
            let state = Arc::new(draft.state().clone());
            let (cx, _) = context(running, &state, planned.name, attempt);
            let started = Instant::now();
            let work = AssertUnwindSafe(planned.step.execute(&cx, &running.input)).catch_unwind();
            let Some(Ok(Ok(done))) = work.now_or_never() else { return };
            let answer = Ok(done);
            count(planned, &answer, started);
            draft.keep_base();
            draft.answer(running, step, attempt, answer);
        }
    }

    /// Takes what a running attempt tells: how far it is, or a milestone, which is journaled.
    async fn hear(
        &self,
        running: &mut Running<E>,
        (step, attempt): (StepIndex, u32),
        report: Report,
    ) -> Result<(), Turn> {
        let (label, journaled) = match report {
            Report::Heartbeat(progress) => {
                running.presence.live.set_progress(progress);
                return Ok(());
            }
            Report::Reached { label, journaled } => (label, journaled),
        };
        if running.label != label {
            let mut draft = Draft::new(running);
            draft.reached(step, attempt, label);
            match self.write(running, draft).await {
                Ok(Turn::Again) => {}
                Ok(turn) => return Err(turn),
                Err(_) => return Err(Turn::Reload),
            }
        }
        let _ = journaled.send(());
        Ok(())
    }

    /// Calls a step's compensation. It is shielded from further cancellation.
    pub(super) async fn compensate(
        &self,
        running: &Running<E>,
        step: StepIndex,
        attempt: u32,
    ) -> Option<Answer<E>> {
        let planned = running.plan.steps.get(usize::from(step))?;
        // Nobody listens: a compensation has no heartbeats and no labels of its own.
        let (cx, _) = context(running, &running.state, planned.name, attempt);
        let output = running.state.output(planned.name);
        let work = planned.step.compensate(&cx, &running.input, output);
        let work = AssertUnwindSafe(work).catch_unwind();
        let limit = planned.policy.start_to_close;
        metrics::counter!("crema_compensations_total", "step" => planned.name).increment(1);
        tokio::select! {
            biased;
            () = running.presence.live.lost.cancelled() => None,
            answer = work => Some(answer.unwrap_or_else(|_| Err(panicked()))),
            () = sleep_until(Instant::now() + limit) => Some(Err(late("no answer", limit))),
        }
    }
}

fn context<E>(
    running: &Running<E>,
    state: &Arc<State>,
    step: &'static str,
    attempt: u32,
) -> (Cx, Ear) {
    let (mouth, reports) = wire();
    let (now, state) = (running.clock.now(), state.clone());
    (Cx { saga_id: running.saga_id, step, attempt, now, state, mouth }, reports)
}

fn late(what: &str, limit: Duration) -> StepError {
    StepError::in_doubt(format!("{what} within {} s", limit.as_secs_f64()))
}

fn panicked() -> StepError {
    StepError::in_doubt("the step panicked; see the log")
}

fn count_begun(step: &'static str, attempt: u32) {
    if attempt > 1 {
        metrics::counter!("crema_retries_total", "step" => step).increment(1);
    }
}

fn count<E>(planned: &Planned<E>, answer: &Answer<E>, started: Instant) {
    let (step, meters) = (planned.name, &planned.meters);
    meters.record(step, started.elapsed());
    let outcome = match answer {
        Ok(Done { left: Left::Output(_), .. }) => return meters.count_done(step),
        Ok(Done { left: Left::Waits(_), .. }) => "waiting",
        Err(StepError::Refused { .. }) => "refused",
        Err(StepError::InDoubt { .. } | StepError::GivenUp { .. }) => "in_doubt",
        Err(StepError::NeedsAttention { .. }) => "needs_attention",
    };
    metrics::counter!("crema_attempts_total", "step" => step, "outcome" => outcome).increment(1);
}
