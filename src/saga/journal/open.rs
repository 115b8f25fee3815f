//! The sagas that are open, page by page.

use sqlx::PgConnection;
use uuid::Uuid;

/// An open saga, and what it is pinned to.
pub(in crate::saga) struct Open {
    pub saga_id: Uuid,
    pub definition: String,
    pub definition_version: i32,
}

/// A page of the open sagas of a bucket, after a saga, in the order of their ids.
pub(in crate::saga) async fn page(
    connection: &mut PgConnection,
    bucket: i16,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Open>> {
    sqlx::query_as!(
        Open,
        "select saga_id, definition, definition_version from saga
          where bucket = $1 and saga_id > $2 and closed_status is null
          order by saga_id limit $3",
        bucket,
        after,
        limit,
    )
    .fetch_all(connection)
    .await
}
