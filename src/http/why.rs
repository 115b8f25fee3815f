//! Why an order stands where it does.

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Counter, extract::Path, problem::Problem};
use crate::shop::why::Why;

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new().routes(routes!(why))
}

/// Say in one sentence why an order stands where it does: what it waits for, since when, what was tried, what
/// happens next and when, and who can change it. Any replica answers.
#[utoipa::path(get, path = "/v1/orders/{id}/why", tag = "orders", params(("id" = Uuid, Path)),
    responses(
        (status = OK, body = Why),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn why(State(counter): State<Counter>, Path(id): Path<Uuid>) -> Result<Json<Why>, Problem> {
    Ok(Json(counter.shop.why(id).await?))
}
