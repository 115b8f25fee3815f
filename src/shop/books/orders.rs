//! The statements about single orders.

use jiff_sqlx::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// What stands beside an order's journal.
#[derive(Debug, Clone)]
pub(in crate::shop) struct Extra {
    pub order_id: Uuid,
    pub captured: i64,
    pub refunded: i64,
    pub collected_at: Option<Timestamp>,
}

/// The money and the collection of these orders.
pub(in crate::shop) async fn extras(pool: &PgPool, orders: &[Uuid]) -> sqlx::Result<Vec<Extra>> {
    sqlx::query_as!(
        Extra,
        r#"select o.order_id as "order_id!",
                  coalesce((select sum(l.amount) from ledger l
                             where l.order_id = o.order_id and l.kind = 'capture'), 0)::bigint
                    as "captured!",
                  coalesce((select sum(l.amount) from ledger l
                             where l.order_id = o.order_id and l.kind = 'refund'), 0)::bigint
                    as "refunded!",
                  (select c.collected_at from collection c where c.order_id = o.order_id) as collected_at
             from unnest($1::uuid[]) as o (order_id)"#,
        orders,
    )
    .fetch_all(pool)
    .await
}

/// The order that a customer's key stands for.
pub(in crate::shop) async fn by_key(
    pool: &PgPool,
    customer_id: &str,
    key: &str,
) -> sqlx::Result<Option<(Uuid, Vec<u8>)>> {
    let row = sqlx::query!(
        "select order_id, fingerprint from idempotency_key where customer_id = $1 and key = $2",
        customer_id,
        key,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|it| (it.order_id, it.fingerprint)))
}

/// Records the collection and frees the code. False when it was collected before.
pub(in crate::shop) async fn collect(
    connection: &mut PgConnection,
    order_id: Uuid,
    code: &str,
) -> sqlx::Result<bool> {
    let collected = sqlx::query!(
        "with freed as (delete from pickup_code where code = $2 and order_id = $1)
         insert into collection (order_id) values ($1) on conflict do nothing",
        order_id,
        code,
    )
    .execute(connection)
    .await?;
    Ok(collected.rows_affected() == 1)
}
