//! What keeps a step from being called.

use jiff::Timestamp;

use super::{WaitsFor, second};

/// What stands between an order and the participant of its step at hand. No attempt has begun.
#[derive(Debug, Clone, PartialEq)]
pub enum HeldUp {
    /// As many calls are in flight as may be.
    Slot {
        /// Whom it would call.
        participant: &'static str,
        /// Calls in flight.
        in_use: u32,
        /// Calls in flight at most.
        max: u32,
    },
    /// As many calls have gone out as may a second.
    Rate {
        /// Whom it would call.
        participant: &'static str,
        /// Calls a second at most.
        rate: f64,
    },
    /// The participant does not answer, or an operator says that it is not to be called.
    Circuit {
        /// Whom it would call.
        participant: &'static str,
        /// Since when.
        since: Timestamp,
        /// When it is called the next time, to see; none while that is being done.
        next_probe_at: Option<Timestamp>,
        /// Whether an operator holds it open.
        held: bool,
    },
}

impl HeldUp {
    pub(super) fn waits_for(&self) -> WaitsFor {
        match self {
            Self::Slot { .. } => WaitsFor::Slot,
            Self::Rate { .. } => WaitsFor::Rate,
            Self::Circuit { .. } => WaitsFor::Circuit,
        }
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        match self {
            Self::Circuit { next_probe_at, .. } => *next_probe_at,
            Self::Slot { .. } | Self::Rate { .. } => None,
        }
    }

    /// What is waited for, and what follows; and what went wrong before, if anything did.
    pub(super) fn told(&self, who: &str, what: &str, error: Option<&str>) -> String {
        let then = format!("then {who} is asked to {what}");
        let told = match self {
            Self::Slot { participant, max: 0, .. } => {
                format!("waiting for a slot: an operator lets nobody call {participant}; {then}")
            }
            Self::Slot { participant, in_use, max } => {
                format!("waiting for a slot: {in_use} of {max} in {participant}; {then}")
            }
            Self::Rate { participant, rate } => {
                format!("waiting for the rate of {participant} ({rate} a second); {then}")
            }
            Self::Circuit { participant, since, held: true, .. } => {
                let since = second(*since);
                format!(
                    "an operator holds {participant}'s circuit open since {since}; {then} when it is closed"
                )
            }
            Self::Circuit { participant, since, next_probe_at, .. } => {
                let probe = match next_probe_at {
                    Some(at) => format!("the next probe is at {}", second(*at)),
                    None => "a probe is under way".to_owned(),
                };
                let since = second(*since);
                format!(
                    "{participant}'s circuit is open since {since}; {probe}; {then} when it answers"
                )
            }
        };
        let error = error.map(|it| format!("; the attempt before ended with {it}"));
        format!("{told}{}", error.unwrap_or_default())
    }
}
