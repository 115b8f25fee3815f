//! The statements of the outbox.

use sqlx::PgPool;
use uuid::Uuid;

/// A notice that is due.
#[derive(Debug)]
pub(in crate::shop) struct Due {
    pub bucket: i16,
    pub message_id: String,
    pub order_id: Uuid,
    pub body: String,
    pub attempts: i32,
}

/// Notices of these buckets that are due; each is held back for a while, so that a slow send is not
/// begun twice.
pub(in crate::shop) async fn due(
    pool: &PgPool,
    buckets: &[i16],
    limit: i64,
    hold_s: f64,
) -> sqlx::Result<Vec<Due>> {
    sqlx::query_as!(
        Due,
        r#"with due as materialized (
               select bucket, message_id from outbox
                where sent_at is null and given_up_at is null and bucket = any($1)
                  and next_attempt_at <= now()
                order by next_attempt_at limit $2
                  for update skip locked)
           update outbox o set next_attempt_at = now() + $3 * interval '1 second'
             from due d where o.bucket = d.bucket and o.message_id = d.message_id
           returning o.bucket, o.message_id, o.order_id, o.body::text as "body!", o.attempts"#,
        buckets,
        limit,
        hold_s,
    )
    .fetch_all(pool)
    .await
}

/// Whether notices of these buckets wait for another attempt.
pub(in crate::shop) async fn any_waiting(pool: &PgPool, buckets: &[i16]) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from outbox where sent_at is null and given_up_at is null
                             and bucket = any($1)) as "any!""#,
        buckets,
    )
    .fetch_one(pool)
    .await
}

/// Notes that a notice was sent.
pub(in crate::shop) async fn sent(
    pool: &PgPool,
    bucket: i16,
    message_id: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox set sent_at = now(), attempts = attempts + 1, last_error = null
          where bucket = $1 and message_id = $2",
        bucket,
        message_id,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Notes that a notice was not sent; without a delay it is given up.
pub(in crate::shop) async fn failed(
    pool: &PgPool,
    bucket: i16,
    message_id: &str,
    error: &str,
    retry_in_s: Option<f64>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox
            set attempts = attempts + 1, last_error = $3,
                next_attempt_at = now() + coalesce($4::float8, 0) * interval '1 second',
                given_up_at = case when $4::float8 is null then now() end
          where bucket = $1 and message_id = $2",
        bucket,
        message_id,
        error,
        retry_in_s,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Makes a notice due again whose send was cut off before it was answered.
pub(in crate::shop) async fn put_back(
    pool: &PgPool,
    bucket: i16,
    message_id: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox set next_attempt_at = now()
          where bucket = $1 and message_id = $2 and sent_at is null and given_up_at is null",
        bucket,
        message_id,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// A notice that was given up.
#[derive(Debug, Clone)]
pub struct Undelivered {
    /// The order it is about.
    pub order_id: Uuid,
    /// Its id.
    pub message_id: String,
    /// Attempts.
    pub attempts: i32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it was given up.
    pub given_up_at: Option<jiff_sqlx::Timestamp>,
}

/// Notices that were given up, newest first.
pub(in crate::shop) async fn undelivered(
    pool: &PgPool,
    limit: i64,
) -> sqlx::Result<Vec<Undelivered>> {
    sqlx::query_as!(
        Undelivered,
        "select order_id, message_id, attempts, last_error, given_up_at from outbox
          where given_up_at is not null order by given_up_at desc limit $1",
        limit,
    )
    .fetch_all(pool)
    .await
}
