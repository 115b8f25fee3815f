//! Work for those who make what is ordered: they ask, and are held until there is some.

use std::time::Duration;

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    Counter,
    extract::{Body, Path},
    problem::Problem,
    tasks::write_token,
    wait::parse_time,
};
use crate::{
    config::limits::{
        QUEUE_CHARS_MAX, QUEUES_AT_ONCE_MAX, TASK_LEASE_MAX, TASK_LEASE_MIN, TASK_WAIT_MAX,
        TASKS_AT_ONCE_MAX,
    },
    saga::journal::task::{
        claim::{Claim, Claimed},
        settle::Token,
    },
    shop::{
        ShopError,
        order::{Malformed, NAME_CHARS_MAX, text},
    },
};

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new().routes(routes!(poll))
}

/// The name of a queue: short, and the same in every log and address.
pub(super) fn queue_name(pointer: &str, name: &str) -> Result<(), Malformed> {
    let is_plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"._-".contains(&it);
    if (1..=QUEUE_CHARS_MAX).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    let must = format!("1 to {QUEUE_CHARS_MAX} lower-case letters, digits and any of . _ -");
    Err(Malformed::Field(pointer.to_owned(), must))
}

/// What a worker asks for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Poll {
    /// What it calls itself: the same for as long as it lives.
    #[schema(min_length = 1, max_length = 128, example = "ada")]
    worker: String,
    /// Further queues; what comes first by rank is given out first.
    #[serde(default)]
    #[schema(max_items = 16)]
    queues: Vec<String>,
    /// Tasks at most.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 100)]
    max: usize,
    /// How long to wait for the first, like 20s, at most 30s.
    #[serde(default = "half_a_minute")]
    #[schema(default = "30s")]
    wait: String,
    /// How long it may be silent about one, like 30s: from 1s to 1800s.
    #[serde(default = "half_a_minute")]
    #[schema(default = "30s")]
    lease: String,
}

fn one() -> usize {
    1
}

fn half_a_minute() -> String {
    "30s".to_owned()
}

impl Poll {
    fn parse(self, queue: String) -> Result<(Claim, Duration), Problem> {
        text("/worker", &self.worker, 1, NAME_CHARS_MAX)?;
        queue_name("(the queue's name)", &queue)?;
        if self.queues.len() >= QUEUES_AT_ONCE_MAX {
            let must = format!("fewer than {QUEUES_AT_ONCE_MAX}");
            return Err(Malformed::Field("/queues".to_owned(), must).into());
        }
        for (index, name) in self.queues.iter().enumerate() {
            queue_name(&format!("/queues/{index}"), name)?;
        }
        if !(1..=TASKS_AT_ONCE_MAX).contains(&self.max) {
            let must = format!("1 to {TASKS_AT_ONCE_MAX}");
            return Err(Malformed::Field("/max".to_owned(), must).into());
        }
        let wait = duration("/wait", &self.wait, Duration::ZERO, TASK_WAIT_MAX)?;
        let lease = duration("/lease", &self.lease, TASK_LEASE_MIN, TASK_LEASE_MAX)?;
        let mut queues = self.queues;
        queues.push(queue);
        queues.sort_unstable();
        queues.dedup();
        let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        Ok((Claim { queues, worker: self.worker, max: self.max, lease_ms }, wait))
    }
}

fn duration(
    pointer: &str,
    said: &str,
    min: Duration,
    max: Duration,
) -> Result<Duration, Malformed> {
    let must = || {
        let range = format!("a time of {} to {} s, like 30s", min.as_secs(), max.as_secs());
        Malformed::Field(pointer.to_owned(), range)
    };
    let time = parse_time(said).ok_or_else(must)?;
    if (min..=max).contains(&time) { Ok(time) } else { Err(must()) }
}

/// What a worker is given.
#[derive(Debug, Serialize, ToSchema)]
struct Tasks {
    /// The first first; empty when there was nothing.
    tasks: Vec<TaskOut>,
}

/// A task in a worker's hands.
#[derive(Debug, Serialize, ToSchema)]
struct TaskOut {
    /// By which the worker speaks of it, and nobody else.
    token: String,
    /// Its id.
    task_id: Uuid,
    /// Where it was.
    queue: String,
    /// What is to be made, for which order.
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    /// 1 to 9.
    priority: i16,
    /// From 1. Above 1 somebody tried before, and may have made it.
    attempt: i32,
    /// What the worker before told last.
    #[schema(value_type = Option<Object>)]
    progress: Option<Box<RawValue>>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Until when it is this worker's. A heartbeat prolongs it.
    #[schema(value_type = String, format = DateTime)]
    leased_until: Timestamp,
}

impl From<Claimed> for TaskOut {
    fn from(it: Claimed) -> Self {
        let raw = |json: String| RawValue::from_string(json).ok();
        Self {
            token: write_token(Token { task_id: it.task_id, lease: it.lease }),
            task_id: it.task_id,
            queue: it.queue,
            payload: raw(it.payload).unwrap_or_default(),
            priority: it.priority,
            attempt: it.attempts,
            progress: it.progress.and_then(raw),
            created_at: it.created_at.to_jiff(),
            leased_until: it.leased_until.to_jiff(),
        }
    }
}

/// Ask for work: what there is, or the first that comes within `wait`. It is leased by the database's clock, and another
/// worker's once the lease has run out.
#[utoipa::path(post, path = "/v1/queues/{queue}/poll", tag = "workers",
    params(("queue" = String, Path)), request_body = Poll, responses(
        (status = OK, body = Tasks),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
    ))]
async fn poll(
    State(counter): State<Counter>,
    Path(queue): Path<String>,
    Body(poll): Body<Poll>,
) -> Result<Json<Tasks>, Problem> {
    let (claim, wait) = poll.parse(queue)?;
    let (answer, answered) = oneshot::channel();
    let (shop, stop) = (counter.shop.clone(), counter.stop.clone());
    // Its own task waits on: when the worker leaves, that ends the wait, or gives back what was just claimed.
    counter.tasks.spawn(async move {
        let mut answer: oneshot::Sender<Result<Vec<Claimed>, ShopError>> = answer;
        let gone = async {
            tokio::select! {
                () = answer.closed() => {}
                () = stop.cancelled() => {}
            }
        };
        let claimed = shop.poll(&claim, wait, gone).await;
        if let Err(Ok(claimed)) = answer.send(claimed) {
            shop.give_back(claimed).await;
        }
    });
    let claimed = answered.await.unwrap_or(Err(ShopError::NotPlacing))?;
    Ok(Json(Tasks { tasks: claimed.into_iter().map(Into::into).collect() }))
}
