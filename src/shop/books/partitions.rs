//! The months of the tables that grow with every order.

use sqlx::PgPool;

/// The tables that are partitioned by the time in an order's id.
const TABLES: [&str; 3] = ["orders", "stock_move", "ledger"];

/// Makes the partitions of the months ahead. A statement a table: no lock on one is held while another is
/// waited for. Where it fails everything goes on, in a partition that is never dropped.
pub(in crate::shop) async fn make(pool: &PgPool) {
    for table in TABLES {
        let made = sqlx::query!("select ensure_partitions($1, 2)", table).fetch_one(pool).await;
        if let Err(error) = made {
            tracing::warn!(%error, table, "its partitions are not made; it is tried again in a day");
        }
    }
}
