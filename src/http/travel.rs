//! Going back in an order's life, and looking ahead: as it stood, what changed, whether its journal tells the truth,
//! and what a request would do.

use std::future::Future;

use axum::{
    Json,
    extract::State,
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    Counter,
    extract::{Path, Query},
    problem::{Code, Problem},
};
use crate::{
    saga::past::Moment,
    shop::{
        ShopError,
        dry_run::{DryCancellation, DryPlacing},
        order::NewOrder,
        past::{PastOrder, ReplayView},
    },
};

pub(super) fn routes() -> OpenApiRouter<Counter> {
    OpenApiRouter::new().routes(routes!(diff)).routes(routes!(replay))
}

/// Whether a request is only to be tried. A parameter of another name is refused: nobody is to place an order who
/// misspelt that he would not.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DryRunQuery {
    /// `true` answers what would be, and does nothing.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// The moment that a query names, if it names one.
pub(super) fn moment(at: Option<&str>, seq: Option<i32>) -> Result<Option<Moment>, Problem> {
    match (at, seq) {
        (None, None) => Ok(None),
        (None, Some(seq)) => line("seq", seq).map(Some),
        (Some(at), None) => match at.parse::<Timestamp>() {
            Ok(time) => Ok(Some(Moment::At(time))),
            Err(_) => Err(Problem::new(
                Code::InvalidQuery,
                "`at` is an RFC 3339 time, like 2026-11-24T21:30:00Z (a + is written %2B).",
            )),
        },
        (Some(_), Some(_)) => Err(excluded("`at` and `seq` name a moment each: send one.")),
    }
}

/// A refusal of parameters that exclude each other.
pub(super) fn excluded(detail: &str) -> Problem {
    Problem::new(Code::QueryConflict, detail)
}

fn line(name: &str, seq: i32) -> Result<Moment, Problem> {
    if seq < 1 {
        let detail = format!("`{name}` is the number of a line of the journal: they begin with 1.");
        return Err(Problem::new(Code::InvalidQuery, detail));
    }
    Ok(Moment::Line(seq))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// A line of the journal, from 1.
    from: i32,
    /// Another one; an earlier one shows what it takes to go back.
    to: i32,
}

/// What changed in an order between two lines of its journal.
#[derive(Debug, Serialize, ToSchema)]
struct Diff {
    /// The line it begins with.
    from: i32,
    /// The line it ends with.
    to: i32,
    /// A JSON Patch (RFC 6902), which makes the order at `from` the order at `to`.
    #[schema(value_type = Vec<Object>)]
    patch: json_patch::Patch,
    /// How the money changed.
    money: MoneyDelta,
}

/// A change of money, in minor units.
#[derive(Debug, Serialize, ToSchema)]
struct MoneyDelta {
    /// What was taken in between.
    captured: i64,
    /// What was returned in between.
    refunded: i64,
}

/// Compare an order with itself, at two lines of its journal.
#[utoipa::path(get, path = "/v1/orders/{id}/diff", tag = "orders",
    params(("id" = Uuid, Path), DiffQuery), responses(
        (status = OK, body = Diff),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json",
            description = "`seq_beyond_end`: the journal has no such line (yet)"),
    ))]
async fn diff(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
    Query(DiffQuery { from, to }): Query<DiffQuery>,
) -> Result<Json<Diff>, Problem> {
    let moments = [line("from", from)?, line("to", to)?];
    let shop = counter.shop.clone();
    let [before, after] =
        counter.spawned(async move { shop.find_pasts(id, moments).await }).await?;
    let (old, new) = (before.order.money, after.order.money);
    let money =
        MoneyDelta { captured: new.captured - old.captured, refunded: new.refunded - old.refunded };
    let patch = json_patch::diff(&json(&before)?, &json(&after)?);
    Ok(Json(Diff { from, to, patch, money }))
}

fn json(past: &PastOrder) -> Result<Value, Problem> {
    serde_json::to_value(&past.order).map_err(|_| Problem::internal())
}

/// Prove that an order's journal tells what is stored: its lines are folded from the first on, and the end is held
/// against the order's row, the ledger and the stock moves. Only reads.
#[utoipa::path(get, path = "/v1/orders/{id}/replay", tag = "operators", params(("id" = Uuid, Path)),
    responses(
        (status = OK, body = ReplayView),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    ))]
async fn replay(
    State(counter): State<Counter>,
    Path(id): Path<Uuid>,
) -> Result<Json<ReplayView>, Problem> {
    let shop = counter.shop.clone();
    counter.spawned(async move { shop.replay_journal(id).await }).await.map(Json)
}

/// Adds to an answer which line of the journal it shows the order after.
pub(super) fn as_of(seq: i32, mut response: Response) -> Response {
    response.headers_mut().insert("as-of-seq", HeaderValue::from(seq));
    response
}

impl Counter {
    /// An order as it stood.
    pub(super) async fn find_past(&self, id: Uuid, moment: Moment) -> Result<PastOrder, Problem> {
        let shop = self.shop.clone();
        self.spawned(async move { shop.find_past(id, moment).await }).await
    }

    /// What placing an order would do.
    pub(super) async fn dry_place(
        &self,
        new: NewOrder,
        key: Option<String>,
    ) -> Result<Response, Problem> {
        let shop = self.shop.clone();
        let dry: DryPlacing =
            self.spawned(async move { shop.dry_run_place(new, key).await }).await?;
        let replayed = dry.replayed;
        let mut response = Json(dry).into_response();
        if replayed {
            let yes = HeaderValue::from_static("true");
            response.headers_mut().insert("idempotent-replayed", yes);
        }
        Ok(response)
    }

    /// What cancelling an order would do.
    pub(super) async fn dry_cancel(
        &self,
        id: Uuid,
        by: &'static str,
        reason: Option<String>,
    ) -> Result<Response, Problem> {
        let shop = self.shop.clone();
        let work = async move { shop.dry_run_cancel(id, by, reason.as_deref()).await };
        let dry: DryCancellation = self.spawned(work).await?;
        Ok(Json(dry).into_response())
    }

    /// Work with the database, in a task that somebody waits for whatever becomes of the client: a connection is
    /// not given back in the middle of a transaction.
    pub(super) async fn spawned<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ShopError>> + Send + 'static,
    ) -> Result<T, Problem> {
        let done = self.tasks.spawn(work).await;
        done.unwrap_or(Err(ShopError::NotPlacing)).map_err(Into::into)
    }
}
