//! The feed: which lines each batch wrote, in the order of each writer's commits.

use sqlx::PgPool;
use uuid::Uuid;

/// One batch of one writer.
#[derive(Debug)]
pub(in crate::saga) struct Batch {
    pub writer: i64,
    pub n: i64,
    /// When its transaction began, in microseconds of Unix time by the database's clock.
    pub at_us: i64,
    pub saga_ids: Vec<Uuid>,
    pub seqs: Vec<i32>,
}

/// Where every writer stands now. The recursion hops from writer to writer over the key, whatever the
/// number of batches.
pub(in crate::saga) async fn positions(pool: &PgPool) -> sqlx::Result<Vec<(i64, i64)>> {
    let rows = sqlx::query!(
        r#"with recursive w (writer) as (
               (select f.writer from feed f order by f.writer limit 1)
               union all
               select (select f.writer from feed f where f.writer > w.writer order by f.writer limit 1)
                 from w where w.writer is not null)
           select w.writer as "writer!",
                  (select f.n from feed f where f.writer = w.writer order by f.n desc limit 1) as "n!"
             from w where w.writer is not null"#
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|it| (it.writer, it.n)).collect())
}

/// The next batches after these positions; of writers that are not among them, from their first.
pub(in crate::saga) async fn after(
    pool: &PgPool,
    writers: &[i64],
    positions: &[i64],
    limit: i64,
) -> sqlx::Result<Vec<Batch>> {
    sqlx::query_as!(
        Batch,
        r#"with recursive w (writer) as (
               (select f.writer from feed f order by f.writer limit 1)
               union all
               select (select f.writer from feed f where f.writer > w.writer order by f.writer limit 1)
                 from w where w.writer is not null)
           select f.writer as "writer!", f.n as "n!",
                  (extract(epoch from f.at) * 1000000)::bigint as "at_us!",
                  f.saga_ids as "saga_ids!", f.seqs as "seqs!"
             from w
             left join unnest($1::bigint[], $2::bigint[]) as p (writer, n) on p.writer = w.writer
            cross join lateral (
                 select f.writer, f.n, f.at, f.saga_ids, f.seqs from feed f
                  where f.writer = w.writer and f.n > coalesce(p.n, 0) order by f.n limit $3) f
            where w.writer is not null
            order by f.at, f.writer, f.n limit $3"#,
        writers,
        positions,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// One batch, if it is still held.
pub(in crate::saga) async fn one(
    pool: &PgPool,
    writer: i64,
    n: i64,
) -> sqlx::Result<Option<Batch>> {
    sqlx::query_as!(
        Batch,
        r#"select writer, n, (extract(epoch from at) * 1000000)::bigint as "at_us!", saga_ids, seqs
             from feed where writer = $1 and n = $2"#,
        writer,
        n,
    )
    .fetch_optional(pool)
    .await
}

/// Drops batches older than this, and remembers how far. The newest ones stay however old they are, so that
/// a reader who had seen everything before a long pause can go on after it.
pub(in crate::saga) async fn prune(pool: &PgPool, older_than_s: f64) -> sqlx::Result<u64> {
    let pruned = sqlx::query_scalar!(
        r#"with pruned as (
               delete from feed
                where at < least(now() - $1::float8 * interval '1 second',
                                 (select max(at) from feed) - interval '2 minutes')
               returning at),
           noted as (
               insert into feed_floor (through) select max(at) from pruned having count(*) > 0
               on conflict (one) do update set through = greatest(feed_floor.through, excluded.through))
           select count(*) as "count!" from pruned"#,
        older_than_s,
    )
    .fetch_one(pool)
    .await?;
    Ok(u64::try_from(pruned).unwrap_or_default())
}

/// Whether everything that became visible after this batch is still there. A commit becomes visible later
/// than its transaction began, by at most a minute: a writer gives its batch up long before.
pub(in crate::saga) async fn is_whole_after(pool: &PgPool, at_us: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select not exists (
               select from feed_floor
                where extract(epoch from through + interval '1 minute') * 1000000 >= $1::bigint)
               as "whole!""#,
        at_us,
    )
    .fetch_one(pool)
    .await
}
