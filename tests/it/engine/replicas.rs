//! Several replicas on one database: sharing, joining, leaving, dying, and not noticing that one is dead.

use std::time::Duration;

use crema::saga::{Engine, EngineSettings, Lane};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    effects::Effect,
    rig::{QUICK, Rig, settings, short_lease},
    toys::{Mood, NEVER_ANSWERS, Toy},
};
use crate::world::until;

const PATIENCE: Duration = Duration::from_secs(10);

async fn join(rig: &Rig, settings: EngineSettings) -> Engine<Effect> {
    rig.joining(settings, QUICK).await
}

/// Waits until each replica owns this many buckets, give or take one.
async fn shared_evenly(rig: &Rig, engines: &[&Engine<Effect>]) {
    let fair = 256 / engines.len();
    until("the buckets are shared evenly", async || {
        let even = engines.iter().all(|it| it.buckets().len().abs_diff(fair) <= 2);
        let owned = "select count(*) from bucket where owner is not null";
        (even && rig.number(owned).await == 256).then_some(())
    })
    .await;
}

#[tokio::test]
async fn replicas_share_the_buckets_and_hand_over_when_one_joins_or_leaves() {
    let rig = Rig::new().await;
    let first = rig.engine().await;
    assert_eq!(first.buckets().len(), 256);
    // One saga a bucket or so, all in the middle of an attempt.
    let mut sagas = Vec::new();
    for _ in 0..200 {
        sagas.push(rig.start(&first, "plain", Toy::default().with("b", Mood::Gate)).await);
    }
    let second = join(&rig, settings("second")).await;
    shared_evenly(&rig, &[&first, &second]).await;
    let third = join(&rig, settings("third")).await;
    shared_evenly(&rig, &[&first, &second, &third]).await;
    rig.world.open(10_000);
    second.stop(PATIENCE).await;
    shared_evenly(&rig, &[&first, &third]).await;
    for saga_id in sagas {
        assert_eq!(rig.end(saga_id).await, "COMPLETED");
    }
    let orderly = "select count(*) from journal where kind = 'taken_up' \
                   and data->>'handed_over' = 'false'";
    assert_eq!(rig.number(orderly).await, 0, "nobody died");
    rig.audit().await;
    first.stop(PATIENCE).await;
    third.stop(PATIENCE).await;
    assert_eq!(rig.number("select count(*) from replica").await, 0);
    assert_eq!(rig.number("select count(*) from bucket where owner is not null").await, 0);
}

#[tokio::test]
async fn a_replica_that_stops_under_load_loses_nothing() {
    let rig = Rig::new().await;
    let mut last = rig.engine().await;
    let mut sagas = Vec::new();
    for round in 0..4 {
        for _ in 0..60 {
            sagas.push(rig.start(&last, "pivoted", toy(sagas.len())).await);
        }
        let next = join(&rig, settings(&format!("replica {round}"))).await;
        last.stop(PATIENCE).await;
        until("the next one places", async || next.is_placing().then_some(())).await;
        last = next;
    }
    rig.all_end().await;
    rig.audit().await;
}

#[tokio::test]
async fn a_start_on_an_engine_that_has_stopped_is_answered() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = engine.new_id().unwrap();
    engine.stop(PATIENCE).await;
    assert_eq!(engine.new_id(), None);
    let lane = crema::saga::step::Lane::Own;
    let started = engine.start(("plain", 1), saga_id, Toy::default(), Vec::new(), lane).await;
    assert_eq!(started, Err(crema::saga::StartError::NotOwned));
}

/// A thread with a runtime of its own, whose end is the end of everything in it, in the middle of whatever
/// it did.
struct Mortal {
    kill: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Mortal {
    /// Does the work there, returns once it is done, and leaves running what it started.
    async fn live<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) -> Self {
        let (kill, killed) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async move {
                work().await;
                done.send(()).unwrap();
                killed.await.unwrap();
            });
            runtime.shutdown_background();
        });
        is_done.await.expect("the work is done");
        Self { kill, thread }
    }

    fn kill(self) {
        self.kill.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sagas_of_a_dead_replica_are_taken_up_and_end_once() {
    let rig = std::sync::Arc::new(Rig::new().await);
    let (inside, sagas) = (rig.clone(), 120);
    let mortal = Mortal::live(move || async move {
        let doomed = inside.engine_with(short_lease("doomed"), QUICK).await;
        for number in 0..sagas {
            let toy = if number % 2 == 0 { toy(number) } else { gated() };
            inside.start(&doomed, "pivoted", toy).await;
        }
    })
    .await;
    mortal.kill();
    let unended = rig.number("select count(*) from saga where closed_status is null").await;
    assert!(unended >= 60, "the gate is closed");
    rig.world.open(10_000);
    let heir = join(&rig, short_lease("heir")).await;
    rig.all_end().await;
    assert_eq!(rig.number("select count(*) from saga").await, sagas as i64);
    let taken_up = "select count(distinct saga_id) from journal where kind = 'taken_up' \
                    and data->>'handed_over' = 'false'";
    // The last batch of the dead may have been committed after the count above.
    let by_the_heir = "select count(distinct saga_id) from journal \
                       where epoch > (select min(epoch) from journal)";
    let taken_up = rig.number(taken_up).await;
    assert_eq!(taken_up, rig.number(by_the_heir).await);
    assert!((60..=unended).contains(&taken_up), "{taken_up} of {unended}");
    rig.audit().await;
    heir.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_replica_whose_lease_ran_out_writes_nothing_after_its_heir() {
    let rig = Rig::new().await;
    let first = rig.engine_with(settings("first"), QUICK).await;
    let mut sagas = Vec::new();
    for _ in 0..80 {
        sagas.push(rig.start(&first, "pivoted", gated()).await);
    }
    // Dead as far as anybody knows, and in the middle of its attempts all the same.
    rig.execute("update replica set leased_until = now() - interval '1 second'").await;
    let second = join(&rig, settings("second")).await;
    until("the heir has some", async || second.is_placing().then_some(())).await;
    rig.world.open(10_000);
    for saga_id in sagas {
        assert_eq!(rig.end(saga_id).await, "COMPLETED");
    }
    shared_evenly(&rig, &[&first, &second]).await;
    rig.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn epochs_raised_under_a_running_replica_lose_and_double_nothing() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let mut accepted = 0;
    for number in 0..300 {
        accepted += i64::from(rig.try_start(&engine, "pivoted", toy(number)).await);
        if number % 20 == 0 {
            rig.execute("update bucket set epoch = epoch + 1 where bucket % 3 = 0").await;
        }
        if number % 50 == 7 {
            // Not ours any more, and nobody's: to be taken again.
            rig.execute("update bucket set owner = null, epoch = epoch + 1 where bucket % 5 = 0")
                .await;
        }
    }
    rig.all_end().await;
    rig.audit().await;
    assert_eq!(rig.number("select count(*) from saga").await, accepted);
    until("nothing is left in memory", async || (engine.live() == 0).then_some(())).await;
}

#[tokio::test]
async fn buckets_that_the_table_says_are_ours_are_driven_though_we_never_heard_of_it() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    // As when the answer to a release is lost: the engine has let go, and the table does not know.
    let saga_id = rig.start(&engine, "plain", gated()).await;
    let bucket = i16::from(saga_id.as_bytes()[15]);
    let owner: Uuid = sqlx::query_scalar("select owner from bucket where bucket = $1")
        .bind(bucket)
        .fetch_one(rig.pool())
        .await
        .unwrap();
    for owner in [None, Some(owner)] {
        sqlx::query("update bucket set owner = $2, epoch = epoch + 1 where bucket = $1")
            .bind(bucket)
            .bind(owner)
            .execute(rig.pool())
            .await
            .unwrap();
    }
    rig.world.open(10);
    assert_eq!(rig.end(saga_id).await, "COMPLETED");
    rig.audit().await;
}

pub(super) fn gated() -> Toy {
    Toy::default().with("b", Mood::Gate)
}

/// Sagas of all kinds.
pub(super) fn toy(number: usize) -> Toy {
    let effect = |name: &str| Effect::Row(name.to_owned());
    let toy = Toy::default().effect("a", effect("a")).effect("close", effect("close"));
    match number % 5 {
        0 => toy.with("b", Mood::Refuse),
        1 => toy.with("b", Mood::Doubt { times: 1, happens: true }),
        2 => toy.with("c", Mood::Doubt { times: NEVER_ANSWERS, happens: true }),
        3 => toy.effect("c", Effect::Exclusive("c".to_owned())),
        _ => toy,
    }
}

#[tokio::test]
async fn a_start_that_waited_while_its_bucket_was_lost_and_taken_back_is_driven() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let mut lock = rig.pool().begin().await.unwrap();
    sqlx::raw_sql("lock table toy_effect").execute(&mut *lock).await.unwrap();
    // The first batch of the shared lane waits for the table, and the second for the first.
    let first = engine.new_id().unwrap();
    let mut second = first;
    while second.as_bytes()[15] == first.as_bytes()[15] {
        second = engine.new_id().unwrap();
    }
    let start = |saga_id: Uuid| {
        let (engine, effects) = (engine.clone(), vec![Effect::Row("waits".to_owned())]);
        tokio::spawn(async move {
            engine.start(("plain", 1), saga_id, toy(1), effects, Lane::Shared).await
        })
    };
    let one = start(first);
    let waits = "select count(*) from pg_stat_activity
                  where datname = current_database() and wait_event_type = 'Lock'";
    until("it waits", async || (rig.number(waits).await == 1).then_some(())).await;
    let two = start(second);
    until("both are in memory", async || (engine.live() == 2).then_some(())).await;
    rig.execute("update replica set leased_until = now() - interval '1 second'").await;
    let back = "select count(*) from bucket b join replica r on r.boot_id = b.owner
                 where r.leased_until > now()";
    until("all but one came back", async || (rig.number(back).await == 255).then_some(())).await;
    lock.rollback().await.unwrap();
    two.await.unwrap().unwrap();
    let _ = one.await.unwrap();
    assert_eq!(rig.end(second).await, "COMPLETED");
    rig.all_end().await;
    rig.audit().await;
}
