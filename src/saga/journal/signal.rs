//! Signals, pauses and resumptions: requests that any open saga takes, wherever it stands.

use sqlx::PgPool;
use uuid::Uuid;

use super::bucket_of;

/// Signals that one saga takes in all. Each stays in its journal and, while the saga runs, in memory.
pub const SIGNALS_MAX: i64 = 1_000;

/// What became of a request that any open saga takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Durable, and journaled by the owner within its next look.
    Accepted,
    /// It was made before, with this key.
    Repeated,
    /// The saga has received too many.
    TooMany,
    /// It does not wait there any more, or not for long.
    NotWaiting,
    /// Its version is another one by now.
    Changed,
    /// The saga is closed.
    Closed,
    /// There is no such saga.
    Unknown,
}

/// What must be so for a signal to be taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Only {
    /// The saga is suspended at this place of its list, for some seconds more at least: nobody calls the step
    /// before the signal is seen.
    pub while_waiting_at: Option<i16>,
    /// The saga's version is this.
    pub if_version: Option<i64>,
}

/// Leaves a signal for an open saga, whether or not anything waits for it: one guarded update with its inbox
/// row, in one autocommit statement. `key` tells repetitions of one signal apart from others.
pub(in crate::saga) async fn signal(
    pool: &PgPool,
    saga_id: Uuid,
    (name, key): (&str, Option<&str>),
    data: &str,
    only: Only,
) -> sqlx::Result<Asked> {
    let bucket = i16::from(bucket_of(saga_id));
    let in_inbox = key.map(|it| format!("signal/{name}/{it}"));
    let accepted = sqlx::query!(
        "with accepted as (
             update saga s set version = s.version + 1, updated_at = now()
              where s.bucket = $1 and s.saga_id = $2 and s.closed_status is null
                and ($9::bigint is null or s.version = $9)
                and ($10::smallint is null
                     or s.cursor = $10 and s.wake_at > now() + interval '3 seconds')
                and not exists (select from inbox i
                                 where i.bucket = $1 and i.saga_id = $2 and i.key = $6)
                and (select count(*) filter (where j.data->>'name' = $4 and j.data->>'key' = $5) = 0
                            and count(*) < $8
                       from journal j
                      where j.bucket = $1 and j.saga_id = $2 and j.kind = 'signal_received')
             returning s.bucket, s.saga_id)
         insert into inbox (bucket, inbox_id, saga_id, kind, data, key)
         select bucket, $3, saga_id, 'signal', $7::text::json, $6 from accepted
         on conflict do nothing",
        bucket,
        saga_id,
        Uuid::now_v7(),
        name,
        key,
        in_inbox,
        data,
        SIGNALS_MAX,
        only.if_version,
        only.while_waiting_at,
    )
    .execute(pool)
    .await?;
    if accepted.rows_affected() == 1 {
        return Ok(Asked::Accepted);
    }
    why_not(pool, saga_id, (name, key), only).await
}

/// Why a signal was not taken.
async fn why_not(
    pool: &PgPool,
    saga_id: Uuid,
    (name, key): (&str, Option<&str>),
    only: Only,
) -> sqlx::Result<Asked> {
    let bucket = i16::from(bucket_of(saga_id));
    let row = sqlx::query!(
        r#"select s.closed_status is not null as "is_closed!",
                  ($5::bigint is null or s.version = $5) as "is_same!",
                  ($6::smallint is null
                   or s.cursor = $6 and s.wake_at > now() + interval '3 seconds') is true
                    as "is_there!",
                  (select count(*) from journal j
                    where j.bucket = $1 and j.saga_id = $2 and j.kind = 'signal_received')
                    as "signals!",
                  exists (select from journal j
                           where j.bucket = $1 and j.saga_id = $2 and j.kind = 'signal_received'
                             and j.data->>'name' = $3 and j.data->>'key' = $4) as "is_journaled!"
             from saga s where s.bucket = $1 and s.saga_id = $2"#,
        bucket,
        saga_id,
        name,
        key,
        only.if_version,
        only.while_waiting_at,
    )
    .fetch_optional(pool)
    .await?;
    Ok(match row {
        None => Asked::Unknown,
        Some(row) if row.is_journaled => Asked::Repeated,
        Some(row) if row.is_closed => Asked::Closed,
        Some(row) if !row.is_same => Asked::Changed,
        Some(row) if !row.is_there => Asked::NotWaiting,
        Some(row) if row.signals >= SIGNALS_MAX => Asked::TooMany,
        Some(_) => Asked::Repeated,
    })
}

/// Leaves a request (`pause`, `resume`, `settle`) for an open saga; `if_parked`: for one that needs a person.
pub(in crate::saga) async fn ask(
    pool: &PgPool,
    saga_id: Uuid,
    kind: &str,
    data: &str,
    if_parked: bool,
) -> sqlx::Result<Asked> {
    let bucket = i16::from(bucket_of(saga_id));
    let accepted = sqlx::query!(
        "with accepted as (
             update saga set version = version + 1, updated_at = now()
              where bucket = $1 and saga_id = $2 and closed_status is null
                and (not $6 or attention is not null)
             returning bucket, saga_id)
         insert into inbox (bucket, inbox_id, saga_id, kind, data)
         select bucket, $3, saga_id, $4, $5::text::json from accepted",
        bucket,
        saga_id,
        Uuid::now_v7(),
        kind,
        data,
        if_parked,
    )
    .execute(pool)
    .await?;
    if accepted.rows_affected() == 1 {
        return Ok(Asked::Accepted);
    }
    let is_closed = sqlx::query_scalar!(
        r#"select closed_status is not null as "is_closed!" from saga
            where bucket = $1 and saga_id = $2"#,
        bucket,
        saga_id,
    )
    .fetch_optional(pool)
    .await?;
    Ok(match is_closed {
        None => Asked::Unknown,
        Some(true) => Asked::Closed,
        Some(false) => Asked::NotWaiting,
    })
}
