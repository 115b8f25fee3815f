//! Attempts: retries, time-outs, heartbeats, giving up, needing a person, compensations that fail.

use std::time::Duration;

use crema::saga::{Policy, history::StepStatus};
use serde_json::Value;

use super::{
    rig::{QUICK, Rig, settings},
    toys::{Act, Mood, NEVER_ANSWERS, Toy},
};
use crate::world::until;

#[tokio::test]
async fn a_step_is_tried_again_and_its_attempts_are_journaled() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let toy = Toy::default().with("b", Mood::Doubt { times: 2, happens: false });
    let (saga_id, status) = rig.run(&engine, "plain", toy).await;
    assert_eq!(status, "COMPLETED");
    let expected = [
        "started",
        "step_done a 1",
        "attempt_failed b 1",
        "attempt_failed b 2",
        "step_done b 3",
        "step_done c 1",
        "closed",
    ];
    assert_eq!(rig.journal(saga_id).await, expected);
    let delays: Vec<i64> = sqlx::query_scalar(
        "select (data->>'retry_in_ms')::bigint from journal where kind = 'attempt_failed' order by seq",
    )
    .fetch_all(rig.pool())
    .await
    .unwrap();
    assert!((1..=2).contains(&delays[0]) && (3..=4).contains(&delays[1]), "{delays:?}");
    let attempts: Vec<u32> = rig.world.calls(saga_id).iter().map(|it| it.attempt).collect();
    assert_eq!(attempts, [1, 1, 2, 3, 1]);
}

#[tokio::test]
async fn a_step_that_is_never_answered_is_given_up_and_compensated() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let toy = Toy::default().with("b", Mood::Doubt { times: NEVER_ANSWERS, happens: true });
    let (saga_id, status) = rig.run(&engine, "plain", toy).await;
    assert_eq!(status, "FAILED");
    let expected = [
        "started",
        "step_done a 1",
        "attempt_failed b 1",
        "attempt_failed b 2",
        "step_given_up b 3",
        "compensating",
        "compensation_done b 1",
        "compensation_done a 1",
        "closed",
    ];
    assert_eq!(rig.journal(saga_id).await, expected);
    rig.audit().await;
}

#[tokio::test]
async fn a_step_that_is_refused_after_an_attempt_in_doubt_is_taken_back() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    for (happens, act) in [(true, Act::Undid), (false, Act::Barred)] {
        let toy = Toy::default().with("b", Mood::DoubtThenRefuse { happens });
        let (saga_id, status) = rig.run(&engine, "plain", toy).await;
        assert_eq!(status, "FAILED");
        let expected = [
            "started",
            "step_done a 1",
            "attempt_failed b 1",
            "step_refused b 2",
            "compensating",
            "compensation_done b 1",
            "compensation_done a 1",
            "closed",
        ];
        assert_eq!(rig.journal(saga_id).await, expected);
        assert_eq!(rig.world.ledger(saga_id)[usize::from(happens) + 1], ("b", act));
        let view = engine.view(rig.pool(), saga_id).await.unwrap().unwrap().unwrap();
        let step = view.step("b").unwrap();
        assert_eq!(step.status, StepStatus::Refused);
        assert_eq!(step.compensation.as_ref().unwrap().status, StepStatus::Done);
    }
    rig.audit().await;
}

#[tokio::test]
async fn an_attempt_without_an_answer_ends_when_its_time_is_over() {
    let rig = Rig::new().await;
    let policy = Policy { start_to_close: Duration::from_millis(40), ..QUICK };
    let engine = rig.engine_with(settings("first"), policy).await;
    let (saga_id, status) = rig.run(&engine, "plain", Toy::default().with("b", Mood::Hang)).await;
    assert_eq!(status, "FAILED");
    assert_eq!(rig.world.count(saga_id, "b"), 3);
    assert_eq!(last_detail(&rig, "step_given_up").await, "no answer within 0.04 s");
    rig.audit().await;
}

#[tokio::test]
async fn an_attempt_that_falls_silent_ends_and_one_that_does_not_goes_on() {
    let rig = Rig::new().await;
    let policy = Policy { heartbeat: Some(Duration::from_millis(600)), ..QUICK };
    let engine = rig.engine_with(settings("first"), policy).await;
    let lively = rig.start(&engine, "plain", Toy::default().with("b", Mood::Lively)).await;
    until("the progress is seen", async || engine.progress(lively)).await;
    let silent = rig.start(&engine, "plain", Toy::default().with("b", Mood::Silent)).await;
    assert_eq!(rig.end(lively).await, "COMPLETED");
    assert_eq!(rig.world.count(lively, "b"), 1, "for longer than the silence that is allowed");
    assert_eq!(rig.end(silent).await, "FAILED");
    assert_eq!(last_detail(&rig, "step_given_up").await, "no heartbeat within 0.6 s");
    assert_eq!(engine.progress(lively), None);
}

#[tokio::test]
async fn a_panic_in_a_step_is_an_attempt_in_doubt() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let toy = Toy::default().with("b", Mood::Panic { times: 2 });
    let (saga_id, status) = rig.run(&engine, "plain", toy).await;
    assert_eq!(status, "COMPLETED");
    assert_eq!(rig.world.count(saga_id, "b"), 3);
}

#[tokio::test]
async fn a_participants_wish_for_a_later_attempt_is_kept() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let (saga_id, status) =
        rig.run(&engine, "plain", Toy::default().with("b", Mood::Later { ms: 120 })).await;
    assert_eq!(status, "COMPLETED");
    let waited: bool = sqlx::query_scalar(
        "select d.at - f.at >= interval '120 ms' from journal f join journal d using (saga_id)
          where saga_id = $1 and f.kind = 'attempt_failed' and d.kind = 'step_done' and d.step = 'b'",
    )
    .bind(saga_id)
    .fetch_one(rig.pool())
    .await
    .unwrap();
    assert!(waited);
}

#[tokio::test]
async fn a_step_that_is_nice_to_have_fails_without_consequence() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    for mood in [Mood::Refuse, Mood::Doubt { times: NEVER_ANSWERS, happens: false }] {
        let (saga_id, status) = rig.run(&engine, "pivoted", Toy::default().with("d", mood)).await;
        assert_eq!(status, "COMPLETED");
        let journal = rig.journal(saga_id).await;
        let last = if mood == Mood::Refuse { "step_refused d 1" } else { "step_given_up d 3" };
        assert_eq!(journal[journal.len() - 2..], [last, "closed"]);
    }
    rig.audit().await;
}

#[tokio::test]
async fn behind_the_pivot_a_step_is_tried_until_it_is_done() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let toy = Toy::default().with("c", Mood::Doubt { times: 7, happens: false });
    let (saga_id, status) = rig.run(&engine, "forward", toy).await;
    assert_eq!(status, "COMPLETED");
    assert_eq!(rig.world.count(saga_id, "c"), 8, "more often than three times");
}

#[tokio::test]
async fn behind_the_pivot_a_refusal_parks_the_saga() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "forward", Toy::default().with("c", Mood::Refuse)).await;
    until("it is parked", async || attention(&rig, saga_id).await).await;
    assert_eq!(attention(&rig, saga_id).await.as_deref(), Some("toy_refused"));
    assert_eq!(rig.status(saga_id).await, None);
}

#[tokio::test]
async fn what_only_a_person_can_settle_parks_the_saga_until_somebody_asks_again() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), super::rig::FAR_APART).await;
    let toy = Toy::default().with("b", Mood::Attention { times: 1 });
    let saga_id = rig.start(&engine, "plain", toy).await;
    until("it is parked", async || attention(&rig, saga_id).await).await;
    assert_eq!(attention(&rig, saga_id).await.as_deref(), Some("toy_mismatch"));
    let listed = engine.needing_attention(rig.pool(), 10).await.unwrap();
    assert_eq!(listed.iter().map(|it| it.saga_id).collect::<Vec<_>>(), [saga_id]);
    until("it is out of memory", async || (engine.live() == 0).then_some(())).await;
    assert!(engine.retry(rig.pool(), saga_id, "ada", Some("settled")).await.unwrap());
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    let expected = [
        "started",
        "step_done a 1",
        "parked b 1",
        "retry_requested",
        "step_done b 1",
        "step_done c 1",
        "closed",
    ];
    assert_eq!(rig.journal(saga_id).await, expected);
    assert_eq!(attention(&rig, saga_id).await, None);
    assert!(!engine.retry(rig.pool(), saga_id, "ada", None).await.unwrap(), "it is closed");
}

#[tokio::test]
async fn a_compensation_that_fails_ten_times_parks_the_saga_and_goes_on() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let toy = Toy::default()
        .with("b", Mood::Refuse)
        .with("a.undo", Mood::Doubt { times: 12, happens: false });
    let (saga_id, status) = rig.run(&engine, "plain", toy).await;
    assert_eq!(status, "FAILED");
    let journal = rig.journal(saga_id).await;
    let expected: Vec<String> = (1..=9)
        .map(|it| format!("compensation_failed a {it}"))
        .chain((10..=12).map(|it| format!("parked a {it}")))
        .chain(["compensation_done a 13".to_owned(), "closed".to_owned()])
        .collect();
    assert_eq!(journal[journal.len() - expected.len()..], expected);
    let reason: Value =
        sqlx::query_scalar("select data->'reason' from journal where kind = 'parked' limit 1")
            .fetch_one(rig.pool())
            .await
            .unwrap();
    assert_eq!(reason, "a_compensation");
    rig.audit().await;
}

#[tokio::test]
async fn a_compensation_may_need_a_person_too() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), super::rig::FAR_APART).await;
    let toy = Toy::default().with("b", Mood::Refuse).with("a.undo", Mood::Attention { times: 1 });
    let saga_id = rig.start(&engine, "plain", toy).await;
    until("it is parked", async || attention(&rig, saga_id).await).await;
    assert!(engine.retry(rig.pool(), saga_id, "ada", None).await.unwrap());
    assert_eq!(rig.end(saga_id).await, "FAILED");
    rig.audit().await;
}

#[tokio::test]
async fn a_milestone_is_durable_before_the_attempt_goes_on() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "plain", Toy::default().with("b", Mood::Reach)).await;
    rig.line(saga_id, "step_reached b 1").await;
    let label: String =
        sqlx::query_scalar("select label from saga").fetch_one(rig.pool()).await.unwrap();
    assert_eq!(label, "HALFWAY");
    rig.world.open(1);
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    let expected = [
        "started",
        "step_done a 1",
        "step_reached b 1",
        "step_done b 1",
        "step_done c 1",
        "closed",
    ];
    assert_eq!(rig.journal(saga_id).await, expected);
}

async fn attention(rig: &Rig, saga_id: uuid::Uuid) -> Option<String> {
    sqlx::query_scalar("select attention from saga where saga_id = $1")
        .bind(saga_id)
        .fetch_one(rig.pool())
        .await
        .unwrap()
}

async fn last_detail(rig: &Rig, kind: &str) -> String {
    sqlx::query_scalar(
        "select data->>'detail' from journal where kind = $1 order by at desc, seq desc limit 1",
    )
    .bind(kind)
    .fetch_one(rig.pool())
    .await
    .unwrap()
}
