//! The wire between a running attempt and the engine.
//!
//! One small allocation an attempt, made whether or not the step has anything to say; a channel of the
//! library's takes its first block of slots at once.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::Value;
use tokio::sync::{Notify, oneshot};

/// What a running attempt tells the engine.
#[derive(Debug)]
pub(super) enum Report {
    Heartbeat(Option<Value>),
    Reached { label: &'static str, journaled: oneshot::Sender<()> },
}

/// The attempt's end. Clones share the wire.
#[derive(Debug, Clone)]
pub(super) struct Mouth(Arc<Wire>);

/// The engine's end; what is told once it is dropped goes nowhere.
#[derive(Debug)]
pub(super) struct Ear(Arc<Wire>);

#[derive(Debug, Default)]
struct Wire {
    /// `None` once nobody listens any more.
    told: Mutex<Option<VecDeque<Report>>>,
    arrived: Notify,
    cancelled: Flag,
}

/// Raised once, and seen by everybody who asks or waits.
#[derive(Debug, Default)]
pub(super) struct Flag {
    is_raised: AtomicBool,
    raised: Notify,
}

impl Flag {
    pub(super) fn raise(&self) {
        self.is_raised.store(true, Ordering::Release);
        self.raised.notify_waiters();
    }

    pub(super) fn is_raised(&self) -> bool {
        self.is_raised.load(Ordering::Acquire)
    }

    /// Resolves once it is raised. Cancellation safe.
    pub(super) async fn raised(&self) {
        let mut raised = pin!(self.raised.notified());
        // Interest first, then the look: what is raised in between is not slept through.
        raised.as_mut().enable();
        if !self.is_raised() {
            raised.await;
        }
    }
}

impl Wire {
    fn told(&self) -> MutexGuard<'_, Option<VecDeque<Report>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wire's two ends.
pub(super) fn wire() -> (Mouth, Ear) {
    let told = Mutex::new(Some(VecDeque::new()));
    let wire = Arc::new(Wire { told, arrived: Notify::new(), cancelled: Flag::default() });
    (Mouth(wire.clone()), Ear(wire))
}

impl Mouth {
    /// Drops the report when nobody listens.
    pub(super) fn tell(&self, report: Report) {
        if let Some(told) = self.0.told().as_mut() {
            told.push_back(report);
        }
        self.0.arrived.notify_one();
    }

    /// Resolves when the engine wants the attempt to end.
    pub(super) async fn cancelled(&self) {
        self.0.cancelled.raised().await;
    }
}

impl Ear {
    /// Asks the attempt to end.
    pub(super) fn cancel(&self) {
        self.0.cancelled.raise();
    }

    /// Whether it was asked to.
    pub(super) fn is_cancelled(&self) -> bool {
        self.0.cancelled.is_raised()
    }

    /// The next report. Cancellation safe: it is taken after the last await.
    pub(super) async fn next(&self) -> Report {
        loop {
            let report = self.0.told().as_mut().and_then(VecDeque::pop_front);
            match report {
                Some(report) => return report,
                None => self.0.arrived.notified().await,
            }
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        // Whoever waits for a report to be journaled learns that it never will be.
        *self.0.told() = None;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn reports_arrive_in_their_order() {
        let (mouth, ear) = wire();
        for percent in [10, 20] {
            mouth.clone().tell(Report::Heartbeat(Some(percent.into())));
        }
        for percent in [10, 20] {
            let Report::Heartbeat(progress) = ear.next().await else { panic!("a heartbeat") };
            assert_eq!(progress, Some(percent.into()));
        }
    }

    #[tokio::test]
    async fn a_report_wakes_who_listens() {
        let (mouth, ear) = wire();
        let listening = tokio::spawn(async move { ear.next().await });
        tokio::task::yield_now().await;
        mouth.tell(Report::Heartbeat(None));
        assert!(timeout(Duration::from_secs(60), listening).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn an_attempt_hears_that_it_should_end_whenever_it_listens() {
        let (mouth, ear) = wire();
        let waiting = mouth.clone();
        let listening = tokio::spawn(async move { waiting.cancelled().await });
        tokio::task::yield_now().await;
        assert!(!ear.is_cancelled() && !listening.is_finished());
        ear.cancel();
        assert!(timeout(Duration::from_secs(60), listening).await.unwrap().is_ok());
        timeout(Duration::from_secs(60), mouth.cancelled()).await.unwrap();
    }

    #[tokio::test]
    async fn what_nobody_hears_is_dropped_before_and_after() {
        let (mouth, ear) = wire();
        let report = || {
            let (journaled, written) = oneshot::channel();
            (Report::Reached { label: "READY", journaled }, written)
        };
        let (before, written_before) = report();
        mouth.tell(before);
        drop(ear);
        let (after, written_after) = report();
        mouth.tell(after);
        assert!(written_before.await.is_err());
        assert!(written_after.await.is_err());
    }
}
