//! The rehearsal that the replicas on one database share, wherever each keeps its own things.

use std::path::Path;

use crema::rehearsal;
use futures::future::join_all;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::world::{
    api::{Api, order_of},
    house::House,
    replica::Replica,
    until,
};

/// While the rehearsal moves orders have to bear with there being none.
const PATIENT: [&str; 3] =
    ["--retry-backoff=100ms", "--payment-attempts=99", "--preparation-attempts=99"];

/// The lines of the ledger in a data folder.
fn ledger_in(dir: &Path) -> usize {
    let text = std::fs::read_to_string(dir.join("rehearsal/rehearsal.jsonl"));
    text.map_or(0, |it| it.lines().count())
}

/// Says where the rehearsal is, in the stead of whoever hosts it.
async fn point_to(house: &House, url: &str) {
    let sql = "insert into setting (name, value) values ('rehearsal_url', $1)
               on conflict (name) do update set value = excluded.value";
    sqlx::query(sql).bind(url).execute(&mut house.connection().await).await.unwrap();
}

#[tokio::test]
async fn replicas_with_folders_of_their_own_play_with_one_ledger() {
    let mut house = House::with(&PATIENT).await;
    let apart = TempDir::new().unwrap();
    let other = Replica::start(&house.database_url, apart.path(), &PATIENT);
    other.api().ready().await;
    let (here, there) = (house.api(), other.api());
    let order = order_of("espresso");
    let placed = join_all((0..20).map(|n| if n % 2 == 0 { &here } else { &there }.place(&order)));
    for id in placed.await {
        assert_eq!(there.end(&id).await["status"], "COMPLETED");
    }
    assert_eq!(house.audit_all(&there).await.len(), 20);
    assert_eq!(ledger_in(apart.path()), 0, "there is one ledger, and it is the host's");

    // Once the host is gone, and its machine with it, the other one plays.
    house.take_and_kill();
    let id = there.place(&order).await;
    assert_eq!(there.end(&id).await["status"], "COMPLETED");
    assert!(ledger_in(apart.path()) > 0);
}

#[tokio::test]
async fn a_host_that_another_one_replaced_gives_up_and_follows() {
    let house = House::with(&PATIENT).await;
    let (api, dir, stop) = (house.api(), TempDir::new().unwrap(), CancellationToken::new());
    let old = house.rehearsal().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let new = format!("http://{}/", listener.local_addr().unwrap());
    let playing =
        tokio::spawn(rehearsal::serve(listener, dir.path().join("rehearsal.jsonl"), stop.clone()));
    point_to(&house, &new).await;
    until("the old rehearsal is over", async || {
        reqwest::get(format!("{old}livez")).await.is_err().then_some(())
    })
    .await;
    let id = api.place(&order_of("espresso")).await;
    assert_eq!(api.end(&id).await["status"], "COMPLETED");
    let lines: Value = Api::new(&new).get(&format!("ledger?order_id={id}")).await.expect(200);
    assert!(lines.as_array().unwrap().iter().any(|it| it["kind"] == "captured"), "{lines}");
    assert_eq!(house.rehearsal().await, new);
    stop.cancel();
    playing.await.unwrap().unwrap();
}

/// Starts a replica on a database that says the rehearsal were there, and has an order completed.
async fn completes_though_pointed_to(url: &str) {
    let house = House::empty().await;
    point_to(&house, url).await;
    let replica = house.replica(&PATIENT);
    let id = replica.api().place(&order_of("espresso")).await;
    assert_eq!(replica.api().end(&id).await["status"], "COMPLETED", "{url}");
    assert_ne!(house.rehearsal().await, url);
}

#[tokio::test]
async fn an_address_where_nobody_plays_is_claimed() {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = bound.local_addr().unwrap();
    drop(bound);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let others = House::shared().await.api();
    let (gone, silent, somebody_else) = (
        format!("http://{free}/0123/"),
        format!("http://{}/0123/", silent.local_addr().unwrap()),
        others.url("/0123/"),
    );
    tokio::join!(
        completes_though_pointed_to(&gone),
        completes_though_pointed_to(&silent),
        completes_though_pointed_to(&somebody_else),
        completes_though_pointed_to("no address"),
    );
}
