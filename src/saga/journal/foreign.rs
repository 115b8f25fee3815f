//! Sagas that this binary cannot read: who they are, and how they are left as they were.

use jiff_sqlx::Timestamp;
use sqlx::PgPool;
use uuid::Uuid;

use super::{Fence, bucket_of};

/// What this binary can read. Statements that take sagas up pass over everything else, so that it stays as it is for a
/// replica that can.
#[derive(Debug, Clone, Default)]
pub(in crate::saga) struct Readable {
    /// The registered definitions, each as `name version`.
    pub definitions: Vec<String>,
    /// Sagas of these definitions whose journals hold a line of a kind that this binary does not know.
    pub but: Vec<Uuid>,
}

/// Open sagas of one definition and version that this binary cannot read.
pub(in crate::saga) struct Unreadables {
    pub definition: String,
    pub version: i32,
    /// Whether the version is known, and lines of their journals are not.
    pub is_registered: bool,
    pub open: i64,
    /// The id of one of them, as text: not every server has the smallest of ids.
    pub example: String,
}

/// The open sagas of these buckets that this binary cannot read. One pass over the rows that are open, by a partial
/// index.
pub(in crate::saga) async fn unreadables(
    pool: &PgPool,
    buckets: &[i16],
    readable: &Readable,
) -> sqlx::Result<Vec<Unreadables>> {
    sqlx::query_file_as!(
        Unreadables,
        "src/saga/journal/unreadables.sql",
        buckets,
        &readable.definitions,
        &readable.but,
    )
    .fetch_all(pool)
    .await
}

/// Gives a saga that was taken out of its suspension the time back that it was to wake at. The fence keeps a replica
/// that was paused from touching what another one drives by now.
pub(in crate::saga) async fn put_back(
    pool: &PgPool,
    fence: &Fence,
    saga_id: Uuid,
    wake_at: Timestamp,
) -> sqlx::Result<()> {
    let bucket = i16::from(bucket_of(saga_id));
    sqlx::query!(
        "with fence as materialized (
             select bucket from bucket where bucket = $1 and epoch = $4 for share)
         update saga s set wake_at = $3
          where s.bucket = $1 and s.saga_id = $2 and s.closed_status is null and s.wake_at is null
            and (s.bucket in (select bucket from fence)) is true",
        bucket,
        saga_id,
        wake_at as Timestamp,
        fence.epoch(bucket),
    )
    .execute(pool)
    .await?;
    Ok(())
}
