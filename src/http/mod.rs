//! THE COUNTER: what customers and operators talk to. It translates between HTTP and the shop and
//! decides nothing.
//!
//! Connections come in through [`serve`]; [`with_layers`] is what surrounds every route; handlers
//! take requests apart with [`extract`] and refuse them with [`problem`]s.

mod admit;
mod counter;
mod described;
pub mod extract;
mod held;
mod history;
mod list;
mod observe;
mod operators;
mod orders;
mod participants;
mod poll;
pub mod problem;
mod queues;
mod refusal;
mod requests;
mod schedules;
pub mod serve;
pub mod service;
mod tasks;
mod travel;
mod wait;
mod why;
mod wire;

use std::sync::Arc;

use axum::{Router, http::Method, middleware};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::compression::{
    CompressionLayer, CompressionLevel,
    predicate::{NotForContentType, Predicate, SizeAbove},
};
use utoipa_axum::router::OpenApiRouter;

pub use described::openapi_yaml;
pub use observe::RequestId;
use problem::{Code, Problem};

use crate::{config::HttpLimits, shop::Shop};

/// Below this many bytes an answer fits one packet, and compressing it gains nothing.
const COMPRESSED_BYTES_MIN: u64 = 1024;

/// What the handlers share.
#[derive(Clone)]
pub struct Counter {
    /// The shop behind the counter.
    pub shop: Arc<Shop>,
    /// Whether orders without a key are refused.
    pub require_idempotency_key: bool,
    /// Owns what outlives a request: reads for a client that hung up, streams.
    pub tasks: TaskTracker,
    /// Ends streams and long polls.
    pub stop: CancellationToken,
}

fn api() -> OpenApiRouter<Counter> {
    OpenApiRouter::new()
        .merge(orders::routes())
        .merge(list::routes())
        .merge(history::routes())
        .merge(counter::routes())
        .merge(schedules::routes())
        .merge(operators::routes())
        .merge(requests::routes())
        .merge(participants::routes())
        .merge(queues::routes())
        .merge(poll::routes())
        .merge(tasks::routes())
        .merge(why::routes())
        .merge(travel::routes())
}

/// All routes, without what surrounds them.
pub fn router(counter: Counter, service: service::Service) -> Router {
    let api: Router = api().with_state(counter).into();
    let service: Router = service::routes().with_state(service).into();
    api.merge(service)
}

/// Puts around all routes of `router` what holds for each of them. From the outside in: compression,
/// then [request id](RequestId), span, metrics, panics and headers, then the body, then admission.
/// What no route answers is refused with a problem.
pub fn with_layers(router: Router, limits: &HttpLimits) -> Router {
    let compressed = SizeAbove::new(COMPRESSED_BYTES_MIN)
        .and(NotForContentType::SSE)
        .and(NotForContentType::IMAGES);
    let limits = Arc::new(limits.clone());
    let room = Arc::new(admit::Room::new(&limits));
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(room, admit::admit))
        .layer(middleware::from_fn_with_state(limits, admit::read_body))
        .layer(middleware::from_fn(observe::observe))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(compressed))
}

async fn not_found() -> Problem {
    Problem::new(Code::NotFound, "Nothing is served at this address.")
}

async fn method_not_allowed(method: Method) -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("{method} cannot be used at this address."))
}
