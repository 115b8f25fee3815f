//! `crema schedule`, against a real server (rows E-26, O-15).

use serde_json::Value;

use crate::world::{
    house::House,
    replica::{crema, run_to_end},
};

/// `crema schedule …`: its exit code, and what it prints.
fn said(house: &House, args: &[&str]) -> (Option<i32>, String) {
    let server = format!("--server={}", house.replicas()[0].base);
    let output = run_to_end(crema().arg("schedule").args(args).arg(server));
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn the_command_line_says_and_does_the_same() {
    let house = House::new().await;
    let api = house.api();
    let put = ["put", "ada", "latte:2", "--customer=ada", "--cron=30 8 * * 1-5"];
    let (code, text) = said(&house, &put);
    assert_eq!((code, text.contains("--time-zone")), (Some(2), true), "{text}");
    let put = [&put[..], &["--time-zone=Europe/Paris", "--overlap=buffer-one", "--catch-up=90"]];
    let (code, text) = said(&house, &put.concat());
    assert_eq!(code, Some(0), "{text}");
    for word in ["30 8 * * 1-5 (Europe/Paris)", "2 × latte", "buffer_one", "90 s", "0 missed"] {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
    let (code, text) = said(&house, &["show", "ada", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown, api.get("/v1/schedules/ada").await.expect(200));
    let (code, text) = said(&house, &["pause", "ada", "--reason=on holiday", "--by=ada"]);
    assert_eq!((code, text.contains("by ada: on holiday")), (Some(0), true), "{text}");
    let (code, text) = said(&house, &["list"]);
    assert_eq!((code, text.contains("paused")), (Some(0), true), "{text}");
    let (code, text) = said(&house, &["resume", "ada"]);
    assert_eq!((code, text.contains("resumed")), (Some(0), true), "{text}");
    let (code, text) = said(&house, &["trigger", "ada", "--key=k", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let order: Value = serde_json::from_str(&text).unwrap();
    let placed = api.get("/v1/orders?attr.schedule=ada").await.expect(200);
    assert_eq!(order["id"], placed["orders"][0]["id"]);
    let (code, text) = said(&house, &["delete", "ada"]);
    assert_eq!((code, text.as_str()), (Some(0), "schedule ada: deleted\n"));
    let (code, text) = said(&house, &["show", "ada"]);
    assert_eq!((code, text.contains("not_found")), (Some(1), true), "{text}");
}
