//! A saga as it is shown while it is on its way.

use crema::saga::{
    Engine,
    history::{StepStatus, StepView},
};
use uuid::Uuid;

use super::{
    effects::Effect,
    rig::{FAR_APART, QUICK, Rig, settings},
    toys::{Mood, Toy},
};
use crate::world::until;

async fn step(rig: &Rig, engine: &Engine<Effect>, saga_id: Uuid, name: &str) -> StepView {
    let view = engine.view(rig.pool(), saga_id).await.unwrap().unwrap().unwrap();
    view.step(name).unwrap().clone()
}

async fn called_twice(rig: &Rig, saga_id: Uuid, step: &str) {
    until("it is called again", async || (rig.world.count(saga_id, step) == 2).then_some(())).await;
}

#[tokio::test]
async fn a_second_attempt_is_shown_as_one_that_runs() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), QUICK).await;
    let toy = Toy::default().with("b", Mood::DoubtThenGate);
    let saga_id = rig.start(&engine, "plain", toy).await;
    called_twice(&rig, saga_id, "b").await;
    let b = step(&rig, &engine, saga_id, "b").await;
    assert_eq!((b.status, b.attempts, b.next_attempt_at), (StepStatus::Running, 2, None));
    assert_eq!(b.last_error.as_deref(), Some("the answer is lost"));
    rig.world.open(1);
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    let b = step(&rig, &engine, saga_id, "b").await;
    assert_eq!((b.status, b.attempts), (StepStatus::Done, 2));
}

#[tokio::test]
async fn a_second_attempt_at_a_compensation_is_shown_as_one_that_runs() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), QUICK).await;
    let toy = Toy::default().with("b", Mood::Refuse).with("a.undo", Mood::DoubtThenGate);
    let saga_id = rig.start(&engine, "plain", toy).await;
    called_twice(&rig, saga_id, "a.undo").await;
    let undo = step(&rig, &engine, saga_id, "a").await.compensation.unwrap();
    assert_eq!((undo.status, undo.attempts, undo.next_attempt_at), (StepStatus::Running, 2, None));
    rig.world.open(1);
    assert_eq!(rig.end(saga_id).await, "FAILED");
}

#[tokio::test]
async fn what_is_due_and_still_suspended_is_shown_as_waiting() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), FAR_APART).await;
    let toy = Toy::default().with("b", Mood::DoubtThenGate);
    let saga_id = rig.start(&engine, "plain", toy).await;
    until("nothing is in memory", async || (engine.live() == 0).then_some(())).await;
    let waiting = step(&rig, &engine, saga_id, "b").await;
    assert_eq!((waiting.status, waiting.attempts), (StepStatus::Waiting, 1));
    assert!(waiting.next_attempt_at.is_some());
    engine.stop(std::time::Duration::from_secs(10)).await;
    // Two minutes later, and nobody has come for it yet.
    rig.execute("update journal set at = at - interval '2 minutes'").await;
    let due = step(&rig, &engine, saga_id, "b").await;
    assert_eq!((due.status, due.attempts), (StepStatus::Waiting, 1));
    assert!(due.next_attempt_at < waiting.next_attempt_at);
}
