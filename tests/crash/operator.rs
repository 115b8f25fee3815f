//! The operator: keeps the rehearsal's paces short, and settles what needs a person.

use std::time::Duration;

use crema::rehearsal::Line;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{scene::paces, service::Door};

const LOOK: Duration = Duration::from_millis(50);

fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap()
}

async fn rehearsal_url(db: &PgPool) -> Option<String> {
    let sql = "select value from setting where name = 'rehearsal_url'";
    sqlx::query_scalar(sql).fetch_optional(db).await.ok()?
}

/// Sets the paces wherever the rehearsal turns up: whoever takes it over starts with its usual ones.
pub(crate) async fn keep_pace(db: PgPool, prep_ms: u64) {
    let (http, mut set) = (client(), None);
    loop {
        let url = rehearsal_url(&db).await;
        if url.is_some() && url != set {
            let moods = format!("{}moods", url.as_deref().unwrap());
            let answer = http.put(moods).json(&paces(prep_ms)).send().await;
            if answer.is_ok_and(|it| it.status() == StatusCode::OK) {
                set = url;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Buys so much that no order of the test is refused for want of something.
pub(crate) async fn stock_up(door: &Door, orders: usize) {
    let door = door.borrow().clone().expect("the service is open");
    let body = json!({"delta": orders * 1_000, "reason": "a busy day"});
    for ingredient in ["beans", "milk", "cup", "croissant", "chocolate"] {
        let url = door.join(&format!("/v1/stock/{ingredient}/adjust")).unwrap();
        let answer = client().post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{ingredient}");
    }
}

/// What the participants did, by their own account.
pub(crate) async fn ledger(db: &PgPool) -> Option<Vec<Line>> {
    let url = format!("{}ledger", rehearsal_url(db).await?);
    client().get(url).send().await.ok()?.json().await.ok()
}

/// Cancels what needs a person and can be cancelled, and retries the rest.
pub(crate) async fn clear(db: &PgPool, doors: &[Door]) {
    let Some(door) = doors.iter().find_map(|it| it.borrow().clone()) else { return };
    let http = client();
    let Ok(answer) = http.get(door.join("/v1/attention").unwrap()).send().await else { return };
    let Ok(attention) = answer.json::<Value>().await else { return };
    for order in attention["orders"].as_array().into_iter().flatten() {
        let (id, actions) = (order["order_id"].as_str().unwrap(), order["actions"].to_string());
        let is_crash_loop = order["attention"] == "crash_loop";
        let action = if actions.contains("cancel") && !is_crash_loop { "cancel" } else { "retry" };
        let asked: Option<bool> = sqlx::query_scalar(
            "select exists (select from inbox where saga_id = $1::text::uuid) \
                 or $2 and (select cancel_requested from saga where saga_id = $1::text::uuid)",
        )
        .bind(id)
        .bind(action == "cancel")
        .fetch_one(db)
        .await
        .ok();
        if asked == Some(false) {
            let path = format!("/v1/orders/{id}/{action}");
            let _ = http.post(door.join(&path).unwrap()).send().await;
        }
    }
}
