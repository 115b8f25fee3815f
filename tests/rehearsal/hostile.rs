//! What the clients make of servers that keep no contract.

use std::time::Duration;

use crema::{
    saga::step::StepError,
    shop::{
        participant::{Limits, Participant},
        payments::{Payments, Receipt},
    },
};
use tokio::{net::TcpListener, sync::watch};
use url::Url;

use crate::world::{Order, Scripted, World, assert_in_doubt, assert_refused, participant};

const EUR: &str = "EUR";

async fn capture(url: &Url, limits: Limits) -> Result<Receipt, StepError> {
    let order = Order::new();
    let payments = Payments::new(participant(url.clone(), limits));
    payments.capture(order.payment(None), 450, EUR, "tok").await
}

/// What a capture makes of one raw answer, after which the connection is closed.
async fn told(answer: impl Into<Vec<u8>>) -> Result<Receipt, StepError> {
    let server = Scripted::new(answer, true).await;
    capture(&server.url, Limits::default()).await
}

fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn what_cannot_be_read_is_in_doubt() {
    let good = r#"{"receipt":"r","amount":450,"currency":"EUR"}"#;
    let huge = format!("{{\"receipt\":\"{}\"}}", "r".repeat(1024 * 1024));
    for raw in [
        "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        String::new(),
        "HTTP/1.1 201 Cre".to_owned(),
        answer("201 Created", "<html>"),
        answer("201 Created", ""),
        answer("200 OK", r#"{"error":"declined"}"#),
        answer("201 Created", r#"{"receipt":"r","amount":4.5,"currency":"EUR"}"#),
        answer("201 Created", &huge),
        answer("402 Payment Required", &huge),
        format!("HTTP/1.1 201 Created\r\ncontent-length: 500\r\n\r\n{good}"),
    ] {
        assert_eq!(assert_in_doubt(told(raw).await), None);
    }
    told(answer("201 Created", good)).await.unwrap();
}

#[tokio::test]
async fn a_status_refuses_only_where_the_participant_itself_says_no() {
    for (head, body, code) in [
        ("402 Payment Required", "", Some("declined")),
        ("402 Payment Required", r#"{"code":"limit"}"#, Some("limit")),
        ("409 Conflict", r#"{"code":"voided"}"#, Some("voided")),
        ("409 Conflict", r#"{"code":"in_progress"}"#, None),
        ("409 Conflict", "", None),
        ("410 Gone", "", Some("gone")),
        ("422 Unprocessable Content", "?", Some("unprocessable")),
        ("400 Bad Request", r#"{"code":"currency_unknown"}"#, Some("currency_unknown")),
        ("400 Bad Request", r#"{"code":"Not A Code"}"#, None),
        ("404 Not Found", "<h1>nginx</h1>", None),
        ("401 Unauthorized", r#"{"code":"token_expired"}"#, None),
        ("408 Request Timeout", r#"{"code":"x"}"#, None),
        ("425 Too Early", "", None),
        ("429 Too Many Requests", r#"{"code":"x"}"#, None),
        ("500 Internal Server Error", r#"{"code":"declined"}"#, None),
        ("503 Service Unavailable", "", None),
    ] {
        let told = told(answer(head, body)).await;
        match code {
            Some(code) => assert_refused(told, code),
            None => drop(assert_in_doubt(told)),
        }
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let mut elsewhere = Scripted::new(answer("201 Created", "{}"), true).await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"] {
        let head = format!("{status}\r\nlocation: {}", elsewhere.url);
        assert_in_doubt(told(answer(&head, "")).await);
    }
    assert!(elsewhere.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_wish_for_a_pause_is_honoured_up_to_an_hour() {
    let date = |seconds| {
        let at = jiff::Timestamp::now() + Duration::from_secs(seconds);
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap()
    };
    for (wish, least, most) in [
        ("7".to_owned(), 7, 7),
        ("0".to_owned(), 0, 0),
        ("999999".to_owned(), 3_600, 3_600),
        (date(600), 500, 600),
        ("Wed, 21 Oct 2015 07:28:00 GMT".to_owned(), 0, 0),
        (date(86_400), 3_600, 3_600),
    ] {
        for status in ["429 Too Many Requests", "503 Service Unavailable"] {
            let raw = answer(&format!("{status}\r\nretry-after: {wish}"), "");
            let pause = assert_in_doubt(told(raw).await).unwrap();
            let range = Duration::from_secs(least)..=Duration::from_secs(most);
            assert!(range.contains(&pause), "{wish}: {pause:?}");
        }
    }
    let raw = answer("503 Service Unavailable\r\nretry-after: soon", "");
    assert_eq!(assert_in_doubt(told(raw).await), None);
}

#[tokio::test]
async fn silence_ends_at_the_deadlines() {
    let short = Duration::from_millis(100);
    let mute = Scripted::new("", false).await;
    let limits = Limits { first_byte_timeout: short, ..Limits::default() };
    assert_in_doubt(capture(&mute.url, limits).await);

    let half = Scripted::new("HTTP/1.1 201 Created\r\ncontent-length: 50\r\n\r\n{", false).await;
    let limits = Limits { total_timeout: short, ..Limits::default() };
    assert_in_doubt(capture(&half.url, limits).await);
}

#[tokio::test]
async fn waiting_for_a_turn_is_part_of_the_attempt() {
    let mut server = Scripted::new("", false).await;
    let total_timeout = Duration::from_millis(50);
    let no_turn_ever = Limits { in_flight_max: 0, total_timeout, ..Limits::default() };
    assert_in_doubt(capture(&server.url, no_turn_ever).await);
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn nobody_there_is_in_doubt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    assert_in_doubt(capture(&url, Limits::default()).await);

    let nowhere = Participant::new("payment", watch::channel(None).1, Limits::default()).unwrap();
    let order = Order::new();
    let told = Payments::new(nowhere).capture(order.payment(None), 450, EUR, "tok").await;
    assert_in_doubt(told);
}

#[tokio::test]
async fn another_amount_or_currency_needs_a_person() {
    for body in [
        r#"{"receipt":"r","amount":45000,"currency":"EUR"}"#,
        r#"{"receipt":"r","amount":450,"currency":"JPY"}"#,
    ] {
        match told(answer("201 Created", body)).await {
            Err(StepError::NeedsAttention { reason, .. }) => assert_eq!(reason, "amount_mismatch"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_void_that_contradicts_itself_is_in_doubt() {
    for body in [
        r#"{"captured":true,"amount":null,"currency":null}"#,
        r#"{"captured":false,"amount":450,"currency":"EUR"}"#,
    ] {
        let server = Scripted::new(answer("200 OK", body), true).await;
        let payments = Payments::new(participant(server.url.clone(), Limits::default()));
        assert_in_doubt(payments.void(Order::new().payment(None)).await);
    }
}

#[tokio::test]
async fn a_look_up_that_is_refused_refuses_nothing() {
    let refusal = answer("403 Forbidden", r#"{"code":"not_yours"}"#);
    let server = Scripted::new(refusal, true).await;
    let payments = Payments::new(participant(server.url.clone(), Limits::default()));
    assert_in_doubt(payments.find(Order::new().payment(None)).await);
}

#[tokio::test]
async fn a_base_url_keeps_its_path_with_and_without_a_slash() {
    let world = World::new().await;
    for path in ["payment", "payment/"] {
        capture(&world.root.join(path).unwrap(), Limits::default()).await.unwrap();
    }
}
