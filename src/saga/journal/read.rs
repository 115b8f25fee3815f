//! The read side: rows and lines for views, lists and streams. Any replica answers.

use jiff_sqlx::Timestamp;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::bucket_of;

/// A saga's row as it stands.
#[derive(Debug, Clone)]
pub struct SagaRow {
    /// The saga.
    pub saga_id: Uuid,
    /// Its definition.
    pub definition: String,
    /// Its definition's version.
    pub definition_version: i32,
    /// What its last visible step calls it.
    pub label: String,
    /// Lines in its journal.
    pub seq: i32,
    /// Rises with every visible change.
    pub version: i64,
    /// Whether the pivot is behind.
    pub past_pivot: bool,
    /// Whether a cancellation was accepted.
    pub cancel_requested: bool,
    /// When it wakes, if it is suspended.
    pub wake_at: Option<Timestamp>,
    /// Why a person is needed, if one is.
    pub attention: Option<String>,
    /// The final status, if it is closed.
    pub closed_status: Option<String>,
    /// Why it closed so.
    pub closed_reason: Option<String>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When this was read, by the database's clock.
    pub read_at: Timestamp,
}

/// A line as it stands in the journal.
#[derive(Debug, Clone)]
pub struct JournalLine {
    /// The saga.
    pub saga_id: Uuid,
    /// From 1, without a gap.
    pub seq: i32,
    /// When it was written, by the database's clock.
    pub at: Timestamp,
    /// One of [`KINDS`](crate::saga::line::KINDS).
    pub kind: String,
    /// The step it is about.
    pub step: Option<String>,
    /// The attempt it is about.
    pub attempt: Option<i32>,
    /// The rest, as JSON text.
    pub data: String,
}

/// The rows of these sagas.
pub(in crate::saga) async fn rows(pool: &PgPool, sagas: &[Uuid]) -> sqlx::Result<Vec<SagaRow>> {
    let buckets: Vec<i16> = sagas.iter().map(|it| i16::from(bucket_of(*it))).collect();
    sqlx::query_as!(
        SagaRow,
        r#"select s.saga_id, s.definition, s.definition_version, s.label, s.seq, s.version, s.past_pivot,
                s.cancel_requested, s.wake_at, s.attention, s.closed_status, s.closed_reason, s.updated_at,
                now() as "read_at!"
           from unnest($1::smallint[], $2::uuid[]) as x (bucket, saga_id)
           join saga s on s.bucket = x.bucket and s.saga_id = x.saga_id"#,
        &buckets,
        sagas,
    )
    .fetch_all(pool)
    .await
}

/// The lines of these sagas after a line, in order.
pub(in crate::saga) async fn lines(
    executor: impl PgExecutor<'_>,
    sagas: &[Uuid],
    after_seq: i32,
) -> sqlx::Result<Vec<JournalLine>> {
    let buckets: Vec<i16> = sagas.iter().map(|it| i16::from(bucket_of(*it))).collect();
    sqlx::query_as!(
        JournalLine,
        r#"select j.saga_id, j.seq, j.at, j.kind, j.step, j.attempt,
                  coalesce(j.data::text, 'null') as "data!"
             from unnest($1::smallint[], $2::uuid[]) as x (bucket, saga_id)
             join journal j on j.bucket = x.bucket and j.saga_id = x.saga_id and j.seq > $3
            order by j.saga_id, j.seq"#,
        &buckets,
        sagas,
        after_seq,
    )
    .fetch_all(executor)
    .await
}

/// Single lines by their keys, in the order given.
pub(in crate::saga) async fn lines_by_key(
    pool: &PgPool,
    sagas: &[Uuid],
    seqs: &[i32],
) -> sqlx::Result<Vec<JournalLine>> {
    let buckets: Vec<i16> = sagas.iter().map(|it| i16::from(bucket_of(*it))).collect();
    sqlx::query_as!(
        JournalLine,
        r#"select j.saga_id, j.seq, j.at, j.kind, j.step, j.attempt,
                  coalesce(j.data::text, 'null') as "data!"
             from unnest($1::smallint[], $2::uuid[], $3::integer[]) with ordinality
                    as x (bucket, saga_id, seq, place)
             join journal j on j.bucket = x.bucket and j.saga_id = x.saga_id and j.seq = x.seq
            order by x.place"#,
        &buckets,
        sagas,
        seqs,
    )
    .fetch_all(pool)
    .await
}

/// Sagas that need a person, the longest waiting first.
pub(in crate::saga) async fn needing_attention(
    pool: &PgPool,
    limit: i64,
) -> sqlx::Result<Vec<SagaRow>> {
    sqlx::query_as!(
        SagaRow,
        r#"select s.saga_id, s.definition, s.definition_version, s.label, s.seq, s.version, s.past_pivot,
                s.cancel_requested, s.wake_at, s.attention, s.closed_status, s.closed_reason, s.updated_at,
                now() as "read_at!"
           from saga s where s.attention is not null
          order by s.attention, s.saga_id limit $1"#,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// How many sagas are open, counted up to a limit; for an `apply` that has to know.
pub async fn count_open(connection: &mut sqlx::PgConnection, limit: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "open!"
             from (select from saga where closed_status is null limit $1) as open"#,
        limit,
    )
    .fetch_one(connection)
    .await
}
