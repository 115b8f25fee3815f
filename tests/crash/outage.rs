//! A Postgres that dies, or ends sessions, under a service that lives.

use crema::postgres::Cluster;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::Rng;
use secrecy::ExposeSecret;
use tokio::task::spawn_blocking;

use crate::{
    scene::{Scene, until},
    world::cluster::{Place, TestDb},
};

#[tokio::test]
async fn orders_survive_a_postgres_that_is_shut_down_immediately_and_started_again() {
    let place = Place::with_cluster().await;
    let config = place.config();
    let cluster = spawn_blocking(move || Cluster::open(config)).await.unwrap().unwrap();
    let cluster = std::sync::Arc::new(cluster);
    let url = cluster.url("postgres").expose_secret().to_owned();
    let options = cluster.connect_options("postgres");
    let mut scene = Scene::open(4, &[Some(url)], |_| options).await;
    let crowd = scene.crowd();
    let customers = crowd.come();
    for point in scene.points(scene.params.rounds) {
        scene.reach(point, &crowd).await;
        let pid = cluster.pid().expect("the server runs");
        kill(Pid::from_raw(pid), Signal::SIGQUIT).unwrap();
        until("the server is gone", async || cluster.pid().is_none()).await;
        let again = cluster.clone();
        spawn_blocking(move || again.ensure_running()).await.unwrap().unwrap();
        until("all buckets have an owner", async || scene.owned().await == Some(256)).await;
    }
    scene.finish(&crowd, customers).await;
}

#[tokio::test]
async fn orders_survive_sessions_that_are_ended_at_random() {
    let test = TestDb::new().await;
    let (options, url) = (test.database().connect_options(), Some(test.url().to_owned()));
    let mut scene = Scene::open(5, &[url.clone(), url], |_| options).await;
    let crowd = scene.crowd();
    let customers = crowd.come();
    for point in scene.points(scene.params.rounds * 8) {
        scene.reach(point, &crowd).await;
        let share = if scene.chance.random_bool(0.2) { 1.0 } else { 0.3 };
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity \
              where datname = current_database() and pid <> pg_backend_pid() \
                and application_name like 'crema%' and application_name <> 'crema test' \
                and random() < $1",
        )
        .bind(share)
        .execute(&scene.db)
        .await
        .unwrap();
    }
    scene.finish(&crowd, customers).await;
}
