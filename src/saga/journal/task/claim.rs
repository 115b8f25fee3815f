//! Claiming tasks, within the limits of their queues.

use std::collections::BTreeMap;

use jiff_sqlx::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::TASK_CLAIMED;

/// What a worker asks for.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Where.
    pub queues: Vec<String>,
    /// What it calls itself.
    pub worker: String,
    /// Tasks at most.
    pub max: usize,
    /// How long it may be silent about one.
    pub lease_ms: i64,
}

/// A task in a worker's hands.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its id.
    pub task_id: Uuid,
    /// Where it was waiting.
    pub queue: String,
    /// The saga that waits for it.
    pub saga_id: Uuid,
    /// What is to be done, as JSON.
    pub payload: String,
    /// 1 to 9.
    pub priority: i16,
    /// This claim included.
    pub attempts: i32,
    /// What the worker before told last, as JSON.
    pub progress: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is the worker's, by the database's clock.
    pub leased_until: Timestamp,
    /// The secret by which the worker speaks of it.
    pub lease: Uuid,
    /// Whether nobody had it before.
    pub is_first: bool,
}

/// Claims what comes next in these queues, within their limits. The rows of queues with limits are locked first, in
/// the order of their names, and what is leased is counted by a statement of its own: its snapshot is taken under
/// the lock, so that it sees every claim before it.
pub(in crate::saga) async fn claim(pool: &PgPool, claim: &Claim) -> sqlx::Result<Vec<Claimed>> {
    let max = i64::try_from(claim.max).unwrap_or(i64::MAX);
    let mut transaction = pool.begin().await?;
    let limited = lock_limits(&mut transaction, &claim.queues).await?;
    let rooms: Vec<i64> = match limited.is_empty() {
        true => vec![max; claim.queues.len()],
        false => {
            let leased = count_leased(&mut transaction, &claim.queues).await?;
            let room = |queue: &String| {
                let limits = limited.iter().find(|it| it.queue == *queue);
                let leased = leased.get(queue).copied().unwrap_or_default();
                limits.map_or(max, |it| it.room(leased).min(max))
            };
            claim.queues.iter().map(room).collect()
        }
    };
    let mut claimed = Vec::new();
    if rooms.iter().any(|it| *it > 0) {
        claimed = take(&mut transaction, claim, &rooms).await?;
        for limits in limited.iter().filter(|it| it.rate.is_some()) {
            let taken = claimed.iter().filter(|it| it.queue == limits.queue).count();
            spend(&mut transaction, limits, taken).await?;
        }
    }
    transaction.commit().await?;
    Ok(claimed)
}

/// The limits of a queue, as its row says under its lock.
struct Limits {
    queue: String,
    max_in_flight: Option<i32>,
    rate: Option<f64>,
    /// What the token bucket holds by now.
    tokens: f64,
}

impl Limits {
    /// How many may be claimed now.
    fn room(&self, leased: i64) -> i64 {
        let places = self.max_in_flight.map_or(i64::MAX, |it| i64::from(it) - leased);
        let tokens = self.rate.map_or(i64::MAX, |_| self.tokens.floor() as i64);
        places.min(tokens).max(0)
    }
}

async fn lock_limits(
    connection: &mut PgConnection,
    queues: &[String],
) -> sqlx::Result<Vec<Limits>> {
    sqlx::query_as!(
        Limits,
        r#"select queue, max_in_flight, rate,
                  least(greatest(1, coalesce(rate, 1)),
                        tokens + coalesce(rate, 0) * greatest(0, extract(epoch from clock_timestamp() - tokens_at)::float8))
                    as "tokens!"
             from queue where queue = any($1) and (max_in_flight is not null or rate is not null)
            order by queue for update"#,
        queues,
    )
    .fetch_all(connection)
    .await
}

/// Live leases by queue.
async fn count_leased(
    connection: &mut PgConnection,
    queues: &[String],
) -> sqlx::Result<BTreeMap<String, i64>> {
    let rows = sqlx::query!(
        r#"select queue, count(*) as "leased!" from task
            where queue = any($1) and state in ('ready', 'leased') and state = 'leased' and leased_until > now()
            group by queue"#,
        queues,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|it| (it.queue, it.leased)).collect())
}

async fn spend(connection: &mut PgConnection, limits: &Limits, taken: usize) -> sqlx::Result<()> {
    sqlx::query!(
        "update queue set tokens = greatest(0, $2::float8), tokens_at = clock_timestamp() where queue = $1",
        limits.queue,
        limits.tokens - taken as f64,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Leases the tasks that come next, up to the room of each queue. The saga of a task whose step nobody has begun
/// yet is told so; in the order of sagas, as two claims may tell the same ones.
async fn take(
    connection: &mut PgConnection,
    claim: &Claim,
    rooms: &[i64],
) -> sqlx::Result<Vec<Claimed>> {
    let leases: Vec<Uuid> = (0..claim.max).map(|_| Uuid::new_v4()).collect();
    let items: Vec<Uuid> = (0..claim.max).map(|_| Uuid::now_v7()).collect();
    sqlx::query_as!(
        Claimed,
        r#"with c as materialized (
             select t.task_id, t.rank_at, t.is_first
               from unnest($1::text[], $2::bigint[]) as q (queue, room)
              cross join lateral (
                 select k.task_id, k.rank_at, k.claimed_at is null as is_first from task k
                  where k.queue = q.queue and k.state in ('ready', 'leased')
                    and (k.state = 'ready' or k.leased_until < now()) and k.attempts < k.attempts_max
                  order by k.rank_at, k.task_id limit q.room for update skip locked) t
              order by t.rank_at, t.task_id limit $3),
         n as materialized (
             select c.task_id, c.is_first, x.lease, x.inbox_id
               from (select c.*, row_number() over (order by rank_at, task_id) as n from c) c
               join unnest($4::uuid[], $5::uuid[]) with ordinality as x (lease, inbox_id, n) on x.n = c.n),
         t as (
             update task k set state = 'leased', worker = $6, lease = n.lease, lease_ms = $7::bigint,
                    leased_until = now() + $7::bigint * interval '1 millisecond', attempts = k.attempts + 1,
                    claimed_at = coalesce(k.claimed_at, now())
               from n where k.task_id = n.task_id
             returning k.*, n.is_first, n.inbox_id),
         told as (
             insert into inbox (bucket, inbox_id, saga_id, kind, data, key)
             select distinct on (t.bucket, t.saga_id, t.step) t.bucket, t.inbox_id, t.saga_id, 'signal',
                    json_build_object('name', $8::text, 'key', t.step, 'by', $6::text,
                                      'data', json_build_object('queue', t.queue, 'task_id', t.task_id)),
                    'signal/' || $8 || '/' || t.step
               from t
              where t.is_first
                and not exists (select from task o where o.bucket = t.bucket and o.saga_id = t.saga_id
                                   and o.step = t.step and o.claimed_at is not null)
              order by t.bucket, t.saga_id, t.step
             on conflict do nothing)
         select task_id as "task_id!", queue as "queue!", saga_id as "saga_id!", payload::text as "payload!",
                priority as "priority!", attempts as "attempts!", progress::text,
                created_at as "created_at!: Timestamp", leased_until as "leased_until!: Timestamp",
                lease as "lease!", is_first as "is_first!"
           from t order by rank_at, task_id"#,
        &claim.queues,
        rooms,
        i64::try_from(claim.max).unwrap_or(i64::MAX),
        &leases,
        &items,
        claim.worker,
        claim.lease_ms,
        TASK_CLAIMED,
    )
    .fetch_all(connection)
    .await
}
