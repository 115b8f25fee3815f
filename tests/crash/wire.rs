//! The wire between service and Postgres, cut and held at the worst moments.

use crate::{
    proxy::Proxy,
    scene::{Scene, until},
    world::cluster::TestDb,
};

#[tokio::test]
async fn commits_whose_answers_are_lost_lose_and_double_nothing() {
    let test = TestDb::new().await;
    let options = test.database().connect_options();
    let cuts = crate::params::Params::read().rounds * 20;
    let proxy = Proxy::open(test.url(), crate::params::Params::read().chance(8)).await;
    let scene = Scene::open(8, &[Some(proxy.url().to_owned())], |_| options).await;
    proxy.cut_at_commits(cuts);
    let crowd = scene.crowd();
    let customers = crowd.come();
    scene.finish(&crowd, customers).await;
    let (before, after) = proxy.cuts();
    println!("cut {before} times before a commit and {after} times after one");
    assert!(before > 0 && after > 0, "{before} and {after}");
}

#[tokio::test]
async fn what_a_former_owner_still_sends_writes_nothing() {
    let test = TestDb::new().await;
    let (options, url) = (test.database().connect_options(), test.url().to_owned());
    let proxy = Proxy::open(test.url(), crate::params::Params::read().chance(9)).await;
    let urls = [Some(proxy.url().to_owned()), Some(url)];
    let mut scene = Scene::open(9, &urls, |_| options).await;
    let crowd = scene.crowd();
    let customers = crowd.come();
    for point in scene.points(scene.params.rounds.div_ceil(2)) {
        // Early, while orders are being placed: those have no row yet whose number would guard them.
        scene.reach(point / 4, &crowd).await;
        until("it owns its share again", async || scene.owned_by("ada").await >= Some(64)).await;
        proxy.hold_at_the_next_fence();
        until("a transaction is held before its fence, or nothing is left to do", async || {
            proxy.is_holding() || crowd.answered() == scene.params.orders
        })
        .await;
        until("the other owns everything", async || scene.owned_by("bob").await == Some(256)).await;
        scene.note_takeover().await;
        proxy.let_go();
    }
    scene.finish(&crowd, customers).await;
}
