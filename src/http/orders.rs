//! Orders: place, get, list, cancel, collect.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    Counter,
    extract::{Body, Path, Query},
    problem::{Code, Problem},
};
use crate::{
    config::limits::{IDEMPOTENCY_KEY_BYTES_MAX, PAGE_ORDERS_DEFAULT, PAGE_ORDERS_MAX, WAIT_MAX},
    shop::{
        Filter, ShopError,
        order::{NewOrder, text},
        view::OrderView,
    },
};

/// Statuses in the order of an order's life; the other ends follow no other.
const GRAPH: [&str; 5] = ["PENDING", "PAID", "PREPARING", "READY", "COMPLETED"];
const OTHER_ENDS: [&str; 3] = ["FAILED", "CANCELLED", "REFUNDED"];
/// How often a long poll looks for itself, should nobody tell it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new()
        .routes(routes!(place, list))
        .routes(routes!(get))
        .routes(routes!(cancel))
        .routes(routes!(collect))
}

/// Place an order. The answer comes after the commit: an order answered 201 is never lost.
#[utoipa::path(post, path = "/v1/orders", tag = "orders", request_body = NewOrder,
    params(("Idempotency-Key" = Option<String>, Header,
        description = "1 to 255 printable ASCII characters; the same key and body get the same answer")),
    responses(
        (status = CREATED, body = OrderView, description = "Accepted, durably",
            headers(("location" = String), ("etag" = String), ("idempotent-replayed" = String))),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`out_of_stock`, `price_changed`, `shop_closed` or `in_progress`"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
        (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    ))]
async fn place(
    State(counter): State<Counter>,
    headers: HeaderMap,
    Body(new): Body<NewOrder>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    if key.is_none() && counter.require_idempotency_key {
        let detail = "Send an Idempotency-Key, so that a repeated request places nothing twice.";
        return Err(Problem::new(Code::IdempotencyKeyRequired, detail));
    }
    let placed = counter.shop.place(new, key).await?;
    tracing::info!(order_id = %placed.order.id, replayed = placed.replayed, "order placed");
    let location = format!("/v1/orders/{}", placed.order.id);
    let mut response =
        (StatusCode::CREATED, [(header::LOCATION, location)], etagged(&placed.order))
            .into_response();
    if placed.replayed {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    let is_printable = key.bytes().all(|it| (b' '..=b'~').contains(&it));
    let fits = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len());
    if values.next().is_some() || !is_printable || !fits {
        let detail = "An Idempotency-Key is 1 to 255 printable ASCII characters, once.";
        return Err(Problem::new(Code::IdempotencyKeyInvalid, detail));
    }
    // It is stored, so no card number may stand in it.
    text("the Idempotency-Key", key, 1, IDEMPOTENCY_KEY_BYTES_MAX)?;
    Ok(Some(key.to_owned()))
}

fn etag(order: &OrderView) -> String {
    format!("\"{}\"", order.version)
}

fn etagged(order: &OrderView) -> impl IntoResponse + use<> {
    ([(header::ETAG, etag(order))], Json(order.clone()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GetQuery {
    /// Longest time to wait for `until`, like `30s` or `500ms`; at most 60 s.
    wait: Option<String>,
    /// `terminal`, or a status to be reached.
    until: Option<String>,
}

/// Get an order, or wait until it has come so far. Any replica answers.
#[utoipa::path(get, path = "/v1/orders/{id}", tag = "orders", params(("id" = Uuid, Path), GetQuery),
    responses(
        (status = OK, body = OrderView, headers(("etag" = String), ("wait-timed-out" = String))),
        (status = NOT_MODIFIED, description = "It is still what `If-None-Match` says"),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
    Query(query): Query<GetQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let until = Until::parse(query.until.as_deref())?;
    let wait = query.wait.as_deref().map(parse_wait).transpose()?;
    let (order, timed_out) = match wait {
        None => (counter.find(id).await?, false),
        Some(wait) => wait_for(&counter, id, &until, wait).await?,
    };
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|it| it.to_str().ok());
    let tag = etag(&order);
    // Weak comparison (RFC 9110, 13.1.2): whoever compresses on the way makes a tag weak.
    let is_it = |one: &str| one.trim().trim_start_matches("W/") == tag;
    if seen.is_some_and(|it| it == "*" || it.split(',').any(is_it)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let mut response = etagged(&order).into_response();
    if timed_out {
        response.headers_mut().insert("wait-timed-out", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What a long poll waits for.
enum Until {
    Terminal,
    Status(String),
}

impl Until {
    fn parse(until: Option<&str>) -> Result<Self, Problem> {
        match until {
            None | Some("terminal") => Ok(Self::Terminal),
            Some(it) if GRAPH.contains(&it) || OTHER_ENDS.contains(&it) => {
                Ok(Self::Status(it.to_owned()))
            }
            Some(_) => Err(Problem::new(
                Code::InvalidQuery,
                "`until` is `terminal` or one of the statuses of an order.",
            )),
        }
    }

    /// Whether the order has come so far, or never will.
    fn is_reached(&self, order: &OrderView) -> bool {
        let place = |status: &str| GRAPH.iter().position(|it| *it == status);
        match self {
            _ if order.is_closed() => true,
            Self::Terminal => false,
            Self::Status(wanted) => match (place(&order.status), place(wanted)) {
                (Some(now), Some(wanted)) => now >= wanted,
                _ => order.status == *wanted,
            },
        }
    }
}

fn parse_wait(wait: &str) -> Result<Duration, Problem> {
    let (number, unit) = match wait.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (wait.strip_suffix('s').unwrap_or(wait), 1_000),
    };
    let millis = number.parse::<u32>().ok().and_then(|it| it.checked_mul(unit));
    let refuse = || Problem::new(Code::InvalidQuery, "`wait` is a time like 30s or 500ms.");
    Ok(Duration::from_millis(u64::from(millis.ok_or_else(refuse)?)).min(WAIT_MAX))
}

/// Subscribes first, then looks, then waits: nothing is slept through.
async fn wait_for(
    counter: &Counter,
    id: Uuid,
    until: &Until,
    wait: Duration,
) -> Result<(OrderView, bool), Problem> {
    let mut feed = counter.shop.engine.feed().subscribe();
    let deadline = Instant::now() + wait;
    loop {
        let order = counter.find(id).await?;
        if until.is_reached(&order) {
            return Ok((order, false));
        }
        let look = (Instant::now() + LOOK_EVERY).min(deadline);
        let told = async {
            // Lagging behind means that something happened: look.
            while let Ok(sagas) = feed.recv().await {
                if sagas.contains(&id) {
                    return;
                }
            }
        };
        let stopped = tokio::select! {
            _ = timeout_at(look, told) => false,
            () = counter.stop.cancelled() => true,
        };
        if stopped || Instant::now() >= deadline {
            let order = counter.find(id).await?;
            let reached = until.is_reached(&order);
            return Ok((order, !reached));
        }
    }
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

/// Why an order is to be cancelled, and by whom.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Cancellation {
    /// For the history and the notice.
    #[serde(default)]
    #[schema(max_length = 200)]
    reason: Option<String>,
    /// Who asks; the customer if absent.
    #[serde(default)]
    by: By,
}

/// Who asks for something.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum By {
    #[default]
    Customer,
    Shop,
}

/// Cancel an order. A 202 wins: the order never becomes COMPLETED.
#[utoipa::path(post, path = "/v1/orders/{id}/cancel", tag = "orders", params(("id" = Uuid, Path)),
    request_body = inline(Option<Cancellation>), responses(
        (status = ACCEPTED, body = OrderView, description = "Accepted; it is being cancelled"),
        (status = OK, body = OrderView, description = "It was cancelled before"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`too_late`: past the pivot, or ended otherwise"),
    ))]
async fn cancel(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
    body: Option<Body<Cancellation>>,
) -> Result<Response, Problem> {
    let Cancellation { reason, by } = body.map(|Body(it)| it).unwrap_or_default();
    if let Some(reason) = &reason {
        text("/reason", reason, 0, 200)?;
    }
    let by = match by {
        By::Customer => "customer",
        By::Shop => "shop",
    };
    let under_way = counter.shop.cancel(id, by, reason.as_deref()).await?;
    let order = counter.shop.find(id).await?;
    let status = if under_way { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, etagged(&order)).into_response())
}

/// The pickup code, as the customer says it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Collection {
    /// Upper or lower case.
    #[schema(example = "KM47")]
    code: String,
}

/// Hand an order over to whoever knows its pickup code.
#[utoipa::path(post, path = "/v1/orders/{id}/collect", tag = "orders", params(("id" = Uuid, Path)),
    request_body = Collection, responses(
        (status = OK, body = OrderView),
        (status = FORBIDDEN, body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json"),
    ))]
async fn collect(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
    Body(Collection { code }): Body<Collection>,
) -> Result<Response, Problem> {
    counter.shop.collect(id, &code).await?;
    let order = counter.shop.find(id).await?;
    Ok(etagged(&order).into_response())
}

impl Counter {
    /// An order, read in a task of its own: a client that hangs up drops no database future.
    async fn find(&self, id: Uuid) -> Result<OrderView, Problem> {
        let shop = self.shop.clone();
        let found = self.tasks.spawn(async move { shop.find(id).await }).await;
        found.unwrap_or(Err(ShopError::NotPlacing)).map_err(Into::into)
    }
}
