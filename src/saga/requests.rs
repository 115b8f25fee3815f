//! What anybody may ask of a saga, from whatever replica: one guarded statement that leaves a row in its inbox. The
//! owner journals it at its next look.

use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    engine::Engine,
    event::{Direction, Settlement},
    house::CHANNEL,
    journal::{
        bucket_of,
        inbox::{self, CancelVerdict},
        signal::{self, Asked, Only},
    },
    past::Past,
};

/// Why a settlement cannot be: what it tells is not what the step would have left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

impl<E> Past<E> {
    /// Whether the step or the compensation at hand could have ended so.
    fn could_be_settled(&self, settlement: &Settlement) -> Result<(), Unfit> {
        let unfit = |it: &dyn std::fmt::Display| Unfit(it.to_string());
        let fold = self.fold(&self.lines).map_err(|it| unfit(&it))?;
        let back = match fold.state.direction {
            Direction::Forward => None,
            Direction::Backward(_) | Direction::Closed(_) => fold.state.compensating(),
        };
        let step = back.unwrap_or_else(|| usize::from(fold.state.cursor));
        let Some(planned) = self.plan.steps.get(step) else { return Ok(()) };
        let input = self.lines.first().map(|it| (self.plan.decode)(&it.data));
        let Some(Ok(input)) = input else { return Ok(()) };
        match settlement {
            Settlement::Done { output } => {
                let known = back.map(|_| fold.state.output(planned.name));
                let settled = planned.step.settled(&input, output, known);
                settled.map(drop).map_err(|it| unfit(&it))
            }
            Settlement::Refused { .. } if back.is_some() => {
                Err(unfit(&"what happened has to be taken back: tell how it was"))
            }
            Settlement::Refused { .. } if fold.state.past_pivot() => {
                Err(unfit(&"the order only goes forward from here: tell how it was done"))
            }
            Settlement::Refused { .. } => Ok(()),
        }
    }
}

impl<E: Send + Sync + 'static> Engine<E> {
    /// Requests the cancellation of a saga, from whatever replica.
    pub async fn cancel(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
        by: &str,
        reason: Option<&str>,
    ) -> sqlx::Result<CancelVerdict> {
        let data = json!({ "by": by, "reason": reason }).to_string();
        let verdict = inbox::cancel(pool, saga_id, &data).await?;
        if verdict == CancelVerdict::Requested {
            self.hint(pool, saga_id).await;
        }
        Ok(verdict)
    }

    /// Asks for the next attempt of a waiting saga now. False when it does not wait.
    pub async fn retry(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
        by: &str,
        reason: Option<&str>,
    ) -> sqlx::Result<bool> {
        let data = json!({ "by": by, "reason": reason }).to_string();
        let accepted = inbox::retry(pool, saga_id, &data).await?;
        if accepted {
            self.hint(pool, saga_id).await;
        }
        Ok(accepted)
    }

    /// Tells a saga something. It is kept, in order, whether or not the saga waits for it by now; with a `key`
    /// it counts once however often it is told.
    pub async fn signal(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
        (name, key): (&str, Option<&str>),
        by: &str,
        data: &Value,
        only: Only,
    ) -> sqlx::Result<Asked> {
        let text = json!({ "name": name, "key": key, "by": by, "data": data }).to_string();
        let asked = signal::signal(pool, saga_id, (name, key), &text, only).await?;
        self.hint_if(asked, pool, saga_id).await;
        Ok(asked)
    }

    /// Begins no step of a saga any more, until [`resume`](Self::resume). An attempt that runs goes on, a
    /// cancellation is carried out all the same, and what is left of a wait stands still.
    pub async fn pause(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
        by: &str,
        reason: Option<&str>,
    ) -> sqlx::Result<Asked> {
        self.ask(pool, saga_id, "pause", &json!({ "by": by, "reason": reason })).await
    }

    /// Goes on with a saga that was paused.
    pub async fn resume(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
        by: &str,
        reason: Option<&str>,
    ) -> sqlx::Result<Asked> {
        self.ask(pool, saga_id, "resume", &json!({ "by": by, "reason": reason })).await
    }

    /// Tells what became of the step, or the compensation, that needs a person. `Err` says what of it cannot
    /// be: nothing was asked then.
    pub async fn settle(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
        settlement: &Settlement,
        by: &str,
        reason: &str,
    ) -> sqlx::Result<Result<Asked, Unfit>> {
        let Some(past) = self.past(pool, saga_id).await? else { return Ok(Ok(Asked::Unknown)) };
        if let Err(unfit) = past.could_be_settled(settlement) {
            return Ok(Err(unfit));
        }
        let data = json!({ "by": by, "reason": reason, "settlement": settlement }).to_string();
        let asked = signal::ask(pool, saga_id, "settle", &data, true).await?;
        self.hint_if(asked, pool, saga_id).await;
        Ok(Ok(asked))
    }

    async fn ask(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
        kind: &str,
        data: &Value,
    ) -> sqlx::Result<Asked> {
        let asked = signal::ask(pool, saga_id, kind, &data.to_string(), false).await?;
        self.hint_if(asked, pool, saga_id).await;
        Ok(asked)
    }

    async fn hint_if(&self, asked: Asked, pool: &PgPool, saga_id: Uuid) {
        if asked == Asked::Accepted {
            self.hint(pool, saga_id).await;
        }
    }

    /// Tells the owner to look. What was asked for is durable, and found at the next tick in any case.
    pub(super) async fn hint(&self, pool: &PgPool, saga_id: Uuid) {
        if self.core.ownership.epoch(bucket_of(saga_id)).is_some() {
            self.core.look_now.notify_one();
        } else if let Err(error) = inbox::hint(pool, CHANNEL).await {
            tracing::debug!(%error, "a hint was not sent");
        }
    }
}
