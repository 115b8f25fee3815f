//! Pools, migrations and checks.

use std::time::Duration;

use crema::postgres::{Database, Durability, Error, PoolSpec, Source};
use futures::future::join_all;
use secrecy::SecretString;

use crate::world::cluster::{Place, TestDb};

const SPEC: PoolSpec = PoolSpec {
    role: "test",
    max_connections: 1,
    statement_timeout: Duration::from_secs(30),
    read_only: false,
};

#[tokio::test]
async fn a_begin_that_is_dropped_half_way_does_not_poison_the_pool() {
    let test = TestDb::new().await;
    let pool = test.database().pool(SPEC);
    sqlx::raw_sql("CREATE TABLE written (n int)").execute(&pool).await.unwrap();
    for n in 0..200 {
        let mut beginning = Box::pin(pool.begin());
        for _ in 0..=n % 12 {
            if futures::poll!(&mut beginning).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(beginning);
        let insert = sqlx::query("INSERT INTO written VALUES ($1)").bind(n);
        insert.execute(&pool).await.unwrap();
        let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM written WHERE n = $1")
            .bind(n)
            .fetch_one(test.pool())
            .await
            .unwrap();
        assert_eq!(seen, 1, "an acknowledged insert is invisible to others (round {n})");
    }
}

#[tokio::test]
async fn a_pools_sessions_have_its_limits() {
    let test = TestDb::new().await;
    let pool = test.database().pool(PoolSpec {
        role: "read",
        statement_timeout: Duration::from_millis(1500),
        read_only: true,
        ..SPEC
    });
    let limits: Vec<(String, String)> = sqlx::query_as(
        "SELECT name, current_setting(name) FROM pg_settings WHERE name IN \
         ('application_name', 'statement_timeout', 'lock_timeout', 'TimeZone', \
          'idle_in_transaction_session_timeout') ORDER BY lower(name)",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let shown: Vec<String> = limits.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        shown,
        [
            "application_name=crema read",
            "idle_in_transaction_session_timeout=5s",
            "lock_timeout=2s",
            "statement_timeout=1500ms",
            "TimeZone=UTC"
        ]
    );
    let write = sqlx::raw_sql("CREATE TABLE t ()").execute(&pool).await.unwrap_err();
    assert_eq!(write.as_database_error().unwrap().code().as_deref(), Some("25006"));
}

#[tokio::test]
async fn a_pool_that_is_used_up_says_so_instead_of_waiting_for_ever() {
    let test = TestDb::new().await;
    let pool = test.database().pool(SPEC);
    let _only_one = pool.acquire().await.unwrap();
    let refused = pool.acquire().await.unwrap_err();
    assert!(matches!(refused, sqlx::Error::PoolTimedOut), "{refused}");
}

#[tokio::test]
async fn replicas_that_start_together_migrate_once() {
    let test = TestDb::new().await;
    sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        .execute(test.pool())
        .await
        .unwrap();
    let outcomes = join_all((0..8).map(|_| test.database().migrate())).await;
    for outcome in outcomes {
        outcome.unwrap();
    }
    let twice: i64 =
        sqlx::query_scalar("SELECT count(*) - count(DISTINCT version) FROM _sqlx_migrations")
            .fetch_one(test.pool())
            .await
            .unwrap();
    assert_eq!(twice, 0);
}

#[tokio::test]
async fn a_schema_newer_than_the_program_is_refused() {
    let test = TestDb::new().await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99999, 'from the future', true, '', 0)",
    )
    .execute(test.pool())
    .await
    .unwrap();
    let error = test.database().migrate().await.unwrap_err();
    assert!(matches!(error, Error::SchemaNewer { version: 99999 }), "{error}");
    assert!(
        error.to_string().contains("the database's schema is newer than this binary"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_with_fsync_off_is_refused_unless_that_is_accepted() {
    let place = Place::with_cluster().await;
    let mut config = place.config();
    config.settings = vec!["fsync=off".to_owned()];
    let database = Database::open(&Source::Private(config)).await.unwrap();
    let error = database.check_durability(false).await.unwrap_err();
    assert!(matches!(error, Error::NotDurable { .. }), "{error}");
    assert!(error.to_string().contains("fsync=off"), "{error}");
    let found = database.check_durability(true).await.unwrap();
    assert!(matches!(found, Durability::Unsafe { .. }), "{found}");
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_session_that_commits_asynchronously_is_refused_too() {
    let test = TestDb::new().await;
    let url = format!("{}&options=-c%20synchronous_commit%3Doff", test.url());
    let database = Database::open(&Source::Url(SecretString::from(url))).await.unwrap();
    let error = database.check_durability(false).await.unwrap_err();
    assert!(error.to_string().contains("synchronous_commit=off"), "{error}");
}

#[tokio::test]
async fn an_unreachable_database_is_named_without_its_password() {
    let url = SecretString::from("postgres://ada:s3cret@127.0.0.1:1/shop");
    let error = Database::open(&Source::Url(url)).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("database `shop` on 127.0.0.1:1"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_telling_it() {
    let test = TestDb::new().await;
    let (before, after) = test.url().split_once('@').unwrap();
    assert!(before.starts_with("postgres://postgres:"));
    let url = SecretString::from(format!("postgres://postgres:s3cret@{after}"));
    let text = Database::open(&Source::Url(url)).await.unwrap_err().to_string();
    assert!(text.contains("password authentication failed"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

/// The months that a table has partitions for, as the number of months from now.
async fn months(db: &TestDb, table: &str) -> Vec<i32> {
    sqlx::query_scalar(
        "select n from generate_series(-1, 6) as n
          where to_regclass($1 || to_char(date_trunc('month', now() at time zone 'UTC')
                                              + make_interval(months => n), '_YYYY_MM')) is not null
          order by n",
    )
    .bind(table)
    .fetch_all(db.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn a_month_whose_rows_came_before_their_time_goes_without_a_partition() {
    let db = TestDb::new().await;
    for table in ["journal", "orders", "stock_move", "ledger"] {
        assert_eq!(months(&db, table).await, [0, 1, 2], "{table}");
    }
    let early = "insert into ledger (order_id, kind, line, amount, currency, receipt)
                 select uuid_floor((date_trunc('month', now() at time zone 'UTC')
                                        + interval '4 months 5 days') at time zone 'UTC'),
                        'refund', $1, 1, 'EUR', 'r'";
    sqlx::query(early).bind(1_i16).execute(db.pool()).await.unwrap();
    for _ in 0..2 {
        sqlx::query("select ensure_partitions('ledger', 5)").execute(db.pool()).await.unwrap();
        assert_eq!(months(&db, "ledger").await, [0, 1, 2, 3, 5]);
    }
    sqlx::query(early).bind(2_i16).execute(db.pool()).await.unwrap();
    let sql = "select count(*) from ledger_future";
    assert_eq!(sqlx::query_scalar::<_, i64>(sql).fetch_one(db.pool()).await.unwrap(), 2);
}
