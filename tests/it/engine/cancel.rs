//! Cancelling: at every step and in every kind of rest, and races with completion.

use crema::saga::{Policy, journal::CancelVerdict};
use futures::future::join_all;
use uuid::Uuid;

use super::{
    rig::{FAR_APART, QUICK, Rig, settings},
    toys::{Act, Mood, NEVER_ANSWERS, Toy},
};
use crate::world::until;

#[tokio::test]
async fn a_cancellation_while_any_step_runs_takes_back_what_was_done() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    for (saga, steps) in [("plain", &["a", "b", "c"][..]), ("pivoted", &["a", "b", "c"])] {
        for (index, step) in steps.iter().enumerate() {
            for mood in [Mood::Hang, Mood::Polite] {
                let saga_id = rig.start(&engine, saga, Toy::default().with(step, mood)).await;
                running(&rig, saga_id, step).await;
                assert_eq!(rig.cancel(&engine, saga_id).await, CancelVerdict::Requested);
                let again = rig.cancel(&engine, saga_id).await;
                let closed = matches!(again, CancelVerdict::Closed { cancelled: true, .. });
                assert!(again == CancelVerdict::AlreadyRequested || closed, "{again:?}");
                assert_eq!(rig.end(saga_id).await, "CANCELLED");
                let settled = if mood == Mood::Hang { Act::Undid } else { Act::Barred };
                let ledger = rig.world.ledger(saga_id);
                let taken_back: Vec<_> = ledger.iter().filter(|it| it.1 != Act::Did).collect();
                assert_eq!(*taken_back[0], (*step, settled), "{saga} {step}: {ledger:?}");
                assert_eq!(taken_back.len(), index + 1, "{saga} {step}: {ledger:?}");
            }
        }
    }
    rig.audit().await;
}

#[tokio::test]
async fn a_cancellation_during_the_last_attempt_is_what_the_saga_turns_back_for() {
    let rig = Rig::new().await;
    let once = Policy { attempts_max: 1, ..QUICK };
    let only = rig.engine_with(settings("first"), once).await;
    for mood in [Mood::Hang, Mood::Polite] {
        let saga_id = rig.start(&only, "plain", Toy::default().with("b", mood)).await;
        running(&rig, saga_id, "b").await;
        assert_eq!(rig.cancel(&only, saga_id).await, CancelVerdict::Requested);
        assert_eq!(rig.end(saga_id).await, "CANCELLED");
        assert!(rig.journal(saga_id).await.contains(&"attempt_failed b 1".to_owned()));
    }
    only.stop(std::time::Duration::from_secs(10)).await;
    let engine = rig.engine().await;
    let toy = Toy::default().with("b", Mood::DoubtThenPolite { times: 2 });
    let saga_id = rig.start(&engine, "pivoted", toy).await;
    until("the third runs", async || (rig.world.count(saga_id, "b") == 3).then_some(())).await;
    assert_eq!(rig.cancel(&engine, saga_id).await, CancelVerdict::Requested);
    assert_eq!(rig.end(saga_id).await, "CANCELLED");
    let expected = [
        "started",
        "step_done a 1",
        "attempt_failed b 1",
        "attempt_failed b 2",
        "attempt_failed b 3",
        "cancel_requested",
        "compensating",
        "compensation_done b 1",
        "compensation_done a 1",
        "closed",
    ];
    assert_eq!(rig.journal(saga_id).await, expected);
    rig.audit().await;
}

#[tokio::test]
async fn a_cancellation_that_was_accepted_before_a_step_is_given_up_wins_though_nobody_heard_of_it()
{
    let rig = Rig::new().await;
    let once = Policy { attempts_max: 1, ..QUICK };
    let engine = rig.engine_with(settings("first"), once).await;
    let saga_id = rig.start(&engine, "plain", Toy::default().with("b", Mood::GateThenDoubt)).await;
    running(&rig, saga_id, "b").await;
    accepted_unheard(&rig, saga_id).await;
    rig.world.open(1);
    rig.line(saga_id, "attempt_failed b 1").await;
    heard(&rig, saga_id).await;
    assert_eq!(rig.end(saga_id).await, "CANCELLED");
    assert_eq!(rig.world.count(saga_id, "b"), 1, "it is not tried again first");
    rig.audit().await;
}

/// Accepts a cancellation in the database, without telling the engine.
pub(super) async fn accepted_unheard(rig: &Rig, saga_id: Uuid) {
    sqlx::query("update saga set cancel_requested = true where saga_id = $1")
        .bind(saga_id)
        .execute(rig.pool())
        .await
        .unwrap();
}

/// Tells the engine of it.
pub(super) async fn heard(rig: &Rig, saga_id: Uuid) {
    sqlx::query(
        "insert into inbox (bucket, inbox_id, saga_id, kind, data)
         select bucket, gen_random_uuid(), saga_id, 'cancel', '{\"by\":\"ada\"}'
           from saga where saga_id = $1",
    )
    .bind(saga_id)
    .execute(rig.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn a_cancellation_while_a_step_waits_in_memory_acts_at_once() {
    let rig = Rig::new().await;
    let policy = Policy {
        backoff: std::time::Duration::from_millis(1_900),
        backoff_max: std::time::Duration::from_millis(1_900),
        jitter: 0.0,
        ..QUICK
    };
    let engine = rig.engine_with(settings("first"), policy).await;
    let toy = Toy::default().with("b", Mood::Doubt { times: NEVER_ANSWERS, happens: true });
    let saga_id = rig.start(&engine, "plain", toy).await;
    rig.line(saga_id, "attempt_failed b 1").await;
    assert_eq!(engine.live(), 1);
    assert_eq!(rig.cancel(&engine, saga_id).await, CancelVerdict::Requested);
    assert_eq!(rig.end(saga_id).await, "CANCELLED");
    assert_eq!(rig.world.count(saga_id, "b"), 1, "not tried once more");
    rig.audit().await;
}

#[tokio::test]
async fn a_cancellation_while_a_saga_is_suspended_wakes_it_and_tries_nothing_more() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), FAR_APART).await;
    let toy = || Toy::default().with("b", Mood::Doubt { times: NEVER_ANSWERS, happens: true });
    let mut sagas = Vec::new();
    for _ in 0..30 {
        sagas.push(rig.start(&engine, "plain", toy()).await);
    }
    let suspended = "select count(*) from saga where wake_at is not null";
    until("they are suspended", async || (rig.number(suspended).await == 30).then_some(())).await;
    for saga_id in &sagas {
        assert_eq!(rig.cancel(&engine, *saga_id).await, CancelVerdict::Requested);
    }
    for saga_id in sagas {
        assert_eq!(rig.end(saga_id).await, "CANCELLED");
        assert_eq!(rig.world.count(saga_id, "b"), 1, "not tried once more");
    }
    assert_eq!(rig.number("select count(*) from inbox").await, 0);
    rig.audit().await;
}

#[tokio::test]
async fn a_cancellation_during_compensation_is_accepted_and_changes_nothing() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let toy = Toy::default().with("c", Mood::Refuse).with("b.undo", Mood::Gate);
    let saga_id = rig.start(&engine, "plain", toy).await;
    running(&rig, saga_id, "b.undo").await;
    assert_eq!(rig.cancel(&engine, saga_id).await, CancelVerdict::Requested);
    rig.world.open(1);
    assert_eq!(rig.end(saga_id).await, "FAILED");
    assert_eq!(rig.world.count(saga_id, "b.undo"), 1, "it is shielded");
    let empty = "select count(*) from inbox";
    until("the request is forgotten", async || (rig.number(empty).await == 0).then_some(())).await;
    rig.audit().await;
}

#[tokio::test]
async fn a_cancellation_behind_the_pivot_or_after_the_end_is_too_late() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "pivoted", Toy::default().with("d", Mood::Gate)).await;
    running(&rig, saga_id, "d").await;
    assert_eq!(rig.cancel(&engine, saga_id).await, CancelVerdict::TooLate);
    rig.world.open(1);
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    let closed = |status: &str, reason: Option<&str>, cancelled| CancelVerdict::Closed {
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        cancelled,
    };
    assert_eq!(rig.cancel(&engine, saga_id).await, closed("COMPLETED", None, false));
    let saga_id = rig.start(&engine, "plain", Toy::default().with("a", Mood::Polite)).await;
    rig.cancel(&engine, saga_id).await;
    assert_eq!(rig.end(saga_id).await, "CANCELLED");
    let verdict = rig.cancel(&engine, saga_id).await;
    assert_eq!(verdict, closed("CANCELLED", Some("cancelled"), true));
    assert_eq!(rig.cancel(&engine, Uuid::now_v7()).await, CancelVerdict::Unknown);
    rig.audit().await;
}

/// Each saga is cancelled while it runs through its steps; either the cancellation was accepted and the
/// saga did not complete, or it was too late and the saga did.
async fn race(saga: &'static str) {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let mut won = 0;
    for _ in 0..5 {
        let started: Vec<Uuid> =
            join_all((0..100).map(|_| rig.start(&engine, saga, Toy::default()))).await;
        let verdicts = join_all(started.iter().map(|id| rig.cancel(&engine, *id))).await;
        for (saga_id, verdict) in started.into_iter().zip(verdicts) {
            let status = rig.end(saga_id).await;
            match verdict {
                CancelVerdict::Requested => assert_eq!(status, "CANCELLED"),
                CancelVerdict::TooLate => assert_eq!(status, "COMPLETED"),
                CancelVerdict::Closed { cancelled, .. } => {
                    assert!(!cancelled);
                    assert_eq!(status, "COMPLETED");
                }
                other => panic!("{other:?}"),
            }
            won += usize::from(status == "CANCELLED");
        }
    }
    assert!(won > 0, "some cancellations are in time");
    rig.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_cancellation_and_the_pivot_exactly_one_wins() {
    race("pivoted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_pivot_of_a_cancellation_and_the_end_exactly_one_wins() {
    race("plain").await;
}

#[tokio::test]
async fn what_happened_at_the_pivot_is_taken_back_when_a_cancellation_was_first() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    for saga in ["pivoted", "plain"] {
        let saga_id = rig.start(&engine, saga, Toy::default().with("c", Mood::Gate)).await;
        running(&rig, saga_id, "c").await;
        // Accepted in the database, but not told to the engine before the step is done.
        accepted_unheard(&rig, saga_id).await;
        rig.world.open(1);
        rig.line(saga_id, "attempt_failed c 1").await;
        heard(&rig, saga_id).await;
        assert_eq!(rig.end(saga_id).await, "CANCELLED");
    }
    rig.audit().await;
}

pub(super) async fn running(rig: &Rig, saga_id: Uuid, step: &str) {
    until("the step runs", async || (rig.world.count(saga_id, step) > 0).then_some(())).await;
}
