//! What the extractors refuse, and how they say it.

use axum::{Router, routing::any};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    item: String,
    price: i64,
}

fn refusal(body: &[u8]) -> (Code, Vec<(String, String)>) {
    let problem = parse::<Order>(body).unwrap_err();
    let errors = problem.errors.into_iter().map(|e| (e.pointer, e.detail)).collect();
    (problem.code, errors)
}

#[test]
fn a_fitting_body_is_taken() {
    let order: Order = parse(br#"{"items":[{"item":"latte \\u0000","price":450}]}"#).unwrap();
    assert_eq!((order.items[0].item.as_str(), order.items[0].price), ("latte \\u0000", 450));
}

#[test]
fn money_in_floats_is_refused_with_a_pointer() {
    for price in ["4.5", "450.0", "1e3", "\"450\"", "99999999999999999999"] {
        let body =
            format!(r#"{{"items":[{{"item":"a","price":1}},{{"item":"b","price":{price}}}]}}"#);
        let (code, errors) = refusal(body.as_bytes());
        assert_eq!((code, errors[0].0.as_str()), (Code::BodyInvalid, "/items/1/price"), "{price}");
        assert!(!errors[0].1.contains("line"), "{errors:?}");
    }
}

#[test]
fn unknown_and_missing_fields_are_refused() {
    let (code, errors) = refusal(br#"{"items":[],"a/b~":1}"#);
    assert_eq!((code, errors[0].0.as_str()), (Code::BodyInvalid, "/a~1b~0"));
    let (code, errors) = refusal(br#"{"items":[{"item":"a"}]}"#);
    assert_eq!((code, errors[0].0.as_str()), (Code::BodyInvalid, "/items/0"));
    assert!(errors[0].1.contains("price"), "{errors:?}");
}

#[test]
fn what_is_not_json_is_unreadable() {
    let bodies: [&[u8]; 6] = [b"", b"{", b"{} {}", b"[1,]", b"{\"items\":\"a\nb\"}", b"nul"];
    for body in bodies {
        assert_eq!(parse::<Value>(body).unwrap_err().code, Code::BodyUnreadable, "{body:?}");
    }
}

#[test]
fn text_that_cannot_be_kept_is_refused() {
    assert_eq!(refusal(b"{\"items\":\"\xff\"}").0, Code::BodyInvalid);
    for body in [r#"{"a":"x\u0000"}"#, r#"{"a\u0000":1}"#, r#"["\\\u0000"]"#] {
        assert_eq!(parse::<Value>(body.as_bytes()).unwrap_err().code, Code::BodyInvalid, "{body}");
    }
    assert!(parse::<Value>(br#"["\\u0000", "[[[["]"#).is_ok());
}

#[test]
fn nesting_is_bounded() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(parse::<Value>(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
    let deeper = parse::<Value>(nested(JSON_DEPTH_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(deeper.code, Code::BodyInvalid);
    let deepest = parse::<Value>("[".repeat(60_000).as_bytes()).unwrap_err();
    assert_eq!(deepest.code, Code::BodyInvalid);
}

#[test]
fn a_refusal_does_not_give_long_input_back() {
    let body = json!({"items": "x".repeat(5000)}).to_string();
    let problem = parse::<Order>(body.as_bytes()).unwrap_err();
    assert!(problem.detail.len() < 500, "{}", problem.detail.len());
}

async fn ask(method: &str, uri: &str, kind: Option<&str>, body: &str) -> (u16, String) {
    async fn by_path(Path(id): Path<u32>) -> String {
        id.to_string()
    }
    async fn by_query(Query(q): Query<Item>) -> String {
        q.item
    }
    async fn by_body(body: Option<Body<Item>>) -> String {
        body.map_or("none".into(), |Body(item)| item.item)
    }
    let router = Router::new()
        .route("/path/{id}", any(by_path))
        .route("/query", any(by_query))
        .route("/body", any(by_body));
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    let request = request.body(axum::body::Body::from(body.to_owned())).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let code =
        serde_json::from_str::<Value>(&text).ok().and_then(|v| v["code"].as_str().map(Into::into));
    (status, code.unwrap_or(text))
}

#[tokio::test]
async fn every_rejection_is_a_problem() {
    let item = r#"{"item":"latte","price":1}"#;
    let json = Some("application/json; charset=utf-8");
    let cases = [
        ("GET", "/path/x", None, "", 400, "invalid_id"),
        ("GET", "/path/%00", None, "", 400, "invalid_id"),
        ("GET", "/query?item=a", None, "", 400, "invalid_query"),
        ("GET", "/query?item=%00&price=1", None, "", 400, "invalid_query"),
        ("GET", "/query?item=a&price=1", None, "", 200, "a"),
        ("POST", "/body", None, item, 415, "unsupported_media_type"),
        ("POST", "/body", Some("text/plain"), item, 415, "unsupported_media_type"),
        ("POST", "/body", json, "{", 400, "body_unreadable"),
        ("POST", "/body", json, "{}", 422, "body_invalid"),
        ("POST", "/body", json, item, 200, "latte"),
        ("POST", "/body", None, "", 200, "none"),
    ];
    for (method, uri, kind, body, status, text) in cases {
        let got = ask(method, uri, kind, body).await;
        assert_eq!(got, (status, text.to_owned()), "{method} {uri} {kind:?} {body}");
    }
}
