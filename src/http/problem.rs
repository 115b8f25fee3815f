//! What every refusal looks like: RFC 9457 `application/problem+json` with a stable code.

use std::collections::BTreeMap;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::config::limits::RETRY_AFTER_SECONDS;

/// One line a code: its name in Rust and on the wire, its status, its title.
macro_rules! codes {
    ($($name:ident $wire:literal $status:literal $title:literal;)+) => {
        /// Why a request was refused, for programs. The set is closed; a code keeps its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
        pub enum Code {
            $(#[doc = $title] #[serde(rename = $wire)] $name,)+
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $wire,)+ }
            }

            /// The code as a URI reference, a problem's `type`.
            #[must_use]
            pub const fn kind(self) -> &'static str {
                match self { $(Self::$name => concat!("/problems/", $wire),)+ }
            }

            /// The HTTP status it comes with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// The same text for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

codes! {
    BadRequest "bad_request" 400 "The request is malformed";
    BodyUnreadable "body_unreadable" 400 "The body is not JSON";
    InvalidId "invalid_id" 400 "The address holds a malformed id";
    InvalidCursor "invalid_cursor" 400 "The cursor is not one that this server gave out";
    InvalidQuery "invalid_query" 400 "The query cannot be understood";
    IdempotencyKeyInvalid "idempotency_key_invalid" 400 "The idempotency key is malformed";
    IdempotencyKeyRequired "idempotency_key_required" 400 "An idempotency key is required";
    WrongCode "wrong_code" 403 "The pickup code is not this order's";
    NotFound "not_found" 404 "There is no such thing";
    NotPlacedYet "not_placed_yet" 404 "The order had not been placed by then";
    MethodNotAllowed "method_not_allowed" 405 "The method cannot be used here";
    BodyTimeout "body_timeout" 408 "The body did not arrive in time";
    OutOfStock "out_of_stock" 409 "There is not enough in stock";
    PriceChanged "price_changed" 409 "The price is another one by now";
    ShopClosed "shop_closed" 409 "The shop takes no orders at the moment";
    InProgress "in_progress" 409 "The first request with this key is still being worked on";
    TooLate "too_late" 409 "It is too late for that";
    StockConflict "stock_conflict" 409 "The stock does not allow that";
    OrderClosed "order_closed" 409 "The order has ended";
    TooManySignals "too_many_signals" 409 "The order has received too many signals";
    AlreadyStarted "already_started" 409 "The order has been begun";
    AlreadyDecided "already_decided" 409 "That has been decided already";
    NotParked "not_parked" 409 "The order does not need a person";
    AlreadyCollected "already_collected" 409 "The order has been collected already";
    NotReady "not_ready" 409 "The order is not ready yet";
    LeaseLost "lease_lost" 409 "The task is not this worker's any more";
    TaskWithdrawn "task_withdrawn" 409 "The task is not wanted any more";
    TaskDone "task_done" 409 "The task has ended already";
    ScheduleLimit "schedule_limit" 409 "There are as many schedules as there may be";
    CursorExpired "cursor_expired" 410 "What came after this position is not kept any more";
    VersionChanged "version_changed" 412 "The order is another one by now";
    BodyTooLarge "body_too_large" 413 "The body is too large";
    UnsupportedMediaType "unsupported_media_type" 415 "The body must be application/json";
    BodyInvalid "body_invalid" 422 "The body does not hold what it should";
    ItemUnknown "item_unknown" 422 "There is no such item on the menu";
    EndpointUnknown "endpoint_unknown" 422 "There is no such endpoint for notices";
    CronInvalid "cron_invalid" 422 "The cron expression cannot be used";
    TimeZoneUnknown "time_zone_unknown" 422 "There is no such time zone";
    QuantityLimit "quantity_limit" 422 "The order is larger than one order may be";
    SeqBeyondEnd "seq_beyond_end" 422 "The order's journal is not that long";
    QueryConflict "query_conflict" 422 "The query asks for what excludes each other";
    IdempotencyKeyReused "idempotency_key_reused" 422 "The idempotency key was used for another body";
    RehearsalOnly "rehearsal_only" 422 "That can only be asked of a rehearsal";
    PickupTimeInvalid "pickup_time_invalid" 422 "Nobody can keep that time";
    SignalReserved "signal_reserved" 422 "That signal has a route of its own";
    SettlementUnfit "settlement_unfit" 422 "The step cannot have ended like that";
    CardNumberRefused "card_number_refused" 422 "Card numbers do not belong here";
    PreconditionRequired "precondition_required" 428 "Say which version of the order is meant";
    Internal "internal" 500 "The server failed";
    AtCapacity "at_capacity" 503 "The shop has as many open orders as it can take";
    Overloaded "overloaded" 503 "The server has as many requests as it can take";
    Unavailable "unavailable" 503 "The server cannot answer this at the moment";
    OutcomeUnknown "outcome_unknown" 503 "Whether it happened is unknown: ask again with the same key";
}

/// A refusal.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// A URI reference that names the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "/problems/out_of_stock")]
    pub kind: &'static str,
    /// The same text for every problem of this kind.
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 409)]
    pub status: u16,
    /// What is wrong this time, and what can be done.
    pub detail: String,
    /// The path that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The kind of problem, for programs.
    pub code: Code,
    /// What to tell the operator, who finds it in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What is wrong with which part of the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Members that only this kind has.
    #[serde(flatten)]
    pub extra: BTreeMap<&'static str, Value>,
    /// When to come again, in seconds; sent as `Retry-After`.
    #[serde(skip)]
    pub retry_after_seconds: Option<u32>,
}

/// What is wrong with one part of the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) into the body.
    #[schema(example = "/items/0/quantity")]
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

impl Problem {
    /// A problem of this kind. Those that are over soon say when to come again.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let passing = code.status() == 503 || code == Code::InProgress;
        Self {
            kind: code.kind(),
            title: code.title(),
            status: code.status(),
            detail: detail.into(),
            instance: None,
            code,
            request_id: None,
            errors: Vec::new(),
            extra: BTreeMap::new(),
            retry_after_seconds: passing.then_some(RETRY_AFTER_SECONDS),
        }
    }

    /// Our own failure. What it was stands in the log and not in the answer.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(Code::Internal, "The request id finds this failure in the server's log.")
    }

    /// Names the part of the body that is wrong.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// Adds a member that only this kind has.
    #[must_use]
    pub fn with(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        self.extra.insert(member, value.into());
        self
    }

    /// Says when to come again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Adds to an answer that is a problem where it occurred and under which id. Such answers carry
    /// their problem along, because what makes them knows neither.
    pub(super) fn complete(mut response: Response, path: &str, request_id: &str) -> Response {
        let Some(mut problem) = response.extensions_mut().remove::<Self>() else { return response };
        problem.instance = Some(path.to_owned());
        problem.request_id = Some(request_id.to_owned());
        *response.body_mut() = problem.to_json().into();
        response
    }

    fn to_json(&self) -> Vec<u8> {
        // Text keys and plain values always serialize; an empty body is the honest remainder.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let json = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, json)], self.to_json()).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_is_sound() {
        let mut wires = HashSet::new();
        for code in Code::ALL {
            let wire = code.as_str();
            assert!(wires.insert(wire), "{wire} stands twice");
            assert!(wire.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{wire}");
            assert_eq!(serde_json::to_value(code).unwrap(), wire);
            let status = StatusCode::from_u16(code.status()).unwrap();
            assert!(status.is_client_error() || status.is_server_error(), "{wire}");
            assert!(!code.title().is_empty() && !code.title().ends_with('.'), "{wire}");
        }
    }

    #[test]
    fn a_problem_is_flat_json_with_its_extra_members() {
        let problem = Problem::new(Code::OutOfStock, "2 espresso are left.")
            .at("/items/0/quantity", "at most 2")
            .with("available", 2);
        let json = serde_json::to_value(&problem).unwrap();
        let want = serde_json::json!({
            "type": "/problems/out_of_stock", "title": "There is not enough in stock",
            "status": 409, "detail": "2 espresso are left.", "code": "out_of_stock",
            "errors": [{"pointer": "/items/0/quantity", "detail": "at most 2"}], "available": 2,
        });
        assert_eq!(json, want);
    }

    #[test]
    fn what_is_over_soon_says_when_to_come_again() {
        for code in Code::ALL {
            let response = Problem::new(*code, "").into_response();
            let says = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(says, code.status() == 503 || *code == Code::InProgress, "{code:?}");
        }
        let response = Problem::new(Code::AtCapacity, "").retry_after(7).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
    }
}
