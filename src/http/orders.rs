//! Single orders: place, get, cancel, collect.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    Counter,
    extract::{Body, Path, Query},
    problem::{Code, Problem},
    travel::{DryRunQuery, as_of, excluded, moment},
    wait::{Until, parse_wait, wait_for},
};
use crate::{
    config::limits::IDEMPOTENCY_KEY_BYTES_MAX,
    shop::{
        Placed,
        dry_run::{DryCancellation, DryPlacing},
        order::{NewOrder, text},
        view::OrderView,
    },
};

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new()
        .routes(routes!(place))
        .routes(routes!(get))
        .routes(routes!(cancel))
        .routes(routes!(collect))
}

/// Place an order. The answer comes after the commit: an order answered 201 is never lost. With `dry_run=true` nothing
/// is placed and no key used up; the answer, 200 or the same refusals, tells what would be.
#[utoipa::path(post, path = "/v1/orders", tag = "orders", request_body = NewOrder,
    params(DryRunQuery, ("Idempotency-Key" = Option<String>, Header,
        description = "1 to 255 printable ASCII characters; the same key and body get the same answer")),
    responses(
        (status = OK, body = DryPlacing, description = "A dry run: nothing was placed"),
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
    Query(DryRunQuery { dry_run }): Query<DryRunQuery>,
    headers: HeaderMap,
    Body(new): Body<NewOrder>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    if key.is_none() && counter.require_idempotency_key {
        let detail = "Send an Idempotency-Key, so that a repeated request places nothing twice.";
        return Err(Problem::new(Code::IdempotencyKeyRequired, detail));
    }
    if dry_run {
        return counter.dry_place(new, key).await;
    }
    let placed = counter.shop.place(new, key).await?;
    tracing::info!(order_id = %placed.order.id, replayed = placed.replayed, "order placed");
    Ok(created(&placed))
}

/// The answer to an order that was placed, now or before.
pub(super) fn created(placed: &Placed) -> Response {
    let location = format!("/v1/orders/{}", placed.order.id);
    let mut response =
        (StatusCode::CREATED, [(header::LOCATION, location)], etagged(&placed.order))
            .into_response();
    if placed.replayed {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
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
    /// Shows the order as it stood at this time (RFC 3339).
    at: Option<String>,
    /// Shows the order as it stood when this line of its journal, from 1, had just been written.
    seq: Option<i32>,
}

/// Get an order, wait until it has come so far, or look at it as it stood. Any replica answers.
#[utoipa::path(get, path = "/v1/orders/{id}", tag = "orders", params(("id" = Uuid, Path), GetQuery),
    responses(
        (status = OK, body = OrderView,
            headers(("etag" = String), ("wait-timed-out" = String), ("as-of-seq" = i32))),
        (status = NOT_MODIFIED, description = "It is still what `If-None-Match` says"),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json",
            description = "`not_found`; or `not_placed_yet`, of an order that was not there then"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json",
            description = "`seq_beyond_end`: the journal has no such line (yet); `query_conflict`"),
    ))]
async fn get(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
    Query(query): Query<GetQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(moment) = moment(query.at.as_deref(), query.seq)? {
        if query.wait.is_some() || query.until.is_some() {
            return Err(excluded("What was cannot be waited for: leave `wait` and `until` out."));
        }
        let past = counter.find_past(id, moment).await?;
        return Ok(as_of(past.seq, unless_seen(&past.order, &headers)));
    }
    let until = Until::parse(query.until.as_deref())?;
    let wait = query.wait.as_deref().map(parse_wait).transpose()?;
    let (order, timed_out) = match wait {
        None => (counter.find(id).await?, false),
        Some(wait) => wait_for(&counter, id, &until, wait).await?,
    };
    let mut response = unless_seen(&order, &headers);
    if timed_out && response.status() == StatusCode::OK {
        response.headers_mut().insert("wait-timed-out", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The order, unless the client has it already.
fn unless_seen(order: &OrderView, headers: &HeaderMap) -> Response {
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|it| it.to_str().ok());
    let tag = etag(order);
    // Weak comparison (RFC 9110, 13.1.2): whoever compresses on the way makes a tag weak.
    let is_it = |one: &str| one.trim().trim_start_matches("W/") == tag;
    if seen.is_some_and(|it| it == "*" || it.split(',').any(is_it)) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    etagged(order).into_response()
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

/// The two answers of 200.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it only describes the answers")]
enum CancelAnswer {
    /// It was cancelled before.
    Order(OrderView),
    /// A dry run.
    DryRun(DryCancellation),
}

/// Who asks for something.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum By {
    #[default]
    Customer,
    Shop,
}

/// Cancel an order. A 202 wins: the order never becomes COMPLETED. With `dry_run=true` nothing is cancelled; the
/// answer, 200 or the same refusals, tells what would be.
#[utoipa::path(post, path = "/v1/orders/{id}/cancel", tag = "orders",
    params(("id" = Uuid, Path), DryRunQuery), request_body = inline(Option<Cancellation>), responses(
        (status = ACCEPTED, body = OrderView, description = "Accepted; it is being cancelled"),
        (status = OK, body = CancelAnswer,
            description = "It was cancelled before; or a dry run: nothing was cancelled"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`too_late`: past the pivot, or ended otherwise"),
    ))]
async fn cancel(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
    Query(DryRunQuery { dry_run }): Query<DryRunQuery>,
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
    if dry_run {
        return counter.dry_cancel(id, by, reason).await;
    }
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
    pub(super) async fn find(&self, id: Uuid) -> Result<OrderView, Problem> {
        let shop = self.shop.clone();
        self.spawned(async move { shop.find(id).await }).await
    }

    /// An order's status, and whether it is final; read in a task of its own.
    pub(super) async fn status(&self, id: Uuid) -> Result<(String, bool), Problem> {
        let shop = self.shop.clone();
        self.spawned(async move { shop.status(id).await }).await
    }
}
