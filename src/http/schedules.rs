//! Standing orders: what is ordered again and again, and when.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Counter,
    extract::{Body, Path},
    orders::{created, idempotency_key},
    problem::Problem,
};
use crate::shop::{
    order::{NAME_CHARS_MAX, NOTE_CHARS_MAX, text},
    schedule::NewSchedule,
    standing::ScheduleView,
    view::OrderView,
};

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(trigger))
}

/// The schedules.
#[derive(Debug, Serialize, ToSchema)]
struct ScheduleList {
    /// All of them, by name.
    schedules: Vec<ScheduleView>,
}

/// List the schedules, by name.
#[utoipa::path(get, path = "/v1/schedules", tag = "schedules",
    responses((status = OK, body = ScheduleList)))]
async fn list(State(counter): State<Counter>) -> Result<Json<ScheduleList>, Problem> {
    let shop = counter.shop.clone();
    let schedules = counter.spawned(async move { shop.schedules().await }).await?;
    Ok(Json(ScheduleList { schedules }))
}

/// Get a schedule: how it stands, and its next five ticks.
#[utoipa::path(get, path = "/v1/schedules/{name}", tag = "schedules",
    params(("name" = String, Path)), responses(
        (status = OK, body = ScheduleView),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(counter): State<Counter>,
    Path(name): Path<String>,
) -> Result<Json<ScheduleView>, Problem> {
    let shop = counter.shop.clone();
    counter.spawned(async move { shop.find_schedule(&name).await }).await.map(Json)
}

/// Create a schedule, or replace what it says. While its rhythm (`cron`, `every_seconds`, `time_zone`) stays the same
/// its ticks stay, too; a paused one stays paused.
#[utoipa::path(put, path = "/v1/schedules/{name}", tag = "schedules",
    params(("name" = String, Path,
        description = "1 to 64 letters, digits and any of `. _ -`")),
    request_body = NewSchedule, responses(
        (status = OK, body = ScheduleView, description = "Replaced"),
        (status = CREATED, body = ScheduleView, description = "Created",
            headers(("location" = String))),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`price_changed`, or `schedule_limit`"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json",
            description = "`cron_invalid`, `time_zone_unknown`, or what is wrong with the order"),
    ))]
async fn put(
    State(counter): State<Counter>,
    Path(name): Path<String>,
    Body(new): Body<NewSchedule>,
) -> Result<Response, Problem> {
    let shop = counter.shop.clone();
    let location = format!("/v1/schedules/{name}");
    let (is_new, schedule) =
        counter.spawned(async move { shop.put_schedule(&name, new).await }).await?;
    Ok(match is_new {
        true => {
            (StatusCode::CREATED, [(header::LOCATION, location)], Json(schedule)).into_response()
        }
        false => Json(schedule).into_response(),
    })
}

/// Delete a schedule. The orders that it placed stay.
#[utoipa::path(delete, path = "/v1/schedules/{name}", tag = "schedules",
    params(("name" = String, Path)), responses(
        (status = NO_CONTENT, description = "It places no more orders"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(
    State(counter): State<Counter>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let shop = counter.shop.clone();
    counter.spawned(async move { shop.delete_schedule(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why a schedule is paused or resumed, and by whom.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Why {
    /// Shown with the schedule.
    #[serde(default)]
    #[schema(max_length = 200, example = "on holiday")]
    reason: Option<String>,
    /// Who says so.
    #[serde(default)]
    #[schema(max_length = 128, example = "ada")]
    by: Option<String>,
}

impl Why {
    fn checked(body: Option<Body<Self>>) -> Result<Self, Problem> {
        let why = body.map(|Body(it)| it).unwrap_or_default();
        if let Some(reason) = &why.reason {
            text("/reason", reason, 0, NOTE_CHARS_MAX)?;
        }
        if let Some(by) = &why.by {
            text("/by", by, 1, NAME_CHARS_MAX)?;
        }
        Ok(why)
    }
}

/// Pause a schedule. A tick that waits for its turn is skipped; nothing changes in a schedule that is paused.
#[utoipa::path(post, path = "/v1/schedules/{name}/pause", tag = "schedules",
    params(("name" = String, Path)), request_body = inline(Option<Why>), responses(
        (status = OK, body = ScheduleView),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn pause(
    State(counter): State<Counter>,
    Path(name): Path<String>,
    body: Option<Body<Why>>,
) -> Result<Json<ScheduleView>, Problem> {
    let (Why { reason, by }, shop) = (Why::checked(body)?, counter.shop.clone());
    let paused = async move { shop.pause_schedule(&name, by.as_deref(), reason.as_deref()).await };
    counter.spawned(paused).await.map(Json)
}

/// Let a paused schedule go on, with its first tick from now on.
#[utoipa::path(post, path = "/v1/schedules/{name}/resume", tag = "schedules",
    params(("name" = String, Path)), request_body = inline(Option<Why>), responses(
        (status = OK, body = ScheduleView),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn resume(
    State(counter): State<Counter>,
    Path(name): Path<String>,
    body: Option<Body<Why>>,
) -> Result<Json<ScheduleView>, Problem> {
    let (Why { reason, by }, shop) = (Why::checked(body)?, counter.shop.clone());
    let resumed =
        async move { shop.resume_schedule(&name, by.as_deref(), reason.as_deref()).await };
    counter.spawned(resumed).await.map(Json)
}

/// Place the order of a schedule now, whatever its rhythm, its overlap policy and its pause say. It is no tick: the
/// schedule stays as it is.
#[utoipa::path(post, path = "/v1/schedules/{name}/trigger", tag = "schedules",
    params(("name" = String, Path), ("Idempotency-Key" = Option<String>, Header,
        description = "1 to 255 printable ASCII characters; the same key places one order")),
    responses(
        (status = CREATED, body = OrderView, description = "Accepted, durably",
            headers(("location" = String), ("etag" = String), ("idempotent-replayed" = String))),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`out_of_stock`, `price_changed`, `shop_closed` or `in_progress`"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
    ))]
async fn trigger(
    State(counter): State<Counter>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (key, shop) = (idempotency_key(&headers)?, counter.shop.clone());
    let placed = counter.spawned(async move { shop.trigger_schedule(&name, key).await }).await?;
    tracing::info!(order_id = %placed.order.id, replayed = placed.replayed, "order placed");
    Ok(created(&placed))
}
