//! Lists of orders.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    Counter,
    extract::Query,
    problem::{Code, Problem},
};
use crate::{
    config::limits::{PAGE_ORDERS_DEFAULT, PAGE_ORDERS_MAX},
    shop::{
        Filter,
        view::{GRAPH, OTHER_ENDS, OrderView},
    },
};

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A page of orders, newest first.
#[derive(Debug, Serialize, ToSchema)]
struct OrderPage {
    /// The orders.
    orders: Vec<OrderView>,
    /// Where the next page goes on; null at the end.
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it only describes the parameters, which are read one by one")]
struct ListQuery {
    /// Only this status.
    status: Option<String>,
    /// Only this customer's.
    customer_id: Option<String>,
    /// Placed at or after this time (RFC 3339).
    created_from: Option<String>,
    /// Placed before this time (RFC 3339).
    created_to: Option<String>,
    /// Only those that need a person (`true`), or only those that do not (`false`).
    attention: Option<bool>,
    /// Only with this attribute; `attr.table=7` finds the orders of table 7. Several may be given.
    #[serde(rename = "attr.NAME")]
    #[param(rename = "attr.NAME")]
    attr: Option<String>,
    /// Orders a page, at most 200; 50 if absent.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List orders, newest first.
#[utoipa::path(get, path = "/v1/orders", tag = "orders", params(ListQuery), responses(
    (status = OK, body = OrderPage),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
))]
async fn list(
    State(counter): State<Counter>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<OrderPage>, Problem> {
    let filter = filter(query)?;
    let page = counter.shop.list(filter).await?;
    let next_cursor = page.next.map(|it| BASE64.encode(it.as_bytes()));
    Ok(Json(OrderPage { orders: page.orders, next_cursor }))
}

fn filter(query: BTreeMap<String, String>) -> Result<Filter, Problem> {
    let refuse = |detail: String| Problem::new(Code::InvalidQuery, detail);
    let time = |name: &str, value: &str| {
        value.parse::<Timestamp>().map_err(|_| refuse(format!("`{name}` is no RFC 3339 time.")))
    };
    let mut filter = Filter { limit: PAGE_ORDERS_DEFAULT as usize, ..Filter::default() };
    for (name, value) in query {
        match name.as_str() {
            "status" if GRAPH.contains(&&*value) || OTHER_ENDS.contains(&&*value) => {
                filter.status = Some(value);
            }
            "status" => return Err(refuse("`status` is none of an order's.".to_owned())),
            "customer_id" => filter.customer_id = Some(value),
            "created_from" => filter.created_from = Some(time(&name, &value)?),
            "created_to" => filter.created_to = Some(time(&name, &value)?),
            "attention" => {
                let flag =
                    value.parse().map_err(|_| refuse("`attention` is true or false.".into()));
                filter.attention = Some(flag?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|it| (1..=PAGE_ORDERS_MAX).contains(it));
                let refused = || refuse(format!("`limit` is 1 to {PAGE_ORDERS_MAX}."));
                filter.limit = limit.ok_or_else(refused)? as usize;
            }
            "cursor" => filter.before = Some(cursor(&value)?),
            _ => match name.strip_prefix("attr.") {
                Some(attribute) => {
                    filter.attributes.insert(attribute.to_owned(), value.into());
                }
                None => return Err(refuse("There is a parameter that no list knows.".to_owned())),
            },
        }
    }
    Ok(filter)
}

fn cursor(value: &str) -> Result<Uuid, Problem> {
    let bytes = BASE64.decode(value).ok().and_then(|it| <[u8; 16]>::try_from(it).ok());
    let id = bytes.map(Uuid::from_bytes).filter(|it| it.get_version_num() == 7);
    id.ok_or_else(|| Problem::new(Code::InvalidCursor, "Use `next_cursor` as it was given."))
}
