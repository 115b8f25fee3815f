//! The plans of lists: what a page costs follows from the page, not from how many orders there ever were.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::world::cluster::TestDb;

/// Orders that have ended; nearly all of them well, and the others long ago.
const CLOSED: usize = 20_000;
/// A page, and the one more that tells whether there is another.
const LIMIT: usize = 51;

/// One order a second up to now, the last ones open. Of each bad end there are ten among the oldest, of which
/// five have an attribute that no other has; another attribute is nearly everybody's.
const ORDERS: &str = r#"
    create temp table made as
    select n, id, get_byte(uuid_send(id), 15) as bucket,
           case when n <= 10 then 'FAILED' when n <= 20 then 'CANCELLED' when n <= 30 then 'REFUNDED'
                when n <= 20000 then 'COMPLETED' when n % 2 = 0 then 'PREPARING' else 'PENDING' end as label
      from (select n, (substr(uuid_floor(now() - (20040 - n) * interval '1 s')::text, 1, 14) || '7'
                       || substr(md5(n::text), 1, 3) || '-8' || substr(md5(n::text), 4, 3) || '-'
                       || substr(md5(n::text), 7, 12))::uuid as id
              from generate_series(1, 20040) as n) x;
    insert into saga (bucket, saga_id, definition, definition_version, label, seq, version, cursor,
                      closed_status, attention)
    select bucket, id, 'order', 1, label, 1, 1, 0, case when n <= 20000 then label end,
           case when n > 20035 then 'amount_mismatch' end from made;
    insert into orders (order_id, customer_id, currency, total, pickup_code, rehearsal, attributes)
    select id, 'customer-' || n % 500, 'EUR', 450, 'KM47', true,
           case when n % 4 = 1 and n <= 20 then '{"table": "7"}'::jsonb
                when n % 10 > 0 then '{"source": "app"}' end from made;
    analyze saga, orders;
"#;

/// Rows that a plan read from tables, whether or not it needed them.
fn rows_read(node: &Value) -> u64 {
    let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
    let is_scan = node["Relation Name"].is_string();
    let rows = number("Actual Rows")
        + number("Rows Removed by Filter")
        + number("Rows Removed by Index Recheck");
    let own = if is_scan { (rows * number("Actual Loops")).round() as u64 } else { 0 };
    own + node["Plans"].as_array().into_iter().flatten().map(rows_read).sum::<u64>()
}

/// Rows that a statement read, and how many it returned.
async fn explained(connection: &mut PgConnection, statement: &str, with: &str) -> (u64, u64) {
    let prepare = format!("prepare it as {statement}");
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
    let explain = format!("explain (analyze, timing off, format json) execute it ({with})");
    let plan: Value =
        sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(&mut *connection).await.unwrap();
    sqlx::raw_sql("deallocate it").execute(connection).await.unwrap();
    let plan = &plan[0]["Plan"];
    (rows_read(plan), plan["Actual Rows"].as_f64().unwrap() as u64)
}

macro_rules! list {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../src/shop/books/list/", $name, ".sql")))
    };
}

// E-27: the check at every start, and what is noticed at every sweep.
#[tokio::test]
async fn what_open_orders_need_is_read_from_the_rows_that_are_open() {
    let database = TestDb::new().await;
    let mut connection =
        PgConnection::connect_with(&database.database().connect_options()).await.unwrap();
    sqlx::raw_sql(ORDERS).execute(&mut connection).await.unwrap();
    let statement = include_str!("../../../src/saga/journal/unreadables.sql");
    let all: Vec<String> = (0..256).map(|it| it.to_string()).collect();
    let with = format!("'{{{}}}', '{{\"order 2\"}}', '{{}}'", all.join(","));
    for mode in ["force_custom_plan", "force_generic_plan"] {
        let set = format!("set plan_cache_mode = {mode}");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut connection).await.unwrap();
        let (read, returned) = explained(&mut connection, statement, &with).await;
        assert_eq!(returned, 1, "one version is lacking: {mode}");
        assert!(read <= 80, "it reads {read} rows of 40 that are open: {mode}");
    }
}

#[tokio::test]
async fn a_list_reads_what_it_shows_however_many_orders_there_were() {
    let database = TestDb::new().await;
    let mut connection =
        PgConnection::connect_with(&database.database().connect_options()).await.unwrap();
    sqlx::raw_sql(ORDERS).execute(&mut connection).await.unwrap();
    let (max, nil) = (uuid::Uuid::max(), uuid::Uuid::nil());
    let between = format!("'{max}', '{nil}'");
    let page = LIMIT as u64;
    let (rare, common) = (r#"'{"table": "7"}'"#, r#"'{"source": "app"}'"#);
    for mode in ["force_custom_plan", "force_generic_plan"] {
        let set = format!("set plan_cache_mode = {mode}");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut connection).await.unwrap();
        // Statement, arguments, the most rows it may read, and how many it finds.
        for ((name, statement), with, at_most, found) in [
            (list!("closed"), format!("'REFUNDED', {between}, {LIMIT}"), 10, 10),
            (list!("closed"), format!("'COMPLETED', {between}, {LIMIT}"), page, page),
            (list!("open"), format!("'PREPARING', {between}, null, {LIMIT}"), 40, 20),
            (list!("open"), format!("'READY', {between}, null, {LIMIT}"), 40, 0),
            (list!("attention"), format!("{between}, null, null, {LIMIT}"), 10, 5),
            (list!("attention"), format!("{between}, null, {rare}, {LIMIT}"), 20, 0),
            (list!("newest"), format!("{between}, null, {LIMIT}"), 2 * page, page),
            (list!("newest"), format!("{between}, false, {LIMIT}"), 2 * page + 10, page),
            (
                list!("customer"),
                format!("'customer-7', {between}, null, null, null, {LIMIT}"),
                82,
                41,
            ),
            (list!("attribute"), format!("{rare}, {between}, null, null, {LIMIT}"), 10, 5),
            (list!("attribute"), format!("{rare}, {between}, 'FAILED', null, {LIMIT}"), 10, 3),
            (list!("near"), format!("{rare}, {between}, null, null, {LIMIT}, 1000"), 2_000, 0),
            (list!("near"), format!("{common}, {between}, null, null, {LIMIT}, 1000"), 2_000, page),
        ] {
            let (read, returned) = explained(&mut connection, statement, &with).await;
            assert_eq!(returned, found, "{name} ({with}), {mode}");
            assert!(read <= at_most, "{name} ({with}) reads {read} rows, not {at_most}: {mode}");
        }
    }
    let all: i64 = sqlx::query_scalar("select count(*) from saga where closed_status is not null")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(all, CLOSED as i64);
}
