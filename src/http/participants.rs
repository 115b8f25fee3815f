//! Whom we call: how much of us they take, and whether they answer.

use axum::{Json, extract::State};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Counter,
    extract::{Body, Path},
    problem::{Code, Problem},
};
use crate::{
    config::limits::{PARTICIPANT_IN_FLIGHT_MAX, PARTICIPANT_RATE_MAX, PARTICIPANT_RATE_MIN},
    shop::{
        order::{NAME_CHARS_MAX, NOTE_CHARS_MAX, text},
        participants::{Change, Hold, ParticipantView},
    },
};

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new()
        .routes(routes!(participants))
        .routes(routes!(participant))
        .routes(routes!(put_limits))
        .routes(routes!(put_circuit))
}

/// Whom we call.
#[derive(Debug, Serialize, ToSchema)]
struct Participants {
    /// All participants, by name.
    participants: Vec<ParticipantView>,
}

/// List the participants: their limits, what is in flight and waits, and their circuits.
#[utoipa::path(get, path = "/v1/participants", tag = "operators",
    responses((status = OK, body = Participants)))]
async fn participants(State(counter): State<Counter>) -> Result<Json<Participants>, Problem> {
    Ok(Json(Participants { participants: counter.shop.all_participants().await? }))
}

/// Read how a participant stands, and who changed what about it.
#[utoipa::path(get, path = "/v1/participants/{name}", tag = "operators",
    params(("name" = String, Path)), responses(
        (status = OK, body = ParticipantView),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn participant(
    State(counter): State<Counter>,
    Path(name): Path<String>,
) -> Result<Json<ParticipantView>, Problem> {
    Ok(Json(counter.shop.participant(&name).await?))
}

/// Limits as they are to be. What is left out stays as it is; null is no limit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutLimits {
    /// Calls in flight at most, exactly, over all replicas. With 0 nobody is called.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 100_000, example = 7)]
    max_in_flight: Option<Option<i64>>,
    /// Calls a second at most, over all replicas.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<f64>, minimum = 0.001, maximum = 100_000, example = 10.0)]
    rate: Option<Option<f64>>,
    /// Who wants it; an operator if absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    by: Option<String>,
    /// Recorded with it.
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

/// Tells null from nothing.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(json: D) -> Result<Option<T>, D::Error> {
    T::deserialize(json).map(Some)
}

/// Limit what a participant takes, on all replicas within about a second. The limits outlive restarts.
#[utoipa::path(put, path = "/v1/participants/{name}/limits", tag = "operators",
    params(("name" = String, Path)), request_body = PutLimits, responses(
        (status = OK, body = ParticipantView),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn put_limits(
    State(counter): State<Counter>,
    Path(name): Path<String>,
    Body(put): Body<PutLimits>,
) -> Result<Json<ParticipantView>, Problem> {
    let PutLimits { max_in_flight, rate, by, reason } = put;
    let by = signed(by, &reason)?;
    if max_in_flight.is_none() && rate.is_none() {
        let detail = "The body sets neither max_in_flight nor rate.";
        return Err(Problem::new(Code::BodyInvalid, detail).at("", "must set one of them"));
    }
    let max_in_flight = match max_in_flight {
        Some(Some(max)) if (0..=PARTICIPANT_IN_FLIGHT_MAX.into()).contains(&max) => {
            Some(i32::try_from(max).ok())
        }
        Some(Some(_)) => {
            let must = format!("must be 0 to {PARTICIPANT_IN_FLIGHT_MAX}, or null");
            return Err(refused("/max_in_flight", must));
        }
        other => other.map(|_| None),
    };
    if let Some(Some(rate)) = rate
        && !(PARTICIPANT_RATE_MIN..=PARTICIPANT_RATE_MAX).contains(&rate)
    {
        let must =
            format!("must be {PARTICIPANT_RATE_MIN} to {PARTICIPANT_RATE_MAX} a second, or null");
        return Err(refused("/rate", must));
    }
    counter.shop.limit(&name, &Change { max_in_flight, rate, by, reason }).await?;
    participant(State(counter), Path(name)).await
}

fn refused(pointer: &str, must: String) -> Problem {
    Problem::new(Code::BodyInvalid, format!("{pointer} {must}.")).at(pointer, must)
}

/// Whoever signs a change.
fn signed(by: Option<String>, reason: &str) -> Result<String, Problem> {
    let by = by.unwrap_or_else(|| "operator".to_owned());
    text("/by", &by, 1, NAME_CHARS_MAX)?;
    text("/reason", reason, 1, NOTE_CHARS_MAX)?;
    Ok(by)
}

/// What a circuit is to be.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    /// Held open: nobody is called.
    Open,
    /// Held closed: everybody is called, whatever becomes of it.
    Closed,
    /// Held no longer.
    Auto,
}

/// A circuit as it is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutCircuit {
    /// Whether to hold it, and how.
    state: Wanted,
    /// Who wants it; an operator if absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    by: Option<String>,
    /// Recorded with it.
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

/// Hold a participant's circuit open or closed, or let go of it.
#[utoipa::path(put, path = "/v1/participants/{name}/circuit", tag = "operators",
    params(("name" = String, Path)), request_body = PutCircuit, responses(
        (status = OK, body = ParticipantView),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn put_circuit(
    State(counter): State<Counter>,
    Path(name): Path<String>,
    Body(PutCircuit { state, by, reason }): Body<PutCircuit>,
) -> Result<Json<ParticipantView>, Problem> {
    let by = signed(by, &reason)?;
    let hold = match state {
        Wanted::Open => Hold::Open,
        Wanted::Closed => Hold::Closed,
        Wanted::Auto => Hold::Auto,
    };
    counter.shop.hold_circuit(&name, hold, &by, &reason).await?;
    participant(State(counter), Path(name)).await
}
