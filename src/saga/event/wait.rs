//! What a saga waits for, and what others tell it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a step waits for: a time, signals, or whichever comes first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Milliseconds since 1970 by the database's clock; `None` waits for signals alone.
    pub until_ms: Option<i64>,
    /// The names of the signals that end the wait.
    pub signals: Vec<String>,
    /// What for, in words that follow "waits": `for the barista`.
    pub what: String,
    /// Why a person is needed meanwhile, in a stable code, if one is.
    pub attention: Option<String>,
}

impl Wait {
    /// Until this time.
    pub fn until(at: Timestamp, what: impl Into<String>) -> Self {
        let until_ms = Some(at.as_millisecond());
        Self { until_ms, what: what.into(), ..Self::default() }
    }

    /// Until this signal comes.
    pub fn signal(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self { signals: vec![name.into()], what: what.into(), ..Self::default() }
    }

    /// Or until this signal comes.
    pub fn or_signal(mut self, name: impl Into<String>) -> Self {
        self.signals.push(name.into());
        self
    }

    /// A person is needed meanwhile, for this reason: the saga is listed as one that needs attention.
    pub fn needing(mut self, reason: impl Into<String>) -> Self {
        self.attention = Some(reason.into());
        self
    }

    /// Or until this time.
    pub fn or_until(mut self, at: Timestamp) -> Self {
        self.until_ms = Some(at.as_millisecond());
        self
    }
}

/// A signal that was received.
#[derive(Debug, Clone)]
pub struct Signal {
    /// The number of its line.
    pub seq: i32,
    /// Its name.
    pub name: String,
    /// What tells repetitions of one signal apart from others, where the sender gave it.
    pub key: Option<String>,
    /// What it says, as JSON.
    pub data: Arc<RawValue>,
}

/// A saga that was paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub at_ms: i64,
    /// What was left of the wait at hand, in milliseconds.
    pub left_ms: Option<u64>,
}

/// What a person tells of a step that needed one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Settlement {
    /// It happened, or was taken back, and left this.
    Done {
        /// As the step itself, or its compensation, would have left it.
        output: serde_json::Value,
    },
    /// It did not happen and will not.
    Refused {
        /// A stable code.
        code: String,
    },
}
