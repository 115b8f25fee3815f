//! What others than the owner want of a saga.

use sqlx::PgPool;
use uuid::Uuid;

use super::{bucket_of, foreign::Readable};

/// Everything that can be asked of a saga, by its kind. What a newer release may ask besides waits for a replica of
/// that.
const REQUESTS: [(&str, Request); 6] = [
    ("cancel", Request::Cancel),
    ("retry", Request::Retry),
    ("signal", Request::Signal),
    ("pause", Request::Pause),
    ("resume", Request::Resume),
    ("settle", Request::Settle),
];

/// The kinds, for a statement.
pub(super) fn kinds() -> Vec<String> {
    REQUESTS.map(|(kind, _)| kind.to_owned()).to_vec()
}

/// A row of the inbox.
#[derive(Debug, Clone)]
pub(in crate::saga) struct Item {
    pub inbox_id: Uuid,
    pub saga_id: Uuid,
    pub kind: String,
    pub data: String,
}

/// What somebody asks of a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::saga) enum Request {
    Cancel,
    Retry,
    Signal,
    Pause,
    Resume,
    Settle,
}

impl Item {
    /// What is asked for; `None` for what only a newer release knows.
    pub(in crate::saga) fn request(&self) -> Option<Request> {
        REQUESTS.iter().find(|(kind, _)| *kind == self.kind).map(|(_, request)| *request)
    }
}

/// What became of a request to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelVerdict {
    /// Accepted now: from this commit on the saga never completes.
    Requested,
    /// Accepted before, and not over yet.
    AlreadyRequested,
    /// Refused: past the pivot.
    TooLate,
    /// Closed, with this status and reason.
    Closed {
        /// The final status.
        status: String,
        /// Why.
        reason: Option<String>,
        /// Whether a cancellation had been accepted before.
        cancelled: bool,
    },
    /// There is no such saga.
    Unknown,
}

/// Requests the cancellation: one guarded update with its inbox row, in one autocommit statement. Whoever
/// commits first wins, this or the pivot.
pub(in crate::saga) async fn cancel(
    pool: &PgPool,
    saga_id: Uuid,
    data: &str,
) -> sqlx::Result<CancelVerdict> {
    cancel_within(&mut *pool.acquire().await?, saga_id, data).await
}

/// The same on a connection, which may be inside a transaction that is rolled back.
pub(in crate::saga) async fn cancel_within(
    connection: &mut sqlx::PgConnection,
    saga_id: Uuid,
    data: &str,
) -> sqlx::Result<CancelVerdict> {
    let bucket = i16::from(bucket_of(saga_id));
    let accepted = sqlx::query!(
        "with accepted as (
             update saga set cancel_requested = true, version = version + 1, updated_at = now()
              where bucket = $1 and saga_id = $2 and closed_status is null and not past_pivot
                and not cancel_requested
             returning bucket, saga_id)
         insert into inbox (bucket, inbox_id, saga_id, kind, data)
         select bucket, $3, saga_id, 'cancel', $4::text::json from accepted",
        bucket,
        saga_id,
        Uuid::now_v7(),
        data,
    )
    .execute(&mut *connection)
    .await?;
    if accepted.rows_affected() == 1 {
        return Ok(CancelVerdict::Requested);
    }
    let row = sqlx::query!(
        "select cancel_requested, closed_status, closed_reason from saga
          where bucket = $1 and saga_id = $2",
        bucket,
        saga_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(match row {
        None => CancelVerdict::Unknown,
        Some(row) => match row.closed_status {
            Some(status) => CancelVerdict::Closed {
                status,
                reason: row.closed_reason,
                cancelled: row.cancel_requested,
            },
            None if row.cancel_requested => CancelVerdict::AlreadyRequested,
            None => CancelVerdict::TooLate,
        },
    })
}

/// Asks for the next attempt now. False when the saga is not waiting for one.
pub(in crate::saga) async fn retry(pool: &PgPool, saga_id: Uuid, data: &str) -> sqlx::Result<bool> {
    let accepted = sqlx::query!(
        "with waiting as (
             update saga set version = version + 1, updated_at = now()
              where bucket = $1 and saga_id = $2 and closed_status is null
                and (wake_at is not null or attention is not null)
             returning bucket, saga_id)
         insert into inbox (bucket, inbox_id, saga_id, kind, data)
         select bucket, $3, saga_id, 'retry', $4::text::json from waiting",
        i16::from(bucket_of(saga_id)),
        saga_id,
        Uuid::now_v7(),
        data,
    )
    .execute(pool)
    .await?;
    Ok(accepted.rows_affected() == 1)
}

/// Makes a visible change that is none of the engine's (a collection, say) show in the saga's version.
pub(in crate::saga) async fn touch(
    connection: &mut sqlx::PgConnection,
    saga_id: Uuid,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update saga set version = version + 1, updated_at = now()
          where bucket = $1 and saga_id = $2",
        i16::from(bucket_of(saga_id)),
        saga_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What waits in the inbox of these buckets and can be acted on here, oldest first.
pub(in crate::saga) async fn waiting(
    pool: &PgPool,
    buckets: &[i16],
    limit: i64,
    readable: &Readable,
) -> sqlx::Result<Vec<Item>> {
    sqlx::query_as!(
        Item,
        r#"select i.inbox_id, i.saga_id, i.kind, i.data::text as "data!" from inbox i
            where i.bucket = any($1) and i.kind = any($5)
              and not exists (
                select from saga s
                 where s.bucket = i.bucket and s.saga_id = i.saga_id and s.closed_status is null
                   and ((s.definition || ' ' || s.definition_version) <> all($3)
                        or s.saga_id = any($4)))
            order by i.inbox_id limit $2"#,
        buckets,
        limit,
        &readable.definitions,
        &readable.but,
        &kinds(),
    )
    .fetch_all(pool)
    .await
}

/// Removes requests that add nothing to a saga's journal.
pub(in crate::saga) async fn remove(
    pool: &PgPool,
    saga_id: Uuid,
    inbox_ids: &[Uuid],
) -> sqlx::Result<()> {
    let bucket = i16::from(bucket_of(saga_id));
    sqlx::query!("delete from inbox where bucket = $1 and inbox_id = any($2)", bucket, inbox_ids)
        .execute(pool)
        .await?;
    Ok(())
}

/// Forgets requests to sagas that have closed meanwhile.
pub(in crate::saga) async fn forget(pool: &PgPool, buckets: &[i16]) -> sqlx::Result<u64> {
    let forgotten = sqlx::query!(
        "delete from inbox i using saga s
          where i.bucket = any($1) and s.bucket = i.bucket and s.saga_id = i.saga_id
            and s.closed_status is not null",
        buckets,
    )
    .execute(pool)
    .await?;
    Ok(forgotten.rows_affected())
}

/// Tells the other replicas that something waits in an inbox. Only a hint: they look every second anyway.
pub(in crate::saga) async fn hint(pool: &PgPool, channel: &str) -> sqlx::Result<()> {
    sqlx::query!("select pg_notify($1, '')", channel).execute(pool).await?;
    Ok(())
}
