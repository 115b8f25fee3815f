//! Local steps: they call nobody, and are written in the commit of the step before them.

use crema::saga::journal::CancelVerdict;

use super::{
    cancel::{accepted_unheard, heard, running},
    effects::Effect,
    rig::Rig,
    toys::{Mood, Toy},
};

const BACK_FROM_C: [&str; 7] = [
    "started",
    "step_done a 1",
    "step_done b 1",
    "step_refused c 1",
    "compensating",
    "compensation_done b 1",
    "compensation_done a 1",
];

#[tokio::test]
async fn a_local_step_is_written_in_the_commit_of_the_step_before_it() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let toy = Toy::default()
        .effect("b", Effect::Row("b".into()))
        .effect("c", Effect::Exclusive("c".into()));
    let (saga_id, status) = rig.run(&engine, "near", toy).await;
    assert_eq!(status, "COMPLETED");
    let lines = ["started", "step_done a 1", "step_done b 1", "step_done c 1", "closed"];
    assert_eq!(rig.journal(saga_id).await, lines);
    assert_eq!(rig.number("select count(distinct xmin::text) from journal").await, 3);
    assert_eq!(rig.number("select version from saga").await, 3);
    let together = "select count(*) from toy_effect e join journal j using (saga_id)
                     where j.step = 'c' and j.xmin = e.xmin";
    assert_eq!(rig.number(together).await, 2);
    let told = "select count(*) from journal where step = 'c' and data->>'after' like '%/b'";
    assert_eq!(rig.number(told).await, 1, "it knows what the step before it left");
}

#[tokio::test]
async fn what_came_before_a_local_step_that_is_refused_stays_done_with_its_effects() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let toy = |effect| Toy::default().effect("b", Effect::Row("b".into())).effect("c", effect);
    let (saga_id, status) = rig.run(&engine, "near", toy(Effect::Refused)).await;
    assert_eq!(status, "FAILED");
    assert_eq!(rig.journal(saga_id).await[..7], BACK_FROM_C);
    assert_eq!(rig.world.count(saga_id, "b"), 1, "it is not called again");
    assert_eq!(rig.number("select count(*) from toy_effect where name = 'b'").await, 1);
    let parked = rig.start(&engine, "near", toy(Effect::Violation)).await;
    rig.line(parked, "parked c 1").await;
    assert_eq!(rig.number("select count(*) from toy_effect where name = 'b'").await, 2);
    assert_eq!(rig.world.count(parked, "b"), 1);
}

#[tokio::test]
async fn a_cancellation_that_was_first_is_not_overtaken_by_a_local_pivot() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "near", Toy::default().with("b", Mood::Gate)).await;
    running(&rig, saga_id, "b").await;
    // Accepted in the database, but not told to the engine before the step is done.
    accepted_unheard(&rig, saga_id).await;
    rig.world.open(1);
    rig.line(saga_id, "step_done b 1").await;
    heard(&rig, saga_id).await;
    assert_eq!(rig.end(saga_id).await, "CANCELLED");
    assert!(!rig.journal(saga_id).await.contains(&"step_done c 1".to_owned()));
    assert_eq!(rig.world.count(saga_id, "b"), 1);
    assert_eq!(rig.world.count(saga_id, "b.undo"), 1);
    let after = rig.cancel(&engine, saga_id).await;
    assert!(matches!(after, CancelVerdict::Closed { cancelled: true, .. }));
}
