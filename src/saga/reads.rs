//! What can be asked about sagas. Any replica answers.

use std::collections::HashMap;

use sqlx::PgPool;
use uuid::Uuid;

use super::{
    engine::Engine,
    history::{HistoryError, SagaView},
    journal::{
        lease,
        read::{self, JournalLine, SagaRow},
    },
};

impl<E: Send + Sync + 'static> Engine<E> {
    /// A saga as its journal tells it; `None` when there is none.
    pub async fn view(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
    ) -> sqlx::Result<Option<Result<SagaView, HistoryError>>> {
        Ok(self.views(pool, &[saga_id]).await?.pop())
    }

    /// Several sagas, in the order of their ids given; those that do not exist are left out.
    pub async fn views(
        &self,
        pool: &PgPool,
        sagas: &[Uuid],
    ) -> sqlx::Result<Vec<Result<SagaView, HistoryError>>> {
        // Rows first: lines beyond a row's number are then left out, and both tell the same moment.
        let rows = read::rows(pool, sagas).await?;
        let lines = read::lines(pool, sagas, 0).await?;
        let mut rows: HashMap<Uuid, SagaRow> =
            rows.into_iter().map(|it| (it.saga_id, it)).collect();
        let of = |id: Uuid| {
            let from = lines.partition_point(|it| it.saga_id < id);
            let to = lines.partition_point(|it| it.saga_id <= id);
            lines.get(from..to).unwrap_or_default()
        };
        Ok(sagas
            .iter()
            .filter_map(|id| rows.remove(id))
            .map(|row| {
                let key = (row.definition.clone(), row.definition_version);
                let Some(plan) = self.core.plans.get(&key) else {
                    let (definition, version) = key;
                    return Err(HistoryError::UnknownVersion { definition, version });
                };
                let lines = of(row.saga_id);
                SagaView::of(plan, row, lines)
            })
            .collect())
    }

    /// A saga's row: where it stands, without how it came there; `None` when there is none.
    pub async fn row(&self, pool: &PgPool, saga_id: Uuid) -> sqlx::Result<Option<SagaRow>> {
        Ok(read::rows(pool, &[saga_id]).await?.pop())
    }

    /// What a saga was started with, as JSON text; `None` when there is none.
    pub async fn input(&self, pool: &PgPool, saga_id: Uuid) -> sqlx::Result<Option<String>> {
        let first = read::lines_by_key(pool, &[saga_id], &[1]).await?;
        Ok(first.into_iter().next().map(|it| it.data))
    }

    /// The journal of a saga after a line.
    pub async fn lines(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
        after_seq: i32,
    ) -> sqlx::Result<Vec<JournalLine>> {
        read::lines(pool, &[saga_id], after_seq).await
    }

    /// Sagas that need a person.
    pub async fn needing_attention(&self, pool: &PgPool, limit: i64) -> sqlx::Result<Vec<SagaRow>> {
        read::needing_attention(pool, limit).await
    }

    /// The replicas.
    pub async fn replicas(&self, pool: &PgPool) -> sqlx::Result<Vec<lease::Replica>> {
        lease::replicas(pool).await
    }
}
