//! Waiting for a time or a signal (E-19, E-22), pausing (E-38), and the time that a saga has as a whole (E-08).

use std::time::Duration;

use crema::saga::{Asked, Engine, EngineSettings, Only, journal::CancelVerdict};
use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

use super::{
    cancel::running,
    effects::Effect,
    rig::{QUICK, Rig, settings},
    toys::{Mood, Toy},
};
use crate::world::until;

/// Nearly every wait is slept through in its row.
fn short_horizon() -> EngineSettings {
    EngineSettings { horizon: Duration::from_millis(20), ..settings("first") }
}

fn waits(ms: i64) -> Toy {
    Toy { wait_ms: Some(ms), ..Toy::default() }
}

const AN_HOUR: i64 = 3_600_000;

const THROUGH: [&str; 4] = ["started", "step_done a 1", "step_waiting b 1", "signal_received"];

async fn go(rig: &Rig, engine: &Engine<Effect>, saga_id: Uuid, key: Option<&str>) -> Asked {
    engine
        .signal(rig.pool(), saga_id, ("go", key), "ada", &json!(key), Only::default())
        .await
        .unwrap()
}

async fn suspended(rig: &Rig, engine: &Engine<Effect>) {
    until("nothing is in memory", async || (engine.live() == 0).then_some(())).await;
    let awake = "select count(*) from saga where closed_status is null and wake_at is null";
    assert_eq!(rig.number(awake).await, 0);
}

/// What the journals tell is what is stored, at rest.
async fn replays(rig: &Rig, engine: &Engine<Effect>) {
    let sagas: Vec<Uuid> =
        sqlx::query_scalar("select saga_id from saga").fetch_all(rig.pool()).await.unwrap();
    let mut connection = rig.pool().acquire().await.unwrap();
    for saga_id in sagas {
        let replay = engine.replay(&mut connection, saga_id, |_, _| {}).await.unwrap().unwrap();
        assert!(replay.differences.is_empty(), "{saga_id}: {:?}", replay.differences);
    }
}

#[tokio::test]
async fn a_saga_that_waits_is_a_row_until_its_signal_comes() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "patient", waits(AN_HOUR)).await;
    rig.line(saga_id, "step_waiting b 1").await;
    suspended(&rig, &engine).await;
    replays(&rig, &engine).await;
    assert_eq!(go(&rig, &engine, saga_id, None).await, Asked::Accepted);
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    let journal = rig.journal(saga_id).await;
    assert_eq!(journal[..4], THROUGH);
    assert_eq!(journal[4..], ["step_done b 1", "step_done c 1", "closed"]);
    assert_eq!(rig.number("select count(*) from toy_effect where name = 'wait 1'").await, 1);
    replays(&rig, &engine).await;
}

#[tokio::test]
async fn a_signal_from_before_the_wait_is_kept_and_seen_once() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let toy = waits(AN_HOUR).with("a", Mood::Gate);
    let saga_id = rig.start(&engine, "patient", toy).await;
    running(&rig, saga_id, "a").await;
    for key in ["1", "2", "1"] {
        go(&rig, &engine, saga_id, Some(key)).await;
    }
    let received = "select count(*) from journal where kind = 'signal_received'";
    until("both are journaled", async || (rig.number(received).await == 2).then_some(())).await;
    rig.world.open(1);
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    let journal = rig.journal(saga_id).await;
    assert!(!journal.contains(&"step_waiting b 1".to_owned()), "{journal:?}");
    assert_eq!(journal.iter().filter(|it| *it == "signal_received").count(), 2);
    let in_order = r#"select count(*) from journal where data::text = '{"by":["\"1\"","\"2\""]}'"#;
    assert_eq!(rig.number(in_order).await, 1);
}

#[tokio::test]
async fn a_signal_with_a_key_counts_once_however_often_it_is_told() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let toy = waits(AN_HOUR).with("c", Mood::Gate);
    let saga_id = rig.start(&engine, "patient", toy).await;
    rig.line(saga_id, "step_waiting b 1").await;
    let asked = join_all((0..50).map(|_| go(&rig, &engine, saga_id, Some("once")))).await;
    assert_eq!(asked.iter().filter(|it| **it == Asked::Accepted).count(), 1, "{asked:?}");
    running(&rig, saga_id, "c").await;
    assert_eq!(go(&rig, &engine, saga_id, Some("once")).await, Asked::Repeated);
    rig.world.open(1);
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    assert_eq!(rig.number("select count(*) from journal where kind = 'signal_received'").await, 1);
    assert_eq!(go(&rig, &engine, saga_id, Some("once")).await, Asked::Repeated);
    assert_eq!(go(&rig, &engine, saga_id, Some("late")).await, Asked::Closed);
    assert_eq!(go(&rig, &engine, Uuid::now_v7(), None).await, Asked::Unknown);
}

#[tokio::test]
async fn timers_fire_once_each_and_what_they_wait_for_is_slept_through() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(short_horizon(), QUICK).await;
    for number in 0..300 {
        rig.start(&engine, "patient", waits(50 + number % 7 * 40)).await;
    }
    rig.all_end().await;
    let count = "select count(*) from journal where kind = ";
    let of = async |kind: &str| {
        let sql = format!("{count}'{kind}'");
        sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql)).fetch_one(rig.pool()).await.unwrap()
    };
    assert_eq!((of("timer_fired").await, of("step_waiting").await), (300, 300));
    let early = "select count(*) from journal w join journal f using (bucket, saga_id) \
                  where w.kind = 'step_waiting' and f.kind = 'timer_fired' \
                    and f.at < (w.data->>'until')::timestamptz - interval '5 ms'";
    assert_eq!(rig.number(early).await, 0);
    replays(&rig, &engine).await;
}

#[tokio::test]
async fn a_signal_that_is_not_awaited_leaves_the_wait_as_it_was() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "patient", waits(AN_HOUR)).await;
    rig.line(saga_id, "step_waiting b 1").await;
    engine
        .signal(rig.pool(), saga_id, ("other", None), "ada", &json!(1), Only::default())
        .await
        .unwrap();
    rig.line(saga_id, "signal_received").await;
    suspended(&rig, &engine).await;
    replays(&rig, &engine).await;
    let waits = "select count(*) from saga where wake_at > now() + interval '59 minutes'";
    assert_eq!(rig.number(waits).await, 1);
}

#[tokio::test]
async fn what_waits_between_two_attempts_does_not_go_on_because_of_a_signal() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), super::rig::FAR_APART).await;
    let toy = waits(AN_HOUR).with("a", Mood::Doubt { times: 1, happens: true });
    let saga_id = rig.start(&engine, "patient", toy).await;
    rig.line(saga_id, "attempt_failed a 1").await;
    suspended(&rig, &engine).await;
    go(&rig, &engine, saga_id, None).await;
    rig.line(saga_id, "signal_received").await;
    suspended(&rig, &engine).await;
    replays(&rig, &engine).await;
    assert_eq!(rig.world.count(saga_id, "a"), 1, "its next attempt is not due");
    engine.retry(rig.pool(), saga_id, "ada", None).await.unwrap();
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
}

#[tokio::test]
async fn a_wait_outlives_the_replica_that_began_it() {
    let rig = Rig::new().await;
    let first = rig.engine().await;
    let mut sagas = Vec::new();
    for _ in 0..20 {
        sagas.push(rig.start(&first, "patient", waits(AN_HOUR)).await);
    }
    for saga_id in &sagas {
        rig.line(*saga_id, "step_waiting b 1").await;
    }
    first.stop(Duration::from_secs(10)).await;
    for saga_id in &sagas {
        assert_eq!(go(&rig, &first, *saga_id, Some("k")).await, Asked::Accepted);
    }
    let second = rig.engine_with(settings("second"), QUICK).await;
    for saga_id in sagas {
        assert_eq!(rig.end(saga_id).await, "COMPLETED");
    }
    let taken_up = "select count(*) from journal where kind = 'taken_up'";
    assert_eq!(rig.number(taken_up).await, 0);
    replays(&rig, &second).await;
}

#[tokio::test]
async fn a_saga_that_waits_can_be_cancelled() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "patient", Toy::default()).await;
    rig.line(saga_id, "step_waiting b 1").await;
    suspended(&rig, &engine).await;
    assert_eq!(rig.cancel(&engine, saga_id).await, CancelVerdict::Requested);
    assert_eq!(rig.end(saga_id).await, "CANCELLED");
    assert_eq!(rig.world.count(saga_id, "a.undo"), 1);
    replays(&rig, &engine).await;
}

#[tokio::test]
async fn a_paused_saga_begins_no_step_and_goes_on_when_it_is_resumed() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "plain", Toy::default().with("a", Mood::Gate)).await;
    running(&rig, saga_id, "a").await;
    let by = ("ada", Some("the till is being moved"));
    assert_eq!(engine.pause(rig.pool(), saga_id, by.0, by.1).await.unwrap(), Asked::Accepted);
    // Said at once, though the attempt goes on.
    rig.line(saga_id, "paused").await;
    rig.world.open(1);
    rig.line(saga_id, "step_done a 1").await;
    suspended(&rig, &engine).await;
    assert_eq!(rig.journal(saga_id).await, ["started", "paused", "step_done a 1"]);
    assert_eq!(rig.world.count(saga_id, "b"), 0);
    replays(&rig, &engine).await;
    // Asked for twice it is one pause.
    engine.pause(rig.pool(), saga_id, "bob", None).await.unwrap();
    until("it is dropped", async || {
        (rig.number("select count(*) from inbox").await == 0).then_some(())
    })
    .await;
    suspended(&rig, &engine).await;
    engine.resume(rig.pool(), saga_id, "ada", None).await.unwrap();
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    assert_eq!(rig.journal(saga_id).await.iter().filter(|it| *it == "paused").count(), 1);
    assert_eq!(engine.resume(rig.pool(), saga_id, "ada", None).await.unwrap(), Asked::Closed);
}

#[tokio::test]
async fn a_wait_stands_still_while_its_saga_is_paused() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "patient", waits(AN_HOUR)).await;
    rig.line(saga_id, "step_waiting b 1").await;
    engine.pause(rig.pool(), saga_id, "ada", None).await.unwrap();
    rig.line(saga_id, "paused").await;
    suspended(&rig, &engine).await;
    let asleep = "select count(*) from saga where wake_at > now() + interval '1 year'";
    assert_eq!(rig.number(asleep).await, 1, "no timer ends a pause");
    engine.resume(rig.pool(), saga_id, "ada", None).await.unwrap();
    rig.line(saga_id, "resumed").await;
    suspended(&rig, &engine).await;
    replays(&rig, &engine).await;
    let as_left = "select count(*) from journal p join journal r using (bucket, saga_id) \
                    where p.kind = 'paused' and r.kind = 'resumed' and \
                      abs(extract(epoch from (r.data->>'until')::timestamptz - r.at) * 1000 \
                          - (p.data->>'left_ms')::bigint) < 5000";
    assert_eq!(rig.number(as_left).await, 1);
    go(&rig, &engine, saga_id, None).await;
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
}

#[tokio::test]
async fn a_paused_saga_can_be_cancelled() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "patient", waits(AN_HOUR)).await;
    rig.line(saga_id, "step_waiting b 1").await;
    engine.pause(rig.pool(), saga_id, "ada", None).await.unwrap();
    rig.line(saga_id, "paused").await;
    assert_eq!(rig.cancel(&engine, saga_id).await, CancelVerdict::Requested);
    assert_eq!(rig.end(saga_id).await, "CANCELLED");
    assert_eq!(rig.world.count(saga_id, "a.undo"), 1);
}

#[tokio::test]
async fn a_saga_whose_time_is_over_goes_back_from_wherever_it_stands() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(short_horizon(), QUICK).await;
    let short = |toy: Toy| Toy { deadline_ms: Some(300), ..toy };
    let waiting = rig.start(&engine, "patient", short(Toy::default())).await;
    let hanging = rig.start(&engine, "patient", short(waits(0).with("a", Mood::Hang))).await;
    for saga_id in [waiting, hanging] {
        assert_eq!(rig.end(saga_id).await, "FAILED");
        let journal = rig.journal(saga_id).await;
        assert_eq!(journal.iter().filter(|it| *it == "deadline_passed").count(), 1, "{journal:?}");
        assert_eq!(rig.world.count(saga_id, "a.undo"), 1);
    }
    let timed_out = "select count(*) from saga where closed_reason = 'timed_out'";
    assert_eq!(rig.number(timed_out).await, 2);
    let long = Toy { deadline_ms: Some(3_600_000), ..waits(0) };
    let (saga_id, status) = rig.run(&engine, "patient", long).await;
    assert_eq!(status, "COMPLETED", "{:?}", rig.journal(saga_id).await);
    replays(&rig, &engine).await;
}
