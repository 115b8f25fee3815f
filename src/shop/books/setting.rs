//! Small facts that the replicas share.

use sqlx::PgPool;

/// A fact; `None` when it was never set.
pub(in crate::shop) async fn get(pool: &PgPool, name: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("select value from setting where name = $1", name)
        .fetch_optional(pool)
        .await
}

/// Sets a fact.
pub(in crate::shop) async fn set(pool: &PgPool, name: &str, value: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into setting (name, value) values ($1, $2)
         on conflict (name) do update set value = excluded.value",
        name,
        value,
    )
    .execute(pool)
    .await?;
    Ok(())
}
