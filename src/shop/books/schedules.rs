//! The statements about schedules, as their owners see them.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as Stored, ToSqlx};
use sqlx::PgPool;
use uuid::Uuid;

/// Schedules at most. Their list stays one answer, and whoever makes one by mistake in a loop is stopped.
const SCHEDULES_MAX: i64 = 1_000;

/// A schedule as it stands.
#[derive(Debug, Clone)]
pub(in crate::shop) struct ScheduleRow {
    pub name: String,
    pub schedule_id: Uuid,
    pub cron: Option<String>,
    pub every_s: Option<i32>,
    pub time_zone: String,
    pub overlap: String,
    pub catch_up_s: i32,
    pub new_order: String,
    pub anchor_at: Stored,
    pub next_at: Option<Stored>,
    pub paused: bool,
    pub switched_at: Option<Stored>,
    pub switched_by: Option<String>,
    pub switched_reason: Option<String>,
    pub pending_at: Option<Stored>,
    pub pending_until: Option<Stored>,
    pub last_tick_at: Option<Stored>,
    pub last_outcome: Option<String>,
    pub last_order_id: Option<Uuid>,
    pub last_error_at: Option<Stored>,
    pub last_error_code: Option<String>,
    pub last_error_detail: Option<String>,
    pub placed: i64,
    pub refused: i64,
    pub skipped: i64,
    pub missed: i64,
    pub created_at: Stored,
    pub updated_at: Stored,
}

/// The schedule of this name, or all of them by name.
pub(in crate::shop) async fn read(
    pool: &PgPool,
    name: Option<&str>,
) -> sqlx::Result<Vec<ScheduleRow>> {
    sqlx::query_as!(
        ScheduleRow,
        r#"select name, schedule_id, cron, every_s, time_zone, overlap, catch_up_s,
                  new_order::text as "new_order!", anchor_at, next_at, paused, switched_at, switched_by,
                  switched_reason, pending_at, pending_until, last_tick_at, last_outcome, last_order_id,
                  last_error_at, last_error_code, last_error_detail, placed, refused, skipped, missed,
                  created_at, updated_at
             from schedule where $1::text is null or name = $1 order by name limit $2"#,
        name,
        SCHEDULES_MAX,
    )
    .fetch_all(pool)
    .await
}

/// A schedule as it is to be.
#[derive(Debug)]
pub(in crate::shop) struct Put<'a> {
    pub name: &'a str,
    /// For one that is new.
    pub schedule_id: Uuid,
    pub cron: Option<&'a str>,
    pub every_s: Option<i32>,
    pub time_zone: &'a str,
    pub overlap: &'a str,
    pub catch_up_s: i32,
    pub new_order: &'a str,
    pub anchor_at: Timestamp,
    pub next_at: Timestamp,
}

/// Creates a schedule, or replaces what it says: true when it is new, `None` when there are too many (of several that
/// are made at once some may still slip in). Where the rhythm stays the same its ticks stay, too; a tick that was taken
/// up goes on with the order that it was taken up with.
pub(in crate::shop) async fn put(pool: &PgPool, it: &Put<'_>) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar!(
        r#"insert into schedule as s (name, schedule_id, cron, every_s, time_zone, overlap, catch_up_s,
                                      new_order, anchor_at, next_at, wake_at)
           select $1, $2, $3, $4, $5, $6, $7, $8::text::json, $9, $10, $10
            where exists (select from schedule where name = $1)
               or (select count(*) from schedule) < $11
           on conflict (name) do update
              set cron = excluded.cron, every_s = excluded.every_s, time_zone = excluded.time_zone,
                  overlap = excluded.overlap, catch_up_s = excluded.catch_up_s,
                  new_order = excluded.new_order, updated_at = now(),
                  anchor_at = case when (s.cron, s.every_s, s.time_zone) is not distinct from
                                        (excluded.cron, excluded.every_s, excluded.time_zone)
                                   then s.anchor_at else excluded.anchor_at end,
                  next_at = case when s.paused then null
                                 when (s.cron, s.every_s, s.time_zone) is not distinct from
                                      (excluded.cron, excluded.every_s, excluded.time_zone)
                                 then s.next_at else excluded.next_at end,
                  wake_at = case when s.pending_at is not null then s.wake_at
                                 when s.paused then null
                                 when (s.cron, s.every_s, s.time_zone) is not distinct from
                                      (excluded.cron, excluded.every_s, excluded.time_zone)
                                 then s.wake_at else excluded.wake_at end
           returning s.schedule_id = $2 as "created!""#,
        it.name,
        it.schedule_id,
        it.cron,
        it.every_s,
        it.time_zone,
        it.overlap,
        it.catch_up_s,
        it.new_order,
        it.anchor_at.to_sqlx() as _,
        it.next_at.to_sqlx() as _,
        SCHEDULES_MAX,
    )
    .fetch_optional(pool)
    .await
}

/// Deletes a schedule. Its orders stay.
pub(in crate::shop) async fn delete(pool: &PgPool, name: &str) -> sqlx::Result<bool> {
    let deleted = sqlx::query!("delete from schedule where name = $1", name).execute(pool).await?;
    Ok(deleted.rows_affected() == 1)
}

/// Pauses a schedule that is not paused. A tick that is buffered is skipped; one that is being placed is not called
/// back.
pub(in crate::shop) async fn pause(
    pool: &PgPool,
    name: &str,
    by: Option<&str>,
    reason: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update schedule
            set paused = true, switched_at = now(), switched_by = $2, switched_reason = $3,
                updated_at = now(), next_at = null,
                wake_at = case when pending_until is not null then wake_at end,
                skipped = skipped + case when pending_at is not null and pending_until is null
                                         then 1 else 0 end,
                last_tick_at = case when pending_at is not null and pending_until is null
                                    then pending_at else last_tick_at end,
                last_outcome = case when pending_at is not null and pending_until is null
                                    then 'skipped' else last_outcome end,
                pending_at = case when pending_until is not null then pending_at end
          where name = $1 and not paused",
        name,
        by,
        reason,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Lets a paused schedule go on with this tick, unless it was changed since it was read. True if it goes on.
pub(in crate::shop) async fn resume(
    pool: &PgPool,
    row: &ScheduleRow,
    by: Option<&str>,
    reason: Option<&str>,
    next_at: Timestamp,
) -> sqlx::Result<bool> {
    let resumed = sqlx::query!(
        "update schedule
            set paused = false, switched_at = now(), switched_by = $3, switched_reason = $4,
                updated_at = now(), next_at = $5,
                wake_at = case when pending_at is not null then wake_at else $5 end
          where schedule_id = $1 and updated_at = $2 and paused",
        row.schedule_id,
        row.updated_at as _,
        by,
        reason,
        next_at.to_sqlx() as _,
    )
    .execute(pool)
    .await?;
    Ok(resumed.rows_affected() == 1)
}
