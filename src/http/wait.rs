//! Long polls: an order, once it has come so far.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{
    Counter,
    problem::{Code, Problem},
};
use crate::{
    config::limits::WAIT_MAX,
    shop::view::{GRAPH, OTHER_ENDS, OrderView},
};

/// How often a long poll looks for itself, should nobody tell it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a long poll waits for.
pub(super) enum Until {
    Terminal,
    Status(String),
}

impl Until {
    pub(super) fn parse(until: Option<&str>) -> Result<Self, Problem> {
        match until {
            None | Some("terminal") => Ok(Self::Terminal),
            Some(it) if GRAPH.contains(&it) || OTHER_ENDS.contains(&it) => {
                Ok(Self::Status(it.to_owned()))
            }
            Some(_) => Err(Problem::new(
                Code::InvalidQuery,
                "`until` is `terminal` or one of the statuses of an order.",
            )),
        }
    }

    /// Whether the order has come so far, or never will.
    fn is_reached(&self, status: &str, is_closed: bool) -> bool {
        let place = |status: &str| GRAPH.iter().position(|it| *it == status);
        match self {
            _ if is_closed => true,
            Self::Terminal => false,
            Self::Status(wanted) => match (place(status), place(wanted)) {
                (Some(now), Some(wanted)) => now >= wanted,
                _ => status == wanted,
            },
        }
    }
}

/// A time like `30s` or `500ms`, at most a minute.
pub(super) fn parse_wait(wait: &str) -> Result<Duration, Problem> {
    let refuse = || Problem::new(Code::InvalidQuery, "`wait` is a time like 30s or 500ms.");
    Ok(parse_time(wait).ok_or_else(refuse)?.min(WAIT_MAX))
}

/// A time like `30s` or `500ms`.
pub(super) fn parse_time(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or(text), 1_000),
    };
    let millis = number.parse::<u32>().ok()?.checked_mul(unit)?;
    Some(Duration::from_millis(u64::from(millis)))
}

/// Subscribes first, then looks, then waits: nothing is slept through. The whole order is read once, at the
/// end; until then a look is its status only.
pub(super) async fn wait_for(
    counter: &Counter,
    id: Uuid,
    until: &Until,
    wait: Duration,
) -> Result<(OrderView, bool), Problem> {
    let mut feed = counter.shop.engine.feed().subscribe();
    let deadline = Instant::now() + wait;
    loop {
        let (status, is_closed) = counter.status(id).await?;
        if until.is_reached(&status, is_closed) {
            return Ok((counter.find(id).await?, false));
        }
        let look = (Instant::now() + LOOK_EVERY).min(deadline);
        let told = async {
            // Lagging behind means that something happened: look.
            while let Ok(sagas) = feed.recv().await {
                if sagas.contains(&id) {
                    return;
                }
            }
        };
        let stopped = tokio::select! {
            _ = timeout_at(look, told) => false,
            () = counter.stop.cancelled() => true,
        };
        if stopped || Instant::now() >= deadline {
            let order = counter.find(id).await?;
            let reached = until.is_reached(&order.status, order.is_closed());
            return Ok((order, !reached));
        }
    }
}
