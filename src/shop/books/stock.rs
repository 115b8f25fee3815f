//! The statements of the stock.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::shop::order::Need;

/// What there is of an ingredient, or a change of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub on_hand: i64,
    pub reserved: i64,
}

impl Level {
    pub(super) fn plus(self, on_hand: i64, reserved: i64) -> Self {
        Self { on_hand: self.on_hand + on_hand, reserved: self.reserved + reserved }
    }
}

/// What one order changed, and when in its life: phase 1 reserves, phase 2 deducts or releases.
pub(super) struct Move<'a> {
    pub order_id: Uuid,
    pub phase: i16,
    pub kind: &'static str,
    pub needs: &'a [Need],
}

/// Locks ingredients, in the order of their names.
pub(super) async fn lock(
    connection: &mut PgConnection,
    names: &[&str],
) -> sqlx::Result<BTreeMap<String, Level>> {
    let rows = sqlx::query!(
        "select ingredient, on_hand, reserved from stock
          where ingredient = any($1) order by ingredient for update",
        names as &[&str],
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|it| (it.ingredient, Level { on_hand: it.on_hand, reserved: it.reserved }))
        .collect())
}

/// Writes the changes of a batch and its moves. An array of arrays must be rectangular in SQL, so the
/// moves' lists travel as JSON.
pub(super) async fn write(
    connection: &mut PgConnection,
    changes: &BTreeMap<&str, Level>,
    moves: &[Move<'_>],
) -> sqlx::Result<()> {
    let names: Vec<&str> = changes.keys().copied().collect();
    let on_hand: Vec<i64> = changes.values().map(|it| it.on_hand).collect();
    let reserved: Vec<i64> = changes.values().map(|it| it.reserved).collect();
    let orders: Vec<Uuid> = moves.iter().map(|it| it.order_id).collect();
    let phases: Vec<i16> = moves.iter().map(|it| it.phase).collect();
    let kinds: Vec<&str> = moves.iter().map(|it| it.kind).collect();
    let ingredients: Vec<String> = moves.iter().map(|it| ingredients_of(it.needs)).collect();
    let quantities: Vec<String> = moves.iter().map(|it| quantities_of(it.needs)).collect();
    sqlx::query!(
        "with changed as (
             update stock s set on_hand = s.on_hand + x.on_hand, reserved = s.reserved + x.reserved
               from (select unnest($1::text[]) as ingredient, unnest($2::bigint[]) as on_hand,
                            unnest($3::bigint[]) as reserved) x
              where s.ingredient = x.ingredient and (x.on_hand <> 0 or x.reserved <> 0))
         insert into stock_move (order_id, phase, kind, ingredients, quantities)
         select x.order_id, x.phase, x.kind, x.ingredients::text[], x.quantities::bigint[]
           from (select unnest($4::uuid[]) as order_id, unnest($5::smallint[]) as phase,
                        unnest($6::text[]) as kind, unnest($7::text[]) as ingredients,
                        unnest($8::text[]) as quantities) x",
        &names as &[&str],
        &on_hand,
        &reserved,
        &orders,
        &phases,
        &kinds as &[&str],
        &ingredients,
        &quantities,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The ingredients as a Postgres array literal, every element quoted.
fn ingredients_of(needs: &[Need]) -> String {
    literal(needs, |literal, need| {
        literal.push('"');
        for character in need.ingredient.chars() {
            if matches!(character, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(character);
        }
        literal.push('"');
    })
}

/// The quantities as a Postgres array literal.
fn quantities_of(needs: &[Need]) -> String {
    literal(needs, |literal, need| literal.push_str(&need.quantity.to_string()))
}

fn literal(needs: &[Need], push: impl Fn(&mut String, &Need)) -> String {
    let mut literal = String::with_capacity(16 * needs.len() + 2);
    literal.push('{');
    for (index, need) in needs.iter().enumerate() {
        if index > 0 {
            literal.push(',');
        }
        push(&mut literal, need);
    }
    literal.push('}');
    literal
}

/// An ingredient as it stands.
#[derive(Debug, Clone)]
pub struct StockRow {
    /// Its name.
    pub ingredient: String,
    /// What quantities count.
    pub unit: String,
    /// What is there.
    pub on_hand: i64,
    /// What of it is promised to open orders.
    pub reserved: i64,
}

/// All ingredients.
pub(in crate::shop) async fn read(pool: &PgPool) -> sqlx::Result<Vec<StockRow>> {
    sqlx::query_as!(
        StockRow,
        "select ingredient, unit, on_hand, reserved from stock order by ingredient"
    )
    .fetch_all(pool)
    .await
}

/// These ingredients, as a transaction sees them.
pub(in crate::shop) async fn read_some(
    connection: &mut PgConnection,
    names: &[String],
) -> sqlx::Result<Vec<StockRow>> {
    sqlx::query_as!(
        StockRow,
        "select ingredient, unit, on_hand, reserved from stock
          where ingredient = any($1) order by ingredient",
        names,
    )
    .fetch_all(connection)
    .await
}

/// Changes what is there of an ingredient, and records why. `None` when there is no such ingredient;
/// an error of class 23 when it would fall below zero.
pub(in crate::shop) async fn adjust(
    pool: &PgPool,
    ingredient: &str,
    delta: i64,
    reason: &str,
) -> sqlx::Result<Option<StockRow>> {
    sqlx::query_as!(
        StockRow,
        r#"with changed as (
               update stock set on_hand = on_hand + $2 where ingredient = $1
               returning ingredient, unit, on_hand, reserved),
           recorded as (
               insert into stock_adjustment (adjustment_id, ingredient, delta, reason, on_hand_after)
               select $4, ingredient, $2, $3, on_hand from changed)
           select ingredient as "ingredient!", unit as "unit!", on_hand as "on_hand!",
                  reserved as "reserved!" from changed"#,
        ingredient,
        delta,
        reason,
        Uuid::now_v7(),
    )
    .fetch_optional(pool)
    .await
}
