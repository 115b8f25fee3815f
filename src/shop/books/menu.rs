//! The statements of the menu and of the shop's own row.

use std::collections::BTreeMap;

use sqlx::PgPool;

use crate::shop::{
    menu::{Menu, MenuItem, NewMenuItem},
    order::Need,
};

/// The menu as it stands, in one statement: its version and its items are of one moment.
pub(in crate::shop) async fn read(pool: &PgPool) -> sqlx::Result<Menu> {
    let rows = sqlx::query!(
        r#"select s.menu_version, s.currency, i.item as "item?", i.name as "name?", i.price as "price?",
                  i.available as "available?", i.station as "station?", r.ingredient as "ingredient?", r.quantity as "quantity?"
             from shop s left join menu_item i on true left join recipe r on r.item = i.item
            order by i.item, r.ingredient"#
    )
    .fetch_all(pool)
    .await?;
    let mut menu = Menu::default();
    let mut items: BTreeMap<String, MenuItem> = BTreeMap::new();
    for row in rows {
        (menu.version, menu.currency) = (row.menu_version, row.currency);
        let (Some(item), Some(name), Some(price), Some(available), Some(station)) =
            (row.item, row.name, row.price, row.available, row.station)
        else {
            continue;
        };
        let recipe = Vec::new();
        let new = MenuItem { name, price, available, station, recipe };
        let entry = items.entry(item).or_insert(new);
        if let Some((ingredient, quantity)) = row.ingredient.zip(row.quantity) {
            entry.recipe.push(Need { ingredient, quantity });
        }
    }
    menu.items = items;
    Ok(menu)
}

/// Writes an item and its recipe (where nothing is said of its station it stays where it is made), and opens a new version of the menu.
pub(in crate::shop) async fn put(pool: &PgPool, item: &str, put: &NewMenuItem) -> sqlx::Result<()> {
    let NewMenuItem { name, price, available, station, recipe } = put;
    let ingredients: Vec<&str> = recipe.iter().map(|it| it.ingredient.as_str()).collect();
    let quantities: Vec<i64> = recipe.iter().map(|it| it.quantity).collect();
    let mut transaction = pool.begin().await?;
    sqlx::query!("update shop set menu_version = menu_version + 1")
        .execute(&mut *transaction)
        .await?;
    sqlx::query!(
        "insert into menu_item (item, name, price, available, station)
         values ($1, $2, $3, $4, coalesce($5, 'bar'))
         on conflict (item) do update
            set name = excluded.name, price = excluded.price, available = excluded.available,
                station = coalesce($5, menu_item.station)",
        item,
        name,
        price,
        available,
        station.as_deref(),
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query!("delete from recipe where item = $1", item).execute(&mut *transaction).await?;
    sqlx::query!(
        "insert into recipe (item, ingredient, quantity)
         select $1, x.ingredient, x.quantity
           from unnest($2::text[], $3::bigint[]) as x (ingredient, quantity)",
        item,
        &ingredients as &[&str],
        &quantities,
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// Whether the shop takes orders, and how many at once.
#[derive(Debug, Clone)]
pub struct ShopState {
    /// `open`, `paused` or `closed`.
    pub mode: String,
    /// Open orders at most; no limit if absent.
    pub max_open_orders: Option<i32>,
    /// The menu in force.
    pub menu_version: i64,
    /// ISO 4217.
    pub currency: String,
}

/// The shop's row.
pub(in crate::shop) async fn shop(pool: &PgPool) -> sqlx::Result<ShopState> {
    sqlx::query_as!(ShopState, "select mode, max_open_orders, menu_version, currency from shop")
        .fetch_one(pool)
        .await
}

/// Sets whether the shop takes orders, and how many at once.
pub(in crate::shop) async fn set_shop(
    pool: &PgPool,
    mode: &str,
    max_open_orders: Option<i32>,
) -> sqlx::Result<ShopState> {
    sqlx::query_as!(
        ShopState,
        "update shop set mode = $1, max_open_orders = $2
         returning mode, max_open_orders, menu_version, currency",
        mode,
        max_open_orders,
    )
    .fetch_one(pool)
    .await
}
