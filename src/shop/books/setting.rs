//! Small facts that the replicas share.

use sqlx::PgPool;

/// A fact; `None` when it was never set.
pub(in crate::shop) async fn get(pool: &PgPool, name: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("select value from setting where name = $1", name)
        .fetch_optional(pool)
        .await
}

/// Sets a fact, unless it is another one than `seen` by now. True if it was set.
pub(in crate::shop) async fn replace(
    pool: &PgPool,
    name: &str,
    seen: Option<&str>,
    value: &str,
) -> sqlx::Result<bool> {
    let replaced = sqlx::query!(
        "insert into setting as s (name, value) values ($1, $2)
         on conflict (name) do update set value = excluded.value where s.value = $3",
        name,
        value,
        seen,
    )
    .execute(pool)
    .await?;
    Ok(replaced.rows_affected() == 1)
}
