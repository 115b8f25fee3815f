//! What the tests stand on.

pub(crate) mod api;
pub(crate) mod cluster;
pub(crate) mod endpoint;
pub(crate) mod house;
pub(crate) mod replica;
pub(crate) mod shops;
pub(crate) mod sse;
pub(crate) mod teller;

use std::time::{Duration, Instant};

/// The one deadline of all tests: generous, as it only ends a wait for something that will never come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How often a wait looks that cannot be told.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `holds`, looking every few milliseconds, and fails after [`DEADLINE`].
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until something is there, asking every few milliseconds, and fails after [`DEADLINE`].
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(since.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
