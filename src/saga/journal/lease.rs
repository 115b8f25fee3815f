//! Replicas, buckets and epochs.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{foreign::Readable, inbox};

/// Registers a replica as alive for `lease_ms` from now, by the database's clock.
pub(in crate::saga) async fn register(
    connection: &mut PgConnection,
    boot_id: Uuid,
    name: &str,
    process: Option<&str>,
    lease_ms: i64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into replica (boot_id, name, version, process, leased_until)
         values ($1, $2, $3, $4, now() + $5 * interval '1 millisecond')",
        boot_id,
        name,
        env!("CARGO_PKG_VERSION"),
        process,
        lease_ms as f64,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The processes of the replicas whose leases run.
pub(in crate::saga) async fn processes(
    connection: &mut PgConnection,
) -> sqlx::Result<Vec<(Uuid, String)>> {
    let rows = sqlx::query!(
        r#"select boot_id, process as "process!" from replica
            where leased_until > now() and process is not null"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|it| (it.boot_id, it.process)).collect())
}

/// Ends the leases of replicas that are known to be dead.
pub(in crate::saga) async fn end(connection: &mut PgConnection, dead: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!("update replica set leased_until = now() where boot_id = any($1)", dead)
        .execute(connection)
        .await?;
    Ok(())
}

/// Renews a replica's lease, and forgets replicas dead for an hour. False when the lease had run out: then
/// nobody knows who owns what.
pub(in crate::saga) async fn renew(
    connection: &mut PgConnection,
    boot_id: Uuid,
    lease_ms: i64,
) -> sqlx::Result<bool> {
    let renewed = sqlx::query!(
        "with forgotten as (delete from replica where leased_until < now() - interval '1 hour')
         update replica set leased_until = now() + $2 * interval '1 millisecond'
          where boot_id = $1 and leased_until > now()",
        boot_id,
        lease_ms as f64,
    )
    .execute(connection)
    .await?;
    Ok(renewed.rows_affected() == 1)
}

/// Takes a replica off the list, at its orderly end, with what it held of limits.
pub(in crate::saga) async fn deregister(pool: &PgPool, boot_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "with shares as (delete from participant_share where boot_id = $1)
         delete from replica where boot_id = $1",
        boot_id,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// What one look a second tells a replica.
pub(in crate::saga) struct Outlook {
    /// The database's clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// Replicas alive.
    pub replicas: i64,
    /// Buckets whose owner is not alive.
    pub ownerless: i64,
    /// Our buckets, in order.
    pub owned: Vec<i16>,
    /// Their epochs.
    pub epochs: Vec<i64>,
    /// Something that we can act on waits in the inbox of our buckets.
    pub has_inbox: bool,
    /// Age in seconds of the longest due saga of ours that we can read; negative when it is due in the near future.
    pub oldest_due_s: Option<f64>,
    /// Sagas of ours that need a person.
    pub parked: i64,
    /// Rises when limits of participants or their breakers change.
    pub participants: i64,
}

/// The one statement that an idle replica runs a second.
pub(in crate::saga) async fn look(
    pool: &PgPool,
    boot_id: Uuid,
    buckets: &[i16],
    horizon_ms: i64,
    readable: &Readable,
) -> sqlx::Result<Outlook> {
    sqlx::query_as!(
        Outlook,
        r#"select
             (extract(epoch from clock_timestamp()) * 1000)::bigint as "now_ms!",
             (select count(*) from replica where leased_until > now()) as "replicas!",
             (select count(*) from bucket b
               where not exists (select from replica r
                                  where r.boot_id = b.owner and r.leased_until > now()))
               as "ownerless!",
             array(select b.bucket from bucket b where b.owner = $3 order by b.bucket) as "owned!",
             array(select b.epoch from bucket b where b.owner = $3 order by b.bucket) as "epochs!",
             exists (select from inbox i
                      where i.bucket = any($1) and i.kind = any($6)
                        and not exists (
                          select from saga s
                           where s.bucket = i.bucket and s.saga_id = i.saga_id
                             and s.closed_status is null
                             and ((s.definition || ' ' || s.definition_version) <> all($4)
                                  or s.saga_id = any($5)))) as "has_inbox!",
             (select extract(epoch from now() - min(d.wake_at))::float8
                from unnest($1::smallint[]) as o (bucket)
                cross join lateral (
                  select s.wake_at from saga s
                   where s.bucket = o.bucket and s.closed_status is null
                     and s.wake_at <= now() + $2 * interval '1 millisecond'
                     and (s.definition || ' ' || s.definition_version) = any($4)
                     and s.saga_id <> all($5)
                   order by s.wake_at limit 1) d) as oldest_due_s,
             (select count(*) from saga where attention is not null and bucket = any($1)) as "parked!",
             (select coalesce(sum(version), 0)::bigint from participant) as "participants!""#,
        buckets,
        horizon_ms as f64,
        boot_id,
        &readable.definitions,
        &readable.but,
        &inbox::kinds(),
    )
    .fetch_one(pool)
    .await
}

/// A bucket just taken over.
pub(in crate::saga) struct Taken {
    pub bucket: i16,
    pub epoch: i64,
    /// Who owned it. Nobody: it was new, or handed over in order.
    pub owner: Option<Uuid>,
}

/// Takes up to `max` buckets whose owner is not alive, and raises their epochs: from this commit on the old
/// owner writes nothing more. Those that were ours before come first: their sagas lost no process. Skips what
/// another replica is just taking.
pub(in crate::saga) async fn take_over(
    pool: &PgPool,
    boot_id: Uuid,
    former_boots: &[Uuid],
    max: i64,
) -> sqlx::Result<Vec<Taken>> {
    sqlx::query_as!(
        Taken,
        r#"with orphaned as materialized (
             select b.bucket, b.owner from bucket b
              where not exists (select from replica r
                                 where r.boot_id = b.owner and r.leased_until > now())
              order by coalesce(b.owner = any($3), false) desc, b.bucket limit $2
                for update of b skip locked)
         update bucket b set owner = $1, epoch = epoch + 1
           from orphaned o where b.bucket = o.bucket
         returning b.bucket, b.epoch, o.owner as "owner?""#,
        boot_id,
        max,
        former_boots,
    )
    .fetch_all(pool)
    .await
}

/// Which of these buckets are ours, with their epochs.
pub(in crate::saga) async fn owned(
    connection: &mut PgConnection,
    boot_id: Uuid,
    buckets: &[i16],
) -> sqlx::Result<Vec<(i16, i64)>> {
    let rows = sqlx::query!(
        "select bucket, epoch from bucket where owner = $1 and bucket = any($2)",
        boot_id,
        buckets,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|it| (it.bucket, it.epoch)).collect())
}

/// Raises the epochs of buckets of ours, and returns those that still are.
pub(in crate::saga) async fn raise(
    connection: &mut PgConnection,
    boot_id: Uuid,
    buckets: &[i16],
) -> sqlx::Result<Vec<(i16, i64)>> {
    let rows = sqlx::query!(
        "with ours as materialized (
             select bucket from bucket where owner = $1 and bucket = any($2) order by bucket for update)
         update bucket b set epoch = epoch + 1 from ours o where b.bucket = o.bucket
         returning b.bucket, b.epoch",
        boot_id,
        buckets,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|it| (it.bucket, it.epoch)).collect())
}

/// Gives buckets up, for others to take.
pub(in crate::saga) async fn release(
    pool: &PgPool,
    boot_id: Uuid,
    buckets: &[i16],
) -> sqlx::Result<()> {
    sqlx::query!(
        "with ours as materialized (
             select bucket from bucket where owner = $1 and bucket = any($2) order by bucket for update)
         update bucket b set owner = null, epoch = epoch + 1 from ours o where b.bucket = o.bucket",
        boot_id,
        buckets,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// A replica as the operators see it.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Made anew at every process start.
    pub boot_id: Uuid,
    /// What it calls itself.
    pub name: String,
    /// The version it runs.
    pub version: String,
    /// When it started.
    pub started_at: jiff_sqlx::Timestamp,
    /// Until when it counts as alive.
    pub leased_until: jiff_sqlx::Timestamp,
    /// Whether it does now, by the database's clock.
    pub alive: bool,
    /// Buckets it owns.
    pub buckets: i64,
}

/// All replicas that were alive within the last hour.
pub(in crate::saga) async fn replicas(pool: &PgPool) -> sqlx::Result<Vec<Replica>> {
    sqlx::query_as!(
        Replica,
        r#"select r.boot_id, r.name, r.version, r.started_at, r.leased_until,
                  r.leased_until > now() as "alive!",
                  (select count(*) from bucket b where b.owner = r.boot_id) as "buckets!"
             from replica r order by r.started_at, r.boot_id"#
    )
    .fetch_all(pool)
    .await
}
