//! The binary and its private server: who starts it, who shares it, and that nobody leaves it alone.

use std::{fs, path::Path};

use crema::postgres::{ClusterConfig, Database, Source};
use sqlx::{Connection, PgConnection};

use crate::world::{
    api::order_of,
    cluster::{Place, is_dead},
    eventually,
    house::FAST,
    replica::{Replica, crema, run_to_end},
};

/// What `postmaster.pid` in a data folder says.
fn pid_file(place: &Place) -> Option<String> {
    fs::read_to_string(place.base().join("postgres/data/postmaster.pid")).ok()
}

fn postmaster(place: &Place) -> Option<i32> {
    pid_file(place)?.lines().next()?.parse().ok()
}

/// Every process of PostgreSQL that works below a folder.
fn servers_in(folder: &Path) -> Vec<String> {
    let folder = fs::canonicalize(folder).unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|it| it.path());
    let works_there =
        |it: &Path| fs::read_link(it.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
    let name = |it: &Path| fs::read_to_string(it.join("comm")).unwrap_or_default();
    processes.filter(|it| works_there(it)).map(|it| name(&it)).collect()
}

/// A server that is stopped takes its files away before its process ends, a moment later.
async fn no_server_is_left_in(folder: &Path) {
    eventually("no server is left", || servers_in(folder).is_empty()).await;
}

#[tokio::test]
async fn services_on_one_folder_share_the_server_and_the_last_one_out_stops_it() {
    let place = Place::of_a_service(true).await;
    // The rehearsal stops with its host and goes on elsewhere; orders have to bear with that.
    let patient = ["--retry-backoff=100ms", "--payment-attempts=99", "--preparation-attempts=99"];
    let mut first = Replica::begin(place.base(), &patient).open();
    let pid = postmaster(&place).expect("the server runs");
    let mut second = Replica::begin(place.base(), &patient).open();
    second.api().ready().await;
    let listed = second.api().get("/v1/replicas").await.expect(200);
    assert_eq!(listed["replicas"].as_array().unwrap().len(), 2, "{listed}");

    first.sigterm();
    assert_eq!(first.ended().await.code(), Some(0), "{}", first.log());
    let api = second.api();
    let id = api.place(&order_of("latte")).await;
    assert_eq!(api.end(&id).await["status"], "COMPLETED");
    assert_eq!(postmaster(&place), Some(pid), "it is still the same server");
    assert!(!is_dead(pid));

    second.sigterm();
    assert_eq!(second.ended().await.code(), Some(0), "{}", second.log());
    assert!(is_dead(pid), "the last one out stops the server");
    assert_eq!(pid_file(&place), None);
}

/// Stops a start at the moment when this holds, and sees what it leaves behind.
async fn stop_at(place: &Place, moment: &str, has_come: impl Fn() -> bool) {
    let mut service = Replica::begin(place.base(), &FAST);
    eventually(moment, &has_come).await;
    service.sigterm();
    assert_eq!(service.ended().await.code(), Some(0), "{moment}: {}", service.log());
    no_server_is_left_in(place.base()).await;
    assert_eq!(pid_file(place), None, "{moment}");
}

#[tokio::test]
async fn a_start_that_is_asked_to_stop_leaves_no_server() {
    let place = Place::of_a_service(false).await;
    let half = place.base().join("postgres/data.new/base");
    stop_at(&place, "initdb is at work", || half.exists()).await;
    stop_at(&place, "the server starts", || pid_file(&place).is_some()).await;
    let is_ready = || pid_file(&place).is_some_and(|it| it.contains("ready"));
    stop_at(&place, "the server is ready", is_ready).await;
    // And then it starts as if nothing had been.
    let mut service = Replica::begin(place.base(), &FAST).open();
    service.api().ready().await;
    service.sigterm();
    assert_eq!(service.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_start_that_fails_once_its_server_is_up_leaves_no_server() {
    let place = Place::of_a_service(true).await;
    let config = ClusterConfig::new(place.base().join("postgres"));
    let database = Database::open(&Source::Private(config)).await.unwrap();
    database.migrate().await.unwrap();
    let mut connection = PgConnection::connect_with(&database.connect_options()).await.unwrap();
    let hide = "alter table menu_item rename to somewhere_else";
    sqlx::raw_sql(hide).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    assert!(database.close().await.unwrap());

    let output =
        run_to_end(crema().args(["serve", "--listen=127.0.0.1:0", "--data-dir"]).arg(place.base()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the shop cannot be opened"), "{said}");
    no_server_is_left_in(place.base()).await;
}
