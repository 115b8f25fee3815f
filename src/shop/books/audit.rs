//! The statements of a replay: all that the books say about one order.

use sqlx::PgConnection;
use uuid::Uuid;

/// The facts that an order is looked up by.
#[derive(Debug)]
pub(in crate::shop) struct Facts {
    pub customer_id: String,
    pub currency: String,
    pub total: i64,
    pub pickup_code: String,
}

/// An entry of the ledger.
#[derive(Debug)]
pub(in crate::shop) struct LedgerRow {
    pub kind: String,
    pub amount: i64,
}

/// What an order changed in the stock.
#[derive(Debug)]
pub(in crate::shop) struct MoveRow {
    pub kind: String,
    pub ingredients: Vec<String>,
    pub quantities: Vec<i64>,
}

/// The facts of an order.
pub(in crate::shop) async fn facts(
    connection: &mut PgConnection,
    order_id: Uuid,
) -> sqlx::Result<Option<Facts>> {
    sqlx::query_as!(
        Facts,
        "select customer_id, currency, total, pickup_code from orders where order_id = $1",
        order_id,
    )
    .fetch_optional(connection)
    .await
}

/// The ledger of an order: captures, then refunds.
pub(in crate::shop) async fn ledger(
    connection: &mut PgConnection,
    order_id: Uuid,
) -> sqlx::Result<Vec<LedgerRow>> {
    sqlx::query_as!(
        LedgerRow,
        "select kind, amount from ledger where order_id = $1 order by kind, line",
        order_id,
    )
    .fetch_all(connection)
    .await
}

/// The stock moves of an order, in the order of its life.
pub(in crate::shop) async fn moves(
    connection: &mut PgConnection,
    order_id: Uuid,
) -> sqlx::Result<Vec<MoveRow>> {
    sqlx::query_as!(
        MoveRow,
        "select kind, ingredients, quantities from stock_move where order_id = $1 order by phase",
        order_id,
    )
    .fetch_all(connection)
    .await
}
