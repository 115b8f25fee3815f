//! For those who run the shop's service: what needs a person, and who is alive.

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    Counter,
    extract::{Body, Path},
    problem::Problem,
};
use crate::shop::{order::text, view::OrderView};

/// Rows of a list that is meant to be short.
const ROWS_MAX: i64 = 500;

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new().routes(routes!(retry)).routes(routes!(attention)).routes(routes!(replicas))
}

/// Why the next attempt is to come now.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Retry {
    /// For the history.
    #[serde(default)]
    #[schema(max_length = 200)]
    reason: Option<String>,
}

/// Make the next attempt of a waiting or parked order now.
#[utoipa::path(post, path = "/v1/orders/{id}/retry", tag = "operators", params(("id" = Uuid, Path)),
    request_body = inline(Option<Retry>), responses(
        (status = ACCEPTED, body = OrderView),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`not_parked`: it waits for nothing"),
    ))]
async fn retry(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
    body: Option<Body<Retry>>,
) -> Result<impl IntoResponse, Problem> {
    let Retry { reason } = body.map(|Body(it)| it).unwrap_or_default();
    if let Some(reason) = &reason {
        text("/reason", reason, 0, 200)?;
    }
    counter.shop.retry(id, reason.as_deref()).await?;
    Ok((StatusCode::ACCEPTED, Json(counter.shop.find(id).await?)))
}

/// What needs a person.
#[derive(Debug, Serialize, ToSchema)]
struct Attention {
    /// Parked orders, by reason, then the oldest first.
    orders: Vec<Parked>,
    /// Notices that were given up, newest first.
    undelivered: Vec<Undelivered>,
}

/// A parked order.
#[derive(Debug, Serialize, ToSchema)]
struct Parked {
    /// The order.
    order_id: Uuid,
    /// Why it needs a person, in a stable code.
    attention: String,
    /// Its status, which stays truthful.
    status: String,
    /// Since when it stands so.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When it is tried again; null while it does.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// Where a person says whether it may be made, of one that waits for that: a link for one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    approve_url: Option<String>,
    /// What can be done.
    actions: Vec<&'static str>,
}

/// A notice that was given up.
#[derive(Debug, Serialize, ToSchema)]
struct Undelivered {
    /// The order it is about.
    order_id: Uuid,
    /// Its id.
    message_id: String,
    /// Attempts.
    attempts: i32,
    /// What went wrong last.
    last_error: Option<String>,
    /// When it was given up.
    #[schema(value_type = Option<String>, format = DateTime)]
    given_up_at: Option<Timestamp>,
}

/// List what needs a person.
#[utoipa::path(get, path = "/v1/attention", tag = "operators",
    responses((status = OK, body = Attention)))]
async fn attention(State(counter): State<Counter>) -> Result<Json<Attention>, Problem> {
    let mut orders = Vec::new();
    for row in counter.shop.needing_attention(ROWS_MAX).await? {
        let waits_for_a_word = row.attention.as_deref() == Some("approval");
        let approve_url = match waits_for_a_word {
            true => {
                let token = counter.shop.approval_token(row.saga_id).await?;
                Some(format!("/v1/approvals/{token}"))
            }
            false => None,
        };
        let mut actions = if waits_for_a_word { vec!["approve"] } else { vec!["retry", "resolve"] };
        if !row.past_pivot {
            actions.push("cancel");
        }
        orders.push(Parked {
            order_id: row.saga_id,
            attention: row.attention.unwrap_or_default(),
            status: row.label,
            since: row.updated_at.to_jiff(),
            next_attempt_at: row.wake_at.map(|it| it.to_jiff()),
            approve_url,
            actions,
        });
    }
    let undelivered =
        counter.shop.undelivered(ROWS_MAX).await?.into_iter().map(|row| Undelivered {
            order_id: row.order_id,
            message_id: row.message_id,
            attempts: row.attempts,
            last_error: row.last_error,
            given_up_at: row.given_up_at.map(|it| it.to_jiff()),
        });
    Ok(Json(Attention { orders, undelivered: undelivered.collect() }))
}

/// The replicas of this service.
#[derive(Debug, Serialize, ToSchema)]
struct Replicas {
    /// Those that were alive within the last hour, the oldest first.
    replicas: Vec<ReplicaOut>,
}

/// One process of this service.
#[derive(Debug, Serialize, ToSchema)]
struct ReplicaOut {
    /// Made anew at every start.
    boot_id: Uuid,
    /// What it calls itself.
    name: String,
    /// The version it runs.
    version: String,
    /// When it started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// Until when it counts as alive.
    #[schema(value_type = String, format = DateTime)]
    leased_until: Timestamp,
    /// Whether it does now.
    alive: bool,
    /// Of 256 buckets of orders, how many it owns.
    buckets: i64,
}

/// List the replicas.
#[utoipa::path(get, path = "/v1/replicas", tag = "operators",
    responses((status = OK, body = Replicas)))]
async fn replicas(State(counter): State<Counter>) -> Result<Json<Replicas>, Problem> {
    let replicas = counter.shop.replicas().await?.into_iter().map(|it| ReplicaOut {
        boot_id: it.boot_id,
        name: it.name,
        version: it.version,
        started_at: it.started_at.to_jiff(),
        leased_until: it.leased_until.to_jiff(),
        alive: it.alive,
        buckets: it.buckets,
    });
    Ok(Json(Replicas { replicas: replicas.collect() }))
}
