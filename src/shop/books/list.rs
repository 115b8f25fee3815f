//! The statements of lists. Orders are listed by id, newest first: UUIDv7 is time.
//!
//! A statement for each condition that has an index, so that no plan depends on what the planner believes about
//! the others, and none walks orders that the list does not show: a shop has few open orders and, after
//! some years, millions of closed ones. (A test explains the files.)

use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::shop::view::{GRAPH, OTHER_ENDS};

/// Newest orders that are looked through for attributes before their index is asked: less work than that does
/// for attributes that a tenth of all orders have.
const NEAR_ORDERS: i64 = 1_000;

/// What a list shows, and from where on. All conditions hold together.
#[derive(Debug, Clone)]
pub(in crate::shop) struct Filter {
    pub status: Option<String>,
    pub customer_id: Option<String>,
    /// Before this id.
    pub before: Uuid,
    /// From this id on.
    pub from: Uuid,
    pub attention: Option<bool>,
    pub attributes: Option<Value>,
    pub limit: i64,
}

/// The ids of a page.
pub(in crate::shop) async fn page(pool: &PgPool, filter: &Filter) -> sqlx::Result<Vec<Uuid>> {
    if let Some(customer_id) = &filter.customer_id {
        return by_customer(pool, customer_id, filter).await;
    }
    if filter.attention == Some(true) {
        return by_attention(pool, filter).await;
    }
    if let Some(attributes) = &filter.attributes {
        return by_attributes(pool, attributes, filter).await;
    }
    match &filter.status {
        Some(status) if is_end(status) => closed(pool, status, filter).await,
        Some(status) => open(pool, status, filter).await,
        None => newest(pool, filter).await,
    }
}

/// Whether this is a status that closed orders have, and only those.
fn is_end(status: &str) -> bool {
    OTHER_ENDS.contains(&status) || GRAPH.last() == Some(&status)
}

async fn by_customer(pool: &PgPool, customer_id: &str, it: &Filter) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_file_scalar!(
        "src/shop/books/list/customer.sql",
        customer_id,
        it.before,
        it.from,
        it.status,
        it.attention,
        it.attributes,
        it.limit,
    )
    .fetch_all(pool)
    .await
}

async fn by_attention(pool: &PgPool, it: &Filter) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_file_scalar!(
        "src/shop/books/list/attention.sql",
        it.before,
        it.from,
        it.status,
        it.attributes,
        it.limit,
    )
    .fetch_all(pool)
    .await
}

async fn by_attributes(pool: &PgPool, attributes: &Value, it: &Filter) -> sqlx::Result<Vec<Uuid>> {
    let near = sqlx::query_file_scalar!(
        "src/shop/books/list/near.sql",
        attributes,
        it.before,
        it.from,
        it.status,
        it.attention,
        it.limit,
        NEAR_ORDERS,
    )
    .fetch_all(pool)
    .await?;
    if i64::try_from(near.len()) == Ok(it.limit) {
        return Ok(near);
    }
    sqlx::query_file_scalar!(
        "src/shop/books/list/attribute.sql",
        attributes,
        it.before,
        it.from,
        it.status,
        it.attention,
        it.limit,
    )
    .fetch_all(pool)
    .await
}

async fn closed(pool: &PgPool, status: &str, it: &Filter) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_file_scalar!("src/shop/books/list/closed.sql", status, it.before, it.from, it.limit)
        .fetch_all(pool)
        .await
}

async fn open(pool: &PgPool, status: &str, it: &Filter) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_file_scalar!(
        "src/shop/books/list/open.sql",
        status,
        it.before,
        it.from,
        it.attention,
        it.limit,
    )
    .fetch_all(pool)
    .await
}

async fn newest(pool: &PgPool, it: &Filter) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_file_scalar!(
        "src/shop/books/list/newest.sql",
        it.before,
        it.from,
        it.attention,
        it.limit
    )
    .fetch_all(pool)
    .await
}
