//! What surrounds every request: its id, its span, its metrics, and a net under its handler.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use tracing::Instrument;
use uuid::Uuid;

use super::problem::Problem;
use crate::{config::limits::REQUEST_ID_BYTES_MAX, telemetry::names};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a request is called in the log, in its answer and in problems; an extension of every request.
#[derive(Debug, Clone)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The client's own id, if it can stand in a log as it is; else a new one.
    fn of(headers: &HeaderMap) -> Self {
        let sane = |id: &&str| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let said = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).filter(sane);
        Self(said.map_or_else(|| Uuid::now_v7().to_string().into(), Into::into))
    }
}

/// Runs the rest of the stack for a request and sees to everything that holds for all of them.
pub(super) async fn observe(mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = RequestId::of(request.headers());
    let method = method_label(request.method());
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(id.clone());
    let span = tracing::info_span!("request", method, path, request_id = id.as_str());

    let handled = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone());
    let response = handled.await.unwrap_or_else(|panic| {
        span.in_scope(|| tracing::error!(panic = panic_text(&*panic), "a handler panicked"));
        Problem::internal().into_response()
    });
    let mut response = Problem::complete(response, &path, id.as_str());
    set_headers(response.headers_mut(), &id);

    let elapsed = begun.elapsed();
    let status = response.status();
    let latency_ms = elapsed.as_secs_f64() * 1e3;
    span.in_scope(|| match status.as_u16() {
        500 => tracing::error!(status = 500, latency_ms, "failed"),
        status => tracing::debug!(status, latency_ms, "answered"),
    });
    let route = route.map_or_else(|| "unmatched".to_owned(), |route| route.as_str().to_owned());
    metrics::histogram!(names::HTTP_REQUEST_SECONDS, "route" => route.clone()).record(elapsed);
    let status = status.as_str().to_owned();
    metrics::counter!(names::HTTP_REQUESTS,
        "method" => method, "route" => route, "status" => status)
    .increment(1);
    response
}

/// What every answer says to browsers and caches, unless its handler knows better.
fn set_headers(headers: &mut HeaderMap, id: &RequestId) {
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(X_REQUEST_ID, id);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Methods are the client's to invent; metrics are not.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sane_request_ids_are_taken_over() {
        let of = |id: &str| {
            let headers = HeaderMap::from_iter([(X_REQUEST_ID, id.parse().unwrap())]);
            RequestId::of(&headers).as_str().to_owned()
        };
        assert_eq!(of("a-1_b.2"), "a-1_b.2");
        let long = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
        for insane in ["", "a b", "a\"b", "<script>", &long] {
            assert!(Uuid::parse_str(&of(insane)).is_ok(), "{insane}");
        }
    }
}
