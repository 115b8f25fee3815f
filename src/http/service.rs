//! What those ask who watch over the process: is it alive, can it work, how does it do.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::problem::{Code, Problem};
use crate::telemetry::Metrics;

/// Whether this process can take requests; told by whoever starts and stops it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot, and this is why, in a sentence for the operator.
    NotReady(String),
}

/// What the service routes need.
#[derive(Debug, Clone)]
pub struct Service {
    /// Whether requests can be taken.
    pub readiness: watch::Receiver<Readiness>,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What `/openapi.yaml` shows.
    pub openapi_yaml: Arc<str>,
}

/// That all is well.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// The service routes, with their part of the API's description.
pub fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .route("/openapi.yaml", get(openapi))
}

/// Whether the process lives.
#[utoipa::path(get, path = "/livez", tag = "service", responses(
    (status = OK, body = Health, description = "The process answers"),
))]
async fn livez() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the process can take requests.
#[utoipa::path(get, path = "/readyz", tag = "service", responses(
    (status = OK, body = Health, description = "Requests can be taken"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json",
        description = "Requests cannot be taken"),
))]
async fn readyz(State(service): State<Service>) -> Result<Json<Health>, Problem> {
    match &*service.readiness.borrow() {
        Readiness::Ready => Ok(Json(Health { status: "ok" })),
        Readiness::NotReady(why) => Err(Problem::new(Code::Unavailable, why)),
    }
}

/// Everything that is counted and measured, in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "service", responses(
    (status = OK, body = String, content_type = "text/plain", description = "The metrics"),
))]
async fn metrics(State(service): State<Service>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, service.metrics.render()).into_response()
}

async fn openapi(State(service): State<Service>) -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], service.openapi_yaml.to_string()).into_response()
}
