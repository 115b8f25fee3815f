//! The feed: which lines each batch wrote, in the order of each writer's commits.

use sqlx::PgPool;
use uuid::Uuid;

/// One batch of one writer.
#[derive(Debug)]
pub(in crate::saga) struct Batch {
    pub writer: i64,
    pub n: i64,
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
           select f.writer as "writer!", f.n as "n!", f.saga_ids as "saga_ids!", f.seqs as "seqs!"
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
        "select writer, n, saga_ids, seqs from feed where writer = $1 and n = $2",
        writer,
        n,
    )
    .fetch_optional(pool)
    .await
}

/// Drops batches older than this. A cursor that is older can not be resumed from.
pub(in crate::saga) async fn prune(pool: &PgPool, older_than_s: f64) -> sqlx::Result<u64> {
    let pruned =
        sqlx::query!("delete from feed where at < now() - $1 * interval '1 second'", older_than_s)
            .execute(pool)
            .await?;
    Ok(pruned.rows_affected())
}
