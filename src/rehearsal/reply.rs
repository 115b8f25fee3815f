//! What a call brings along, and the ways to answer it or not to.

use std::future::Future;

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, rejection::JsonRejection},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::RehearsalError;

/// What the headers of a call tell.
pub(super) struct Asked {
    /// `Idempotency-Key`.
    pub(super) key: String,
    /// `Crema-Rehearse`: the mood in which this order wants to be treated.
    pub(super) mood: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Reply;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Reply> {
        let header = |name| parts.headers.get(name)?.to_str().ok().map(str::to_owned);
        match header("idempotency-key") {
            Some(key) if (1..=255).contains(&key.len()) => {
                Ok(Self { key, mood: header("crema-rehearse") })
            }
            _ => Err(Reply::refused(StatusCode::BAD_REQUEST, "key_required")),
        }
    }
}

/// `?key=` of a look-up.
#[derive(Deserialize)]
pub(super) struct Sought {
    /// The key asked for.
    pub(super) key: String,
}

/// A JSON body, refused with a code.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(Reply))]
pub(super) struct Body<T>(pub(super) T);

impl From<JsonRejection> for Reply {
    fn from(rejection: JsonRejection) -> Self {
        let body = json!({"code": "unreadable", "detail": rejection.body_text()});
        Self::Json(rejection.status(), body)
    }
}

/// What becomes of a call.
pub(super) enum Reply {
    /// It is answered.
    Json(StatusCode, Value),
    /// The connection is cut.
    HangUp,
}

impl Reply {
    /// A refusal with a stable code.
    pub(super) fn refused(status: StatusCode, code: &str) -> Self {
        Self::Json(status, json!({ "code": code }))
    }

    /// The mood `down`.
    pub(super) fn down() -> Self {
        Self::refused(StatusCode::SERVICE_UNAVAILABLE, "down")
    }
}

/// Marks a response that must not be sent; the connection is closed in its stead.
#[derive(Clone, Copy)]
pub(super) struct HangUp;

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Json(status, body) => (status, Json(body)).into_response(),
            Self::HangUp => {
                let mut response = Response::default();
                response.extensions_mut().insert(HangUp);
                response
            }
        }
    }
}

/// Does work in a task of its own: a caller that hangs up must not stop it between ledger and book.
/// Work that the closing ledger refuses is not answered: it would not be true after a restart.
pub(super) async fn owned(
    work: impl Future<Output = Result<Reply, RehearsalError>> + Send + 'static,
) -> Reply {
    match tokio::spawn(work).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) | Err(_) => Reply::HangUp,
    }
}
