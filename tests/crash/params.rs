//! How long and how hard, by environment.

use rand::{SeedableRng, rngs::StdRng};

/// What can be chosen from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Params {
    /// Orders a test.
    pub(crate) orders: usize,
    /// Faults of each kind a test.
    pub(crate) rounds: usize,
    pub(crate) seed: u64,
}

impl Params {
    pub(crate) fn read() -> Self {
        let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().expect("a number"));
        Self {
            orders: number("CREMA_CRASH_ORDERS").map_or(500, |it| usize::try_from(it).unwrap()),
            rounds: number("CREMA_CRASH_ROUNDS").map_or(3, |it| usize::try_from(it).unwrap()),
            seed: number("CREMA_CRASH_SEED").unwrap_or_else(rand::random),
        }
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
            let Params { orders, rounds, seed } = self.0;
            eprintln!(
                "again with CREMA_CRASH_SEED={seed} CREMA_CRASH_ORDERS={orders} \
                 CREMA_CRASH_ROUNDS={rounds}"
            );
        }
    }
}
