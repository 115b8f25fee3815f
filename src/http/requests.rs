//! What an order is told after it was placed: signals, pauses, another pickup time, a person's word.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    Counter,
    extract::{Body, Path},
    orders::{etagged, idempotency_key},
    problem::{Code, Problem},
};
use crate::{
    saga::Settlement,
    shop::{order::text, saga::Decision, view::OrderView},
};

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new()
        .routes(routes!(signal))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(resolve))
        .routes(routes!(change))
        .routes(routes!(approve))
}

/// Who asks for something, and why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Asking {
    /// For the history.
    #[serde(default)]
    #[schema(max_length = 128)]
    by: Option<String>,
    /// For the history.
    #[serde(default)]
    #[schema(max_length = 200)]
    reason: Option<String>,
}

impl Asking {
    fn checked(body: Option<Body<Self>>) -> Result<(String, Option<String>), Problem> {
        let Self { by, reason } = body.map(|Body(it)| it).unwrap_or_default();
        let by = by.unwrap_or_else(|| "operator".to_owned());
        text("/by", &by, 1, 128)?;
        if let Some(reason) = &reason {
            text("/reason", reason, 0, 200)?;
        }
        Ok((by, reason))
    }
}

/// What a signal says.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Signal {
    /// Anything.
    #[serde(default)]
    #[schema(value_type = Object)]
    data: Value,
    /// Who sends it.
    #[serde(default)]
    #[schema(max_length = 128)]
    by: Option<String>,
}

/// Tell an order something. It is kept, in order, whether or not the order waits for it by now.
#[utoipa::path(post, path = "/v1/orders/{id}/signals/{name}", tag = "orders",
    params(("id" = Uuid, Path), ("name" = String, Path, description = "1 to 64 of a-z, 0-9 and _"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "The same name and key count once, however often they are sent")),
    request_body = inline(Option<Signal>), responses(
        (status = ACCEPTED, body = OrderView, description = "Kept, durably"),
        (status = OK, body = OrderView, description = "It was sent before, with this key"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`order_closed` or `too_many_signals`"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
    ))]
async fn signal(
    State(counter): State<Counter>,
    Path((id, name)): Path<(Uuid, String)>,
    headers: HeaderMap,
    body: Option<Body<Signal>>,
) -> Result<Response, Problem> {
    let Signal { data, by } = body.map(|Body(it)| it).unwrap_or_default();
    let is_name = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
    if !(1..=64).contains(&name.len()) || !name.bytes().all(is_name) {
        let detail = "A signal's name is 1 to 64 characters of a-z, 0-9 and _.";
        return Err(Problem::new(Code::BadRequest, detail));
    }
    let by = by.unwrap_or_else(|| "customer".to_owned());
    text("/by", &by, 1, 128)?;
    // A value of JSON is stored as it is, and what is stored holds neither NUL nor a card number.
    text("/data", &data.to_string().replace("\\u0000", "\0"), 0, 4_096)?;
    let key = idempotency_key(&headers)?;
    let is_new = if name == "cancel" {
        let reason = data.get("reason").and_then(Value::as_str);
        text("/data/reason", reason.unwrap_or_default(), 0, 200)?;
        let by = if by == "shop" { "shop" } else { "customer" };
        counter.shop.cancel(id, by, reason).await?
    } else {
        counter.shop.signal(id, &name, key.as_deref(), &by, &data).await?
    };
    let status = if is_new { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, etagged(&counter.shop.find(id).await?)).into_response())
}

/// Begin no step of an order any more. An attempt that runs goes on, waits stand still, and it can be cancelled.
#[utoipa::path(post, path = "/v1/orders/{id}/pause", tag = "operators", params(("id" = Uuid, Path)),
    request_body = inline(Option<Asking>), responses(
        (status = ACCEPTED, body = OrderView),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json"),
    ))]
async fn pause(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
    body: Option<Body<Asking>>,
) -> Result<impl IntoResponse, Problem> {
    let (by, reason) = Asking::checked(body)?;
    counter.shop.pause(id, &by, reason.as_deref()).await?;
    Ok((StatusCode::ACCEPTED, Json(counter.shop.find(id).await?)))
}

/// Go on with an order that was paused.
#[utoipa::path(post, path = "/v1/orders/{id}/resume", tag = "operators", params(("id" = Uuid, Path)),
    request_body = inline(Option<Asking>), responses(
        (status = ACCEPTED, body = OrderView),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json"),
    ))]
async fn resume(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
    body: Option<Body<Asking>>,
) -> Result<impl IntoResponse, Problem> {
    let (by, reason) = Asking::checked(body)?;
    counter.shop.resume(id, &by, reason.as_deref()).await?;
    Ok((StatusCode::ACCEPTED, Json(counter.shop.find(id).await?)))
}

/// What became of the step, or the compensation, for which an order is parked.
#[derive(Debug, Deserialize, ToSchema)]
struct Resolution {
    /// `done`, with what the step would have left as `output`; or `refused`, with a `code`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    settlement: Settlement,
    /// Who says so.
    #[schema(min_length = 1, max_length = 128)]
    by: String,
    /// How they know.
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

/// Settle the step, or the compensation, for which an order is parked: tell what became of it, and how that is known.
#[utoipa::path(post, path = "/v1/orders/{id}/resolve", tag = "operators",
    params(("id" = Uuid, Path)), request_body = Resolution, responses(
        (status = ACCEPTED, body = OrderView),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`not_parked` or `order_closed`"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json",
            description = "`settlement_unfit`: the step cannot have ended like that"),
    ))]
async fn resolve(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
    Body(Resolution { settlement, by, reason }): Body<Resolution>,
) -> Result<impl IntoResponse, Problem> {
    text("/by", &by, 1, 128)?;
    text("/reason", &reason, 1, 200)?;
    let said = serde_json::to_string(&settlement).unwrap_or_default();
    text("/output", &said.replace("\\u0000", "\0"), 0, 4_096)?;
    counter.shop.resolve(id, &settlement, &by, &reason).await?;
    Ok((StatusCode::ACCEPTED, Json(counter.shop.find(id).await?)))
}

/// What can be changed of an order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// When it is to be ready.
    #[schema(value_type = String, format = DateTime)]
    pickup_at: Timestamp,
}

/// Move the pickup time of a pre-order that has not been begun.
#[utoipa::path(patch, path = "/v1/orders/{id}", tag = "orders", request_body = Change,
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The order's ETag, or *")),
    responses(
        (status = OK, body = OrderView, headers(("etag" = String))),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`already_started`, or `order_closed`"),
        (status = PRECONDITION_FAILED, body = Problem, content_type = "application/problem+json",
            description = "`version_changed`"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
        (status = PRECONDITION_REQUIRED, body = Problem, content_type = "application/problem+json"),
    ))]
async fn change(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
    Body(Change { pickup_at }): Body<Change>,
) -> Result<Response, Problem> {
    let version = version(&headers)?;
    counter.shop.move_pickup(id, pickup_at, version).await?;
    Ok(etagged(&counter.shop.find(id).await?).into_response())
}

/// The version that `If-Match` names; `None` for any.
fn version(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(tag) = headers.get(header::IF_MATCH) else {
        let detail = "Send If-Match with the order's ETag, so that nobody's change is lost.";
        return Err(Problem::new(Code::PreconditionRequired, detail));
    };
    match tag.to_str().unwrap_or_default().trim() {
        "*" => Ok(None),
        tag => {
            let number = tag.trim_start_matches("W/").trim_matches('"').parse();
            // Not one of our tags: then it is not the order's either.
            number.map(Some).map_err(|_| {
                Problem::new(Code::VersionChanged, "If-Match is not the order's ETag.")
            })
        }
    }
}

/// Say whether a large order may be made. The link is good for one answer.
#[utoipa::path(post, path = "/v1/approvals/{token}", tag = "operators",
    params(("token" = String, Path, description = "From `GET /v1/attention`")),
    request_body = inline(ApprovalIn), responses(
        (status = ACCEPTED, body = OrderView),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`already_decided`: it was used, or its time is over"),
    ))]
async fn approve(
    State(counter): State<Counter>,
    Path(token): Path<String>,
    Body(ApprovalIn { approved, by, reason }): Body<ApprovalIn>,
) -> Result<impl IntoResponse, Problem> {
    text("/by", &by, 1, 128)?;
    text("/reason", reason.as_deref().unwrap_or_default(), 0, 200)?;
    let id = counter.shop.decide(&token, &Decision { approved, by, reason }).await?;
    Ok((StatusCode::ACCEPTED, Json(counter.shop.find(id).await?)))
}

/// A person's word about a large order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ApprovalIn {
    /// Whether it may be made.
    approved: bool,
    /// Who says so.
    #[schema(min_length = 1, max_length = 128)]
    by: String,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 200)]
    reason: Option<String>,
}
