//! What is heard while a step runs, and what a step gives up by itself.

use crema::saga::{Asked, Only};
use serde_json::json;

use super::{
    cancel::running,
    rig::Rig,
    toys::{Act, Mood, Toy},
};

#[tokio::test]
async fn a_signal_that_comes_while_a_step_makes_up_its_mind_to_wait_for_it_is_not_slept_through() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "plain", Toy::default().with("a", Mood::GateThenWait)).await;
    running(&rig, saga_id, "a").await;
    let (go, only) = (("go", None), Only::default());
    let go = engine.signal(rig.pool(), saga_id, go, "ada", &json!(1), only).await.unwrap();
    assert_eq!(go, Asked::Accepted);
    rig.line(saga_id, "signal_received").await;
    rig.world.open(1);
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    let calls: Vec<u32> = rig.world.calls(saga_id).iter().map(|it| it.attempt).collect();
    assert_eq!(calls, [1, 1, 1, 1], "it was asked again, as the same attempt");
    let journal = rig.journal(saga_id).await;
    assert!(!journal.contains(&"step_waiting a 1".to_owned()), "{journal:?}");
}

#[tokio::test]
async fn a_step_that_gives_up_by_itself_is_tried_once_and_taken_back_as_if_it_had_happened() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let toy = Toy::default().with("b", Mood::GiveUp);
    let (saga_id, status) = rig.run(&engine, "plain", toy).await;
    assert_eq!(status, "FAILED");
    assert_eq!(rig.world.count(saga_id, "b"), 1);
    let ledger = rig.world.ledger(saga_id);
    assert_eq!(ledger, [("a", Act::Did), ("b", Act::Barred), ("a", Act::Undid)]);
    // Where nothing can be taken back it is asked for like anything in doubt.
    let toy = Toy::default().with("c", Mood::GiveUp);
    let saga_id = rig.start(&engine, "forward", toy).await;
    rig.line(saga_id, "attempt_failed c 4").await;
}
