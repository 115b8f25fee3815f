//! What workers tell of the tasks that they have. Each is one guarded autocommit statement: the task, its saga's row
//! and the signal in the saga's inbox, or nothing of it. The saga's row is locked before the task, as in the commits of
//! the saga's owner.

use jiff_sqlx::Timestamp;
use sqlx::PgPool;
use uuid::Uuid;

use super::{GIVEN_UP, TASK};

/// How a worker speaks of a task: its id, and the secret of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The task.
    pub task_id: Uuid,
    /// The lease.
    pub lease: Uuid,
}

/// What became of what a worker told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is written.
    Accepted,
    /// The task is back in its queue.
    GivenBack,
    /// It was told before by this worker.
    Repeated,
    /// The task is another worker's by now, or waits for one: the lease ran out, or it was given back.
    Lost,
    /// It is not wanted any more.
    Withdrawn,
    /// It has ended otherwise.
    Ended,
    /// There is no such task.
    Unknown,
}

/// A lease that was prolonged.
#[derive(Debug, Clone)]
pub struct Beat {
    /// Until when the task is the worker's; `None` when it is not wanted any more.
    pub leased_until: Option<Timestamp>,
    /// Whether its saga goes back: whatever is made of it now is made in vain.
    pub cancel_requested: bool,
}

/// The task is made. Its saga and its row move together, so nothing can come in between.
pub(in crate::saga) async fn complete(
    pool: &PgPool,
    token: Token,
    result: Option<&str>,
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "with s as materialized (
             select s.bucket, s.saga_id from task k
               join saga s on s.bucket = k.bucket and s.saga_id = k.saga_id
              where k.task_id = $1 and k.lease = $2 and k.state = 'leased' and s.closed_status is null
                for update of s),
         t as (
             update task k set state = 'done', result = $3::text::json, leased_until = null, ended_at = now()
               from s where k.task_id = $1 and k.lease = $2 and k.state = 'leased'
             returning k.bucket, k.saga_id, k.task_id, k.queue, k.worker),
         v as (
             update saga s set version = s.version + 1, updated_at = now()
               from t where s.bucket = t.bucket and s.saga_id = t.saga_id
             returning s.bucket, s.saga_id)
         insert into inbox (bucket, inbox_id, saga_id, kind, data, key)
         select v.bucket, $4, v.saga_id, 'signal',
                json_build_object('name', $5::text, 'key', t.task_id::text, 'by', t.worker,
                                  'data', json_build_object('outcome', 'done', 'queue', t.queue)),
                'signal/' || $5 || '/' || t.task_id
           from v join t using (bucket, saga_id)
         on conflict do nothing
         returning saga_id",
        token.task_id,
        token.lease,
        result,
        Uuid::now_v7(),
        TASK,
    )
    .fetch_optional(pool)
    .await
}

/// The task cannot be made: its siblings are withdrawn with it, as their saga has no use for them any more.
pub(in crate::saga) async fn fail(
    pool: &PgPool,
    token: Token,
    code: &str,
    detail: &str,
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "with s as materialized (
             select s.bucket, s.saga_id from task k
               join saga s on s.bucket = k.bucket and s.saga_id = k.saga_id
              where k.task_id = $1 and k.lease = $2 and k.state = 'leased' and s.closed_status is null
                for update of s),
         t as (
             update task k set state = 'failed', code = $3, detail = $4, leased_until = null, ended_at = now()
               from s where k.task_id = $1 and k.lease = $2 and k.state = 'leased'
             returning k.bucket, k.saga_id, k.task_id, k.step, k.queue, k.worker),
         w as (
             update task k
                set state = case when k.state = 'done' then 'done' else 'withdrawn' end,
                    wasted = k.state = 'done', leased_until = null, ended_at = coalesce(k.ended_at, now())
               from t where k.bucket = t.bucket and k.saga_id = t.saga_id and k.step = t.step
                and k.task_id <> t.task_id and k.state in ('ready', 'leased', 'done')),
         v as (
             update saga s set version = s.version + 1, updated_at = now()
               from t where s.bucket = t.bucket and s.saga_id = t.saga_id
             returning s.bucket, s.saga_id)
         insert into inbox (bucket, inbox_id, saga_id, kind, data, key)
         select v.bucket, $5, v.saga_id, 'signal',
                json_build_object('name', $6::text, 'key', t.task_id::text, 'by', t.worker,
                                  'data', json_build_object('outcome', 'failed', 'queue', t.queue,
                                                            'code', $3::text, 'detail', $4::text)),
                'signal/' || $6 || '/' || t.task_id
           from v join t using (bucket, saga_id)
         on conflict do nothing
         returning saga_id",
        token.task_id,
        token.lease,
        code,
        detail,
        Uuid::now_v7(),
        TASK,
    )
    .fetch_optional(pool)
    .await
}

/// Gives up tasks whose last lease ran out in silence: each may have been made, nobody knows. Up to `max` of them; whose
/// they are.
pub(in crate::saga) async fn give_up(pool: &PgPool, max: usize) -> sqlx::Result<Vec<Uuid>> {
    let items: Vec<Uuid> = (0..max).map(|_| Uuid::now_v7()).collect();
    sqlx::query_scalar!(
        "with d as materialized (
             select k.task_id, k.bucket, k.saga_id from task k
              where k.state in ('ready', 'leased') and k.state = 'leased' and k.leased_until < now()
                and k.attempts >= k.attempts_max
              order by k.bucket, k.saga_id, k.task_id limit $1),
         s as materialized (
             select s.bucket, s.saga_id from saga s
              where (s.bucket, s.saga_id) in (select d.bucket, d.saga_id from d)
              order by s.bucket, s.saga_id for update),
         n as (select d.task_id, x.inbox_id
                 from (select d.task_id, row_number() over (order by d.task_id) as n from d join s using (bucket, saga_id)) d
                 join unnest($2::uuid[]) with ordinality as x (inbox_id, n) on x.n = d.n),
         t as (
             update task k set state = 'failed', code = $3, detail = 'its workers fell silent',
                    leased_until = null, ended_at = now()
               from n where k.task_id = n.task_id and k.state = 'leased' and k.leased_until < now()
             returning k.bucket, k.saga_id, k.task_id, k.step, k.queue, k.worker, n.inbox_id),
         w as (
             update task k
                set state = case when k.state = 'done' then 'done' else 'withdrawn' end,
                    wasted = k.state = 'done', leased_until = null, ended_at = coalesce(k.ended_at, now())
              where k.state in ('ready', 'leased', 'done')
                and (k.bucket, k.saga_id, k.step) in (select t.bucket, t.saga_id, t.step from t)
                and k.task_id not in (select n.task_id from n))
         insert into inbox (bucket, inbox_id, saga_id, kind, data, key)
         select t.bucket, t.inbox_id, t.saga_id, 'signal',
                json_build_object('name', $4::text, 'key', t.task_id::text, 'by', coalesce(t.worker, 'nobody'),
                                  'data', json_build_object('outcome', $3::text, 'queue', t.queue)),
                'signal/' || $4 || '/' || t.task_id
           from t
         on conflict do nothing
         returning saga_id",
        i64::try_from(max).unwrap_or(i64::MAX),
        &items,
        GIVEN_UP,
        TASK,
    )
    .fetch_all(pool)
    .await
}

/// Gives a task back to its queue, where it keeps its rank. Whoever gives it back untried has used up no attempt.
pub(in crate::saga) async fn give_back(
    pool: &PgPool,
    token: Token,
    is_untried: bool,
    detail: Option<&str>,
    channel: &str,
) -> sqlx::Result<bool> {
    let given_back = sqlx::query!(
        "with t as (
             update task set state = 'ready', lease = null, leased_until = null,
                    attempts = attempts - case when $3 then 1 else 0 end, detail = coalesce($4, detail)
              where task_id = $1 and lease = $2 and state = 'leased' and ($3 or attempts < attempts_max)
             returning task_id)
         select pg_notify($5, '') from t",
        token.task_id,
        token.lease,
        is_untried,
        detail,
        channel,
    )
    .fetch_all(pool)
    .await?;
    Ok(!given_back.is_empty())
}

/// Prolongs a lease that has not run out, by its own length. Progress is kept at most once a second.
pub(in crate::saga) async fn beat(
    pool: &PgPool,
    token: Token,
    progress: Option<&str>,
) -> sqlx::Result<Option<Beat>> {
    sqlx::query_as!(
        Beat,
        r#"update task k
            set leased_until = now() + k.lease_ms * interval '1 millisecond',
                progress = case when $3::text is not null
                                 and coalesce(k.progress_at <= now() - interval '1 second', true)
                                then $3::text::json else k.progress end,
                progress_at = case when $3::text is not null
                                    and coalesce(k.progress_at <= now() - interval '1 second', true)
                                   then now() else k.progress_at end
           from saga s
          where k.task_id = $1 and k.lease = $2 and k.state = 'leased' and k.leased_until > now()
            and s.bucket = k.bucket and s.saga_id = k.saga_id
          returning k.leased_until as "leased_until: Timestamp",
                    (s.cancel_requested or s.closed_status is not null) as "cancel_requested!""#,
        token.task_id,
        token.lease,
        progress,
    )
    .fetch_optional(pool)
    .await
}

/// Why what a worker told of a task is not written. `wish` is the state that it wanted.
pub(in crate::saga) async fn standing(
    pool: &PgPool,
    token: Token,
    wish: &str,
) -> sqlx::Result<Told> {
    let row = sqlx::query!(
        r#"select k.state, k.lease, k.code, s.closed_status is not null as "is_closed!"
             from task k join saga s on s.bucket = k.bucket and s.saga_id = k.saga_id
            where k.task_id = $1"#,
        token.task_id,
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(Told::Unknown) };
    let is_own = row.lease == Some(token.lease);
    let is_given_up = row.code.as_deref() == Some(GIVEN_UP);
    Ok(match row.state.as_str() {
        state if is_own && state == wish && !is_given_up => Told::Repeated,
        "withdrawn" => Told::Withdrawn,
        "leased" if is_own && row.is_closed => Told::Withdrawn,
        "ready" | "leased" => Told::Lost,
        _ if is_given_up => Told::Lost,
        _ => Told::Ended,
    })
}
