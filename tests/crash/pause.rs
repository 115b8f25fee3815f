//! A replica that is stopped for longer than its lease, and then goes on as if nothing had happened.

use std::collections::HashSet;

use nix::sys::signal::Signal;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    scene::{Scene, until},
    world::cluster::TestDb,
};

/// Who may write now: each bucket with its epoch, and every line that stands under an older one.
pub(crate) struct Takeover {
    epochs: Vec<(i16, i64)>,
    lines: HashSet<(Uuid, i32)>,
}

impl Takeover {
    pub(crate) async fn look(db: &PgPool) -> Self {
        let epochs =
            sqlx::query_as("select bucket, epoch from bucket").fetch_all(db).await.unwrap();
        let mut now = Self { epochs, lines: HashSet::new() };
        now.lines = now.older_lines(db).await;
        now
    }

    async fn older_lines(&self, db: &PgPool) -> HashSet<(Uuid, i32)> {
        let (buckets, epochs): (Vec<i16>, Vec<i64>) = self.epochs.iter().copied().unzip();
        let sql = "select j.saga_id, j.seq from unnest($1::smallint[], $2::bigint[]) as x (bucket, epoch) \
                   join journal j on j.bucket = x.bucket and j.epoch < x.epoch";
        let lines: Vec<(Uuid, i32)> =
            sqlx::query_as(sql).bind(buckets).bind(epochs).fetch_all(db).await.unwrap();
        lines.into_iter().collect()
    }

    /// Fails when a line was added since under an epoch that was over by then.
    pub(crate) async fn nothing_was_added(&self, db: &PgPool) {
        let now = self.older_lines(db).await;
        let added: Vec<_> = now.difference(&self.lines).collect();
        assert!(added.is_empty(), "written by an owner that was one no more: {added:?}");
    }
}

#[tokio::test]
async fn a_replica_paused_beyond_its_lease_writes_nothing_more_and_comes_back_as_another() {
    let test = TestDb::new().await;
    let (options, url) = (test.database().connect_options(), Some(test.url().to_owned()));
    let mut scene = Scene::open(6, &[url.clone(), url], |_| options).await;
    let both_share = async |scene: &Scene| {
        until("both own their share", async || {
            scene.owned_by("ada").await == Some(128) && scene.owned_by("bob").await == Some(128)
        })
        .await;
    };
    both_share(&scene).await;
    let crowd = scene.crowd();
    let customers = crowd.come();
    let mut takeovers = Vec::new();
    for point in scene.points(scene.params.rounds.div_ceil(2)) {
        scene.reach(point, &crowd).await;
        let paused = scene.anyone();
        scene.service(paused).signal(Signal::SIGSTOP);
        let other = scene.service(1 - paused).name().to_owned();
        until("the other owns everything", async || scene.owned_by(&other).await == Some(256))
            .await;
        takeovers.push(Takeover::look(&scene.db).await);
        scene.service(paused).signal(Signal::SIGCONT);
        both_share(&scene).await;
    }
    let db = scene.db.clone();
    scene.finish(&crowd, customers).await;
    for takeover in &takeovers {
        takeover.nothing_was_added(&db).await;
    }
}

#[tokio::test]
async fn a_lone_replica_paused_beyond_its_lease_takes_its_own_orders_up_again() {
    let test = TestDb::new().await;
    let options = test.database().connect_options();
    let mut scene = Scene::open(7, &[Some(test.url().to_owned())], |_| options).await;
    let crowd = scene.crowd();
    let customers = crowd.come();
    for point in scene.points(scene.params.rounds) {
        scene.reach(point, &crowd).await;
        scene.service(0).signal(Signal::SIGSTOP);
        until("its lease has run out", async || scene.owned().await == Some(0)).await;
        scene.service(0).signal(Signal::SIGCONT);
        until("all buckets have an owner", async || scene.owned().await == Some(256)).await;
    }
    scene.finish(&crowd, customers).await;
}
