//! What `crema order` tells an order after it was placed.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{client::Client, error::CliError};

/// What an order can be told.
#[derive(Debug, Subcommand)]
pub enum Tell {
    /// Make the next attempt of a waiting or parked order now
    Retry {
        /// The order's id
        id: String,
        /// Why, for the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// Send an order a signal
    Signal {
        /// The order's id
        id: String,
        /// The signal's name
        name: String,
        /// What it says: JSON
        #[arg(long, default_value = "null", value_parser = value)]
        data: Value,
        /// The same name and key count once
        #[arg(long)]
        key: Option<String>,
    },
    /// Begin no step of an order any more
    Pause {
        /// The order's id
        id: String,
        /// Why, for the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// Go on with an order that was paused
    Resume {
        /// The order's id
        id: String,
        /// Why, for the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// Move the pickup time of a pre-order that has not been begun
    Move {
        /// The order's id
        id: String,
        /// When it is to be ready (RFC 3339)
        pickup_at: String,
    },
    /// Tell what became of the step for which an order is parked
    Resolve {
        /// The order's id
        id: String,
        /// Whether it happened
        outcome: Outcome,
        /// What it left, if it happened: JSON, as the step itself would have
        #[arg(long, value_parser = value)]
        output: Option<Value>,
        /// Why not, if it did not: a stable code
        #[arg(long, default_value = "settled_by_hand")]
        code: String,
        /// Who says so
        #[arg(long)]
        by: String,
        /// How they know
        #[arg(long)]
        reason: String,
    },
}

/// Whether a step happened.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Outcome {
    /// It did
    Done,
    /// It did not, and will not
    Refused,
}

fn value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))
}

/// Tells it, and returns the order.
pub(super) async fn tell(client: &Client, tell: Tell) -> Result<Value, CliError> {
    let told = |id: String, what: &'static str, reason: Option<String>| async move {
        let body = reason.map_or_else(|| json!({}), |it| json!({ "reason": it }));
        client.post(&["v1", "orders", &id, what], &[], &body, None).await
    };
    match tell {
        Tell::Retry { id, reason } => told(id, "retry", reason).await,
        Tell::Pause { id, reason } => told(id, "pause", reason).await,
        Tell::Resume { id, reason } => told(id, "resume", reason).await,
        Tell::Signal { id, name, data, key } => {
            let (path, body) = (["v1", "orders", &id, "signals", &name], json!({ "data": data }));
            client.post(&path, &[], &body, key.as_deref()).await
        }
        Tell::Move { id, pickup_at } => {
            let order = client.get(&["v1", "orders", &id], &[]).await?;
            let tag = format!("\"{}\"", order["version"]);
            let body = json!({ "pickup_at": pickup_at });
            client.patch(&["v1", "orders", &id], &body, &tag).await
        }
        Tell::Resolve { id, outcome, output, code, by, reason } => {
            let body = match outcome {
                Outcome::Done => {
                    json!({ "outcome": "done", "output": output, "by": by, "reason": reason })
                }
                Outcome::Refused => {
                    json!({ "outcome": "refused", "code": code, "by": by, "reason": reason })
                }
            };
            client.post(&["v1", "orders", &id, "resolve"], &[], &body, None).await
        }
    }
}
