//! The statements of tasks: making and withdrawing them, within the commits of their sagas.

pub mod claim;
pub mod look;
pub mod settle;

use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::bucket_of;

/// The signal that tells a saga of the end of one of its tasks; its key is the task's id.
pub const TASK: &str = "task";
/// The signal that tells a saga that a worker has begun; its key is the step's name.
pub const TASK_CLAIMED: &str = "task_claimed";
/// The code of a task whose workers fell silent as often as it may be tried.
pub const GIVEN_UP: &str = "given_up";

/// A task that a step leaves for workers.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Which of the step's tasks it is: the same number is the same task, however often it is made.
    pub number: usize,
    /// Where it is asked for.
    pub queue: String,
    /// What the worker is told, as JSON.
    pub payload: Value,
    /// 1 to 9, low first. Waiting a minute is worth a level.
    pub priority: i16,
    /// Claims that may end in silence before it is given up.
    pub attempts_max: i32,
}

/// The id of a step's task, which follows from what it is: made twice it is one, and the step knows whose end it
/// is told. It is no secret; the lease is.
pub fn task_id(saga_id: Uuid, step: &str, number: usize) -> Uuid {
    let mut digest = Sha256::new();
    digest.update(saga_id.as_bytes());
    digest.update(step.as_bytes());
    digest.update(number.to_be_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.finalize()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// Makes the tasks of steps that are about to wait, inside the transaction that journals that they do. A task that
/// is there already stays as it is.
pub async fn create_tasks(
    connection: &mut PgConnection,
    tasks: &[(Uuid, &str, &NewTask)],
) -> sqlx::Result<()> {
    let mut tasks: Vec<_> = tasks
        .iter()
        .map(|(saga, step, it)| (task_id(*saga, step, it.number), *saga, *step, *it))
        .collect();
    tasks.sort_unstable_by_key(|it| it.0);
    let ids: Vec<Uuid> = tasks.iter().map(|it| it.0).collect();
    let sagas: Vec<Uuid> = tasks.iter().map(|it| it.1).collect();
    let buckets: Vec<i16> = sagas.iter().map(|it| i16::from(bucket_of(*it))).collect();
    let steps: Vec<&str> = tasks.iter().map(|it| it.2).collect();
    let queues: Vec<&str> = tasks.iter().map(|it| it.3.queue.as_str()).collect();
    let payloads: Vec<String> = tasks.iter().map(|it| it.3.payload.to_string()).collect();
    let priorities: Vec<i16> = tasks.iter().map(|it| it.3.priority).collect();
    let attempts: Vec<i32> = tasks.iter().map(|it| it.3.attempts_max).collect();
    sqlx::query!(
        "with made as (
             insert into task (task_id, queue, bucket, saga_id, step, payload, priority, rank_at, attempts_max)
             select x.task_id, x.queue, x.bucket, x.saga_id, x.step, x.payload::json, x.priority,
                    now() + x.priority * interval '1 minute', x.attempts_max
               from (select unnest($1::uuid[]) as task_id, unnest($2::text[]) as queue,
                            unnest($3::smallint[]) as bucket, unnest($4::uuid[]) as saga_id,
                            unnest($5::text[]) as step, unnest($6::text[]) as payload,
                            unnest($7::smallint[]) as priority, unnest($8::integer[]) as attempts_max) x
             on conflict (task_id) do nothing
             returning task_id)
         select pg_notify($9, '') from made limit 1",
        &ids,
        &queues as &[&str],
        &buckets,
        &sagas,
        &steps as &[&str],
        &payloads,
        &priorities,
        &attempts,
        CHANNEL,
    )
    .fetch_all(connection)
    .await?;
    Ok(())
}

/// The channel on which replicas hint to each other that there may be work to hand out.
pub(in crate::saga) const CHANNEL: &str = "crema_tasks";

/// Withdraws the tasks of sagas that go back, inside the transaction that journals it: who has one hears of it, and
/// whatever is told of it afterwards changes nothing. What was made already is noted down as made in vain.
pub async fn withdraw_tasks(connection: &mut PgConnection, sagas: &[Uuid]) -> sqlx::Result<()> {
    let buckets: Vec<i16> = sagas.iter().map(|it| i16::from(bucket_of(*it))).collect();
    sqlx::query!(
        "with w as materialized (
             select k.task_id
               from (select unnest($1::smallint[]) as bucket, unnest($2::uuid[]) as saga_id) x
               join task k on k.bucket = x.bucket and k.saga_id = x.saga_id
              where k.state in ('ready', 'leased', 'done')
              order by k.task_id for update of k)
         update task k
            set state = case when k.state = 'done' then 'done' else 'withdrawn' end,
                wasted = k.state = 'done', leased_until = null, ended_at = coalesce(k.ended_at, now())
           from w where k.task_id = w.task_id",
        &buckets,
        sagas,
    )
    .execute(connection)
    .await?;
    Ok(())
}
