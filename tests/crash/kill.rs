//! SIGKILL of the service, at any moment.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::Rng;

use crate::{
    scene::{Scene, private, until},
    world::cluster::TestDb,
};

#[tokio::test]
async fn orders_survive_kills_of_the_only_replica() {
    let test = TestDb::new().await;
    let options = test.database().connect_options();
    let mut scene = Scene::rush_hour(1, &[Some(test.url().to_owned())], |_| options).await;
    let crowd = scene.crowd();
    let customers = crowd.come();
    for _ in 0..scene.params.rounds {
        let Some(()) = scene.time_to_kill(&crowd).await else { break };
        scene.service(0).kill().await;
        scene.service(0).start().await;
    }
    scene.finish(&crowd, customers).await;
}

#[tokio::test]
async fn orders_survive_kills_of_either_of_two_replicas() {
    let test = TestDb::new().await;
    let (options, url) = (test.database().connect_options(), Some(test.url().to_owned()));
    let mut scene = Scene::open(2, &[url.clone(), url], |_| options).await;
    let crowd = scene.crowd();
    let customers = crowd.come();
    for point in scene.points(scene.params.rounds * 2) {
        scene.reach(point, &crowd).await;
        scene.note_kill().await;
        let victim = scene.anyone();
        scene.service(victim).kill().await;
        if scene.chance.random_bool(0.5) {
            // Long enough for the other to take everything over.
            let other = scene.service(1 - victim).name().to_owned();
            until("the other owns everything", async || scene.owned_by(&other).await == Some(256))
                .await;
        }
        scene.service(victim).start().await;
    }
    scene.finish(&crowd, customers).await;
}

#[tokio::test]
async fn orders_survive_kills_of_the_service_and_of_its_own_postgres() {
    let mut scene = Scene::open(3, &[None], private).await;
    let crowd = scene.crowd();
    let customers = crowd.come();
    for point in scene.points(scene.params.rounds) {
        scene.reach(point, &crowd).await;
        scene.note_kill().await;
        let file = scene.place.base().join("postgres/data/postmaster.pid");
        let read = || std::fs::read_to_string(&file).ok()?.lines().next()?.parse().ok();
        // The service may just be starting it again.
        until("the server runs", async || read().is_some()).await;
        let pid = Pid::from_raw(read().unwrap());
        // Now and then only the server dies, and the service has to start it again.
        let both = scene.chance.random_bool(0.7);
        if both && scene.chance.random_bool(0.5) {
            kill(pid, Signal::SIGKILL).unwrap();
            scene.service(0).kill().await;
        } else if both {
            scene.service(0).kill().await;
            kill(pid, Signal::SIGKILL).unwrap();
        } else {
            kill(pid, Signal::SIGKILL).unwrap();
        }
        if both {
            scene.service(0).start().await;
        }
        until("all buckets have an owner", async || scene.owned().await == Some(256)).await;
    }
    scene.finish(&crowd, customers).await;
}
