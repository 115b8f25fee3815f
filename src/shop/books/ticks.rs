//! The statements about the ticks of schedules. What is decided about a tick is decided with its row locked; what
//! became of it is noted for that tick only, so that of several who place one order one notes it.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as Stored, ToSqlx};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::shop::schedule::look::Outlook;

/// The database's time.
pub(in crate::shop) async fn clock(pool: &PgPool) -> sqlx::Result<Timestamp> {
    let now = sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(pool).await?;
    Ok(now.to_jiff())
}

/// The database's time, and when a schedule has to be looked at next. This is all that schedules cost at rest.
pub(in crate::shop) async fn outlook(
    pool: &PgPool,
) -> sqlx::Result<(Timestamp, Option<Timestamp>)> {
    let row = sqlx::query!(
        r#"select now() as "now!",
                  (select min(wake_at) from schedule where wake_at is not null) as wake_at"#
    )
    .fetch_one(pool)
    .await?;
    Ok((row.now.to_jiff(), row.wake_at.map(|it| it.to_jiff())))
}

/// A schedule that has to be looked at.
#[derive(Debug)]
pub(in crate::shop) struct DueRow {
    pub schedule_id: Uuid,
    pub name: String,
    pub cron: Option<String>,
    pub every_s: Option<i32>,
    pub time_zone: String,
    pub overlap: String,
    pub catch_up_s: i32,
    pub new_order: String,
    pub anchor_at: Stored,
    pub next_at: Option<Stored>,
    pub pending_at: Option<Stored>,
    pub pending_until: Option<Stored>,
    pub pending_order: Option<String>,
    pub pending_attempts: i32,
    pub last_order_id: Option<Uuid>,
    pub is_open: bool,
}

/// Locks the schedules that have to be looked at by now, but those that somebody else is looking at.
pub(in crate::shop) async fn lock_due(
    connection: &mut PgConnection,
    now: Timestamp,
    limit: i64,
) -> sqlx::Result<Vec<DueRow>> {
    sqlx::query_as!(
        DueRow,
        r#"select s.schedule_id, s.name, s.cron, s.every_s, s.time_zone, s.overlap, s.catch_up_s,
                  s.new_order::text as "new_order!", s.anchor_at, s.next_at, s.pending_at,
                  s.pending_until, s.pending_order::text, s.pending_attempts, s.last_order_id,
                  exists (select from saga g
                           where g.bucket = get_byte(uuid_send(s.last_order_id), 15)
                             and g.saga_id = s.last_order_id and g.closed_status is null)
                    as "is_open!"
             from schedule s where s.wake_at <= $1
            order by s.wake_at, s.name limit $2
              for update of s skip locked"#,
        now.to_sqlx() as _,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Writes what follows from a look. A tick that has its turn gets the order that is to be placed.
pub(in crate::shop) async fn note(
    connection: &mut PgConnection,
    schedule_id: Uuid,
    it: &Outlook,
) -> sqlx::Result<()> {
    let pending = it.pending.map(|it| it.tick.to_sqlx());
    let until = it.pending.and_then(|it| it.until).map(|it| it.to_sqlx());
    let (over, outcome) = it.over.unzip();
    sqlx::query!(
        "update schedule
            set next_at = $2, wake_at = $3, pending_at = $4, pending_until = $5,
                pending_order = case when $5::timestamptz is not null
                                     then coalesce(pending_order, new_order) end,
                missed = missed + $6, skipped = skipped + $7,
                last_tick_at = coalesce($8, last_tick_at), last_outcome = coalesce($9, last_outcome)
          where schedule_id = $1",
        schedule_id,
        it.next.map(|it| it.to_sqlx()) as _,
        it.wake.map(|it| it.to_sqlx()) as _,
        pending as _,
        until as _,
        i64::try_from(it.missed).unwrap_or(i64::MAX),
        i64::try_from(it.skipped).unwrap_or(i64::MAX),
        over.map(|it| it.to_sqlx()) as _,
        outcome.map(|it| it.as_str()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts a schedule aside for a while that cannot be looked at.
pub(in crate::shop) async fn put_off(
    connection: &mut PgConnection,
    schedule_id: Uuid,
    until: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update schedule set wake_at = $2 where schedule_id = $1",
        schedule_id,
        until.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that a tick has its order. False when somebody else has noted what became of it, or the schedule is gone.
pub(in crate::shop) async fn placed(
    pool: &PgPool,
    schedule_id: Uuid,
    tick: Timestamp,
    order_id: Uuid,
) -> sqlx::Result<bool> {
    let noted = sqlx::query!(
        "update schedule
            set pending_at = null, pending_until = null, pending_order = null, pending_attempts = 0,
                wake_at = next_at, placed = placed + 1, last_tick_at = pending_at,
                last_outcome = 'placed', last_order_id = $3
          where schedule_id = $1 and pending_at = $2",
        schedule_id,
        tick.to_sqlx() as _,
        order_id,
    )
    .execute(pool)
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// Notes that the order of a tick was refused, and when it is tried again, if it is. False as above.
pub(in crate::shop) async fn refused(
    pool: &PgPool,
    schedule_id: Uuid,
    tick: Timestamp,
    code: &str,
    detail: &str,
    retry_at: Option<Timestamp>,
) -> sqlx::Result<bool> {
    let noted = sqlx::query!(
        "update schedule
            set last_error_at = pending_at, last_error_code = $3, last_error_detail = $4,
                wake_at = coalesce($5, wake_at), pending_attempts = pending_attempts + 1
          where schedule_id = $1 and pending_at = $2",
        schedule_id,
        tick.to_sqlx() as _,
        code,
        detail,
        retry_at.map(|it| it.to_sqlx()) as _,
    )
    .execute(pool)
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// Notes that a tick ends without an order: `refused` if its order was, else `missed`, for whoever took it up was
/// killed. What it came to; `None` as above.
pub(in crate::shop) async fn ended(
    pool: &PgPool,
    schedule_id: Uuid,
    tick: Timestamp,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        r#"update schedule
              set pending_at = null, pending_until = null, pending_order = null, pending_attempts = 0,
                  wake_at = next_at, last_tick_at = pending_at,
                  refused = refused + case when last_error_at = pending_at then 1 else 0 end,
                  missed = missed + case when last_error_at = pending_at then 0 else 1 end,
                  last_outcome = case when last_error_at = pending_at then 'refused' else 'missed' end
            where schedule_id = $1 and pending_at = $2
           returning last_outcome as "outcome!""#,
        schedule_id,
        tick.to_sqlx() as _,
    )
    .fetch_optional(pool)
    .await
}
