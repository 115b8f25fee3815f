//! Effects: they commit with the line that tells of them, or not at all.

use std::{sync::atomic::Ordering, time::Duration};

use crema::saga::{Started, step::Lane};
use futures::future::join_all;

use super::{
    effects::{Effect, PUT_OFF},
    rig::{FAR_APART, Rig, settings},
    toys::{Mood, Toy},
};
use crate::world::until;

fn row(name: &str) -> Effect {
    Effect::Row(name.to_owned())
}

#[tokio::test]
async fn effects_commit_with_the_line_that_tells_of_them() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let toy = || {
        Toy::default()
            .with("b", Mood::Doubt { times: 2, happens: true })
            .effect("a", row("a"))
            .effect("b", row("b"))
            .effect("close", row("close"))
            .effect("b.undo", row("b.undo"))
    };
    let (completed, status) = rig.run(&engine, "plain", toy()).await;
    assert_eq!(status, "COMPLETED");
    assert_eq!(effects(&rig, completed).await, ["a", "b", "close"]);
    let (failed, status) = rig.run(&engine, "plain", toy().with("c", Mood::Refuse)).await;
    assert_eq!(status, "FAILED");
    assert_eq!(effects(&rig, failed).await, ["a", "b", "b.undo", "close"]);
    // The same transaction wrote both.
    let apart = "select count(*) from toy_effect e where not exists (
        select from journal j where j.saga_id = e.saga_id and j.xmin = e.xmin)";
    assert_eq!(rig.number(apart).await, 0);
}

#[tokio::test]
async fn a_start_commits_with_its_effects_or_not_at_all() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let start = |effects| {
        let engine = engine.clone();
        async move {
            let saga_id = engine.new_id().unwrap();
            let toy = Toy::default();
            (saga_id, engine.start(("plain", 1), saga_id, toy, effects, Lane::Own).await)
        }
    };
    let (refused, answer) = start(vec![row("start"), Effect::Refused]).await;
    assert!(matches!(answer, Ok(Started::Refused(it)) if it.code == "toy_effect_refused"));
    let (impossible, answer) = start(vec![row("start"), Effect::Violation]).await;
    assert_eq!(answer, Err(crema::saga::StartError::Impossible));
    let (accepted, answer) = start(vec![row("start")]).await;
    assert_eq!(answer, Ok(Started::Accepted));
    assert_eq!(rig.end(accepted).await, "COMPLETED");
    assert_eq!(effects(&rig, accepted).await, ["start"]);
    for saga_id in [refused, impossible] {
        assert_eq!(effects(&rig, saga_id).await, [""; 0]);
        assert_eq!(rig.journal(saga_id).await, [""; 0]);
    }
    assert_eq!(rig.number("select count(*) from saga").await, 1);
    assert_eq!(engine.live(), 0);
}

#[tokio::test]
async fn a_refused_effect_refuses_its_step() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    for saga in ["plain", "pivoted"] {
        let toy = Toy::default().effect("c", row("c")).effect("c", Effect::Refused);
        let saga_id = rig.start(&engine, saga, toy).await;
        assert_eq!(rig.end(saga_id).await, "FAILED");
        let expected = [
            "started",
            "step_done a 1",
            "step_done b 1",
            "step_refused c 1",
            "compensating",
            "compensation_done b 1",
            "compensation_done a 1",
            "closed",
        ];
        assert_eq!(rig.journal(saga_id).await, expected);
        assert_eq!(effects(&rig, saga_id).await, [""; 0]);
    }
}

#[tokio::test]
async fn one_violation_in_a_batch_fails_only_its_own_transition_and_parks_it() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), FAR_APART).await;
    let mut sagas = Vec::new();
    for number in 0..64 {
        let effect = if number == 17 { Effect::Violation } else { row("c") };
        let toy = Toy::default().with("c", Mood::Gate).effect("c", effect);
        sagas.push(rig.start(&engine, "plain", toy).await);
    }
    for saga_id in &sagas {
        rig.line(*saga_id, "step_done b 1").await;
    }
    rig.world.open(64);
    for (number, saga_id) in sagas.iter().enumerate().filter(|it| it.0 != 17) {
        assert_eq!(rig.end(*saga_id).await, "COMPLETED", "{number}");
    }
    rig.line(sagas[17], "parked c 1").await;
    let parked = "select count(*) from saga where attention = 'transition_impossible'";
    assert_eq!(rig.number(parked).await, 1);
    assert_eq!(rig.status(sagas[17]).await, None);
    assert_eq!(effects(&rig, sagas[17]).await, [""; 0]);
}

#[tokio::test]
async fn effects_of_the_end_that_are_refused_park_the_saga_and_nothing_goes_round() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), FAR_APART).await;
    for (saga, mood, effect) in [
        ("pivoted", Mood::Doubt { times: 0, happens: true }, Effect::Refused),
        ("pivoted", Mood::Doubt { times: 0, happens: true }, Effect::Violation),
        ("plain", Mood::Refuse, Effect::Refused),
        ("plain", Mood::Refuse, Effect::Violation),
    ] {
        let toy = Toy::default().with("c", mood).effect("close", effect);
        let saga_id = rig.start(&engine, saga, toy).await;
        let attention =
            "select count(*) from saga where attention is not null and wake_at is not null";
        until("it is parked", async || (rig.number(attention).await == 1).then_some(())).await;
        rig.execute("update saga set attention = null").await;
        assert_eq!(rig.status(saga_id).await, None);
        let journal = rig.journal(saga_id).await;
        assert!(journal.len() < 10, "{journal:?}");
    }
}

#[tokio::test]
async fn a_panic_while_effects_are_applied_costs_only_its_own_saga() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), FAR_APART).await;
    let saga_id = rig.start(&engine, "plain", Toy::default().effect("b", Effect::Panic)).await;
    rig.line(saga_id, "parked b 1").await;
    let (_, status) = rig.run(&engine, "plain", Toy::default().effect("b", row("b"))).await;
    assert_eq!(status, "COMPLETED");
}

#[tokio::test]
async fn what_does_not_fit_into_one_batch_is_written_in_a_later_one() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let before = PUT_OFF.load(Ordering::Relaxed);
    let mut rounds = 0;
    while PUT_OFF.load(Ordering::Relaxed) == before {
        rounds += 1;
        assert!(rounds < 100, "never two in one batch");
        let exclusive = || Toy::default().effect("b", Effect::Exclusive("one".to_owned()));
        let sagas = join_all((0..30).map(|_| rig.start(&engine, "plain", exclusive()))).await;
        for saga_id in sagas {
            assert_eq!(rig.end(saga_id).await, "COMPLETED");
        }
    }
    assert_eq!(rig.number("select count(*) from toy_effect").await, 30 * rounds);
    engine.stop(Duration::from_secs(5)).await;
    rig.audit().await;
}

async fn effects(rig: &Rig, saga_id: uuid::Uuid) -> Vec<String> {
    sqlx::query_scalar("select name from toy_effect where saga_id = $1 order by name")
        .bind(saga_id)
        .fetch_all(rig.pool())
        .await
        .unwrap()
}
