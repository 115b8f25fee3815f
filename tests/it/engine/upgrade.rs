//! E-27: an incompatible second version is planted, and exactly the sagas are named that it would meet.

use std::time::Duration;

use crema::{
    postgres::PoolSpec,
    saga::{
        Definitions, Saga,
        upgrade::{Affected, Change, Report, check},
    },
};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    effects::Effect,
    rig::{QUICK, Rig, settings},
    sagas::{close, plain},
    toys::{Leg, Mood, Toy},
};
use crate::world::until;

/// `plain` with another step in the place of its second.
fn incompatible(rig: &Rig) -> Saga<Toy, Effect> {
    let (world, policy) = (rig.world.clone(), QUICK);
    Saga::new("plain", 2, "NEW", close)
        .step(Leg::<0> { world: world.clone(), policy })
        .step(Leg::<3> { world: world.clone(), policy })
        .step(Leg::<2> { world, policy })
}

fn read_only(rig: &Rig) -> PgPool {
    rig.db.database().pool(PoolSpec {
        role: "upgrade",
        max_connections: 1,
        statement_timeout: Duration::from_secs(30),
        read_only: true,
    })
}

async fn checked(rig: &Rig, definitions: &Definitions<Effect>, page: i64) -> Report {
    let pool = read_only(rig);
    let report = check(&pool, definitions, page).await.unwrap();
    pool.close().await;
    report
}

fn changes(report: &Report, id: Uuid) -> &[Change] {
    let affected: Option<&Affected> = report.affected.iter().find(|it| it.id == id);
    affected.map_or(&[], |it| &it.changes)
}

#[tokio::test]
async fn an_incompatible_version_names_exactly_the_sagas_that_it_would_change() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let gate = |step: &str| Toy::default().with(step, Mood::Gate);
    let at_a = rig.start(&engine, "plain", gate("a")).await;
    let at_b = rig.start(&engine, "plain", gate("b")).await;
    let at_c = rig.start(&engine, "plain", gate("c")).await;
    let other = rig.start(&engine, "pivoted", gate("b")).await;
    let back = gate("a.undo").with("b", Mood::Refuse);
    let back = rig.start(&engine, "plain", back).await;
    rig.run(&engine, "plain", Toy::default()).await;
    rig.line(at_b, "step_done a 1").await;
    rig.line(at_c, "step_done b 1").await;
    rig.line(back, "compensating").await;
    until("all stand still", async || (engine.live() == 5).then_some(())).await;
    engine.stop(Duration::ZERO).await;
    let stood = "select md5(string_agg(s::text, '' order by saga_id)) from saga s";
    let before: String = sqlx::query_scalar(stood).fetch_one(rig.pool()).await.unwrap();

    let today = Definitions::default().register(plain(&rig.world, QUICK));
    let report = checked(&rig, &today, 1).await;
    assert_eq!(report.open, 5);
    let names: Vec<Uuid> = report.affected.iter().map(|it| it.id).collect();
    assert_eq!(names, [other], "only the one whose definition is not there");
    assert_eq!(changes(&report, other), [Change::VersionMissing]);

    let tomorrow = Definitions::default()
        .register(plain(&rig.world, QUICK))
        .register(super::sagas::pivoted(&rig.world, QUICK))
        .register(incompatible(&rig));
    let report = checked(&rig, &tomorrow, 100).await;
    let mut expected = [at_a, at_b, at_c, back];
    expected.sort_unstable();
    let names: Vec<Uuid> = report.affected.iter().map(|it| it.id).collect();
    assert_eq!(names, expected);
    let route = |steps: &[&str]| steps.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let then = |pinned: &[&str], newest: &[&str]| Change::StepsToCome {
        pinned: route(pinned),
        newest: route(newest),
    };
    let whole = ["execute c", "close"];
    assert_eq!(
        changes(&report, at_a),
        [then(&["execute b", whole[0], whole[1]], &["execute d", whole[0], whole[1]])]
    );
    let now = Change::StepAtHand { pinned: "execute b".into(), newest: "execute d".into() };
    assert_eq!(changes(&report, at_b), [now]);
    let [Change::LineBroken { version: 2, seq: 3, kind, .. }] = changes(&report, at_c) else {
        panic!("{:?}", changes(&report, at_c))
    };
    assert_eq!(kind, "step_done");
    // It goes back because of a step that is gone, so its journal does not fold either.
    assert!(matches!(changes(&report, back), [Change::LineBroken { version: 2, seq: 3, .. }]));
    assert_eq!(changes(&report, other), []);
    let counted: Vec<(&str, u64, u64)> =
        report.versions.iter().map(|it| (&*it.definition, it.open, it.affected)).collect();
    assert_eq!(counted, [("pivoted", 1, 0), ("plain", 4, 4)]);
    let after: String = sqlx::query_scalar(stood).fetch_one(rig.pool()).await.unwrap();
    assert_eq!(after, before, "it only read");
}

#[tokio::test]
async fn the_walk_goes_from_page_to_page_and_misses_nobody() {
    let rig = Rig::new().await;
    let engine = rig.engine_with(settings("first"), QUICK).await;
    let mut sagas = Vec::new();
    for _ in 0..300 {
        sagas.push(rig.start(&engine, "plain", Toy::default().with("a", Mood::Gate)).await);
    }
    engine.stop(Duration::ZERO).await;
    // Several in one bucket, so that there is a second page.
    rig.execute("update journal set bucket = 7, saga_id = overlay(saga_id::text placing '07' from 35)::uuid").await;
    rig.execute(
        "update saga set bucket = 7, saga_id = overlay(saga_id::text placing '07' from 35)::uuid",
    )
    .await;
    let report = checked(&rig, &Definitions::default(), 7).await;
    assert_eq!((report.open, report.affected.len()), (300, 300));
    let mut ids: Vec<Uuid> = report.affected.iter().map(|it| it.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 300, "each once, in order");
    let known = Definitions::default().register(plain(&rig.world, QUICK));
    assert_eq!(checked(&rig, &known, 7).await.affected, []);
}
