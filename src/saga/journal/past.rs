//! What is stored about one saga, all of one moment: inside a transaction of the caller's.

use jiff_sqlx::Timestamp;
use sqlx::{PgConnection, PgPool, PgTransaction};
use uuid::Uuid;

use super::{
    bucket_of,
    read::{JournalLine, SagaRow},
};

/// A saga's row with all that a replay of its journal is held against.
#[derive(Debug)]
pub(in crate::saga) struct Stored {
    pub row: SagaRow,
    pub cursor: i16,
    /// Kinds of what waits in its inbox: accepted, and not journaled yet.
    pub waiting: Vec<String>,
}

/// A transaction whose statements all see the same moment, and that writes nothing.
pub(in crate::saga) async fn snapshot(pool: &PgPool) -> sqlx::Result<PgTransaction<'static>> {
    pool.begin_with("begin isolation level repeatable read read only").await
}

/// The row of a saga; `None` when there is none.
pub(in crate::saga) async fn stored(
    connection: &mut PgConnection,
    saga_id: Uuid,
) -> sqlx::Result<Option<Stored>> {
    let found = sqlx::query!(
        r#"select s.definition, s.definition_version, s.label, s.seq, s.version, s.cursor,
                  s.past_pivot, s.cancel_requested, s.wake_at as "wake_at: Timestamp", s.attention,
                  s.closed_status, s.closed_reason, s.updated_at as "updated_at: Timestamp",
                  now() as "read_at!: Timestamp",
                  array(select i.kind from inbox i
                         where i.bucket = s.bucket and i.saga_id = s.saga_id) as "waiting!"
             from saga s where s.bucket = $1 and s.saga_id = $2"#,
        i16::from(bucket_of(saga_id)),
        saga_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|it| Stored {
        row: SagaRow {
            saga_id,
            definition: it.definition,
            definition_version: it.definition_version,
            label: it.label,
            seq: it.seq,
            version: it.version,
            past_pivot: it.past_pivot,
            cancel_requested: it.cancel_requested,
            wake_at: it.wake_at,
            attention: it.attention,
            closed_status: it.closed_status,
            closed_reason: it.closed_reason,
            updated_at: it.updated_at,
            read_at: it.read_at,
        },
        cursor: it.cursor,
        waiting: it.waiting,
    }))
}

/// The journal of a saga.
pub(in crate::saga) async fn lines(
    connection: &mut PgConnection,
    saga_id: Uuid,
) -> sqlx::Result<Vec<JournalLine>> {
    sqlx::query_as!(
        JournalLine,
        r#"select saga_id, seq, at, kind, step, attempt, coalesce(data::text, 'null') as "data!"
             from journal where bucket = $1 and saga_id = $2 order by seq"#,
        i16::from(bucket_of(saga_id)),
        saga_id,
    )
    .fetch_all(connection)
    .await
}
