//! E-27: `crema upgrade --check`, which asks the database itself.

use serde_json::{Value, json};

use crate::world::{
    api::order_with,
    cluster::{Place, TestDb},
    house::{FAST, House},
    replica::{Replica, crema, run_to_end},
};

/// Its exit code, and what it prints and says.
fn check(args: &[&str]) -> (Option<i32>, String, String) {
    let output = run_to_end(crema().args(["upgrade", "--check"]).args(args));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn json_of(args: &[&str]) -> (Option<i32>, Value) {
    let (code, said, error) = check(&[args, &["--json"]].concat());
    (code, serde_json::from_str(&said).unwrap_or_else(|it| panic!("{it}: {said}{error}")))
}

#[tokio::test]
async fn open_orders_that_would_change_are_listed_and_told_by_the_exit_code() {
    let house = House::new().await;
    house.moods(&json!({ "slow_ms": 600_000 })).await;
    let api = house.api();
    let id = api.place(&order_with(&[("rehearse.kitchen", "slow")])).await;
    api.until(&id, "PREPARING").await;
    let url = format!("--database-url={}", house.database_url);
    let (code, said, error) = check(&[&url]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("1 open; nothing would change"), "{said}");
    let (code, report) = json_of(&[&url]);
    assert_eq!((code, &report["open"], &report["affected"]), (Some(0), &json!(1), &json!([])));

    let rows = house.rows().await;
    let mut connection = house.connection().await;
    for (sql, what, words) in [
        // As after a release that is gone again, and as after a list that was changed in place.
        ("update saga set definition_version = 99", "version_missing", "does not have its version"),
        (
            "with back as (update saga set definition_version = 1)
             update journal set step = 'brewing' where step = 'preparation'",
            "line_broken",
            "version 1 cannot read line 3",
        ),
    ] {
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        let (code, report) = json_of(&[&url]);
        assert_eq!(code, Some(3), "{report}");
        let affected = &report["affected"][0];
        assert_eq!((&affected["id"], &affected["changes"][0]["what"]), (&json!(id), &json!(what)));
        assert_eq!(report["versions"][0]["affected"], 1);
        let (code, said, error) = check(&[&url]);
        assert_eq!((code, error.as_str()), (Some(3), ""));
        assert!(said.contains(&id) && said.replace('\n', " ").contains(words), "{said}");
    }
    assert_eq!(house.rows().await, rows);
}

#[tokio::test]
async fn a_database_that_cannot_be_asked_is_named_and_none_is_made() {
    let place = Place::new();
    let folder = place.base().to_str().unwrap();
    for (args, code, words) in [
        (vec!["--data-dir", folder], 1, folder),
        (vec!["--database-url=postgres://ada:s3cret@127.0.0.1:1/shop"], 1, "127.0.0.1:1"),
        (vec!["--database-url=mysql://ada:s3cret@db"], 78, "postgres://"),
    ] {
        let (status, said, error) = check(&args);
        assert_eq!((status, said.as_str()), (Some(code), ""), "{error}");
        assert!(error.contains(words) && !error.contains("s3cret"), "{error}");
    }
    assert!(!place.base().exists(), "it made a cluster");
    let (empty, _, _) = check(&["--database-url", TestDb::new().await.url()]);
    assert_eq!(empty, Some(0), "no order is open");
    let output = run_to_end(crema().arg("upgrade"));
    assert_eq!(output.status.code(), Some(2), "`--check` is to be said");
}

#[tokio::test]
async fn the_private_database_of_a_running_service_can_be_asked() {
    let place = Place::of_a_service(true).await;
    let folder = place.base().to_str().unwrap();
    let mut service = Replica::begin(place.base(), &FAST).open();
    service.api().ready().await;
    let (code, report) = json_of(&["--data-dir", folder]);
    assert_eq!((code, &report["open"]), (Some(0), &json!(0)));
    service.sigterm();
    assert_eq!(service.ended().await.code(), Some(0));
    // And one that is not running, which is stopped again.
    assert_eq!(check(&["--data-dir", folder]).0, Some(0));
    assert!(!place.base().join("postgres/data/postmaster.pid").exists());
}
