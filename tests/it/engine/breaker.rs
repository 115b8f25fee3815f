//! The circuit breaker of a participant, shared by all replicas (B28, E-35), counted at the participant.

use std::time::Duration;

use crema::saga::{
    Engine, EngineSettings, Policy,
    limits::{
        breaker::{Breaker, BreakerSettings, Hold},
        desk::Standing,
    },
};

use super::{
    counted::{Bread, NAME, Oven, baker, start},
    effects::Effect,
    rig::{QUICK, Rig, settings},
};
use crate::world::until;

/// Few attempts, farther apart than replicas report what they hear.
const FEW: Policy = Policy {
    attempts_max: 3,
    backoff: Duration::from_millis(500),
    backoff_max: Duration::from_millis(500),
    ..QUICK
};

/// A breaker that stays open until the test has seen what it wants to see.
fn patient(name: &str) -> EngineSettings {
    let mut settings = settings(name);
    let hour = 3_600_000_000;
    let breaker =
        BreakerSettings { open_first: hour, open_max: hour, ..BreakerSettings::default() };
    settings.limits.breaker = breaker;
    settings
}

async fn standing(rig: &Rig, engine: &Engine<Effect>) -> Standing {
    engine.participants(rig.pool(), Some(NAME)).await.unwrap().pop().unwrap()
}

async fn stands(rig: &Rig, engine: &Engine<Effect>, state: &str) {
    until(state, async || (standing(rig, engine).await.breaker.name() == state).then_some(()))
        .await;
}

async fn three(rig: &Rig, oven: &Oven) -> [Engine<Effect>; 3] {
    let mut engines = Vec::new();
    for name in ["first", "second", "third"] {
        engines.push(baker(rig, oven, patient(name), FEW).await);
    }
    let engines: [Engine<Effect>; 3] = engines.try_into().ok().unwrap();
    until("all place", async || engines.iter().all(|it| it.is_placing()).then_some(())).await;
    engines
}

/// Makes the next probe due.
async fn probe_now(rig: &Rig) {
    let sql = "update participant set turn = turn + 1, version = version + 1,
                 breaker = jsonb_set(breaker::jsonb, '{probe_at}', '0')::json
                where breaker ->> 'state' = 'open'";
    assert_eq!(rig.execute(sql).await, 1);
}

const FAILED: &str = "select count(*) from journal where kind = 'attempt_failed'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_called_and_no_attempt_is_burnt_while_a_participant_is_down() {
    let rig = Rig::new().await;
    let oven = Oven::new();
    let [first, second, third] = three(&rig, &oven).await;
    let engines = [&first, &second, &third];
    oven.set_down(true);
    start(&engines, 6, Bread::default()).await;
    stands(&rig, &first, "open").await;
    // What was out when it opened ends; from then on nothing moves.
    until("all six wait", async || {
        let standing = standing(&rig, &first).await;
        (standing.waiting() == 6 && oven.in_flight() == 0).then_some(())
    })
    .await;
    let (calls, burnt) = (oven.count(), rig.number(FAILED).await);
    assert!((5..=12).contains(&calls), "{calls} calls of six sagas before it opened");
    assert_eq!(burnt, calls as i64);
    start(&engines, 200, Bread::default()).await;
    until("all wait", async || (standing(&rig, &second).await.waiting() == 206).then_some(()))
        .await;
    assert_eq!((oven.count(), rig.number(FAILED).await), (calls, burnt), "nothing was called");
    // One probe over all three, which is not answered before the others have had their chance.
    let gated = calls + 1;
    probe_now(&rig).await;
    stands(&rig, &first, "open").await;
    until("there was a probe", async || (oven.count() == gated).then_some(())).await;
    until("it has opened again", async || {
        let Breaker::Open { openings, .. } = standing(&rig, &third).await.breaker else {
            return None;
        };
        (openings == 2).then_some(())
    })
    .await;
    // What became of it is reported at once, and journaled a moment later.
    until("it is journaled", async || (rig.number(FAILED).await > burnt).then_some(())).await;
    assert_eq!(rig.number(FAILED).await, burnt + 1, "the probe's attempt, and no other");
    oven.set_down(false);
    probe_now(&rig).await;
    rig.all_end().await;
    stands(&rig, &first, "closed").await;
    let completed = "select count(*) from saga where closed_status = 'COMPLETED'";
    assert_eq!(rig.number(completed).await, 206);
    assert_eq!(oven.count(), gated + 206, "each once, and nobody called in vain again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_one_probe_goes_out_over_three_replicas_until_it_is_answered() {
    let rig = Rig::new().await;
    let oven = Oven::gated();
    let [first, second, third] = three(&rig, &oven).await;
    let engines = [&first, &second, &third];
    oven.set_down(true);
    start(&engines, 30, Bread::default()).await;
    oven.open(30);
    stands(&rig, &first, "open").await;
    until("all wait", async || {
        (standing(&rig, &first).await.waiting() == 30 && oven.in_flight() == 0).then_some(())
    })
    .await;
    let before = oven.count();
    oven.most();
    probe_now(&rig).await;
    stands(&rig, &first, "half_open").await;
    until("the probe is out", async || (oven.in_flight() == 1).then_some(())).await;
    // The others look several times, and let nobody out.
    let turn = "select sum(version)::bigint from participant";
    let version = rig.number(turn).await;
    start(&engines, 30, Bread::default()).await;
    until("all the others wait", async || {
        (standing(&rig, &second).await.waiting() == 59).then_some(())
    })
    .await;
    assert_eq!((oven.count(), oven.most(), rig.number(turn).await), (before + 1, 1, version));
    oven.set_down(false);
    oven.open(1_000);
    rig.all_end().await;
    stands(&rig, &third, "closed").await;
    let given_up = "select count(*) from saga where closed_status <> 'COMPLETED'";
    assert_eq!(rig.number(given_up).await, 0);
}

#[tokio::test]
async fn a_probe_that_is_cancelled_is_another_sagas_to_make() {
    let rig = Rig::new().await;
    let oven = Oven::gated();
    let engine = baker(&rig, &oven, patient("first"), FEW).await;
    oven.set_down(true);
    let mut sagas = start(&[&engine], 8, Bread::default()).await;
    oven.open(8);
    until("all wait", async || {
        (standing(&rig, &engine).await.waiting() == 8 && oven.in_flight() == 0).then_some(())
    })
    .await;
    probe_now(&rig).await;
    until("the probe is out", async || (oven.in_flight() == 1).then_some(())).await;
    let waits = |it: &uuid::Uuid| engine.waits_at_gate(*it) == Some(true);
    let probing = *sagas.iter().find(|it| !waits(it)).unwrap();
    rig.cancel(&engine, probing).await;
    sagas.retain(|it| *it != probing);
    until("another one is the probe", async || {
        let is_out = sagas.iter().any(|it| !waits(it));
        (is_out && oven.in_flight() == 1).then_some(())
    })
    .await;
    oven.set_down(false);
    oven.open(1_000);
    rig.all_end().await;
    for saga in sagas {
        assert_eq!(rig.end(saga).await, "COMPLETED");
    }
}

#[tokio::test]
async fn a_saga_that_fails_alone_opens_nothing() {
    let rig = Rig::new().await;
    let oven = Oven::new();
    oven.set_down(true);
    let many = Policy { attempts_max: 20, ..QUICK };
    let engine = baker(&rig, &oven, patient("first"), many).await;
    let saga = start(&[&engine], 1, Bread::default()).await[0];
    until("it goes back", async || (oven.count() > 20).then_some(())).await;
    assert_eq!(standing(&rig, &engine).await.breaker.name(), "closed");
    oven.set_down(false);
    assert_eq!(rig.end(saga).await, "FAILED");
}

#[tokio::test]
async fn an_operator_holds_a_breaker_open_and_closed() {
    let rig = Rig::new().await;
    let oven = Oven::new();
    let engine = baker(&rig, &oven, patient("first"), FEW).await;
    let hold = async |hold: Hold| {
        assert!(engine.hold(rig.pool(), NAME, hold, "ada", "a drill").await.unwrap());
    };
    hold(Hold::Open).await;
    stands(&rig, &engine, "held_open").await;
    until("it is heard of", async || {
        start(&[&engine], 1, Bread::default()).await;
        (standing(&rig, &engine).await.waiting() > 0).then_some(())
    })
    .await;
    let calls = oven.count();
    start(&[&engine], 10, Bread::default()).await;
    until("all wait", async || (standing(&rig, &engine).await.waiting() > 10).then_some(())).await;
    assert_eq!(oven.count(), calls);
    hold(Hold::Closed).await;
    rig.all_end().await;
    oven.set_down(true);
    start(&[&engine], 10, Bread::default()).await;
    until("all go back in vain", async || (oven.count() > 60).then_some(())).await;
    stands(&rig, &engine, "held_closed").await;
    oven.set_down(false);
    // First the end: failures that are still to be reported would open it for an hour.
    rig.all_end().await;
    hold(Hold::Auto).await;
    stands(&rig, &engine, "closed").await;
    let changes = engine.participant_changes(rig.pool(), NAME, 10).await.unwrap();
    let told: Vec<(&str, &str)> =
        changes.iter().map(|it| (it.by.as_str(), it.breaker.as_str())).collect();
    assert_eq!(told, [("ada", "closed"), ("ada", "held_closed"), ("ada", "held_open")]);
}

#[tokio::test]
async fn many_that_wait_ask_the_database_no_more_than_one() {
    let rig = Rig::new().await;
    let oven = Oven::new();
    let engine = baker(&rig, &oven, patient("first"), FEW).await;
    assert!(engine.hold(rig.pool(), NAME, Hold::Open, "ada", "a drill").await.unwrap());
    until("it is heard of", async || {
        start(&[&engine], 1, Bread::default()).await;
        (standing(&rig, &engine).await.waiting() > 0).then_some(())
    })
    .await;
    start(&[&engine], 3_000, Bread::default()).await;
    until("all wait", async || (standing(&rig, &engine).await.waiting() > 3_000).then_some(()))
        .await;
    let turn = "select sum(turn)::bigint from participant";
    let before = rig.number(turn).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.number(turn).await, before, "nothing changed, and nothing was written");
    let held = "select count(*) from pg_stat_activity
                 where datname = current_database() and state like 'idle in transaction%'";
    assert_eq!(rig.number(held).await, 0, "no connection is held");
    engine.stop(Duration::ZERO).await;
    assert_eq!(engine.live(), 0, "all let go");
}
