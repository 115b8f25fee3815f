//! Limits of participants over replicas (B20, E-31, E-32), counted at the participant.

use std::time::{Duration, Instant};

use crema::saga::{Engine, Policy};
use tokio::sync::oneshot;

use super::{
    counted::{Bread, NAME, Oven, baker, limit, start},
    effects::Effect,
    rig::{QUICK, Rig, settings, short_lease},
};
use crate::world::until;

const PATIENCE: Duration = Duration::from_secs(10);
/// More attempts than any takeover uses up.
const STUBBORN: Policy = Policy { attempts_max: 1_000, ..QUICK };

async fn places(engines: &[&Engine<Effect>]) {
    until("all place", async || engines.iter().all(|it| it.is_placing()).then_some(())).await;
}

/// What all replicas hold of the limit by the table, and what they use, by their own word.
async fn held(rig: &Rig, engine: &Engine<Effect>) -> (u32, u32, u32) {
    let standing = engine.participants(rig.pool(), Some(NAME)).await.unwrap().pop().unwrap();
    let slots = standing.shares.iter().map(|it| it.written.slots).sum();
    (slots, standing.in_use(), standing.waiting())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_thousand_sagas_over_three_replicas_never_eight_are_in_flight_of_seven() {
    let rig = std::sync::Arc::new(Rig::new().await);
    let oven = Oven::new().takes(Duration::from_micros(500));
    let first = baker(&rig, &oven, short_lease("first"), STUBBORN).await;
    limit(&rig, &first, Some(7), None).await;
    let second = baker(&rig, &oven, short_lease("second"), STUBBORN).await;
    // The third one dies in the middle of everything: its thread ends.
    let (kill, killed) = oneshot::channel::<()>();
    let (inside, its_oven) = (rig.clone(), oven.clone());
    let mortal = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async move {
            let third = baker(&inside, &its_oven, short_lease("third"), STUBBORN).await;
            until("the third places", async || third.is_placing().then_some(())).await;
            start(&[&third], 1_500, Bread::default()).await;
            killed.await.unwrap();
        });
        runtime.shutdown_background();
    });
    places(&[&first, &second]).await;
    let engines = [&first, &second];
    let mut sagas = start(&engines, 4_000, Bread::default()).await.len();
    until("the third one bakes", async || (held(&rig, &first).await.1 == 7).then_some(())).await;
    kill.send(()).unwrap();
    mortal.join().unwrap();
    sagas += start(&engines, 1_500, Bread { burns: true }).await.len();
    // One that cannot renew its lease: it stops itself, the others take what it held, and it begins anew.
    let mut lock = rig.pool().begin().await.unwrap();
    let renewals = "select from replica where name = 'second' for update";
    sqlx::query(renewals).execute(&mut *lock).await.unwrap();
    let dead = "select count(*) from replica where name = 'second' and leased_until < now()";
    until("it is taken for dead", async || (rig.number(dead).await == 1).then_some(())).await;
    sagas += start(&[&first], 1_500, Bread::default()).await.len();
    lock.rollback().await.unwrap();
    places(&engines).await;
    sagas += start(&engines, 1_500, Bread::default()).await.len();
    assert!(oven.most() <= 7);
    limit(&rig, &second, Some(3), None).await;
    until("what was held before is given back", async || {
        (held(&rig, &first).await.0 <= 3).then_some(())
    })
    .await;
    oven.most();
    let before = oven.count();
    until("five hundred more", async || (oven.count() > before + 500).then_some(())).await;
    assert!(oven.most() <= 3);
    limit(&rig, &first, Some(7), None).await;
    rig.all_end().await;
    assert!((1..=7).contains(&oven.most()));
    let all = rig.number("select count(*) from saga where closed_status <> 'CANCELLED'").await;
    assert_eq!(all, sagas as i64 + 1_500);
    until("nothing is held when nothing is to be done", async || {
        (held(&rig, &first).await == (0, 0, 0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_limit_is_used_to_the_full_and_shared_fairly() {
    let rig = Rig::new().await;
    let oven = Oven::gated();
    let first = baker(&rig, &oven, settings("first"), STUBBORN).await;
    let second = baker(&rig, &oven, settings("second"), STUBBORN).await;
    places(&[&first, &second]).await;
    limit(&rig, &first, Some(7), None).await;
    let standing =
        async || first.participants(rig.pool(), Some(NAME)).await.unwrap().pop().unwrap();
    // Alone, one may use all of it.
    start(&[&first], 20, Bread::default()).await;
    until("all slots are in use", async || (oven.in_flight() == 7).then_some(())).await;
    start(&[&second], 20, Bread::default()).await;
    until("the second one waits", async || (standing().await.waiting() == 33).then_some(())).await;
    // Who comes later gets his share when calls end.
    until("the second one has its share", async || {
        oven.open(1);
        let shares = standing().await.shares;
        let second = shares.iter().find(|it| it.name == "second").map(|it| it.written.in_use);
        (second >= Some(3) || rig.number(OPEN).await == 0).then_some(())
    })
    .await;
    assert!(rig.number(OPEN).await > 0, "it had its share only when nothing was left");
    oven.open(1_000);
    rig.all_end().await;
    assert_eq!(oven.most(), 7);
}

const OPEN: &str = "select count(*) from saga where closed_status is null";

#[tokio::test]
async fn a_limit_outlives_all_replicas_and_no_start_writes_over_it() {
    let rig = Rig::new().await;
    let oven = Oven::gated();
    let first = baker(&rig, &oven, settings("first"), STUBBORN).await;
    limit(&rig, &first, Some(2), Some(1_000.0)).await;
    start(&[&first], 10, Bread::default()).await;
    until("two are in flight", async || (oven.in_flight() == 2).then_some(())).await;
    first.stop(Duration::ZERO).await;
    assert_eq!(oven.in_flight(), 0, "its calls ended with it");
    let next = baker(&rig, &oven, settings("next"), STUBBORN).await;
    start(&[&next], 10, Bread::default()).await;
    until("two are in flight again", async || (oven.in_flight() == 2).then_some(())).await;
    until("the others wait", async || (held(&rig, &next).await.2 == 18).then_some(())).await;
    assert_eq!(oven.most(), 2);
    let standing = next.participants(rig.pool(), Some(NAME)).await.unwrap().pop().unwrap();
    assert_eq!((standing.max_in_flight, standing.rate), (Some(2), Some(1_000.0)));
    // What waited when its replica stopped had begun nothing.
    let taken_up = "select count(*) from journal where kind = 'taken_up'";
    assert_eq!(
        rig.number(taken_up).await,
        2,
        "only the two that were called count it as an attempt"
    );
    oven.open(1_000);
    rig.all_end().await;
    next.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_saga_that_waits_is_cancelled_at_once_and_has_nothing_to_take_back() {
    let rig = Rig::new().await;
    let oven = Oven::gated();
    let engine = baker(&rig, &oven, settings("first"), STUBBORN).await;
    limit(&rig, &engine, Some(1), None).await;
    start(&[&engine], 1, Bread::default()).await;
    until("one is in flight", async || (oven.in_flight() == 1).then_some(())).await;
    let waiting = start(&[&engine], 1, Bread::default()).await[0];
    until("it waits", async || (engine.waits_at_gate(waiting) == Some(true)).then_some(())).await;
    rig.cancel(&engine, waiting).await;
    assert_eq!(rig.end(waiting).await, "CANCELLED");
    assert_eq!(oven.count(), 1, "nobody was called for it");
    let lines = ["started", "cancel_requested", "compensating", "closed"];
    assert_eq!(rig.journal(waiting).await, lines);
    until("nobody waits", async || (held(&rig, &engine).await.2 == 0).then_some(())).await;
    oven.open(10);
    rig.all_end().await;
}

#[tokio::test]
async fn compensations_go_before_what_waits_to_go_forward() {
    let rig = Rig::new().await;
    let oven = Oven::gated();
    let engine = baker(&rig, &oven, settings("first"), STUBBORN).await;
    limit(&rig, &engine, Some(1), None).await;
    let burns = start(&[&engine], 1, Bread { burns: true }).await[0];
    until("one is in flight", async || (oven.in_flight() == 1).then_some(())).await;
    start(&[&engine], 50, Bread::default()).await;
    until("fifty wait", async || (held(&rig, &engine).await.2 == 50).then_some(())).await;
    // Its call ends, another takes its place at once, and then it wants back.
    oven.open(1);
    until("it waits to go back", async || {
        (engine.waits_at_gate(burns) == Some(true)).then_some(())
    })
    .await;
    oven.open(1);
    until("the third is called", async || (oven.count() == 3).then_some(())).await;
    assert!(oven.was_back(2), "it waited for those who came before it");
    oven.open(1_000);
    rig.all_end().await;
}

#[tokio::test]
async fn a_limit_of_nothing_calls_nothing_until_it_is_lifted() {
    let rig = Rig::new().await;
    let oven = Oven::new();
    let engine = baker(&rig, &oven, settings("first"), STUBBORN).await;
    limit(&rig, &engine, Some(0), None).await;
    until("the limit is known", async || {
        let saga_id = start(&[&engine], 1, Bread::default()).await[0];
        until("it waits or ends", async || {
            let waits = engine.waits_at_gate(saga_id) == Some(true);
            (waits || rig.status(saga_id).await.is_some()).then_some(())
        })
        .await;
        (engine.waits_at_gate(saga_id) == Some(true)).then_some(())
    })
    .await;
    let before = oven.count();
    start(&[&engine], 20, Bread::default()).await;
    until("all wait", async || (held(&rig, &engine).await.2 == 21).then_some(())).await;
    assert_eq!(oven.count(), before);
    limit(&rig, &engine, None, None).await;
    rig.all_end().await;
    assert_eq!(oven.count(), before + 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_holds_over_three_replicas_and_is_changed_while_they_run() {
    let rig = Rig::new().await;
    let oven = Oven::new();
    let first = baker(&rig, &oven, settings("first"), STUBBORN).await;
    limit(&rig, &first, None, Some(10.0)).await;
    let second = baker(&rig, &oven, settings("second"), STUBBORN).await;
    let third = baker(&rig, &oven, settings("third"), STUBBORN).await;
    let engines = [&first, &second, &third];
    places(&engines).await;
    let began = Instant::now();
    start(&engines, 60, Bread::default()).await;
    until("twenty have been called", async || (oven.count() >= 20).then_some(())).await;
    let calls = oven.times_after(began);
    at_most(&calls, 10.0);
    // From a second after the change on.
    limit(&rig, &second, None, Some(2.0)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let slow = Instant::now();
    until("some more have been called", async || (oven.times_after(slow).len() >= 8).then_some(()))
        .await;
    at_most(&oven.times_after(slow), 2.0);
    limit(&rig, &third, None, None).await;
    rig.all_end().await;
    assert_eq!(oven.count(), 60);
}

/// In every stretch between two calls there were no more than the rate allows, by the participant's clock. One
/// may come as late as the engine lets it, and the next one in time.
fn at_most(calls: &[Instant], rate: f64) {
    for (n, from) in calls.iter().enumerate() {
        for (m, to) in calls.iter().enumerate().skip(n) {
            let allowed = ((*to - *from).as_secs_f64() + 0.25) * rate + 2.0;
            let came = (m - n + 1) as f64;
            assert!(came <= allowed, "{came} calls in {:?} at {rate} a second", *to - *from);
        }
    }
}
