//! A replica that is stopped for longer than its lease, and then goes on as if nothing had happened.

use nix::sys::signal::Signal;

use crate::{
    scene::{Scene, until},
    world::cluster::TestDb,
};

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
    for point in scene.points(scene.params.rounds.div_ceil(2)) {
        scene.reach(point, &crowd).await;
        let paused = scene.anyone();
        scene.service(paused).signal(Signal::SIGSTOP);
        let other = scene.service(1 - paused).name().to_owned();
        until("the other owns everything", async || scene.owned_by(&other).await == Some(256))
            .await;
        scene.note_takeover().await;
        scene.service(paused).signal(Signal::SIGCONT);
        both_share(&scene).await;
    }
    scene.finish(&crowd, customers).await;
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
