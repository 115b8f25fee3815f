//! What anybody may ask of a saga, from whatever replica: one guarded statement that leaves a row in its inbox. The
//! owner journals it at its next look.

use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    engine::Engine,
    house::CHANNEL,
    journal::{
        bucket_of,
        inbox::{self, CancelVerdict},
        signal::{self, Asked},
    },
};

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
    ) -> sqlx::Result<Asked> {
        let data = json!({ "name": name, "key": key, "by": by, "data": data }).to_string();
        let asked = signal::signal(pool, saga_id, name, key, &data).await?;
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
        let data = json!({ "by": by, "reason": reason }).to_string();
        let asked = signal::ask(pool, saga_id, "pause", &data).await?;
        self.hint_if(asked, pool, saga_id).await;
        Ok(asked)
    }

    /// Goes on with a saga that was paused.
    pub async fn resume(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
        by: &str,
        reason: Option<&str>,
    ) -> sqlx::Result<Asked> {
        let data = json!({ "by": by, "reason": reason }).to_string();
        let asked = signal::ask(pool, saga_id, "resume", &data).await?;
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
