//! Sagas that seem to kill whoever drives them.

use std::time::Duration;

use uuid::Uuid;

use super::{
    replicas::gated,
    rig::{FAR_APART, QUICK, Rig, settings},
    toys::{Mood, Toy},
};
use crate::world::until;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_saga_that_seems_to_kill_its_replicas_runs_alone_and_is_set_aside_in_the_end() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let mut sagas = Vec::new();
    for _ in 0..3 {
        sagas.push(rig.start(&engine, "plain", gated()).await);
    }
    for saga_id in &sagas {
        until("b runs", async || (rig.world.count(*saga_id, "b") > 0).then_some(())).await;
    }
    engine.stop(Duration::ZERO).await;
    // Two takeovers in a row, and nothing since.
    for saga_id in &sagas {
        plant_takeovers(&rig, *saga_id, 2).await;
    }
    rig.execute("update bucket set owner = gen_random_uuid(), epoch = epoch + 1").await;
    let second = rig.engine_with(settings("second"), QUICK).await;
    let taken_up =
        "select count(*) from journal where kind = 'taken_up' and data->>'replica' = 'second'";
    until("one is taken up", async || (rig.number(taken_up).await == 1).then_some(())).await;
    let (_, other) = rig.run(&second, "plain", Toy::default()).await;
    assert_eq!(other, "COMPLETED");
    assert_eq!(rig.number(taken_up).await, 1, "the others wait until it has got somewhere");
    rig.world.open(3);
    rig.all_end().await;
    assert_eq!(rig.number(taken_up).await, 3);
    second.stop(PATIENCE).await;
    rig.audit().await;
}

#[tokio::test]
async fn a_crash_loop_is_parked_until_an_operator_asks_again() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), FAR_APART).await;
    let toy = Toy::default().with("b", Mood::Doubt { times: 1, happens: true });
    let saga_id = rig.start(&engine, "plain", toy).await;
    rig.line(saga_id, "attempt_failed b 1").await;
    engine.stop(PATIENCE).await;
    plant_takeovers(&rig, saga_id, 7).await;
    rig.execute("update saga set wake_at = null").await;
    rig.execute("update bucket set owner = gen_random_uuid(), epoch = epoch + 1").await;
    let engine = rig.engine().await;
    rig.line(saga_id, "crash_loop").await;
    until("it has left", async || (engine.live() == 0).then_some(())).await;
    assert_eq!(rig.world.count(saga_id, "b"), 1, "it was not tried again");
    let parked = "select count(*) from saga where attention = 'crash_loop' and wake_at is not null";
    assert_eq!(rig.number(parked).await, 1);
    assert!(engine.retry(rig.pool(), saga_id, "ada", None).await.unwrap());
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    rig.audit().await;
}

/// Adds lines as dead replicas left them.
async fn plant_takeovers(rig: &Rig, saga_id: Uuid, count: i32) {
    sqlx::query(
        "insert into journal (bucket, saga_id, seq, epoch, kind, data)
         select s.bucket, s.saga_id, s.seq + n, 1, 'taken_up', '{\"replica\":\"dead\"}'
           from saga s, generate_series(1, $2) as n where s.saga_id = $1",
    )
    .bind(saga_id)
    .bind(count)
    .execute(rig.pool())
    .await
    .unwrap();
    sqlx::query("update saga set seq = seq + $2 where saga_id = $1")
        .bind(saga_id)
        .bind(count)
        .execute(rig.pool())
        .await
        .unwrap();
}
