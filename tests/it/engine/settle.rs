//! A person tells what became of a step that needs one (B7).

use crema::saga::{Asked, Engine, Settlement};
use serde_json::json;
use uuid::Uuid;

use super::{
    effects::Effect,
    rig::Rig,
    toys::{Mood, NEVER_ANSWERS, Toy},
};

async fn parked(rig: &Rig, engine: &Engine<Effect>, at: &str) -> Uuid {
    let toy = Toy::default().with(at, Mood::Attention { times: NEVER_ANSWERS });
    let toy = if at.ends_with(".undo") { toy.with("c", Mood::Refuse) } else { toy };
    let saga_id =
        rig.start(engine, "plain", toy.effect("close", Effect::Row("close".into()))).await;
    rig.line(saga_id, &format!("parked {} 1", at.trim_end_matches(".undo"))).await;
    saga_id
}

async fn settle(
    rig: &Rig,
    engine: &Engine<Effect>,
    saga_id: Uuid,
    settlement: Settlement,
) -> Result<Asked, crema::saga::Unfit> {
    engine.settle(rig.pool(), saga_id, &settlement, "ada", "seen on paper").await.unwrap()
}

fn done() -> Settlement {
    Settlement::Done { output: json!({ "receipt": "by hand" }) }
}

fn refused() -> Settlement {
    Settlement::Refused { code: "not_made".to_owned() }
}

#[tokio::test]
async fn a_step_that_happened_by_a_persons_word_is_done() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = parked(&rig, &engine, "b").await;
    assert_eq!(settle(&rig, &engine, saga_id, done()).await, Ok(Asked::Accepted));
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    let journal = rig.journal(saga_id).await;
    assert!(journal.iter().any(|it| it.starts_with("settled b")), "{journal:?}");
    let told = "select count(*) from journal where kind = 'settled' \
                and data->>'by' = 'ada' and data->>'reason' = 'seen on paper'";
    assert_eq!(rig.number(told).await, 1);
    assert_eq!(settle(&rig, &engine, saga_id, done()).await, Ok(Asked::Closed));
}

#[tokio::test]
async fn a_step_that_did_not_happen_by_a_persons_word_turns_the_saga_back() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = parked(&rig, &engine, "b").await;
    assert_eq!(settle(&rig, &engine, saga_id, refused()).await, Ok(Asked::Accepted));
    assert_eq!(rig.end(saga_id).await, "FAILED");
    assert_eq!(rig.world.count(saga_id, "b.undo"), 0, "there is nothing to take back");
    assert_eq!(rig.world.count(saga_id, "a.undo"), 1);
    assert_eq!(rig.number("select count(*) from saga where closed_reason = 'not_made'").await, 1);
}

#[tokio::test]
async fn a_compensation_is_settled_by_telling_how_it_was_done_and_not_otherwise() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = parked(&rig, &engine, "b.undo").await;
    let unfit = settle(&rig, &engine, saga_id, refused()).await.unwrap_err();
    assert!(unfit.to_string().contains("has to be taken back"), "{unfit}");
    assert_eq!(settle(&rig, &engine, saga_id, done()).await, Ok(Asked::Accepted));
    assert_eq!(rig.end(saga_id).await, "FAILED");
    assert_eq!(rig.world.count(saga_id, "a.undo"), 1);
}

#[tokio::test]
async fn what_needs_no_person_is_not_settled() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "plain", Toy::default().with("a", Mood::Gate)).await;
    rig.line(saga_id, "started").await;
    assert_eq!(settle(&rig, &engine, saga_id, done()).await, Ok(Asked::NotWaiting));
    assert_eq!(settle(&rig, &engine, Uuid::now_v7(), done()).await, Ok(Asked::Unknown));
    rig.world.open(1);
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    assert_eq!(rig.number("select count(*) from journal where kind = 'settled'").await, 0);
}
