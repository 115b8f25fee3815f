//! The menu, the stock, and whether the shop is open.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Counter,
    extract::{Body, Path},
    poll::queue_name,
    problem::{Code, Problem},
};
use crate::shop::{
    books::{menu::ShopState, stock::StockRow},
    menu::NewMenuItem,
    order::{Malformed, NAME_CHARS_MAX, NOTE_CHARS_MAX, Need, text},
};

/// The most that an item may cost, in minor units: sums of orders then cannot overflow.
const PRICE_MAX: i64 = 100_000_000;
/// The most of an ingredient, in its unit: sums then cannot overflow.
const QUANTITY_MAX: i64 = 1_000_000_000_000;

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new()
        .routes(routes!(menu))
        .routes(routes!(put_item))
        .routes(routes!(stock))
        .routes(routes!(adjust))
        .routes(routes!(shop, put_shop))
}

/// What is sold.
#[derive(Debug, Serialize, ToSchema)]
struct MenuOut {
    /// Rises with every change.
    version: i64,
    /// ISO 4217.
    currency: String,
    /// The items, by id.
    items: Vec<ItemOut>,
}

/// One item of the menu.
#[derive(Debug, Serialize, ToSchema)]
struct ItemOut {
    /// Its id.
    item: String,
    /// For people.
    name: String,
    /// Minor units.
    price: i64,
    /// Where it is made; the queue of its tickets, where workers pull them.
    station: String,
    /// Whether it can be ordered now: on sale, and enough of everything for one.
    available: bool,
    /// How many could be made of what is there.
    servings: Option<i64>,
    /// What one takes from the stock.
    recipe: BTreeMap<String, i64>,
}

/// Read the menu, with what can be ordered now.
#[utoipa::path(get, path = "/v1/menu", tag = "shop", responses((status = OK, body = MenuOut)))]
async fn menu(State(counter): State<Counter>) -> Result<Json<MenuOut>, Problem> {
    let (menu, stock) = counter.shop.menu().await?;
    let left: BTreeMap<&str, i64> =
        stock.iter().map(|it| (it.ingredient.as_str(), it.on_hand - it.reserved)).collect();
    let items = menu.items.iter().map(|(item, it)| {
        let servings = it
            .recipe
            .iter()
            .map(|need| {
                left.get(need.ingredient.as_str()).map_or(0, |left| left.max(&0) / need.quantity)
            })
            .min();
        ItemOut {
            item: item.clone(),
            name: it.name.clone(),
            price: it.price,
            station: it.station.clone(),
            available: it.available && servings.is_none_or(|it| it > 0),
            servings,
            recipe: it.recipe.iter().map(|it| (it.ingredient.clone(), it.quantity)).collect(),
        }
    });
    let (version, currency) = (menu.version, menu.currency.clone());
    Ok(Json(MenuOut { version, currency, items: items.collect() }))
}

/// An item as it is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutItem {
    /// For people.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// Minor units.
    #[schema(minimum = 0, maximum = 100_000_000)]
    price: i64,
    /// Whether it is on sale.
    #[serde(default = "yes")]
    available: bool,
    /// Where it is made: lower-case letters, digits and any of . _ -; as before, and at first `bar`, if absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, example = "bar")]
    station: Option<String>,
    /// What one takes from the stock.
    recipe: BTreeMap<String, i64>,
}

fn yes() -> bool {
    true
}

/// Write an item of the menu. Orders priced before are refused as `price_changed`, or priced anew.
#[utoipa::path(put, path = "/v1/menu/items/{item}", tag = "shop", params(("item" = String, Path)),
    request_body = PutItem, responses(
        (status = OK, body = MenuOut),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
    ))]
async fn put_item(
    State(counter): State<Counter>,
    Path(item): Path<String>,
    Body(put): Body<PutItem>,
) -> Result<Json<MenuOut>, Problem> {
    text("(the item's id)", &item, 1, NAME_CHARS_MAX)?;
    text("/name", &put.name, 1, NAME_CHARS_MAX)?;
    within("/price", put.price, 0, PRICE_MAX)?;
    for (ingredient, quantity) in &put.recipe {
        text("/recipe (a name)", ingredient, 1, NAME_CHARS_MAX)?;
        within(&format!("/recipe/{ingredient}"), *quantity, 1, 1_000_000)?;
    }
    if let Some(station) = &put.station {
        queue_name("/station", station)?;
    }
    let recipe: Vec<Need> = put
        .recipe
        .iter()
        .map(|(ingredient, quantity)| Need { ingredient: ingredient.clone(), quantity: *quantity })
        .collect();
    let PutItem { name, price, available, station, .. } = put;
    let new = NewMenuItem { name, price, available, station, recipe };
    counter.shop.put_item(&item, &new).await?;
    menu(State(counter)).await
}

fn within(pointer: &str, value: i64, min: i64, max: i64) -> Result<(), Malformed> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Malformed::Field(pointer.to_owned(), format!("{min} to {max}")))
}

/// An ingredient as it stands.
#[derive(Debug, Serialize, ToSchema)]
struct StockOut {
    /// Its name.
    ingredient: String,
    /// What quantities count.
    unit: String,
    /// What is there.
    on_hand: i64,
    /// What of it is promised to open orders.
    reserved: i64,
    /// What can still be promised.
    available: i64,
}

impl From<StockRow> for StockOut {
    fn from(row: StockRow) -> Self {
        let StockRow { ingredient, unit, on_hand, reserved } = row;
        Self { ingredient, unit, on_hand, reserved, available: (on_hand - reserved).max(0) }
    }
}

/// The stock.
#[derive(Debug, Serialize, ToSchema)]
struct StockList {
    /// All ingredients.
    stock: Vec<StockOut>,
}

/// Read the stock.
#[utoipa::path(get, path = "/v1/stock", tag = "shop", responses((status = OK, body = StockList)))]
async fn stock(State(counter): State<Counter>) -> Result<Json<StockList>, Problem> {
    let stock = counter.shop.stock().await?;
    Ok(Json(StockList { stock: stock.into_iter().map(Into::into).collect() }))
}

/// A change of what is there, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Adjustment {
    /// More, or less, in the ingredient's unit.
    #[schema(example = -250)]
    delta: i64,
    /// Recorded with it.
    #[schema(min_length = 1, max_length = 200, example = "spilt")]
    reason: String,
}

/// Change what is there of an ingredient. It may fall below what is promised (spilt milk): orders that then
/// cannot be made are refunded.
#[utoipa::path(post, path = "/v1/stock/{ingredient}/adjust", tag = "shop",
    params(("ingredient" = String, Path)), request_body = Adjustment, responses(
        (status = OK, body = StockOut),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json"),
    ))]
async fn adjust(
    State(counter): State<Counter>,
    Path(ingredient): Path<String>,
    Body(Adjustment { delta, reason }): Body<Adjustment>,
) -> Result<Json<StockOut>, Problem> {
    text("/reason", &reason, 1, NOTE_CHARS_MAX)?;
    within("/delta", delta, -QUANTITY_MAX, QUANTITY_MAX)?;
    let row = counter.shop.adjust(&ingredient, delta, &reason).await?;
    Ok(Json(row.into()))
}

/// Whether the shop takes orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// It does.
    Open,
    /// Not for the moment.
    Paused,
    /// Not today.
    Closed,
}

/// Whether the shop takes orders, and how many at once.
#[derive(Debug, Serialize, ToSchema)]
struct ShopOut {
    /// Open orders go on in every mode.
    mode: String,
    /// Open orders at most, exactly, over all replicas; null for no limit.
    max_open_orders: Option<i32>,
    /// ISO 4217.
    currency: String,
}

impl From<ShopState> for ShopOut {
    fn from(state: ShopState) -> Self {
        let ShopState { mode, max_open_orders, currency, .. } = state;
        Self { mode, max_open_orders, currency }
    }
}

/// Read whether the shop takes orders.
#[utoipa::path(get, path = "/v1/shop", tag = "shop", responses((status = OK, body = ShopOut)))]
async fn shop(State(counter): State<Counter>) -> Result<Json<ShopOut>, Problem> {
    Ok(Json(counter.shop.state().await?.into()))
}

/// How the shop is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutShop {
    /// Whether it takes orders.
    mode: Mode,
    /// Open orders at most; null or absent for no limit.
    #[serde(default)]
    #[schema(minimum = 0)]
    max_open_orders: Option<i32>,
}

/// Open, pause or close the shop, and set how many orders it takes at once.
#[utoipa::path(put, path = "/v1/shop", tag = "shop", request_body = PutShop, responses(
    (status = OK, body = ShopOut),
    (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
))]
async fn put_shop(
    State(counter): State<Counter>,
    Body(PutShop { mode, max_open_orders }): Body<PutShop>,
) -> Result<Json<ShopOut>, Problem> {
    if max_open_orders.is_some_and(|it| it < 0) {
        let detail = "max_open_orders must be 0 or more";
        return Err(Problem::new(Code::BodyInvalid, detail).at("/max_open_orders", detail));
    }
    let mode = match mode {
        Mode::Open => "open",
        Mode::Paused => "paused",
        Mode::Closed => "closed",
    };
    Ok(Json(counter.shop.set_state(mode, max_open_orders).await?.into()))
}
