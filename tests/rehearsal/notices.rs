//! Notices: signed as the standard says, and received once.

use std::time::Duration;

use crema::{
    rehearsal::{Kind, Role},
    shop::{
        notices::{Notifier, Webhook},
        participant::{Call, Limits, ParticipantError},
    },
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use serde_json::json;
use url::Url;
use uuid::Uuid;

use crate::world::{Scripted, World, assert_in_doubt, assert_refused, participant};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn notifier(base: Url, secrets: &[&str]) -> Result<Notifier, ParticipantError> {
    let secrets: Vec<_> = secrets.iter().map(|s| SecretString::from(*s)).collect();
    Webhook::new(participant(base, Limits::default()), &secrets).map(Notifier::Webhook)
}

#[tokio::test]
async fn a_receiver_with_either_secret_verifies_a_notice() {
    let mut endpoint =
        Scripted::new("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n", true).await;
    let order_id = Uuid::now_v7();
    let key = format!("{order_id}/notification");
    let body = json!({"type": "order.completed", "data": {"text": "Your latte ☕"}}).to_string();
    let call = Call { key: &key, order_id, rehearse: None };
    notifier(endpoint.url.clone(), &[NEW, OLD]).unwrap().send(call, &body).await.unwrap();

    let request = endpoint.requests.recv().await.unwrap();
    let (head, sent) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /messages HTTP/1.1\r\n"));
    assert_eq!(sent, body);
    let headers: HeaderMap = head
        .lines()
        .skip(1)
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        })
        .collect();
    assert_eq!(headers["webhook-id"], key);
    assert_eq!(headers["idempotency-key"], key);
    for secret in [OLD, NEW] {
        let receiver = standardwebhooks::Webhook::new(secret).unwrap();
        receiver.verify(sent.as_bytes(), &headers).unwrap();
        assert!(receiver.verify(b"forged", &headers).is_err());
    }
    let stranger = standardwebhooks::Webhook::from_bytes(vec![7; 32]).unwrap();
    assert!(stranger.verify(sent.as_bytes(), &headers).is_err());
}

#[tokio::test]
async fn a_secret_that_signs_nothing_is_refused() {
    let base = Url::parse("http://127.0.0.1:9/").unwrap();
    for secrets in [&[][..], &["hello"], &["whsec_?"], &["whsec_c2hvcnQ="], &[NEW, "whsec_"]] {
        let refused = notifier(base.clone(), secrets);
        assert!(matches!(refused, Err(ParticipantError::WebhookSecret)), "{secrets:?}");
    }
    let shown = format!("{:?}", notifier(base, &[NEW]).unwrap());
    assert!(!shown.contains("C2FVsBQ"), "{shown}");
}

#[tokio::test]
async fn the_rehearsal_receives_a_notice_once_and_has_moods() {
    let (world, order_id) = (World::new().await, Uuid::now_v7());
    let notifier = notifier(Role::Notifier.address(&world.root), &[NEW]).unwrap();
    let key = format!("{order_id}/notification");
    let body = json!({"data": {"order_id": order_id, "status": "COMPLETED"}}).to_string();
    let call = |rehearse| Call { key: &key, order_id, rehearse };
    assert_in_doubt(notifier.send(call(Some("down")), &body).await);
    world.moods(json!({"slow_ms": 30})).await;
    let begun = std::time::Instant::now();
    notifier.send(call(Some("slow")), &body).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(30));
    let world = world.restart().await;
    let notifier = self::notifier(Role::Notifier.address(&world.root), &[NEW]).unwrap();
    notifier.send(call(None), &body).await.unwrap();
    assert_eq!(world.kinds(order_id).await, [Kind::Notice]);
    assert_eq!(world.lines(order_id).await[0].status.as_deref(), Some("COMPLETED"));
    assert_refused(notifier.send(call(None), "no JSON").await, "unreadable");
}

#[tokio::test]
async fn the_log_takes_every_notice() {
    let call = Call { key: "k", order_id: Uuid::now_v7(), rehearse: None };
    Notifier::Log.send(call, "{}").await.unwrap();
}
