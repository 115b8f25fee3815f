//! Notices of orders that ended badly: sent by whoever owns the order, beside everything else.

use sqlx::Connection;

use crate::world::{api::order_with, endpoint::Endpoint, house::House, until};

/// A replica whose notices go to this endpoint, which may take its time.
async fn house_of(endpoint: &Endpoint) -> House {
    let [url, secret] = endpoint.flags();
    House::with(&["--retry-backoff=20ms", "--notification-timeout=10m", &url, &secret]).await
}

/// Attempts at an order's notice, whether it was sent, and whether it is due.
async fn stands(house: &House, message_id: &str) -> (i32, bool, bool) {
    let sql = "select attempts, sent_at is not null,
                      sent_at is null and given_up_at is null and next_attempt_at <= now()
                 from outbox where message_id = $1";
    let mut connection = house.connection().await;
    sqlx::query_as(sql).bind(message_id).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_notice_on_its_way_holds_up_no_stop_and_is_due_again() {
    let mut endpoint = Endpoint::open().await;
    let mut house = house_of(&endpoint).await;
    house.api().place(&order_with(&[("rehearse.payment", "decline")])).await;
    let hanging = endpoint.next().await;
    let mut leaving = house.take();
    leaving.sigterm();
    assert_eq!(leaving.ended().await.code(), Some(0), "{}", leaving.log());
    assert_eq!(stands(&house, &hanging.message_id).await, (0, false, true));

    let [url, secret] = endpoint.flags();
    house.add(&[&url, &secret]).await;
    let again = endpoint.next().await;
    let (id, body) = (again.message_id.clone(), again.body.clone());
    assert_eq!((&id, &body), (&hanging.message_id, &hanging.body));
    again.answer(204);
    until("it is noted down", async || stands(&house, &id).await.1.then_some(())).await;
    assert_eq!(stands(&house, &id).await, (1, true, false));
}

/// Whether an update of the outbox waits for somebody's lock.
async fn waits_for_a_lock(house: &House) -> bool {
    let sql = "select exists (select from pg_stat_activity where datname = current_database()
                                 and wait_event_type = 'Lock' and query like '%update outbox%')";
    sqlx::query_scalar(sql).fetch_one(&mut house.connection().await).await.unwrap()
}

#[tokio::test]
async fn one_notice_that_cannot_be_noted_down_does_not_cut_off_the_others() {
    let mut endpoint = Endpoint::open().await;
    let house = house_of(&endpoint).await;
    let (api, declined) = (house.api(), order_with(&[("rehearse.payment", "decline")]));
    for _ in 0..2 {
        api.place(&declined).await;
        let delivery = endpoint.next().await;
        let id = delivery.message_id.clone();
        delivery.answer(204);
        until("it is noted down", async || stands(&house, &id).await.1.then_some(())).await;
    }
    // Both once more, in one round.
    let again = "update outbox set sent_at = null, next_attempt_at = now()";
    sqlx::query(again).execute(&mut house.connection().await).await.unwrap();
    let (first, second) = (endpoint.next().await, endpoint.next().await);

    let mut locking = house.connection().await;
    let mut lock = locking.begin().await.unwrap();
    let sql = "select from outbox where message_id = $1 for update";
    sqlx::query(sql).bind(&first.message_id).execute(&mut *lock).await.unwrap();
    first.answer(204);
    until("it waits", async || waits_for_a_lock(&house).await.then_some(())).await;
    until("it waits no more", async || (!waits_for_a_lock(&house).await).then_some(())).await;
    lock.rollback().await.unwrap();

    let id = second.message_id.clone();
    assert!(!second.is_given_up(), "the other send was cut off");
    second.answer(204);
    until("it is noted down", async || stands(&house, &id).await.1.then_some(())).await;
}
