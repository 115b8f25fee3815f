//! Reading sagas into memory: at a takeover, when they are due, when something waits in their inbox.

use std::collections::HashMap;

use jiff_sqlx::Timestamp;
use sqlx::PgPool;
use uuid::Uuid;

use super::{Fence, bucket_of, foreign::Readable};

/// A saga's row as the runner needs it.
#[derive(Debug)]
pub(in crate::saga) struct Loaded {
    pub saga_id: Uuid,
    pub definition: String,
    pub definition_version: i32,
    pub label: String,
    /// Lines in its journal.
    pub seq: i32,
    /// Milliseconds until it is due; zero when it is.
    pub due_in_ms: i64,
    /// When it was to wake, of one that was suspended.
    pub wake_at: Option<Timestamp>,
}

/// One line as it is stored.
#[derive(Debug)]
pub(in crate::saga) struct StoredLine {
    pub kind: String,
    pub step: Option<String>,
    pub attempt: Option<i32>,
    pub data: String,
}

/// A page of the running sagas of these buckets, after a saga (in the order of bucket and id).
pub(in crate::saga) async fn running(
    pool: &PgPool,
    bucket: i16,
    after: Uuid,
    limit: i64,
    readable: &Readable,
) -> sqlx::Result<Vec<Loaded>> {
    sqlx::query_as!(
        Loaded,
        r#"select saga_id, definition, definition_version, label, seq, 0::bigint as "due_in_ms!",
                  wake_at as "wake_at: Timestamp"
             from saga
            where bucket = $1 and saga_id > $2 and closed_status is null and wake_at is null
              and (definition || ' ' || definition_version) = any($4) and saga_id <> all($5)
            order by saga_id limit $3"#,
        bucket,
        after,
        limit,
        &readable.definitions,
        &readable.but,
    )
    .fetch_all(pool)
    .await
}

/// Those of these sagas that stand as running.
pub(in crate::saga) async fn running_of(
    pool: &PgPool,
    sagas: &[Uuid],
    readable: &Readable,
) -> sqlx::Result<Vec<Loaded>> {
    let buckets: Vec<i16> = sagas.iter().map(|it| i16::from(bucket_of(*it))).collect();
    sqlx::query_as!(
        Loaded,
        r#"select s.saga_id, s.definition, s.definition_version, s.label, s.seq,
                  0::bigint as "due_in_ms!", s.wake_at as "wake_at: Timestamp"
             from unnest($1::smallint[], $2::uuid[]) as x (bucket, saga_id)
             join saga s on s.bucket = x.bucket and s.saga_id = x.saga_id
            where s.closed_status is null and s.wake_at is null
              and (s.definition || ' ' || s.definition_version) = any($3) and s.saga_id <> all($4)"#,
        &buckets,
        sagas,
        &readable.definitions,
        &readable.but,
    )
    .fetch_all(pool)
    .await
}

/// Takes suspended sagas that are due within the horizon out of their suspension. The fence keeps a replica
/// that was paused from waking what is another's by now: that one would not know, and nobody drive it.
pub(in crate::saga) async fn due(
    pool: &PgPool,
    fence: &Fence,
    horizon_ms: i64,
    limit: i64,
    readable: &Readable,
) -> sqlx::Result<Vec<Loaded>> {
    sqlx::query_as!(
        Loaded,
        r#"with due as materialized (
               select d.bucket, d.saga_id, d.wake_at
                 from unnest($1::smallint[]) as o (bucket)
                cross join lateral (
                  select s.bucket, s.saga_id, s.wake_at from saga s
                   where s.bucket = o.bucket and s.closed_status is null
                     and s.wake_at <= now() + $2 * interval '1 millisecond'
                     and (s.definition || ' ' || s.definition_version) = any($5)
                     and s.saga_id <> all($6)
                   order by s.wake_at limit $3) d
                order by d.wake_at limit $3),
           fence as materialized (
               select b.bucket from unnest($1::smallint[], $4::bigint[]) as f (bucket, epoch)
                 join bucket b on b.bucket = f.bucket and b.epoch = f.epoch
                where b.bucket in (select bucket from due)
                order by b.bucket
                  for share of b)
           update saga s set wake_at = null
             from due where s.bucket = due.bucket and s.saga_id = due.saga_id
              and (due.bucket in (select bucket from fence)) is true
           returning s.saga_id, s.definition, s.definition_version, s.label, s.seq,
                     greatest(0, extract(epoch from due.wake_at - now()) * 1000)::bigint
                       as "due_in_ms!", due.wake_at as "wake_at: Timestamp""#,
        &fence.buckets,
        horizon_ms as f64,
        limit,
        &fence.epochs,
        &readable.definitions,
        &readable.but,
    )
    .fetch_all(pool)
    .await
}

/// What [`wake`] finds.
pub(in crate::saga) struct Woken {
    /// Sagas that were suspended.
    pub suspended: Vec<Loaded>,
    /// Sagas that run by their rows.
    pub running: Vec<Loaded>,
}

/// Takes these sagas out of their suspension, those that are open and in buckets of ours; for what arrived
/// in their inbox.
pub(in crate::saga) async fn wake(
    pool: &PgPool,
    fence: &Fence,
    sagas: &[Uuid],
    readable: &Readable,
) -> sqlx::Result<Woken> {
    let buckets: Vec<i16> = sagas.iter().map(|it| i16::from(bucket_of(*it))).collect();
    let rows = sqlx::query_as!(
        Loaded,
        r#"with fence as materialized (
               select b.bucket from unnest($3::smallint[], $4::bigint[]) as f (bucket, epoch)
                 join bucket b on b.bucket = f.bucket and b.epoch = f.epoch
                where b.bucket = any($1)
                order by b.bucket
                  for share of b),
           x as materialized (
               select s.bucket, s.saga_id, s.wake_at
                 from unnest($1::smallint[], $2::uuid[]) as x (bucket, saga_id)
                 join saga s on s.bucket = x.bucket and s.saga_id = x.saga_id
                where s.closed_status is null and (x.bucket in (select bucket from fence)) is true
                  and (s.definition || ' ' || s.definition_version) = any($5)
                  and s.saga_id <> all($6))
           update saga s set wake_at = null from x
            where s.bucket = x.bucket and s.saga_id = x.saga_id
           returning s.saga_id, s.definition, s.definition_version, s.label, s.seq,
                     coalesce(greatest(0, extract(epoch from x.wake_at - now()) * 1000), 0)::bigint
                       as "due_in_ms!", x.wake_at as "wake_at: Timestamp""#,
        &buckets,
        sagas,
        &fence.buckets,
        &fence.epochs,
        &readable.definitions,
        &readable.but,
    )
    .fetch_all(pool)
    .await?;
    let (suspended, running) = rows.into_iter().partition(|it| it.wake_at.is_some());
    Ok(Woken { suspended, running })
}

/// The ids of all sagas of these buckets that stand as running, and can be read.
pub(in crate::saga) async fn running_ids(
    pool: &PgPool,
    buckets: &[i16],
    readable: &Readable,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select saga_id from saga
          where bucket = any($1) and closed_status is null and wake_at is null
            and (definition || ' ' || definition_version) = any($2) and saga_id <> all($3)",
        buckets,
        &readable.definitions,
        &readable.but,
    )
    .fetch_all(pool)
    .await
}

/// The journals of these sagas, each in order.
pub(in crate::saga) async fn journals(
    pool: &PgPool,
    sagas: &[Uuid],
) -> sqlx::Result<HashMap<Uuid, Vec<StoredLine>>> {
    let buckets: Vec<i16> = sagas.iter().map(|it| i16::from(bucket_of(*it))).collect();
    let rows = sqlx::query!(
        r#"select j.saga_id, j.kind, j.step, j.attempt, coalesce(j.data::text, 'null') as "data!"
             from unnest($1::smallint[], $2::uuid[]) as x (bucket, saga_id)
             join journal j on j.bucket = x.bucket and j.saga_id = x.saga_id
            order by j.saga_id, j.seq"#,
        &buckets,
        sagas,
    )
    .fetch_all(pool)
    .await?;
    let mut journals: HashMap<Uuid, Vec<StoredLine>> = HashMap::with_capacity(sagas.len());
    for row in rows {
        let (kind, step, attempt, data) = (row.kind, row.step, row.attempt, row.data);
        journals.entry(row.saga_id).or_default().push(StoredLine { kind, step, attempt, data });
    }
    Ok(journals)
}

/// Suspends a saga without a line: one that goes on waiting, or one that this binary cannot read and that
/// needs a person. The fence keeps a replica that was paused from suspending what another one drives by now.
pub(in crate::saga) async fn suspend(
    pool: &PgPool,
    fence: &Fence,
    saga_id: Uuid,
    attention: Option<&str>,
    wake_in_ms: i64,
) -> sqlx::Result<()> {
    let bucket = i16::from(bucket_of(saga_id));
    sqlx::query!(
        "with fence as materialized (
             select bucket from bucket where bucket = $1 and epoch = $5 for share)
         update saga s set attention = coalesce($3, s.attention),
                wake_at = now() + $4 * interval '1 millisecond',
                version = s.version + case when $3::text is null then 0 else 1 end,
                updated_at = case when $3::text is null then s.updated_at else now() end
          where s.bucket = $1 and s.saga_id = $2 and s.closed_status is null
            and (s.bucket in (select bucket from fence)) is true",
        bucket,
        saga_id,
        attention,
        wake_in_ms as f64,
        fence.epoch(bucket),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Suspends sagas of which nothing is under way, due at once: whoever has their buckets next wakes them.
pub(in crate::saga) async fn suspend_all(
    pool: &PgPool,
    fence: &Fence,
    sagas: &[Uuid],
) -> sqlx::Result<()> {
    if sagas.is_empty() {
        return Ok(());
    }
    let buckets: Vec<i16> = sagas.iter().map(|it| i16::from(bucket_of(*it))).collect();
    sqlx::query!(
        "with fence as materialized (
             select b.bucket from unnest($1::smallint[], $2::bigint[]) as f (bucket, epoch)
               join bucket b on b.bucket = f.bucket and b.epoch = f.epoch
              where b.bucket = any($3)
              order by b.bucket
                for share of b)
         update saga s set wake_at = now()
           from unnest($3::smallint[], $4::uuid[]) as x (bucket, saga_id)
          where s.bucket = x.bucket and s.saga_id = x.saga_id
            and s.closed_status is null and s.wake_at is null
            and (s.bucket in (select bucket from fence)) is true",
        &fence.buckets,
        &fence.epochs,
        &buckets,
        sagas,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Makes the monthly partitions of the journal ahead of time.
pub(in crate::saga) async fn ensure_partitions(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::query!("select ensure_partitions('journal', 2)").fetch_one(pool).await?;
    Ok(())
}
