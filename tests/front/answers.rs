//! What everybody else gets, also when there are too many of them and when the server stops.

use crema::{config::HttpLimits, http::service::Readiness};
use tokio::{net::TcpStream, time::timeout};

use crate::door::{Client, DEADLINE, Door, GATE, HELLO, limits, soon};

#[tokio::test]
async fn a_panic_is_a_problem_and_the_server_lives() {
    let door = Door::open(limits()).await;
    let mut client = door.connect().await;
    client.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("on purpose"));
    client.send(HELLO).await;
    assert_eq!(client.answer().await.status, 200, "on the same connection");
}

#[tokio::test]
async fn a_connection_beyond_the_cap_is_told_so() {
    let door = Door::open(HttpLimits { connections: 1, ..limits() }).await;
    let mut first = door.connect().await;
    first.send(HELLO).await;
    assert_eq!(first.answer().await.status, 200);
    let mut second = door.connect().await;
    second.send(HELLO).await;
    let answer = second.answer().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    first.send("GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    first.rest().await;
    let free = async { while door.ask(HELLO).await.status != 200 {} };
    timeout(DEADLINE, free).await.expect("the place is free again");
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_and_those_who_watch_are_not() {
    let door = Door::open(HttpLimits { working: 1, waiting: 1, ..limits() }).await;
    let mut worker = door.connect().await;
    worker.send(GATE).await;
    door.entered.notified().await;
    let refused = door.ask(HELLO).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(door.ask("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
    let mut waiter = door.connect().await;
    waiter.send(&request(WAITS[0])).await;
    door.entered.notified().await;
    for waits in WAITS {
        let refused = door.ask(&request(waits)).await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"), "{waits}");
    }
    door.released.notify_waiters();
    assert_eq!(worker.answer().await.status, 200);
    assert_eq!(waiter.answer().await.status, 200);
    assert_eq!(door.ask(HELLO).await.status, 200);
}

fn request(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// What only waits.
const WAITS: [&str; 3] = [
    "GET /v1/orders/1/events",
    "GET /v1/orders/1?until=READY&wait=30s",
    "GET /v1/orders/1?w%61it=1",
];

/// What works, whatever it looks like.
const WORKS: [&str; 7] = [
    "GET /gate",
    "GET /gate?wait=1",
    "GET /v1/orders/1?await=1",
    "POST /gate?wait=1",
    "PUT /gate/events",
    "POST /v1/orders/1?wait=1",
    "DELETE /v1/orders/1/events",
];

#[tokio::test]
async fn a_request_finishes_its_work_when_its_client_hangs_up() {
    let door = Door::open(HttpLimits { working: 1, waiting: 1, ..limits() }).await;
    for works in WORKS {
        let mut client = door.connect().await;
        client.send(&request(works)).await;
        door.entered.notified().await;
        drop(client);
        assert_eq!(door.ask(HELLO).await.status, 503, "its place is still taken: {works}");
        door.released.notify_one();
        let free = async { while door.ask(HELLO).await.status != 200 {} };
        timeout(DEADLINE, free).await.expect("the work ends");
    }
}

#[tokio::test]
async fn a_request_that_only_waits_leaves_with_its_client() {
    let door = Door::open(HttpLimits { working: 1, waiting: 1, ..limits() }).await;
    for waits in WAITS.into_iter().chain(["HEAD /v1/orders/1?wait=1"]) {
        // The second time it is refused until the first one's place is free.
        for _ in 0..2 {
            let client = timeout(DEADLINE, enter(&door, waits)).await.expect("its place is free");
            assert_eq!(door.ask(HELLO).await.status, 200, "no place of those who work: {waits}");
            drop(client);
        }
    }
}

/// A client whose request is being served, sent again for as long as there is no place.
async fn enter(door: &Door, line: &str) -> Client {
    loop {
        let mut client = door.connect().await;
        client.send(&format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        tokio::select! {
            () = door.entered.notified() => return client,
            _ = client.rest() => {}
        }
    }
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_takes_nothing_new() {
    let door = Door::open(limits()).await;
    let mut idle = door.connect().await;
    idle.send(HELLO).await;
    assert_eq!(idle.answer().await.status, 200);
    let mut busy = door.connect().await;
    busy.send(GATE).await;
    door.entered.notified().await;
    door.stop.cancel();
    assert_eq!(idle.rest().await, b"", "an idle connection is closed at once");
    assert!(TcpStream::connect(door.address).await.is_err(), "nobody listens");
    door.released.notify_one();
    let answer = busy.answer().await;
    assert_eq!(answer.body, b"through");
    door.closes().await;
}

#[tokio::test]
async fn a_stop_cuts_off_what_does_not_finish() {
    let door = Door::open(HttpLimits { drain_timeout: soon(), ..limits() }).await;
    let mut client = door.connect().await;
    client.send(GATE).await;
    door.entered.notified().await;
    door.closes().await;
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let door = Door::open(limits()).await;
    let missing = door.ask("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "not_found"));
    let wrong = door.ask("DELETE /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "method_not_allowed"));
    assert!(wrong.header("allow").unwrap().contains("get"), "{wrong:?}");
    let id = door.ask("GET /hello/x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((id.status, id.code().as_str()), (400, "invalid_id"));
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_the_safe_headers() {
    let door = Door::open(limits()).await;
    let said = door.ask("GET /hello HTTP/1.1\r\nHost: a\r\nX-Request-Id: till-7.42\r\n\r\n").await;
    assert_eq!(said.header("x-request-id"), Some("till-7.42"));
    let insane = door.ask("GET /hello HTTP/1.1\r\nHost: a\r\nX-Request-Id: a b\r\n\r\n").await;
    assert_eq!(insane.header("x-request-id").map(str::len), Some(36));
    assert_eq!(said.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(said.header("cache-control"), Some("no-store"));
    assert!(said.header("content-security-policy").is_some());
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_ask() {
    let door = Door::open(limits()).await;
    let mut client = door.connect().await;
    client
        .send(
            "GET /large HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
        )
        .await;
    let all = client.rest().await;
    assert!(all.len() < 10_000, "{}", all.len());
    assert!(String::from_utf8_lossy(&all).contains("content-encoding: gzip"));
    let plain = door.ask("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(plain.body.len(), 100_000);
}

#[tokio::test]
async fn the_service_routes_answer() {
    let door = Door::open(limits()).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let starting = door.ask(&get("/readyz")).await;
    assert_eq!((starting.status, starting.code().as_str()), (503, "unavailable"));
    assert_eq!(starting.json()["detail"], "It starts.");
    door.readiness.send_replace(Readiness::Ready);
    assert_eq!(door.ask(&get("/readyz")).await.status, 200);
    assert_eq!(door.ask(&get("/metrics")).await.status, 200);
    let yaml = door.ask(&get("/openapi.yaml")).await;
    let yaml = String::from_utf8(yaml.body).unwrap();
    for part in ["openapi: 3.", "/readyz:", "Problem:", "out_of_stock"] {
        assert!(yaml.contains(part), "{part} is not in\n{yaml}");
    }
}
