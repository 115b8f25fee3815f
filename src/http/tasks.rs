//! What workers tell of the tasks that they have: that they are at it, that it is made, that it cannot be.

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    Counter,
    extract::{Body, Path},
    problem::{Code, Problem},
};
use crate::{
    config::limits::{QUEUE_CHARS_MAX, TASK_JSON_BYTES_MAX},
    saga::journal::task::settle::Token,
    shop::order::{Malformed, NOTE_CHARS_MAX, text},
};

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new()
        .routes(routes!(heartbeat))
        .routes(routes!(complete))
        .routes(routes!(fail))
        .routes(routes!(release))
}

pub(super) fn write_token(token: Token) -> String {
    format!("{}{}", token.task_id.simple(), token.lease.simple())
}

/// Whatever is no token names no task.
fn read_token(token: &str) -> Result<Token, Problem> {
    let parts = token.split_at_checked(32).filter(|_| token.len() == 64);
    let ids = parts.and_then(|(task, lease)| Some((task.parse().ok()?, lease.parse().ok()?)));
    let (task_id, lease) =
        ids.ok_or_else(|| Problem::new(Code::InvalidId, "This is no token of a task."))?;
    Ok(Token { task_id, lease })
}

/// That a worker is still at it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Heartbeat {
    /// How far it is, as it likes; kept once a second at most, and given to the next worker if this one falls silent.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    progress: Option<Value>,
}

/// A lease that was prolonged.
#[derive(Debug, Serialize, ToSchema)]
struct Prolonged {
    /// Until when it is this worker's; null when it is not wanted any more.
    #[schema(value_type = Option<String>, format = DateTime)]
    leased_until: Option<Timestamp>,
    /// Whether the order goes back: stop, for whatever is made now is wasted.
    cancel_requested: bool,
}

/// Keep a task: prolongs the lease by its own length, and hears whether the order is being cancelled.
#[utoipa::path(post, path = "/v1/tasks/{token}/heartbeat", tag = "workers",
    params(("token" = String, Path)), request_body = inline(Option<Heartbeat>), responses(
        (status = OK, body = Prolonged),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`lease_lost` or `task_done`"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
    ))]
async fn heartbeat(
    State(counter): State<Counter>,
    Path(token): Path<String>,
    body: Option<Body<Heartbeat>>,
) -> Result<Json<Prolonged>, Problem> {
    let token = read_token(&token)?;
    let progress = body.and_then(|Body(it)| it.progress);
    let progress = progress.map(|it| bounded("/progress", &it)).transpose()?;
    let beat = counter.shop.beat(token, progress.as_deref()).await?;
    let leased_until = beat.leased_until.map(|it| it.to_jiff());
    Ok(Json(Prolonged { leased_until, cancel_requested: beat.cancel_requested }))
}

/// What a worker leaves with a task.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Complete {
    /// Whatever it has to say, kept with the task.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
}

/// What was written.
#[derive(Debug, Serialize, ToSchema)]
struct Settled {
    /// The task.
    task_id: Uuid,
    /// Where it stands: `done`, `failed` or `ready`.
    #[schema(example = "done")]
    state: &'static str,
}

/// Tell that a task is made. Its order goes on when all its tasks are. Told again with the same token it is the same.
#[utoipa::path(post, path = "/v1/tasks/{token}/complete", tag = "workers",
    params(("token" = String, Path)), request_body = inline(Option<Complete>), responses(
        (status = OK, body = Settled),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`lease_lost`, `task_withdrawn` or `task_done`; nothing was changed"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
    ))]
async fn complete(
    State(counter): State<Counter>,
    Path(token): Path<String>,
    body: Option<Body<Complete>>,
) -> Result<Json<Settled>, Problem> {
    let token = read_token(&token)?;
    let result = body.and_then(|Body(it)| it.result);
    let result = result.map(|it| bounded("/result", &it)).transpose()?;
    counter.shop.complete_task(token, result.as_deref()).await?;
    Ok(Json(Settled { task_id: token.task_id, state: "done" }))
}

/// Why a task is not made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Fail {
    /// A stable code: lower-case letters, digits and _.
    #[schema(min_length = 1, max_length = 64, example = "out_of_ingredients")]
    code: String,
    /// For people.
    #[serde(default)]
    #[schema(max_length = 200)]
    detail: String,
    /// Whether somebody else may try; it goes back to its queue then, unless this was the last attempt.
    #[serde(default)]
    retry: bool,
}

/// Tell that a task cannot be made: its order is refused and refunded, and its other tasks are withdrawn. With `retry`
/// it goes back to its queue instead.
#[utoipa::path(post, path = "/v1/tasks/{token}/fail", tag = "workers",
    params(("token" = String, Path)), request_body = Fail, responses(
        (status = OK, body = Settled),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`lease_lost`, `task_withdrawn` or `task_done`; nothing was changed"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
    ))]
async fn fail(
    State(counter): State<Counter>,
    Path(token): Path<String>,
    Body(Fail { code, detail, retry }): Body<Fail>,
) -> Result<Json<Settled>, Problem> {
    let token = read_token(&token)?;
    let is_plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
    if !(1..=QUEUE_CHARS_MAX).contains(&code.len()) || !code.bytes().all(is_plain) {
        let must = format!("1 to {QUEUE_CHARS_MAX} lower-case letters, digits and _");
        return Err(Malformed::Field("/code".to_owned(), must).into());
    }
    text("/detail", &detail, 0, NOTE_CHARS_MAX)?;
    let is_back = counter.shop.fail_task(token, (&code, &detail), retry).await?;
    Ok(Json(Settled { task_id: token.task_id, state: if is_back { "ready" } else { "failed" } }))
}

/// Give a task back, untried: it is another worker's at once.
#[utoipa::path(post, path = "/v1/tasks/{token}/release", tag = "workers",
    params(("token" = String, Path)), responses(
        (status = OK, body = Settled),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json",
            description = "`lease_lost`, `task_withdrawn` or `task_done`; nothing was changed"),
    ))]
async fn release(
    State(counter): State<Counter>,
    Path(token): Path<String>,
) -> Result<Json<Settled>, Problem> {
    let token = read_token(&token)?;
    counter.shop.release_task(token).await?;
    Ok(Json(Settled { task_id: token.task_id, state: "ready" }))
}

/// JSON of a size that the next worker, or a person, can be expected to read.
fn bounded(pointer: &str, value: &Value) -> Result<String, Malformed> {
    let json = value.to_string();
    if json.len() <= TASK_JSON_BYTES_MAX {
        return Ok(json);
    }
    let must = format!("at most {TASK_JSON_BYTES_MAX} bytes of JSON");
    Err(Malformed::Field(pointer.to_owned(), must))
}
