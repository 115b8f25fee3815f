//! The binary at its start: what it refuses, with which exit code and which words.

use std::{net::TcpListener, process::Command};

use crema::postgres::Cluster;
use secrecy::ExposeSecret;

use crate::world::{
    api::order_of,
    cluster::{Place, TestDb},
    house::{FAST, House},
    replica::{crema, run_to_end},
    until,
};

/// `EX_CONFIG`: starting again will not help.
const CONFIG: i32 = 78;

fn refusal(command: &mut Command) -> (Option<i32>, String) {
    let output = run_to_end(command);
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

/// `crema serve` with a data folder of its own.
fn serve(place: &Place, more: &[&str]) -> Command {
    let mut command = crema();
    command.arg("serve").arg("--data-dir").arg(place.base()).args(more);
    command
}

fn assert_says(said: (Option<i32>, String), code: i32, words: &[&str]) {
    let (status, text) = said;
    assert_eq!(status, Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is missing: {text}");
    }
    assert!(!text.contains("panicked") && !text.contains("s3cret"), "{text}");
}

async fn database() -> String {
    TestDb::new().await.url().to_owned()
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refusal(&mut serve(&place, &["--listen", &address]));
    assert_says(said, 1, &[&address, "is taken", "--listen"]);
    assert!(!place.base().exists(), "a start that fails leaves no cluster behind");
}

#[tokio::test]
async fn missing_postgres_programs_are_named_with_a_way_out() {
    let (place, empty) = (Place::new(), tempfile::tempdir().unwrap());
    let bin = empty.path().to_str().unwrap();
    let said = refusal(&mut serve(&place, &["--listen=127.0.0.1:0", "--pg-bin", bin]));
    assert_says(said, 1, &[bin, "apt install postgresql", "--pg-bin", "--database-url"]);
}

#[tokio::test]
async fn an_unreachable_database_is_named_without_its_password() {
    let place = Place::new();
    let url = "--database-url=postgres://ada:s3cret@127.0.0.1:1/shop";
    let said = refusal(&mut serve(&place, &["--listen=127.0.0.1:0", "--rehearsal", url]));
    assert_says(said, 1, &["127.0.0.1:1", "shop"]);
}

#[tokio::test]
async fn an_outside_database_without_participants_asks_for_a_word() {
    let place = Place::new();
    let url = format!("--database-url={}", database().await);
    let said = refusal(&mut serve(&place, &["--listen=127.0.0.1:0", &url]));
    assert_says(said, CONFIG, &["--payment-url", "--rehearsal"]);
}

#[tokio::test]
async fn an_address_that_others_reach_must_be_asked_for() {
    let place = Place::new();
    let said = refusal(&mut serve(&place, &["--listen=0.0.0.0:0"]));
    assert_says(said, CONFIG, &["0.0.0.0:0", "--insecure"]);
}

#[tokio::test]
async fn a_database_that_loses_commits_is_refused() {
    let (place, server) = (Place::new(), Place::with_cluster().await);
    let mut config = server.config();
    config.settings = vec!["fsync=off".to_owned()];
    let open = move || Cluster::open(config).unwrap();
    let cluster = tokio::task::spawn_blocking(open).await.unwrap();
    let unsynced = cluster.url("postgres").expose_secret().to_owned();
    let hasty = format!("{}&options=-c%20synchronous_commit%3Doff", database().await);
    for (url, setting) in [(unsynced, "fsync=off"), (hasty, "synchronous_commit=off")] {
        let url = format!("--database-url={url}");
        let said = refusal(&mut serve(&place, &["--listen=127.0.0.1:0", "--rehearsal", &url]));
        assert_says(said, CONFIG, &[setting, "--unsafe-durability"]);
    }
}

#[tokio::test]
async fn wrong_settings_are_refused_before_anything_is_touched() {
    let place = Place::new();
    std::fs::create_dir_all(place.base()).unwrap();
    let file = place.base().join("crema.toml");
    std::fs::write(&file, "listen = '127.0.0.1:0'\n[steps]\npayment_timeout = 'long'\n").unwrap();
    let said = refusal(crema().arg("serve").arg("--config").arg(&file));
    assert_says(said, CONFIG, &["crema.toml", "line 3"]);
    let said = refusal(&mut serve(&place, &["--payment-attempts=0"]));
    assert_says(said, CONFIG, &["--payment-attempts"]);
    let said = refusal(&mut serve(&place, &["--payment-attempts=many"]));
    assert_says(said, 2, &["--payment-attempts"]);
}

#[tokio::test]
async fn the_months_ahead_are_made_ready_for_every_table_that_grows() {
    let house = House::empty().await;
    let mut connection = house.connection().await;
    // As after months: what the migration made is used up.
    sqlx::query(
        "do $$ declare parent text; begin
             foreach parent in array array['journal', 'orders', 'stock_move', 'ledger'] loop
                 execute format('drop table %I', parent || to_char(
                     date_trunc('month', now() at time zone 'UTC') + interval '2 months', '_YYYY_MM'));
             end loop;
         end $$",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let replica = house.replica(&FAST);
    replica.api().ready().await;
    let made: Vec<String> = sqlx::query_scalar(
        "select parent from unnest(array['journal', 'ledger', 'orders', 'stock_move']) as parent
          where to_regclass(parent || to_char(date_trunc('month', now() at time zone 'UTC')
                                                  + interval '2 months', '_YYYY_MM')) is not null",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(made, ["journal", "ledger", "orders", "stock_move"]);
}

// E-27.
#[tokio::test]
async fn a_version_that_open_orders_need_and_this_program_lacks_is_named_with_a_way_out() {
    let mut house = House::new().await;
    let id = house.api().place(&order_of("latte")).await;
    house.api().end(&id).await;
    let mut connection = house.connection().await;
    let foreign: String = sqlx::query_scalar(
        "insert into saga (bucket, saga_id, definition, definition_version, label, seq, version, cursor)
         select bucket, overlay(saga_id::text placing 'ffff' from 20)::uuid, definition, 99, 'PAID', 2, 2, 1
           from saga
         returning saga_id::text",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    sqlx::query(
        "insert into orders (order_id, customer_id, currency, total, pickup_code, rehearsal, attributes)
         select $1::uuid, customer_id, currency, total, pickup_code, rehearsal, attributes from orders",
    )
    .bind(uuid::Uuid::parse_str(&foreign).unwrap())
    .execute(&mut connection)
    .await
    .unwrap();
    let place = Place::new();
    let url = format!("--database-url={}", house.database_url);
    let flags = ["--listen=127.0.0.1:0", "--rehearsal", &url];
    let said = refusal(&mut serve(&place, &flags));
    let words = [
        "`order` version 99",
        "1 open",
        &foreign,
        "--allow-unknown-versions",
        "start one that has",
    ];
    assert_says(said, CONFIG, &words);

    // Those that run already, or are told to, show what they can, and tell of what they cannot.
    let told = house.replica(&["--allow-unknown-versions"]);
    for api in [house.api(), told.api()] {
        for path in ["", "?seq=1", "/why", "/replay"] {
            let url = api.url(&format!("/v1/orders/{foreign}{path}"));
            let problem = api.send(api.http.get(url)).await.expect(503);
            assert!(problem["detail"].as_str().unwrap().contains("another release"), "{problem}");
        }
        let orders = api.get("/v1/orders").await.expect(200);
        let shown = orders["orders"].as_array().unwrap();
        assert!(shown.len() == 1 && shown[0]["id"] == *id, "{orders}");
    }
    let mut first = house.take();
    first.sigterm();
    first.ended().await;
    let metrics = told.api();
    until("it is counted by whoever has its bucket", async || {
        let text = metrics.get("/metrics").await.text;
        text.lines().any(|it| it == "crema_sagas_of_unknown_version 1").then_some(())
    })
    .await;
}
