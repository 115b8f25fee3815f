//! The statements of lists. Orders are listed by id, newest first: UUIDv7 is time.

use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// What a list shows, and from where on. All conditions hold together.
#[derive(Debug, Clone, Default)]
pub(in crate::shop) struct Filter {
    pub status: Option<String>,
    pub customer_id: Option<String>,
    /// Before this id.
    pub before: Option<Uuid>,
    /// From this id on.
    pub from: Option<Uuid>,
    pub attention: Option<bool>,
    pub attributes: Option<Value>,
    pub limit: i64,
}

/// The ids of a page. Three statements, each along the index of its strongest condition, so that no plan
/// depends on what the planner believes about the others.
pub(in crate::shop) async fn page(pool: &PgPool, filter: &Filter) -> sqlx::Result<Vec<Uuid>> {
    if filter.customer_id.is_some() {
        by_customer(pool, filter).await
    } else if filter.attention == Some(true) {
        by_attention(pool, filter).await
    } else {
        by_time(pool, filter).await
    }
}

async fn by_customer(pool: &PgPool, filter: &Filter) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select o.order_id from orders o
           join saga s on s.bucket = get_byte(uuid_send(o.order_id), 15) and s.saga_id = o.order_id
          where o.customer_id = $1
            and ($2::uuid is null or o.order_id < $2) and ($3::uuid is null or o.order_id >= $3)
            and ($4::text is null or s.label = $4)
            and ($5::boolean is null or (s.attention is not null) = $5)
            and ($6::jsonb is null or o.attributes @> $6)
          order by o.order_id desc limit $7",
        filter.customer_id,
        filter.before,
        filter.from,
        filter.status,
        filter.attention,
        filter.attributes,
        filter.limit,
    )
    .fetch_all(pool)
    .await
}

async fn by_attention(pool: &PgPool, filter: &Filter) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select o.order_id from saga s join orders o on o.order_id = s.saga_id
          where s.attention is not null
            and ($1::uuid is null or o.order_id < $1) and ($2::uuid is null or o.order_id >= $2)
            and ($3::text is null or s.label = $3)
            and ($4::jsonb is null or o.attributes @> $4)
          order by o.order_id desc limit $5",
        filter.before,
        filter.from,
        filter.status,
        filter.attributes,
        filter.limit,
    )
    .fetch_all(pool)
    .await
}

async fn by_time(pool: &PgPool, filter: &Filter) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select o.order_id from orders o
           join saga s on s.bucket = get_byte(uuid_send(o.order_id), 15) and s.saga_id = o.order_id
          where ($1::uuid is null or o.order_id < $1) and ($2::uuid is null or o.order_id >= $2)
            and ($3::text is null or s.label = $3)
            and ($4::boolean is null or (s.attention is not null) = $4)
            and ($5::jsonb is null or o.attributes @> $5)
          order by o.order_id desc limit $6",
        filter.before,
        filter.from,
        filter.status,
        filter.attention,
        filter.attributes,
        filter.limit,
    )
    .fetch_all(pool)
    .await
}
