//! What queues look like: to those who hand out work, to those who look after them, and to who waits.

use jiff_sqlx::Timestamp;
use sqlx::PgPool;
use uuid::Uuid;

/// Age in seconds after which it is noted anew that a worker asks: more often tells nobody more.
const SEEN_EVERY_S: f64 = 5.0;
/// Days for which tasks are kept that have ended.
const ENDED_KEPT_DAYS: f64 = 7.0;

/// A queue, as one look finds it.
#[derive(Debug, Clone)]
pub struct QueueLook {
    /// Its name.
    pub queue: String,
    /// Tasks that wait for a worker, those with a lease that ran out included.
    pub due: i64,
    /// Tasks in a worker's hands.
    pub leased: i64,
    /// Tasks whose last lease ran out.
    pub exhausted: i64,
    /// Age in seconds of the oldest task that waits for a worker.
    pub oldest_s: Option<f64>,
    /// For how many seconds nobody has asked for work; `None` when nobody ever did.
    pub unasked_s: Option<f64>,
    /// Tasks that may be in workers' hands at once.
    pub max_in_flight: Option<i32>,
    /// Tasks that may be claimed a second.
    pub rate: Option<f64>,
    /// What of that is left now.
    pub tokens: f64,
}

impl QueueLook {
    /// How many tasks could be claimed now.
    pub(in crate::saga) fn claimable(&self) -> i64 {
        let places = self.max_in_flight.map_or(i64::MAX, |it| i64::from(it) - self.leased);
        let tokens = self.rate.map_or(i64::MAX, |_| self.tokens.floor() as i64);
        self.due.min(places).min(tokens).max(0)
    }

    /// Whether work is due that nobody has asked for lately, nor has anybody any of this queue in hand.
    pub fn is_unserved(&self, after_s: f64) -> bool {
        let is_old = self.oldest_s.is_some_and(|it| it > after_s);
        is_old && self.leased == 0 && self.unasked_s.is_none_or(|it| it > after_s)
    }
}

/// The one look for all who wait here for work: it notes that they do, and tells what there is.
pub(in crate::saga) async fn look(
    pool: &PgPool,
    asking: &[(String, String)],
) -> sqlx::Result<Vec<QueueLook>> {
    let (queues, workers): (Vec<&str>, Vec<&str>) =
        asking.iter().map(|(queue, worker)| (queue.as_str(), worker.as_str())).unzip();
    sqlx::query_as!(
        QueueLook,
        r#"with seen as (
             insert into worker (queue, worker)
             select x.queue, x.worker
               from (select unnest($1::text[]) as queue, unnest($2::text[]) as worker) x
              order by x.queue, x.worker
             on conflict (queue, worker) do update set seen_at = now()
               where worker.seen_at < now() - $3 * interval '1 second'),
         open as (
             select k.queue,
                    count(*) filter (where k.state = 'ready' or (k.leased_until < now() and k.attempts < k.attempts_max)) as due,
                    count(*) filter (where k.leased_until >= now()) as leased,
                    count(*) filter (where k.leased_until < now() and k.attempts >= k.attempts_max) as exhausted,
                    min(k.created_at) filter (where k.state = 'ready' or k.leased_until < now()) as oldest
               from task k where k.state in ('ready', 'leased') group by k.queue),
         asked as (select w.queue, max(w.seen_at) as seen_at from worker w group by w.queue)
         select n.queue as "queue!", coalesce(o.due, 0) as "due!", coalesce(o.leased, 0) as "leased!",
                coalesce(o.exhausted, 0) as "exhausted!",
                extract(epoch from now() - o.oldest)::float8 as oldest_s,
                case when n.queue = any($1) then 0 else extract(epoch from now() - a.seen_at) end::float8 as unasked_s,
                q.max_in_flight as "max_in_flight?", q.rate as "rate?",
                least(greatest(1, coalesce(q.rate, 1)),
                      coalesce(q.tokens, 0) + coalesce(q.rate, 0)
                        * greatest(0, extract(epoch from now() - coalesce(q.tokens_at, now()))))::float8 as "tokens!"
           from (select queue from open union select queue from asked union select queue from queue
                 union select unnest($1::text[])) n
           left join open o using (queue) left join asked a using (queue) left join queue q using (queue)
          order by n.queue"#,
        &queues as &[&str],
        &workers as &[&str],
        SEEN_EVERY_S,
    )
    .fetch_all(pool)
    .await
}

/// Notes that a worker asks for work of these queues.
pub(in crate::saga) async fn note_worker(
    pool: &PgPool,
    queues: &[String],
    worker: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into worker (queue, worker)
         select x.queue, $2 from (select distinct unnest($1::text[]) as queue) x order by x.queue
         on conflict (queue, worker) do update set seen_at = now()
           where worker.seen_at < now() - $3 * interval '1 second'",
        queues,
        worker,
        SEEN_EVERY_S,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// What became of a queue's tasks within the last hour.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The queue.
    pub queue: String,
    /// Made.
    pub done: i64,
    /// Made in vain: their sagas went back.
    pub wasted: i64,
    /// Could not be made, or were given up.
    pub failed: i64,
    /// Not wanted any more.
    pub withdrawn: i64,
}

/// What ended within the last hour, by queue.
pub(in crate::saga) async fn ended(pool: &PgPool) -> sqlx::Result<Vec<Ended>> {
    sqlx::query_as!(
        Ended,
        r#"select queue, count(*) filter (where state = 'done') as "done!",
                  count(*) filter (where wasted) as "wasted!",
                  count(*) filter (where state = 'failed') as "failed!",
                  count(*) filter (where state = 'withdrawn') as "withdrawn!"
             from task where ended_at > now() - interval '1 hour' group by queue"#,
    )
    .fetch_all(pool)
    .await
}

/// A worker of a queue.
#[derive(Debug, Clone)]
pub struct Worker {
    /// What it calls itself.
    pub worker: String,
    /// When it asked for work last.
    pub seen_at: Timestamp,
    /// Tasks that it has in hand.
    pub leased: i64,
}

/// The workers of a queue, those who asked last first.
pub(in crate::saga) async fn workers(pool: &PgPool, queue: &str) -> sqlx::Result<Vec<Worker>> {
    sqlx::query_as!(
        Worker,
        r#"select w.worker, w.seen_at as "seen_at: Timestamp",
                  (select count(*) from task k
                    where k.queue = $1 and k.state in ('ready', 'leased') and k.worker = w.worker
                      and k.leased_until >= now()) as "leased!"
             from worker w where w.queue = $1 order by w.seen_at desc, w.worker limit 200"#,
        queue,
    )
    .fetch_all(pool)
    .await
}

/// The limits of a queue, and who set them.
#[derive(Debug, Clone)]
pub struct QueueLimits {
    /// Tasks that may be in workers' hands at once; no limit if absent.
    pub max_in_flight: Option<i32>,
    /// Tasks that may be claimed a second; no limit if absent.
    pub rate: Option<f64>,
    /// Who set them.
    pub changed_by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub changed_at: Timestamp,
}

/// The limits of a queue; `None` when nobody ever set any.
pub(in crate::saga) async fn limits(
    pool: &PgPool,
    queue: &str,
) -> sqlx::Result<Option<QueueLimits>> {
    sqlx::query_as!(
        QueueLimits,
        r#"select max_in_flight, rate, changed_by, reason, changed_at as "changed_at: Timestamp"
             from queue where queue = $1"#,
        queue,
    )
    .fetch_optional(pool)
    .await
}

/// Sets the limits of a queue. What is left in the token bucket is no more than a second's worth of the new rate.
pub(in crate::saga) async fn set_limits(
    pool: &PgPool,
    queue: &str,
    (max_in_flight, rate): (Option<i32>, Option<f64>),
    (by, reason): (&str, &str),
    channel: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "with changed as (
             insert into queue (queue, max_in_flight, rate, tokens, changed_by, reason)
             values ($1, $2, $3::float8, greatest(1, coalesce($3::float8, 1)), $4, $5)
             on conflict (queue) do update
                set max_in_flight = excluded.max_in_flight, rate = excluded.rate,
                    tokens = least(excluded.tokens, queue.tokens), tokens_at = clock_timestamp(),
                    changed_by = excluded.changed_by, reason = excluded.reason, changed_at = now()
             returning queue)
         select pg_notify($6, '') from changed",
        queue,
        max_in_flight,
        rate,
        by,
        reason,
        channel,
    )
    .fetch_all(pool)
    .await?;
    Ok(())
}

/// A task that a saga waits for.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// Where it is asked for.
    pub queue: String,
    /// Who has it; `None` while it waits for a worker.
    pub worker: Option<String>,
    /// How far it is, by its worker.
    pub progress: Option<String>,
    /// Tasks that come before it.
    pub before: i64,
    /// For how many seconds nobody has asked for work of its queue; `None` when nobody ever did.
    pub unasked_s: Option<f64>,
    /// Tasks of the queue in workers' hands.
    pub in_flight: i64,
    /// How many may be.
    pub max_in_flight: Option<i32>,
}

/// The tasks that a saga waits for, by queue and rank.
pub(in crate::saga) async fn awaited(
    pool: &PgPool,
    bucket: i16,
    saga_id: Uuid,
) -> sqlx::Result<Vec<Awaited>> {
    sqlx::query_as!(
        Awaited,
        r#"select k.queue, case when k.leased_until >= now() then k.worker end as worker,
                  case when k.leased_until >= now() then k.progress::text end as progress,
                  (select count(*) from task o
                    where o.queue = k.queue and o.state in ('ready', 'leased')
                      and (o.state = 'ready' or o.leased_until < now())
                      and (o.rank_at, o.task_id) < (k.rank_at, k.task_id) and o.saga_id <> k.saga_id) as "before!",
                  (select extract(epoch from now() - max(w.seen_at))::float8 from worker w
                    where w.queue = k.queue) as unasked_s,
                  (select count(*) from task o
                    where o.queue = k.queue and o.state in ('ready', 'leased') and o.leased_until >= now())
                    as "in_flight!",
                  (select q.max_in_flight from queue q where q.queue = k.queue) as max_in_flight
             from task k
            where k.bucket = $1 and k.saga_id = $2 and k.state in ('ready', 'leased')
            order by k.queue, k.rank_at, k.task_id"#,
        bucket,
        saga_id,
    )
    .fetch_all(pool)
    .await
}

/// Forgets tasks that ended long ago, and workers that have not asked for a day.
pub(in crate::saga) async fn prune(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::query!(
        "with old as (delete from worker where seen_at < now() - interval '1 day')
         delete from task where ended_at < now() - $1 * interval '1 day'",
        ENDED_KEPT_DAYS,
    )
    .execute(pool)
    .await?;
    Ok(())
}
