//! E-27: sagas of several versions, and replicas of adjacent releases on one database. What a replica does not know it
//! neither drives nor touches, and somebody hears of it.

use std::time::Duration;

use crema::{
    postgres::PoolSpec,
    saga::{Engine, EngineBuilder, EngineError, EngineSettings, Lane, Started},
};
use uuid::Uuid;

use super::{
    effects::{Effect, apply},
    heard::Heard,
    rig::{FAR_APART, QUICK, Rig, settings},
    sagas::{plain, plain_v2},
    toys::{Mood, Toy},
};
use crate::world::until;

const PATIENCE: Duration = Duration::from_secs(10);

/// A release: the versions of `plain` that it has.
#[derive(Clone, Copy, PartialEq)]
enum Release {
    Old,
    New,
}

fn builder(rig: &Rig, release: Release, settings: EngineSettings) -> EngineBuilder<Effect> {
    let drive = rig.db.database().pool(PoolSpec {
        role: "drive",
        max_connections: 4,
        statement_timeout: Duration::from_secs(30),
        read_only: false,
    });
    let options = rig.db.database().connect_options().application_name("writer");
    let policy = QUICK;
    let builder = EngineBuilder::new(options, drive, apply)
        .settings(settings)
        .register(plain(&rig.world, policy));
    match release {
        Release::Old => builder,
        Release::New => builder.register(plain_v2(&rig.world, policy)),
    }
}

async fn open(rig: &Rig, release: Release, name: &str) -> Engine<Effect> {
    let engine = builder(rig, release, settings(name)).start().await.unwrap();
    until("the engine places", async || engine.is_placing().then_some(())).await;
    engine
}

async fn start(engine: &Engine<Effect>, version: i32, toy: Toy) -> Uuid {
    let saga_id = engine.new_id().expect("the engine owns a bucket");
    let started = engine.start(("plain", version), saga_id, toy, Vec::new(), Lane::Own).await;
    assert_eq!(started, Ok(Started::Accepted));
    saga_id
}

fn gated() -> Toy {
    Toy::default().with("b", Mood::Gate)
}

/// All there is to the rows of these sagas, and how many lines they have.
async fn rows(rig: &Rig, sagas: &[Uuid]) -> Vec<String> {
    sqlx::query_scalar(
        "select s::text || (select count(*) from journal j where j.saga_id = s.saga_id)
           from saga s where saga_id = any($1) order by saga_id",
    )
    .bind(sagas)
    .fetch_all(rig.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn a_start_without_a_version_that_open_sagas_need_is_refused_before_it_writes() {
    let rig = Rig::new().await;
    let new = open(&rig, Release::New, "new").await;
    let needy = start(&new, 2, gated()).await;
    start(&new, 1, gated()).await;
    let done = start(&new, 2, Toy::default()).await;
    assert_eq!(rig.end(done).await, "COMPLETED");
    new.stop(Duration::ZERO).await;

    let refused = builder(&rig, Release::Old, settings("old")).start().await.err().unwrap();
    let EngineError::UnknownVersions(lacking) = &refused else { panic!("{refused:?}") };
    assert_eq!(lacking.0.len(), 1, "{lacking:?}");
    let expected = format!("`plain` version 2 (1 open, for one {needy})");
    assert!(refused.to_string().ends_with(&expected), "{refused}");
    assert_eq!(rig.number("select count(*) from replica").await, 0, "it never joined");

    let allowed = EngineSettings { allow_unknown_versions: true, ..settings("old") };
    let heard = Heard::listen();
    let old = builder(&rig, Release::Old, allowed).start().await.unwrap();
    let warnings = heard.lines("WARN");
    assert!(warnings.iter().any(|it| it.contains(&expected)), "{warnings:?}");
    heard.counts(1).await;
    old.stop(PATIENCE).await;

    let new = open(&rig, Release::New, "new again").await;
    rig.world.open(100);
    rig.all_end().await;
    rig.audit().await;
    new.stop(PATIENCE).await;
}

#[tokio::test]
async fn adjacent_releases_share_a_database_and_every_saga_ends_as_the_version_it_began() {
    let rig = Rig::new().await;
    let old = open(&rig, Release::Old, "old").await;
    let mut first: Vec<Uuid> = Vec::new();
    for _ in 0..60 {
        first.push(start(&old, 1, gated()).await);
    }
    let new = open(&rig, Release::New, "new").await;
    until("they share", async || (new.buckets().len() == 128).then_some(())).await;
    let mut second: Vec<Uuid> = Vec::new();
    for _ in 0..20 {
        second.push(start(&new, 2, gated()).await);
    }
    for saga_id in &second {
        rig.line(*saga_id, "step_done a 1").await;
    }
    // One that is suspended, and due whenever somebody looks.
    let doubt = Toy::default().with("a", Mood::Doubt { times: 1, happens: true });
    let suspended = start(&new, 2, doubt).await;
    second.push(suspended);

    // The new one goes, and what it had started falls to one that does not know it.
    new.stop(Duration::ZERO).await;
    sqlx::query("update saga set wake_at = now() - interval '5 s' where saga_id = $1")
        .bind(suspended)
        .execute(rig.pool())
        .await
        .unwrap();
    let stood = rows(&rig, &second).await;
    let heard = Heard::listen();
    until("it has them all", async || (old.buckets().len() == 256).then_some(())).await;
    heard.counts(second.len()).await;
    let warnings = heard.lines("WARN");
    assert!(warnings.iter().any(|it| it.contains("version=2 open=21")), "{warnings:?}");
    // Cancelling one is accepted, and waits with it.
    let cancelled = second[0];
    let before = rows(&rig, &second[1..]).await;
    rig.cancel(&old, cancelled).await;
    heard.rests().await;
    assert_eq!(rows(&rig, &second[1..]).await, before);
    assert_eq!(before.len() + 1, stood.len());
    assert_eq!(rig.number("select count(*) from inbox").await, 1);

    // The first sagas end under either, as what they began; the second ones once their owner knows them.
    let new = open(&rig, Release::New, "new again").await;
    rig.world.open(1_000);
    for saga_id in &first {
        assert_eq!(rig.end(*saga_id).await, "COMPLETED");
    }
    old.stop(PATIENCE).await;
    for saga_id in &second {
        let end = if *saga_id == cancelled { "CANCELLED" } else { "COMPLETED" };
        assert_eq!(rig.end(*saga_id).await, end);
    }
    let with_d = |sagas: &[Uuid]| sagas.iter().filter(|it| rig.world.count(**it, "d") > 0).count();
    // How far the cancelled one came before it was told is its own affair.
    assert_eq!((with_d(&first), with_d(&second[1..])), (0, second.len() - 1));
    let parked = "select count(*) from journal where kind in ('parked', 'crash_loop')";
    assert_eq!(rig.number(parked).await, 0);
    rig.audit().await;
    new.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_saga_with_a_line_of_an_unknown_kind_is_left_as_it_is_and_noticed() {
    let rig = Rig::new().await;
    let first = rig.engine_with(settings("first"), FAR_APART).await;
    let running = rig.start(&first, "plain", gated()).await;
    let doubt = Toy::default().with("b", Mood::Doubt { times: 1, happens: true });
    let suspended = rig.start(&first, "plain", doubt).await;
    rig.line(running, "step_done a 1").await;
    rig.line(suspended, "attempt_failed b 1").await;
    first.stop(Duration::ZERO).await;
    // As if a newer release had written what its next line says.
    rig.execute("update journal set kind = 'of_a_newer_release' where kind in ('step_done')").await;
    rig.execute("update saga set wake_at = now() - interval '5 s' where wake_at is not null").await;
    let stood = rows(&rig, &[running, suspended]).await;

    let heard = Heard::listen();
    let sweeping = EngineSettings { sweep: Duration::from_millis(50), ..settings("second") };
    let second = rig.engine_with(sweeping, FAR_APART).await;
    heard.counts(2).await;
    // Swept often enough to be taken for stranded, were they not known to be left.
    let swept = "open sagas wait for a replica that knows";
    until("it sweeps", async || (heard.lines(swept).len() > 3).then_some(())).await;
    assert!(heard.lines("nobody drove this saga").is_empty());
    assert_eq!(heard.lines("a saga is left for a replica that can read it").len(), 2);
    assert_eq!(rows(&rig, &[running, suspended]).await, stood);
    second.stop(PATIENCE).await;

    // Nor does one that has left them spend a statement on them.
    let third = rig.engine_with(settings("third"), FAR_APART).await;
    heard.counts(2).await;
    heard.rests().await;
    third.stop(PATIENCE).await;
    assert_eq!(rows(&rig, &[running, suspended]).await, stood);

    // A replica that knows the kind goes on with both.
    rig.execute("update journal set kind = 'step_done' where kind = 'of_a_newer_release'").await;
    let newer = rig.engine().await;
    rig.world.open(100);
    assert_eq!(rig.end(running).await, "COMPLETED");
    assert_eq!(rig.end(suspended).await, "COMPLETED");
    rig.audit().await;
    newer.stop(PATIENCE).await;
}

#[tokio::test]
async fn what_a_newer_release_asks_of_a_saga_waits_for_one_that_understands_it() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let saga_id = rig.start(&engine, "plain", gated()).await;
    until("b runs", async || (rig.world.count(saga_id, "b") > 0).then_some(())).await;
    sqlx::query(
        "insert into inbox (bucket, inbox_id, saga_id, kind, data)
         select bucket, gen_random_uuid(), saga_id, 'of_a_newer_release', '{}'
           from saga where saga_id = $1",
    )
    .bind(saga_id)
    .execute(rig.pool())
    .await
    .unwrap();
    rig.cancel(&engine, saga_id).await;
    assert_eq!(rig.end(saga_id).await, "CANCELLED");
    let lines = rig.journal(saga_id).await;
    assert!(!lines.iter().any(|it| it == "retry_requested"), "{lines:?}");
    let waiting = "select count(*) from inbox where kind = 'of_a_newer_release'";
    assert_eq!(rig.number(waiting).await, 1);
}
