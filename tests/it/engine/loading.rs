//! How sagas come into memory, and what must not happen to them on the way.

use uuid::Uuid;

use super::rig::Rig;
use crate::world::until;

/// A kind that this binary knows, of a line that no journal begins with.
const BROKEN: &str = "closed";

/// The first line of a journal that nobody has in memory, of this kind.
async fn plant_line(rig: &Rig, kind: &str) -> Uuid {
    let saga_id = Uuid::now_v7();
    sqlx::query(
        "insert into journal (bucket, saga_id, seq, epoch, kind, data)
         values ($1, $2, 1, 0, $3, '{\"moods\":{},\"effects\":{}}')",
    )
    .bind(bucket_of(saga_id))
    .bind(saga_id)
    .bind(kind)
    .execute(rig.pool())
    .await
    .unwrap();
    saga_id
}

/// The row that belongs to the line; due when it is suspended.
async fn plant_row(rig: &Rig, saga_id: Uuid, is_suspended: bool) {
    sqlx::query(
        "insert into saga (bucket, saga_id, definition, definition_version, label, seq, version, cursor,
                           wake_at)
         values ($1, $2, 'plain', 1, 'NEW', 1, 1, 0, case when $3 then now() end)",
    )
    .bind(bucket_of(saga_id))
    .bind(saga_id)
    .bind(is_suspended)
    .execute(rig.pool())
    .await
    .unwrap();
}

fn bucket_of(saga_id: Uuid) -> i16 {
    i16::from(saga_id.as_bytes()[15])
}

/// What a replica that cannot read a saga leaves of its row, when it loses the bucket while it reads.
async fn lost_while_it_is_read(kind: &str) -> (Option<String>, bool) {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = plant_line(&rig, kind).await;
    // Taking a saga out of its suspension does not need this table, and reading its journal does.
    let mut lock = rig.pool().begin().await.unwrap();
    sqlx::raw_sql("lock table journal in access exclusive mode").execute(&mut *lock).await.unwrap();
    plant_row(&rig, saga_id, true).await;
    let waits = "select count(*) from pg_stat_activity
                  where datname = current_database() and wait_event_type = 'Lock'";
    until("the journal is read", async || (rig.number(waits).await > 0).then_some(())).await;
    let sql = "with other as (
                   insert into replica (boot_id, name, version, leased_until)
                   values (gen_random_uuid(), 'other', '1', now() + interval '1 hour')
                   returning boot_id)
               update bucket set owner = other.boot_id, epoch = epoch + 1 from other where bucket = $1";
    sqlx::query(sql).bind(bucket_of(saga_id)).execute(rig.pool()).await.unwrap();
    lock.rollback().await.unwrap();
    // The look that this read belongs to is over when the next one tells whose the bucket is.
    let bucket = bucket_of(saga_id);
    until("it knows", async || (!engine.buckets().contains(&bucket)).then_some(())).await;
    sqlx::query_as("select attention, wake_at is not null from saga")
        .fetch_one(rig.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_replica_sets_no_saga_aside_that_it_lost_while_it_read_it() {
    assert_eq!(lost_while_it_is_read(BROKEN).await, (None, false));
}

#[tokio::test]
async fn a_replica_puts_no_saga_back_that_it_lost_while_it_read_it() {
    assert_eq!(lost_while_it_is_read("of_a_newer_release").await, (None, false));
}

#[tokio::test]
async fn a_saga_that_cannot_be_read_is_shown_and_looked_at_again_later() {
    let rig = Rig::new().await;
    let _engine = rig.engine().await;
    let saga_id = plant_line(&rig, BROKEN).await;
    plant_row(&rig, saga_id, true).await;
    let aside = "select count(*) from saga where attention = 'journal_unreadable' and version = 2
                    and wake_at > now() + interval '1 minute'";
    until("it is set aside", async || (rig.number(aside).await == 1).then_some(())).await;
}

#[tokio::test]
async fn a_saga_that_runs_by_its_row_and_is_woken_counts_the_attempt_that_may_have_been_under_way()
{
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = plant_line(&rig, "started").await;
    plant_row(&rig, saga_id, false).await;
    // Found through its inbox, long before the sweep.
    sqlx::query(
        "insert into inbox (bucket, inbox_id, saga_id, kind, data)
         select bucket, gen_random_uuid(), saga_id, 'retry', '{\"by\":\"ada\"}'
           from saga where saga_id = $1",
    )
    .bind(saga_id)
    .execute(rig.pool())
    .await
    .unwrap();
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    let expected = [
        "started",
        "taken_up",
        "retry_requested",
        "step_done a 2",
        "step_done b 1",
        "step_done c 1",
        "closed",
    ];
    assert_eq!(rig.journal(saga_id).await, expected);
    let attempts: Vec<u32> = rig.world.calls(saga_id).iter().map(|it| it.attempt).collect();
    assert_eq!(attempts, [2, 1, 1]);
    engine.stop(std::time::Duration::from_secs(10)).await;
}
