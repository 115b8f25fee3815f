//! The queues, for those who look after them.

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Counter,
    extract::{Body, Path},
    poll::queue_name,
    problem::Problem,
};
use crate::{
    config::limits::{QUEUE_IN_FLIGHT_MAX, QUEUE_RATE_MAX},
    saga::UNSERVED_AFTER,
    shop::{
        order::{Malformed, NAME_CHARS_MAX, NOTE_CHARS_MAX, text},
        queues::{Queue, QueueDetails},
    },
};

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new().routes(routes!(queues)).routes(routes!(queue)).routes(routes!(put_limits))
}

/// The queues.
#[derive(Debug, Serialize, ToSchema)]
struct Queues {
    /// Those that have tasks, workers or limits, by name.
    queues: Vec<QueueOut>,
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
struct QueueOut {
    /// Its name.
    queue: String,
    /// Tasks that wait for a worker.
    ready: i64,
    /// Tasks in workers' hands.
    leased: i64,
    /// Made within the last hour.
    done: i64,
    /// Of these, made in vain: their orders went back.
    wasted: i64,
    /// Could not be made, or were given up, within the last hour.
    failed: i64,
    /// Not wanted any more, within the last hour.
    withdrawn: i64,
    /// Age in seconds of the oldest task that waits for a worker.
    oldest_age_seconds: Option<f64>,
    /// For how many seconds nobody has asked for work; null when nobody ever did.
    unasked_seconds: Option<f64>,
    /// Whether there is work that nobody has asked for lately.
    unserved: bool,
    /// Tasks that may be in workers' hands at once, over all replicas; null for no limit.
    max_in_flight: Option<i32>,
    /// Tasks that may be claimed a second, over all replicas; null for no limit.
    rate: Option<f64>,
}

impl From<Queue> for QueueOut {
    fn from(Queue { look, ended }: Queue) -> Self {
        let rounded = |it: f64| (it.max(0.0) * 10.0).round() / 10.0;
        let ended = ended.map(|it| (it.done, it.wasted, it.failed, it.withdrawn));
        let (done, wasted, failed, withdrawn) = ended.unwrap_or_default();
        Self {
            unserved: look.is_unserved(UNSERVED_AFTER.as_secs_f64()),
            queue: look.queue,
            ready: look.due,
            leased: look.leased,
            done,
            wasted,
            failed,
            withdrawn,
            oldest_age_seconds: look.oldest_s.map(rounded),
            unasked_seconds: look.unasked_s.map(rounded),
            max_in_flight: look.max_in_flight,
            rate: look.rate,
        }
    }
}

/// A queue, its workers, and who set its limits.
#[derive(Debug, Serialize, ToSchema)]
struct QueueDetailsOut {
    /// The queue.
    #[serde(flatten)]
    queue: QueueOut,
    /// Its workers of the last day, those who asked last first.
    workers: Vec<WorkerOut>,
    /// Who set its limits; null when nobody ever did.
    limits_by: Option<LimitsBy>,
}

/// A worker.
#[derive(Debug, Serialize, ToSchema)]
struct WorkerOut {
    /// What it calls itself.
    worker: String,
    /// When it asked for work last; while it is held that is noted every few seconds.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    /// Tasks that it has in hand.
    leased: i64,
}

/// Who set the limits of a queue.
#[derive(Debug, Serialize, ToSchema)]
struct LimitsBy {
    /// Who.
    by: String,
    /// Why.
    reason: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl From<QueueDetails> for QueueDetailsOut {
    fn from(QueueDetails { queue, workers, limits }: QueueDetails) -> Self {
        let workers = workers.into_iter().map(|it| WorkerOut {
            worker: it.worker,
            seen_at: it.seen_at.to_jiff(),
            leased: it.leased,
        });
        let limits_by = limits.map(|it| LimitsBy {
            by: it.changed_by,
            reason: it.reason,
            at: it.changed_at.to_jiff(),
        });
        Self { queue: queue.into(), workers: workers.collect(), limits_by }
    }
}

/// List the queues of tasks that workers pull.
#[utoipa::path(get, path = "/v1/queues", tag = "operators",
    responses((status = OK, body = Queues)))]
async fn queues(State(counter): State<Counter>) -> Result<Json<Queues>, Problem> {
    let queues = counter.shop.queues().await?.into_iter().map(Into::into);
    Ok(Json(Queues { queues: queues.collect() }))
}

/// Show a queue and its workers.
#[utoipa::path(get, path = "/v1/queues/{queue}", tag = "operators",
    params(("queue" = String, Path)), responses(
        (status = OK, body = QueueDetailsOut),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn queue(
    State(counter): State<Counter>,
    Path(queue): Path<String>,
) -> Result<Json<QueueDetailsOut>, Problem> {
    Ok(Json(counter.shop.queue(&queue).await?.into()))
}

/// The limits of a queue as they are to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutLimits {
    /// Tasks that may be in workers' hands at once; null or absent for no limit, 0 gives out none.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000)]
    max_in_flight: Option<i32>,
    /// Tasks that may be claimed a second; null or absent for no limit.
    #[serde(default)]
    rate: Option<f64>,
    /// Who sets them.
    #[schema(min_length = 1, max_length = 128)]
    by: String,
    /// Why.
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

/// Limit a queue: exactly, over all replicas, at once, and until somebody says otherwise. What is in workers' hands
/// already stays there.
#[utoipa::path(put, path = "/v1/queues/{queue}/limits", tag = "operators",
    params(("queue" = String, Path)), request_body = PutLimits, responses(
        (status = OK, body = QueueDetailsOut),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
    ))]
async fn put_limits(
    State(counter): State<Counter>,
    Path(queue): Path<String>,
    Body(PutLimits { max_in_flight, rate, by, reason }): Body<PutLimits>,
) -> Result<Json<QueueDetailsOut>, Problem> {
    queue_name("(the queue's name)", &queue)?;
    text("/by", &by, 1, NAME_CHARS_MAX)?;
    text("/reason", &reason, 1, NOTE_CHARS_MAX)?;
    if max_in_flight.is_some_and(|it| !(0..=QUEUE_IN_FLIGHT_MAX).contains(&it)) {
        let must = format!("0 to {QUEUE_IN_FLIGHT_MAX}");
        return Err(Malformed::Field("/max_in_flight".to_owned(), must).into());
    }
    if rate.is_some_and(|it| !(0.001..=QUEUE_RATE_MAX).contains(&it)) {
        let must = format!("0.001 to {QUEUE_RATE_MAX} a second");
        return Err(Malformed::Field("/rate".to_owned(), must).into());
    }
    let limits = (max_in_flight, rate);
    Ok(Json(counter.shop.set_queue_limits(&queue, limits, (&by, &reason)).await?.into()))
}
