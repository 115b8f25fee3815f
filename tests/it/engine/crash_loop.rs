//! Sagas that seem to kill whoever drives them.

use std::time::Duration;

use crema::saga::{Engine, EngineSettings, Policy, history::StepStatus, journal::CancelVerdict};
use uuid::Uuid;

use super::{
    effects::Effect,
    replicas::gated,
    rig::{FAR_APART, QUICK, Rig, settings},
    toys::{Mood, Toy},
};
use crate::world::until;

const PATIENCE: Duration = Duration::from_secs(10);

/// Never lets the next one in by time.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// A rig with so many of these sagas, all of which were in the middle of `b` at each of two takeovers.
async fn taken_over_twice(sagas: usize, toy: impl Fn() -> Toy) -> (Rig, Vec<Uuid>) {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let mut ids = Vec::new();
    for _ in 0..sagas {
        ids.push(rig.start(&engine, "plain", toy()).await);
    }
    for saga_id in &ids {
        until("b runs", async || (rig.world.count(*saga_id, "b") > 0).then_some(())).await;
    }
    engine.stop(Duration::ZERO).await;
    for saga_id in &ids {
        plant_takeovers(&rig, *saga_id, 2).await;
    }
    rig.execute("update bucket set owner = gen_random_uuid(), epoch = epoch + 1").await;
    (rig, ids)
}

/// An engine that takes them up, and lets the next one in after this long.
async fn second(rig: &Rig, alone_for: Duration) -> Engine<Effect> {
    // No attempt ends by itself before the test does.
    let policy = Policy { start_to_close: FOR_EVER, ..QUICK };
    rig.engine_with(EngineSettings { alone_for, ..settings("second") }, policy).await
}

const TAKEN_UP: &str =
    "select count(*) from journal where kind = 'taken_up' and data->>'replica' = 'second'";

#[tokio::test]
async fn a_saga_that_seems_to_kill_its_replicas_runs_alone_and_is_set_aside_in_the_end() {
    let (rig, _) = taken_over_twice(3, gated).await;
    let second = second(&rig, FOR_EVER).await;
    until("one is taken up", async || (rig.number(TAKEN_UP).await == 1).then_some(())).await;
    let (_, other) = rig.run(&second, "plain", Toy::default()).await;
    assert_eq!(other, "COMPLETED");
    assert_eq!(rig.number(TAKEN_UP).await, 1, "the others wait until it has got somewhere");
    rig.world.open(3);
    rig.all_end().await;
    assert_eq!(rig.number(TAKEN_UP).await, 3);
    second.stop(PATIENCE).await;
    rig.audit().await;
}

#[tokio::test]
async fn whoever_has_survived_for_a_while_lets_the_next_one_in_in_the_middle_of_its_attempt() {
    let (rig, sagas) = taken_over_twice(5, gated).await;
    let second = second(&rig, Duration::from_millis(20)).await;
    until("all run", async || {
        let running = |id: &Uuid| rig.world.count(*id, "b") == 2;
        sagas.iter().all(running).then_some(())
    })
    .await;
    assert_eq!(rig.number(TAKEN_UP).await, 5);
    rig.world.open(5);
    rig.all_end().await;
    second.stop(PATIENCE).await;
    rig.audit().await;
}

#[tokio::test]
async fn a_sign_of_life_lets_the_next_one_in() {
    // One heartbeat, then silence for as long as the attempt may take.
    let (rig, _) = taken_over_twice(3, || Toy::default().with("b", Mood::Silent)).await;
    let second = second(&rig, FOR_EVER).await;
    until("all are taken up", async || (rig.number(TAKEN_UP).await == 3).then_some(())).await;
    second.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_cancellation_is_acted_on_while_the_saga_waits_to_be_alone() {
    let (rig, sagas) = taken_over_twice(3, gated).await;
    let second = second(&rig, FOR_EVER).await;
    until("one is taken up", async || (rig.number(TAKEN_UP).await == 1).then_some(())).await;
    let is_alone = |id: &&Uuid| rig.world.count(**id, "b") == 2;
    until("it runs", async || sagas.iter().find(is_alone)).await;
    for waiting in sagas.iter().filter(|it| !is_alone(it)) {
        assert_eq!(rig.cancel(&second, *waiting).await, CancelVerdict::Requested);
        assert_eq!(rig.end(*waiting).await, "CANCELLED");
        assert_eq!(rig.world.count(*waiting, "b"), 1, "it is not tried again first");
    }
    rig.world.open(1);
    rig.all_end().await;
    second.stop(PATIENCE).await;
    rig.audit().await;
}

#[tokio::test]
async fn a_lease_that_ran_out_is_no_crash_for_whoever_goes_on_himself() {
    let rig = Rig::new().await;
    let alone = EngineSettings { alone_for: FOR_EVER, ..settings("first") };
    let engine = rig.engine_with(alone, QUICK).await;
    let mut sagas = Vec::new();
    for _ in 0..20 {
        sagas.push(rig.start(&engine, "plain", gated()).await);
    }
    // More often than it takes to be set aside.
    for round in 1..=8 {
        until("all run", async || {
            sagas.iter().all(|it| rig.world.count(*it, "b") == round).then_some(())
        })
        .await;
        rig.execute("update replica set leased_until = now() - interval '1 second'").await;
    }
    until("all run again", async || {
        sagas.iter().all(|it| rig.world.count(*it, "b") == 9).then_some(())
    })
    .await;
    let attempts: Vec<u32> = rig.world.calls(sagas[0]).iter().map(|it| it.attempt).collect();
    assert_eq!(attempts, [1, 1, 2, 3, 4, 5, 6, 7, 8, 9], "each counts as an attempt all the same");
    rig.world.open(1_000);
    rig.all_end().await;
    assert_eq!(rig.number("select count(*) from saga where closed_status = 'COMPLETED'").await, 20);
    engine.stop(PATIENCE).await;
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
    let view = engine.view(rig.pool(), saga_id).await.unwrap().unwrap().unwrap();
    let b = view.step("b").unwrap();
    assert_eq!((b.status, b.attempts), (StepStatus::Waiting, 8), "it is left alone");
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
