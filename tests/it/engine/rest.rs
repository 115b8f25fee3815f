//! What rests costs a row and nothing else: suspended sagas, and what updates cost.

use std::time::Duration;

use futures::future::join_all;
use sqlx::AssertSqlSafe;

use super::{
    rig::{FAR_APART, QUICK, Rig, settings},
    toys::{Mood, Toy},
};
use crate::world::until;

fn doubted() -> Toy {
    Toy::default().with("b", Mood::Doubt { times: 1, happens: true })
}

#[tokio::test]
async fn sagas_that_wait_long_are_rows_and_no_tasks_and_wake_when_they_are_due() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), FAR_APART).await;
    join_all((0..200).map(|_| rig.start(&engine, "plain", doubted()))).await;
    until("nothing is in memory", async || (engine.live() == 0).then_some(())).await;
    let suspended = "select count(*) from saga where closed_status is null and attention is null
                        and wake_at between now() + interval '1 second' and now() + interval '60 seconds'";
    assert_eq!(rig.number(suspended).await, 200);
    rig.execute("update saga set wake_at = now() - interval '1 second'").await;
    rig.all_end().await;
    assert_eq!(rig.number("select count(*) from journal where kind = 'taken_up'").await, 0);
    rig.audit().await;
}

#[tokio::test]
async fn what_is_due_soon_is_in_memory_in_time_and_not_early() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), FAR_APART).await;
    let saga_id = rig.start(&engine, "plain", doubted()).await;
    until("nothing is in memory", async || (engine.live() == 0).then_some(())).await;
    let due: f64 = sqlx::query_scalar(
        "update saga set wake_at = clock_timestamp() + interval '900 milliseconds'
         returning extract(epoch from wake_at)::float8",
    )
    .fetch_one(rig.pool())
    .await
    .unwrap();
    until("it is in memory", async || (engine.live() == 1).then_some(())).await;
    assert_eq!(rig.world.count(saga_id, "b"), 1, "not early");
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    let done: f64 = sqlx::query_scalar(
        "select extract(epoch from at)::float8 from journal where kind = 'step_done' and step = 'b'",
    )
    .fetch_one(rig.pool())
    .await
    .unwrap();
    assert!(done >= due - 0.1, "{} s early", due - done);
}

#[tokio::test]
async fn a_suspended_saga_of_a_dead_replica_keeps_its_time() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), FAR_APART).await;
    let saga_id = rig.start(&engine, "plain", doubted()).await;
    until("nothing is in memory", async || (engine.live() == 0).then_some(())).await;
    engine.stop(Duration::from_secs(5)).await;
    rig.execute("update bucket set owner = gen_random_uuid(), epoch = epoch + 1").await;
    let engine = rig.engine_with(settings("second"), FAR_APART).await;
    rig.run(&engine, "plain", Toy::default()).await;
    let waiting = "select count(*) from saga where wake_at is not null";
    assert_eq!(rig.number(waiting).await, 1, "nothing ran, so nothing was taken up");
    rig.execute("update saga set wake_at = now() where wake_at is not null").await;
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    assert_eq!(rig.number("select count(*) from journal where kind = 'taken_up'").await, 0);
}

#[tokio::test]
async fn the_updates_of_a_running_saga_are_hot() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    // So few that all their versions fit into one page, whatever keeps it from being pruned meanwhile.
    const SAGAS: i64 = 12;
    join_all((0..SAGAS).map(|_| rig.start(&engine, "plain", doubted()))).await;
    rig.all_end().await;
    // The writers' backends tell their counts when they end.
    engine.stop(Duration::from_secs(5)).await;
    let sql = "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'saga'";
    let (all, hot) = until("the counts are there", async || {
        let counts: (i64, i64) = sqlx::query_as(sql).fetch_one(rig.pool()).await.unwrap();
        // Done a, failed b, done b, done c and the end in one.
        (counts.0 >= 4 * SAGAS).then_some(counts)
    })
    .await;
    // The end leaves one partial index and enters another.
    assert_eq!((all, hot), (4 * SAGAS, 3 * SAGAS));
}

#[tokio::test]
async fn an_idle_look_reads_indexes_only() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), FAR_APART).await;
    join_all((0..50).map(|_| rig.start(&engine, "plain", doubted()))).await;
    join_all((0..50).map(|_| rig.run(&engine, "plain", Toy::default()))).await;
    engine.stop(Duration::from_secs(5)).await;
    rig.execute("analyze saga").await;
    let plan: Vec<String> = {
        let mut connection = rig.pool().acquire().await.unwrap();
        sqlx::query("set enable_seqscan = off").execute(&mut *connection).await.unwrap();
        let sql =
            "explain select s.wake_at from saga s where s.bucket = 3 and s.closed_status is null
                      and s.wake_at <= now() order by s.wake_at limit 1";
        let plan = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        sqlx::query("reset enable_seqscan").execute(&mut *connection).await.unwrap();
        plan
    };
    let plan = plan.join("\n");
    assert!(plan.contains("saga_due") && !plan.contains("Sort"), "{plan}");
}

#[tokio::test]
async fn another_replicas_cancellation_is_found_without_a_hint() {
    let rig = Rig::new().await;
    let owner = rig.engine_with(settings("owner"), QUICK).await;
    let saga_id = rig.start(&owner, "plain", Toy::default().with("b", Mood::Gate)).await;
    until("b runs", async || (rig.world.count(saga_id, "b") > 0).then_some(())).await;
    // Two statements of anybody's, no NOTIFY: as when the listener is not there.
    let listeners = "select pg_terminate_backend(pid) from pg_stat_activity
                      where datname = current_database() and query ilike '%listen%crema_inbox%'
                        and pid <> pg_backend_pid()";
    until("somebody listens", async || (rig.execute(listeners).await > 0).then_some(())).await;
    sqlx::query(
        "with accepted as (
             update saga set cancel_requested = true, version = version + 1
              where saga_id = $1 returning bucket, saga_id)
         insert into inbox (bucket, inbox_id, saga_id, kind, data)
         select bucket, gen_random_uuid(), saga_id, 'cancel', '{\"by\":\"ada\"}' from accepted",
    )
    .bind(saga_id)
    .execute(rig.pool())
    .await
    .unwrap();
    assert_eq!(rig.end(saga_id).await, "CANCELLED");
    rig.audit().await;
}

#[tokio::test]
async fn a_hint_from_another_replica_is_heard() {
    let rig = Rig::new().await;
    let mut rare = settings("owner");
    rare.lease.tick = Duration::from_secs(600);
    let owner = rig.engine_with(rare, QUICK).await;
    let mut idle = settings("other");
    idle.lease.tick = Duration::from_secs(600);
    let other = rig.joining(idle, QUICK).await;
    let listening = "select count(*) from pg_stat_activity
                      where datname = current_database() and query ilike '%listen%crema_inbox%'
                        and pid <> pg_backend_pid()";
    until("both listen", async || (rig.number(listening).await == 2).then_some(())).await;
    let saga_id = rig.start(&owner, "plain", Toy::default().with("b", Mood::Gate)).await;
    until("b runs", async || (rig.world.count(saga_id, "b") > 0).then_some(())).await;
    rig.cancel(&other, saga_id).await;
    rig.world.open(1);
    assert_eq!(rig.end(saga_id).await, "CANCELLED");
}
