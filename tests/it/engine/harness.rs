//! The four harnesses that every saga has to pass: each step twice, failure at each step, each
//! compensation twice, resumed from every prefix of its journal.

use crema::saga::Engine;
use uuid::Uuid;

use super::{
    effects::Effect,
    rig::{QUICK, Rig, settings},
    toys::{Act, Mood, NAMES, NEVER_ANSWERS, Toy, World},
};

/// The sagas, with how many steps must be done and which of them is the pivot.
const SAGAS: [(&str, usize, Option<usize>); 3] =
    [("plain", 3, None), ("pivoted", 3, Some(2)), ("forward", 3, Some(1))];

#[tokio::test]
async fn each_step_executed_twice_leaves_the_same_ledger() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    for (saga, steps, _) in SAGAS {
        let (reference, status) = rig.run(&engine, saga, Toy::default()).await;
        assert_eq!(status, "COMPLETED");
        for step in &NAMES[..steps] {
            let toy = Toy::default().with(step, Mood::Doubt { times: 1, happens: true });
            let (saga_id, status) = rig.run(&engine, saga, toy).await;
            assert_eq!(status, "COMPLETED");
            assert_eq!(rig.world.ledger(saga_id), rig.world.ledger(reference));
            assert_eq!(rig.world.count(saga_id, step), 2, "{saga}: {step}");
        }
    }
    rig.audit().await;
}

#[tokio::test]
async fn failure_at_each_step_unwinds_exactly_what_may_have_happened() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let failures = [
        (Mood::Refuse, None),
        (Mood::Doubt { times: NEVER_ANSWERS, happens: false }, Some(Act::Barred)),
        (Mood::Doubt { times: NEVER_ANSWERS, happens: true }, Some(Act::Undid)),
    ];
    for (saga, steps, pivot) in SAGAS {
        // Behind the pivot nothing fails any more.
        for failing in 0..pivot.map_or(steps, |it| it + 1) {
            for (mood, settled) in failures {
                let toy = Toy::default().with(NAMES[failing], mood);
                let (saga_id, status) = rig.run(&engine, saga, toy).await;
                assert_eq!(status, "FAILED");
                let taken_back: Vec<_> = rig.world.ledger(saga_id);
                let taken_back = taken_back.iter().filter(|it| it.1 != Act::Did);
                let itself = settled.map(|act| (NAMES[failing], act));
                let before = (0..failing).rev().map(|it| (NAMES[it], Act::Undid));
                let expected: Vec<_> = itself.into_iter().chain(before).collect();
                assert_eq!(taken_back.copied().collect::<Vec<_>>(), expected, "{saga} {failing}");
                let cause: String =
                    sqlx::query_scalar("select closed_reason from saga where saga_id = $1")
                        .bind(saga_id)
                        .fetch_one(rig.pool())
                        .await
                        .unwrap();
                let refused = mood == Mood::Refuse;
                let unavailable = format!("{}_unavailable", NAMES[failing]);
                assert_eq!(cause, if refused { "toy_refused" } else { unavailable.as_str() });
            }
        }
    }
    rig.audit().await;
}

#[tokio::test]
async fn each_compensation_executed_twice_leaves_the_same_ledger() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    for (saga, _, pivot) in SAGAS {
        let last = pivot.unwrap_or(2);
        let failing = || Toy::default().with(NAMES[last], Mood::Refuse);
        let (reference, _) = rig.run(&engine, saga, failing()).await;
        for step in &NAMES[..last] {
            let undo = format!("{step}.undo");
            let toy = failing().with(&undo, Mood::Doubt { times: 1, happens: true });
            let (saga_id, status) = rig.run(&engine, saga, toy).await;
            assert_eq!(status, "FAILED");
            assert_eq!(rig.world.ledger(saga_id), rig.world.ledger(reference));
            assert_eq!(rig.world.count(saga_id, &undo), 2);
        }
    }
    rig.audit().await;
}

#[tokio::test]
async fn a_completed_saga_resumes_from_every_prefix_of_its_journal() {
    for (saga, ..) in SAGAS {
        // One lost answer only: the takeover counts as an attempt too.
        let toy = Toy::default().with("b", Mood::Doubt { times: 1, happens: true });
        let ends = resume_everywhere(saga, toy, false).await;
        assert!(ends.iter().all(|it| it == "COMPLETED"), "{ends:?}");
    }
}

#[tokio::test]
async fn a_compensated_saga_resumes_from_every_prefix_of_its_journal() {
    for (saga, failing) in [("plain", "c"), ("pivoted", "c"), ("forward", "b")] {
        for mood in [Mood::Refuse, Mood::Doubt { times: NEVER_ANSWERS, happens: true }] {
            let toy = Toy::default()
                .with(failing, mood)
                .with("a.undo", Mood::Doubt { times: 2, happens: false });
            let ends = resume_everywhere(saga, toy, false).await;
            assert!(ends.iter().all(|it| it == "FAILED"), "{ends:?}");
        }
    }
}

#[tokio::test]
async fn a_cancelled_saga_resumes_from_every_prefix_of_its_journal() {
    let ends = resume_everywhere("pivoted", Toy::default().with("b", Mood::Gate), true).await;
    let (before, after): (Vec<_>, Vec<_>) = ends.iter().partition(|it| *it == "COMPLETED");
    assert!(!before.is_empty() && !after.is_empty(), "{ends:?}");
    assert!(after.iter().all(|it| *it == "CANCELLED"), "{ends:?}");
}

/// Runs a saga to its end, then plants each prefix of its journal twice as a dead replica's saga: once as
/// if nothing had come after it, once as if the step at hand had happened. Returns their ends, in order.
async fn resume_everywhere(saga: &'static str, toy: Toy, cancel: bool) -> Vec<String> {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, saga, toy.clone()).await;
    if cancel {
        crate::world::until("b runs", async || (rig.world.count(saga_id, "b") > 0).then_some(()))
            .await;
        rig.cancel(&engine, saga_id).await;
    }
    rig.end(saga_id).await;
    rig.world.open(1_000);
    let length = rig.journal(saga_id).await.len();
    stop(engine).await;
    rig.execute("update bucket set owner = gen_random_uuid(), epoch = epoch + 1").await;
    let mut planted = Vec::new();
    for prefix in 1..=length {
        for at_hand_happened in [false, true] {
            planted.push(plant(&rig, saga_id, &toy, prefix, at_hand_happened).await);
        }
    }
    let engine = rig.engine_with(settings("second"), QUICK).await;
    let mut ends = Vec::new();
    for id in planted {
        ends.push(rig.end(id).await);
    }
    rig.audit().await;
    let taken_up = "select count(*) from (select saga_id from journal where kind = 'taken_up' \
                    and data->>'handed_over' = 'false' group by saga_id) as it";
    assert_eq!(rig.number(taken_up).await, 2 * (length as i64 - 1), "all but the closed ones");
    stop(engine).await;
    ends
}

/// Writes a saga as its replica left it when it died after this many lines.
async fn plant(
    rig: &Rig,
    original: Uuid,
    toy: &Toy,
    prefix: usize,
    at_hand_happened: bool,
) -> Uuid {
    let saga_id = Uuid::now_v7();
    let prefix = i32::try_from(prefix).unwrap();
    sqlx::query(
        "insert into journal (bucket, saga_id, seq, epoch, kind, step, attempt, data)
         select $1, $2, seq, epoch, kind, step, attempt,
                case when kind = 'step_done'
                     then replace(data::text, $3::text, $2::text)::json else data end
           from journal where saga_id = $3 and seq <= $4",
    )
    .bind(i16::from(saga_id.as_bytes()[15]))
    .bind(saga_id)
    .bind(original)
    .bind(prefix)
    .execute(rig.pool())
    .await
    .unwrap();
    sqlx::query(
        "insert into saga (bucket, saga_id, definition, definition_version, label, seq, version, cursor,
                           past_pivot, cancel_requested, closed_status, closed_reason)
         select $1, $2, s.definition, 1, case when closed then s.label else 'PLANTED' end, $4, 1, 0,
                s.past_pivot and exists (
                    select from journal where saga_id = $2 and kind = 'step_done'
                       and step = case s.definition when 'pivoted' then 'c' else 'b' end),
                exists (select from journal where saga_id = $2 and kind = 'cancel_requested'),
                case when closed then s.closed_status end, case when closed then s.closed_reason end
           from saga s, lateral (select exists (select from journal
                                     where saga_id = $2 and kind = 'closed') as closed) c
          where s.saga_id = $3",
    )
    .bind(i16::from(saga_id.as_bytes()[15]))
    .bind(saga_id)
    .bind(original)
    .bind(prefix)
    .execute(rig.pool())
    .await
    .unwrap();
    plant_ledger(rig, saga_id, toy, at_hand_happened).await;
    saga_id
}

/// Gives the participants the memory that goes with the journal.
async fn plant_ledger(rig: &Rig, saga_id: Uuid, toy: &Toy, at_hand_happened: bool) {
    let mut done = Vec::new();
    let mut backward = false;
    for line in rig.journal(saga_id).await {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["step_done", step, _] => {
                rig.world.plant(saga_id, step, Act::Did);
                done.push(step.to_owned());
            }
            ["step_given_up", step, _] => {
                rig.world.plant(saga_id, step, Act::Did);
                backward = true;
            }
            ["step_refused", ..] => backward = true,
            // In these tests whatever is in doubt has happened.
            ["attempt_failed", step, _] => {
                rig.world.plant(saga_id, step, Act::Did);
                rig.world.plant_call(saga_id, step);
            }
            ["compensation_done", step, _] => rig.world.plant(saga_id, step, Act::Undid),
            ["compensating"] => backward = true,
            _ => {}
        }
    }
    let next = NAMES[..3].get(done.len()).filter(|_| at_hand_happened && !backward);
    let closed = rig.status(saga_id).await.is_some();
    if let Some(next) = next.filter(|_| !closed) {
        // What is refused for good has not happened in any version of the story.
        if !World::refuses(toy, next) {
            rig.world.plant(saga_id, next, Act::Did);
        }
    }
}

async fn stop(engine: Engine<Effect>) {
    engine.stop(std::time::Duration::from_secs(10)).await;
}
