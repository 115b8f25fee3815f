//! How long and how hard, by environment.

use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::Semaphore;

/// What can be chosen from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Params {
    /// Orders a test.
    pub(crate) orders: usize,
    /// Orders that are open at the same time, at most.
    pub(crate) in_flight: usize,
    /// How long the kitchen takes, in milliseconds.
    pub(crate) prep_ms: u64,
    /// Faults of each kind a test.
    pub(crate) rounds: usize,
    pub(crate) seed: u64,
}

impl Params {
    pub(crate) fn read() -> Self {
        let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().expect("a number"));
        Self {
            orders: number("CREMA_CRASH_ORDERS").map_or(500, |it| usize::try_from(it).unwrap()),
            in_flight: Semaphore::MAX_PERMITS,
            prep_ms: 20,
            rounds: number("CREMA_CRASH_ROUNDS").map_or(3, |it| usize::try_from(it).unwrap()),
            seed: number("CREMA_CRASH_SEED").unwrap_or_else(rand::random),
        }
    }

    /// Five hundred orders at the same time, and as many again after each fault.
    pub(crate) fn rush_hour(self) -> Self {
        let in_flight = self.orders.min(500);
        Self { in_flight, orders: in_flight * (self.rounds + 1), prep_ms: 2_000, ..self }
    }

    pub(crate) fn is_rush_hour(&self) -> bool {
        self.in_flight < Semaphore::MAX_PERMITS
    }

    /// Chance for one purpose; the same for the same seed.
    pub(crate) fn chance(&self, purpose: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// Tells, when a test fails, how to run it again with the same choices. (What the machine does in between
/// is not among them.)
pub(crate) struct Tell(pub(crate) Params);

impl Drop for Tell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Params { rounds, seed, .. } = self.0;
            let orders = self.0.orders / if self.0.is_rush_hour() { rounds + 1 } else { 1 };
            eprintln!(
                "again with CREMA_CRASH_SEED={seed} CREMA_CRASH_ORDERS={orders} \
                 CREMA_CRASH_ROUNDS={rounds}"
            );
        }
    }
}
