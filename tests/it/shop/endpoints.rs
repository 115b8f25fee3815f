//! Endpoints that the operator set up, and orders name for their notices.

use serde_json::{Value, json};

use crate::world::{
    api::{id_of, order_with},
    endpoint::Endpoint,
    house::{FAST, House},
};

/// An order whose notice goes to this endpoint.
fn order_to(endpoint: &str, moods: &[(&str, &str)]) -> Value {
    let mut order = order_with(moods);
    order["notify"] = json!({ "channel": "webhook", "to": endpoint });
    order
}

#[tokio::test]
async fn a_notice_goes_to_the_endpoint_that_its_order_names() {
    let (mut bar, mut app) = (Endpoint::open().await, Endpoint::open().await);
    let [of_bar, secret] = bar.named("bar");
    let [of_app, _] = app.named("app");
    let house = House::with(&[&FAST[..], &[&*of_bar, &*of_app, &*secret]].concat()).await;
    let api = house.api();

    let good = api.place(&order_to("bar", &[])).await;
    let notice = bar.next().await;
    assert_eq!(notice.message_id, format!("{good}/completed"));
    notice.answer(204);
    assert_eq!(api.end(&good).await["status"], "COMPLETED");

    let bad = api.place(&order_to("app", &[("rehearse.payment", "decline")])).await;
    let notice = app.next().await;
    assert_eq!(notice.message_id, format!("{bad}/failed"));
    assert_eq!(notice.body["data"]["status"], "FAILED");
    notice.answer(204);

    let usual = api.place(&order_with(&[])).await;
    assert_eq!(house.audited(&api, &usual).await.ledger.told(), ["COMPLETED"]);
    for id in [good, bad] {
        assert_eq!(house.ledger(&id).await.told(), Vec::<&str>::new(), "the notifier was told");
    }
    assert!(!bar.has_more() && !app.has_more());
}

#[tokio::test]
async fn an_order_that_named_an_endpoint_is_answered_again_once_that_is_gone() {
    let mut bar = Endpoint::open().await;
    let [named, secret] = bar.named("bar");
    let mut house = House::with(&[&FAST[..], &[&*named, &*secret]].concat()).await;
    let order = order_to("bar", &[]);
    let first = house.api().post_keyed(&order, "k").await;
    let id = id_of(&first.json());
    bar.next().await.answer(204);
    house.api().end(&id).await;

    house.take_and_kill();
    house.add(&FAST).await;
    let api = house.api();
    let again = api.post_keyed(&order, "k").await;
    assert_eq!((again.status, &again.text), (201, &first.text));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let refused = api.post_keyed(&order, "l").await;
    refused.assert_refused(422, "endpoint_unknown");
    assert_eq!(refused.json()["errors"][0]["pointer"], "/notify/to");
}
