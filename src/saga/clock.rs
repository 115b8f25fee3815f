//! The database's clock, as a replica knows it between two looks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

/// The time of the database's server, to the milliseconds that an answer takes on its way. Set once a look;
/// runs on by this process's monotonic clock in between, so that nobody who sets this machine's clock moves
/// it. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    base: Instant,
    /// What the database's clock said at the base.
    base_ms: Arc<AtomicI64>,
}

impl Clock {
    /// By this machine's clock, until the first look.
    pub(super) fn new() -> Self {
        let now = Timestamp::now().as_millisecond();
        Self { base: Instant::now(), base_ms: Arc::new(AtomicI64::new(now)) }
    }

    /// The database has just said that it is this late.
    pub(super) fn set(&self, now_ms: i64) {
        self.base_ms.store(now_ms.saturating_sub(self.running_ms()), Ordering::Relaxed);
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        self.base_ms.load(Ordering::Relaxed).saturating_add(self.running_ms())
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms()).unwrap_or(Timestamp::MAX)
    }

    /// How long it is until then.
    pub(super) fn until(&self, at_ms: i64) -> Duration {
        let left = at_ms.saturating_sub(self.now_ms());
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    fn running_ms(&self) -> i64 {
        super::lease::as_ms(self.base.elapsed())
    }
}
