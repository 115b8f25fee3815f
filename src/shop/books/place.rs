//! The statements of placing: keys, the shop's row, pickup codes, facts.

use std::collections::HashSet;

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Effect, Placing, keys, refusal};
use crate::saga::{Applied, Entry, Refusal, journal};

/// The orders that a batch places, by their index in the batch.
pub(super) struct Placings<'a> {
    pub(super) orders: Vec<(usize, Uuid, &'a Placing)>,
}

impl<'a> Placings<'a> {
    pub(super) fn of(entries: &'a [Entry<'a, Effect>]) -> Self {
        let orders = entries.iter().enumerate().filter_map(|(index, entry)| {
            entry.effects.iter().find_map(|effect| match effect {
                Effect::Place(placing) => Some((index, entry.saga_id, placing.as_ref())),
                _ => None,
            })
        });
        Self { orders: orders.collect() }
    }

    fn standing<'b>(
        &'b self,
        answers: &'b [Applied],
    ) -> impl Iterator<Item = &'b (usize, Uuid, &'a Placing)> {
        self.orders.iter().filter(|(index, _, _)| answers.get(*index) == Some(&Applied::Yes))
    }
}

pub(super) fn refuse(
    answers: &mut [Applied],
    index: usize,
    code: &'static str,
    detail: &str,
    data: Value,
) {
    if let Some(answer) = answers.get_mut(index) {
        *answer = Applied::Refused(Refusal { code, detail: detail.to_owned(), data });
    }
}

/// Judges everything about placings but the stock, and claims keys and codes.
pub(super) async fn judge(
    connection: &mut PgConnection,
    placings: &Placings<'_>,
    answers: &mut [Applied],
) -> sqlx::Result<()> {
    if placings.orders.is_empty() {
        return Ok(());
    }
    keys::claim(connection, placings, answers).await?;
    ask_the_shop(connection, placings, answers).await?;
    claim_codes(connection, placings, answers).await
}

async fn ask_the_shop(
    connection: &mut PgConnection,
    placings: &Placings<'_>,
    answers: &mut [Applied],
) -> sqlx::Result<()> {
    let mut shop = read_shop(connection).await?;
    if shop.max_open_orders.is_some() {
        // The limit is exact over replicas: they take turns at this row.
        shop = lock_shop(connection).await?;
    }
    let mut room = match shop.max_open_orders.map(i64::from) {
        None => i64::MAX,
        Some(max) => max - journal::count_open(connection, max + 1).await?,
    };
    let standing: Vec<(usize, i64)> =
        placings.standing(answers).map(|(index, _, it)| (*index, it.menu_version)).collect();
    for (index, menu_version) in standing {
        if shop.mode != "open" {
            let detail = format!("the shop is {}", shop.mode);
            refuse(answers, index, refusal::SHOP_CLOSED, &detail, Value::Null);
        } else if menu_version != shop.menu_version {
            refuse(answers, index, refusal::MENU_CHANGED, "the menu has changed", Value::Null);
        } else if room <= 0 {
            let detail = "as many orders are open as the shop takes";
            refuse(answers, index, refusal::AT_CAPACITY, detail, Value::Null);
        } else {
            room -= 1;
        }
    }
    Ok(())
}

struct ShopRow {
    mode: String,
    max_open_orders: Option<i32>,
    menu_version: i64,
}

async fn read_shop(connection: &mut PgConnection) -> sqlx::Result<ShopRow> {
    sqlx::query_as!(ShopRow, "select mode, max_open_orders, menu_version from shop")
        .fetch_one(connection)
        .await
}

async fn lock_shop(connection: &mut PgConnection) -> sqlx::Result<ShopRow> {
    sqlx::query_as!(ShopRow, "select mode, max_open_orders, menu_version from shop for update")
        .fetch_one(connection)
        .await
}

async fn claim_codes(
    connection: &mut PgConnection,
    placings: &Placings<'_>,
    answers: &mut [Applied],
) -> sqlx::Result<()> {
    let mut claims: Vec<(&str, Uuid, usize)> = placings
        .standing(answers)
        .map(|(index, order_id, placing)| (placing.pickup_code.as_str(), *order_id, *index))
        .collect();
    claims.sort_unstable();
    let (codes, orders): (Vec<&str>, Vec<Uuid>) = claims.iter().map(|it| (it.0, it.1)).unzip();
    if codes.is_empty() {
        return Ok(());
    }
    let claimed = sqlx::query!(
        "insert into pickup_code (code, order_id) select unnest($1::text[]), unnest($2::uuid[])
         on conflict do nothing returning order_id",
        &codes as &[&str],
        &orders,
    )
    .fetch_all(connection)
    .await?;
    let claimed: HashSet<Uuid> = claimed.into_iter().map(|it| it.order_id).collect();
    for (_, order_id, index) in claims {
        if !claimed.contains(&order_id) {
            refuse(answers, index, refusal::CODE_TAKEN, "the code is taken", Value::Null);
        }
    }
    Ok(())
}

/// Takes back the keys and codes that were claimed for orders which were then refused: a refusal leaves
/// nothing behind, and its key is free for the next try.
pub(super) async fn forget_refused(
    connection: &mut PgConnection,
    placings: &Placings<'_>,
    answers: &[Applied],
) -> sqlx::Result<()> {
    let refused: Vec<&(usize, Uuid, &Placing)> = placings
        .orders
        .iter()
        .filter(|(index, _, _)| matches!(answers.get(*index), Some(Applied::Refused(_))))
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    let orders: Vec<Uuid> = refused.iter().map(|it| it.1).collect();
    let codes: Vec<&str> = refused.iter().map(|it| it.2.pickup_code.as_str()).collect();
    let (customers, keys): (Vec<&str>, Vec<&str>) = refused
        .iter()
        .filter_map(|(_, _, it)| Some((it.customer_id.as_str(), it.key.as_ref()?.0.as_str())))
        .unzip();
    sqlx::query!(
        "with codes as (
             delete from pickup_code p using unnest($1::text[], $2::uuid[]) as x (code, order_id)
              where p.code = x.code and p.order_id = x.order_id)
         delete from idempotency_key k using unnest($3::text[], $4::text[]) as x (customer_id, key)
          where k.customer_id = x.customer_id and k.key = x.key and k.order_id = any($2)",
        &codes as &[&str],
        &orders,
        &customers as &[&str],
        &keys as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the facts of the accepted orders.
pub(super) async fn write(
    connection: &mut PgConnection,
    placings: &Placings<'_>,
    answers: &[Applied],
) -> sqlx::Result<()> {
    let accepted: Vec<(Uuid, &Placing)> =
        placings.standing(answers).map(|(_, order_id, it)| (*order_id, *it)).collect();
    if accepted.is_empty() {
        return Ok(());
    }
    let orders: Vec<Uuid> = accepted.iter().map(|it| it.0).collect();
    let customers: Vec<&str> = accepted.iter().map(|it| it.1.customer_id.as_str()).collect();
    let currencies: Vec<&str> = accepted.iter().map(|it| it.1.currency.as_str()).collect();
    let totals: Vec<i64> = accepted.iter().map(|it| it.1.total).collect();
    let codes: Vec<&str> = accepted.iter().map(|it| it.1.pickup_code.as_str()).collect();
    let rehearsals: Vec<bool> = accepted.iter().map(|it| it.1.rehearsal).collect();
    let attributes: Vec<Option<&Value>> =
        accepted.iter().map(|it| it.1.attributes.as_ref()).collect();
    sqlx::query!(
        "insert into orders (order_id, customer_id, currency, total, pickup_code, rehearsal, attributes)
         select unnest($1::uuid[]), unnest($2::text[]), unnest($3::text[]), unnest($4::bigint[]),
                unnest($5::text[]), unnest($6::boolean[]), unnest($7::jsonb[])",
        &orders,
        &customers as &[&str],
        &currencies as &[&str],
        &totals,
        &codes as &[&str],
        &rehearsals,
        &attributes as &[Option<&Value>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives the codes of orders that failed back, in their order.
pub(super) async fn free_codes(
    connection: &mut PgConnection,
    codes: &mut [String],
) -> sqlx::Result<()> {
    codes.sort_unstable();
    sqlx::query!(
        "with freed as materialized (
             select code from pickup_code where code = any($1) order by code for update)
         delete from pickup_code p using freed f where p.code = f.code",
        &*codes,
    )
    .execute(connection)
    .await?;
    Ok(())
}
