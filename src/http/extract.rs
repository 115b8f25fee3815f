//! What a handler takes out of a request. Every refusal is a [`Problem`].

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path as JsonPath, Segment};

use super::problem::{Code, Problem};
use crate::config::limits::{BODY_BYTES_MAX, DETAIL_CHARS_MAX, JSON_DEPTH_MAX};

/// A JSON body. `Option<Body<T>>` is none when the body is empty.
///
/// Refused are other content types (415), what is not JSON (400), and (422, with a pointer where
/// there is one) what does not fit `T`, text that Postgres cannot keep (NUL, broken UTF-8) and
/// nesting without reason.
#[derive(Debug, Clone, Copy)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, bytes) = gather(request).await?;
        if !is_json(&parts.headers) {
            let detail = "Send the body as JSON, with the header content-type: application/json.";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        parse(&bytes).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let (parts, bytes) = gather(request).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let request = Request::from_parts(parts, bytes.into());
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

/// The variable parts of the path, refused with 400 `invalid_id` when malformed.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if parts.uri.path().contains("%00") {
            return Err(Problem::new(Code::InvalidId, "The address holds a NUL."));
        }
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        let refuse = |e: axum::extract::rejection::PathRejection| {
            Problem::new(Code::InvalidId, shorten(&e.body_text()))
        };
        path.map(|axum::extract::Path(value)| Self(value)).map_err(refuse)
    }
}

/// The query, refused with 400 `invalid_query` when malformed.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(Problem::new(Code::InvalidQuery, "The query holds a NUL."));
        }
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        let refuse = |e: axum::extract::rejection::QueryRejection| {
            Problem::new(Code::InvalidQuery, shorten(&e.body_text()))
        };
        query.map(|axum::extract::Query(value)| Self(value)).map_err(refuse)
    }
}

/// The body's bytes. The counter has read and bounded them already; the bound here is for routers
/// without it.
async fn gather(request: Request) -> Result<(Parts, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
    let bytes = bytes.map_err(|_| Problem::new(Code::BodyTooLarge, "The body cannot be read."))?;
    Ok((parts, bytes))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let invalid = |detail: &str| Problem::new(Code::BodyInvalid, detail);
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("The body is not UTF-8."))?;
    match survey(text) {
        Survey { depth, .. } if depth > JSON_DEPTH_MAX => {
            let detail = format!("The body is nested deeper than {JSON_DEPTH_MAX} levels.");
            return Err(invalid(&detail));
        }
        Survey { nul: true, .. } => return Err(invalid("A text holds \\u0000.")),
        Survey { .. } => {}
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.into_inner();
        if !inner.is_data() {
            return unreadable(&inner);
        }
        // The position that serde adds is worth less than the pointer.
        let text = inner.to_string();
        let what = shorten(text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what));
        let place = if pointer.is_empty() { "The body" } else { pointer.as_str() };
        invalid(&format!("{place}: {what}.")).at(pointer, what)
    })?;
    json.end().map_err(|error| unreadable(&error))?;
    Ok(value)
}

fn unreadable(error: &serde_json::Error) -> Problem {
    Problem::new(Code::BodyUnreadable, shorten(&error.to_string()))
}

/// What a parser that only looks for `T` would not refuse.
struct Survey {
    depth: usize,
    nul: bool,
}

fn survey(text: &str) -> Survey {
    let (mut depth, mut deepest, mut nul, mut quoted) = (0_usize, 0, false, false);
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, quoted) {
            (b'\\', true) => {
                nul |= rest.starts_with(b"u0000");
                rest = rest.get(1..).unwrap_or_default();
            }
            (b'"', _) => quoted = !quoted,
            (b'[' | b'{', false) => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (b']' | b'}', false) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Survey { depth: deepest, nul }
}

/// The place as a JSON pointer (RFC 6901).
fn pointer(path: &JsonPath) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect()
}

/// A text that may quote the client's input, which may be long.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
