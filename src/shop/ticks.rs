//! What places the orders of schedules. A tick is taken up with its row locked, by one replica; its order is placed
//! after that commit, under a key that is the tick's; what became of it is noted. Killed anywhere in between, somebody
//! else goes on: the key makes the second placing the first one. All times are the database's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Shop, ShopError,
    books::{
        orders,
        ticks::{self, DueRow},
    },
    menu::Unpriced,
    order::Malformed,
    schedule::{
        Overlap,
        look::{Act, HOLD, Outlook, Pending, Standing, pause, retry_at},
        order_of,
    },
    standing::{read_order, rhythm},
};

/// Schedules that are looked at together: their orders are placed at once, into one batch of the journal.
const AT_ONCE: i64 = 64;
/// How long to wait when something is due and cannot be done here: this replica takes no orders, or another one is at it.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// How long to wait when the database does not answer as it should.
const DATABASE_BACK: Duration = Duration::from_secs(2);
/// How long a schedule is put aside that this binary cannot read.
const UNREADABLE_FOR: SignedDuration = SignedDuration::from_secs(60);

/// A tick that was taken up here.
#[derive(Debug)]
struct Turn {
    row: DueRow,
    act: Act,
    outlook: Outlook,
    /// When, by our own clock, which only makes us stop sooner.
    since: Instant,
}

impl Shop {
    /// Places the orders of schedules when they are due, until `stop`. Sleeps until the next tick that it knows of, but
    /// only so long that a change made at another replica is seen.
    pub async fn keep_schedules(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.look_at_schedules().await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(%error, "the schedules are looked at again");
                    DATABASE_BACK
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.schedules_changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn look_at_schedules(self: &Arc<Self>) -> Result<Duration, ShopError> {
        let (now, wake) = ticks::outlook(&self.read).await?;
        if wake.is_none_or(|it| it > now) {
            return Ok(pause(now, wake));
        }
        match self.tick_schedules(now).await? {
            0 => Ok(TRY_AGAIN),
            _ => Ok(pause(now, Some(now))),
        }
    }

    /// Does what is due at a moment, all of it or so much as is done at once; the number of schedules that were looked
    /// at. Whoever calls it must not drop it half way.
    pub async fn tick_schedules(self: &Arc<Self>, now: Timestamp) -> Result<usize, ShopError> {
        // Who takes no orders leaves the ticks to those who do.
        if !self.engine.is_placing() {
            return Ok(0);
        }
        let (looked_at, turns) = self.take_up(now).await?;
        let mut placing = JoinSet::new();
        for turn in turns {
            let shop = self.clone();
            placing.spawn(async move { shop.carry_out(turn, now).await });
        }
        let mut done = Ok(looked_at);
        while let Some(carried_out) = placing.join_next().await {
            if let Ok(Err(error)) = carried_out {
                done = Err(error);
            }
        }
        done
    }

    /// Decides what is due, and writes it down.
    async fn take_up(&self, now: Timestamp) -> Result<(usize, Vec<Turn>), ShopError> {
        let mut transaction = self.write.begin().await?;
        let rows = ticks::lock_due(&mut transaction, now, AT_ONCE).await?;
        let (looked_at, mut turns) = (rows.len(), Vec::new());
        let (mut missed, mut skipped) = (0, 0);
        for row in rows {
            let standing = match standing(&row) {
                Ok(standing) => standing,
                Err(error) => {
                    tracing::error!(schedule = row.name, %error, "a schedule cannot be read");
                    let later = now.checked_add(UNREADABLE_FOR).unwrap_or(now);
                    ticks::put_off(&mut transaction, row.schedule_id, later).await?;
                    continue;
                }
            };
            let outlook = standing.look(now);
            ticks::note(&mut transaction, row.schedule_id, &outlook).await?;
            (missed, skipped) = (missed + outlook.missed, skipped + outlook.skipped);
            if outlook.act != Act::Rest {
                turns.push(Turn { act: outlook.act, row, outlook, since: Instant::now() });
            }
        }
        transaction.commit().await?;
        count("missed", missed);
        count("skipped", skipped);
        Ok((looked_at, turns))
    }

    /// Places the order of a tick, or finds out whether it was, and notes it.
    async fn carry_out(&self, turn: Turn, now: Timestamp) -> Result<(), ShopError> {
        let (Act::Place { tick, .. } | Act::Settle(tick)) = turn.act else { return Ok(()) };
        let order = turn.row.pending_order.as_ref().unwrap_or(&turn.row.new_order);
        let order = order_of(&turn.row.name, read_order(order)?);
        let (customer_id, key) = (order.customer_id.clone(), key(turn.row.schedule_id, tick));
        let Act::Place { cancel_other, .. } = turn.act else {
            return match orders::by_key(&self.read, &customer_id, &key).await? {
                Some((order_id, _)) => self.note_placed(&turn, tick, order_id).await,
                None => self.note_end(&turn, tick).await,
            };
        };
        // So long that somebody else may think us dead.
        if turn.since.elapsed() >= HOLD.unsigned_abs() {
            return Ok(());
        }
        let placed = match self.place(order, Some(key.clone())).await {
            Ok(placed) => Ok(placed.order.id),
            // Only this tick has this key: a binary that writes orders otherwise placed it.
            Err(ShopError::KeyReused) => {
                match orders::by_key(&self.read, &customer_id, &key).await? {
                    Some((order_id, _)) => Ok(order_id),
                    None => Err(ShopError::KeyReused),
                }
            }
            Err(refused) => Err(refused),
        };
        match placed {
            Ok(order_id) => {
                if let Some(other) = turn.row.last_order_id.filter(|_| cancel_other) {
                    self.cancel_other(other).await?;
                }
                self.note_placed(&turn, tick, order_id).await
            }
            Err(refused) => self.note_refused(&turn, tick, &refused, now).await,
        }
    }

    /// Cancels the order of the tick before, now that the new one is there: a refusal takes nobody's order away.
    async fn cancel_other(&self, order_id: Uuid) -> Result<(), ShopError> {
        match self.cancel(order_id, "shop", Some("its schedule placed the next one")).await {
            Ok(_) | Err(ShopError::TooLate(_) | ShopError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn note_placed(&self, turn: &Turn, tick: Timestamp, id: Uuid) -> Result<(), ShopError> {
        if ticks::placed(&self.write, turn.row.schedule_id, tick, id).await? {
            tracing::info!(schedule = turn.row.name, %tick, order_id = %id, "order placed");
            count("placed", 1);
        }
        Ok(())
    }

    async fn note_refused(
        &self,
        turn: &Turn,
        tick: Timestamp,
        refused: &ShopError,
        now: Timestamp,
    ) -> Result<(), ShopError> {
        let (code, detail) = (refused.code(), refused.to_string());
        tracing::warn!(schedule = turn.row.name, %tick, code, detail, "a schedule's order is refused");
        let attempts = u32::try_from(turn.row.pending_attempts).unwrap_or(0);
        let until = turn.outlook.pending.and_then(|it| it.until);
        let retry = until.filter(|_| passes(refused));
        let retry = retry.and_then(|it| retry_at(attempts, it, turn.outlook.next, now));
        let id = turn.row.schedule_id;
        let noted = ticks::refused(&self.write, id, tick, code, &detail, retry).await?;
        if noted && retry.is_none() {
            return self.note_end(turn, tick).await;
        }
        Ok(())
    }

    async fn note_end(&self, turn: &Turn, tick: Timestamp) -> Result<(), ShopError> {
        match ticks::ended(&self.write, turn.row.schedule_id, tick).await?.as_deref() {
            Some("refused") => count("refused", 1),
            Some(_) => count("missed", 1),
            None => {}
        }
        Ok(())
    }
}

fn count(outcome: &'static str, ticks: u64) {
    if ticks > 0 {
        metrics::counter!("crema_schedule_ticks_total", "outcome" => outcome).increment(ticks);
    }
}

/// What makes the order of a tick one order.
fn key(schedule_id: Uuid, tick: Timestamp) -> String {
    format!("schedule/{schedule_id}/{tick}")
}

fn standing(row: &DueRow) -> Result<Standing, ShopError> {
    let anchor = row.anchor_at.to_jiff();
    let until = row.pending_until.map(|it| it.to_jiff());
    Ok(Standing {
        rhythm: rhythm(row.cron.as_deref(), row.every_s, &row.time_zone, anchor)?,
        overlap: Overlap::read(&row.overlap),
        catch_up: SignedDuration::from_secs(row.catch_up_s.into()),
        next: row.next_at.map(|it| it.to_jiff()),
        pending: row.pending_at.map(|it| Pending { tick: it.to_jiff(), until }),
        is_open: row.is_open,
    })
}

/// Whether what is refused now may be accepted soon.
fn passes(refused: &ShopError) -> bool {
    matches!(
        refused,
        ShopError::OutOfStock(_)
            | ShopError::ShopClosed(_)
            | ShopError::AtCapacity
            | ShopError::InProgress
            | ShopError::NotPlacing
            | ShopError::OutcomeUnknown
            | ShopError::Unreachable(_)
    )
}

impl ShopError {
    /// The code by which a refused order is known, on its schedule as at the counter.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(Malformed::Quantity { .. }) => "quantity_limit",
            Self::Malformed(Malformed::CardNumber(_)) => "card_number_refused",
            Self::Malformed(Malformed::RehearsalOnly(_)) => "rehearsal_only",
            Self::Malformed(_) => "body_invalid",
            Self::Unpriced(Unpriced::Changed { .. }) => "price_changed",
            Self::Unpriced(_) => "item_unknown",
            Self::EndpointUnknown(_) => "endpoint_unknown",
            Self::OutOfStock(_) => "out_of_stock",
            Self::ShopClosed(_) => "shop_closed",
            Self::AtCapacity => "at_capacity",
            Self::KeyReused => "idempotency_key_reused",
            Self::InProgress => "in_progress",
            Self::OutcomeUnknown => "outcome_unknown",
            _ => "unavailable",
        }
    }
}
