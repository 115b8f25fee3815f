//! Participants as the operators see and set them. Any replica answers.

use sqlx::PgPool;
use uuid::Uuid;

use super::{
    super::{
        engine::Engine,
        house::CHANNEL,
        journal::{
            inbox,
            limits::{self, Change, Changed},
        },
    },
    breaker::{Breaker, Hold, Micros},
    share::Written,
};

/// How a participant stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Calls in flight at most.
    pub max_in_flight: Option<i32>,
    /// Calls a second at most.
    pub rate: Option<f64>,
    /// Its breaker.
    pub breaker: Breaker,
    /// When it was read.
    pub now: Micros,
    /// What the replicas hold that are alive.
    pub shares: Vec<Holder>,
}

/// What one replica holds.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Which.
    pub boot_id: Uuid,
    /// What it calls itself.
    pub name: String,
    /// What it holds, uses and wants.
    pub written: Written,
    /// Sagas whose calls are out, as far as they are named.
    pub running: Vec<Uuid>,
}

impl Standing {
    /// Calls in flight, over all replicas.
    pub fn in_use(&self) -> u32 {
        self.shares.iter().map(|it| it.written.in_use).sum()
    }

    /// Sagas that wait, over all replicas.
    pub fn waiting(&self) -> u32 {
        self.shares.iter().map(|it| it.written.waiting).sum()
    }

    /// Whether a saga that stands before this participant waits, told by what the replicas wrote last: somebody
    /// waits, all that is out is named, and this saga is not.
    pub fn holds_up(&self, saga_id: Uuid) -> bool {
        let named: usize = self.shares.iter().map(|it| it.running.len()).sum();
        let is_out = self.shares.iter().any(|it| it.running.contains(&saga_id));
        self.waiting() > 0 && named >= self.in_use() as usize && !is_out
    }
}

impl<E: Send + Sync + 'static> Engine<E> {
    /// How participants stand: this one, or all of them.
    pub async fn participants(
        &self,
        pool: &PgPool,
        name: Option<&str>,
    ) -> sqlx::Result<Vec<Standing>> {
        limits::standings(pool, name).await
    }

    /// What was changed about a participant, the newest first.
    pub async fn participant_changes(
        &self,
        pool: &PgPool,
        name: &str,
        at_most: i64,
    ) -> sqlx::Result<Vec<Changed>> {
        limits::changes(pool, name, at_most).await
    }

    /// Sets limits of a participant, on all replicas. False when there is none of this name.
    pub async fn limit(&self, pool: &PgPool, name: &str, change: &Change) -> sqlx::Result<bool> {
        let is_set = limits::set(pool, name, change).await?;
        self.spread(pool).await;
        Ok(is_set)
    }

    /// Holds a participant's breaker, or lets go of it. False when there is none of this name.
    pub async fn hold(
        &self,
        pool: &PgPool,
        name: &str,
        hold: Hold,
        by: &str,
        reason: &str,
    ) -> sqlx::Result<bool> {
        let settings = &self.core.limits.settings.breaker;
        while let Some((breaker, turn, now)) = limits::breaker(pool, name).await? {
            let next = breaker.next(settings, &super::breaker::Stimulus::Hold(hold), now);
            if limits::hold(pool, name, turn, &next, by, reason).await? {
                self.spread(pool).await;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a saga waits at a gate, if this replica drives it.
    pub fn waits_at_gate(&self, saga_id: Uuid) -> Option<bool> {
        self.core.live.waits_at_gate(saga_id)
    }

    /// Tells all replicas to look. What they miss, their next look finds.
    async fn spread(&self, pool: &PgPool) {
        self.core.look_now.notify_one();
        if let Err(error) = inbox::hint(pool, CHANNEL).await {
            tracing::debug!(%error, "a hint was not sent");
        }
    }
}
