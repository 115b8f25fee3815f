//! The circuit breaker of a participant: what follows from what was heard of it. Pure, by the database's clock.
//!
//! It opens after some calls in a row of which nobody knows what became of them, over all replicas, and of
//! more than one saga: a call that fails again and again may be the fault of what it asks for. While it is open
//! nothing is called; then one call is made, by one replica, and what becomes of it decides.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A time by the database's clock, or a length of time, in microseconds.
pub type Micros = i64;

/// Sagas that are told apart in a streak of failures; more make no difference.
const SAGAS_TOLD_APART: usize = 8;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it.
    pub failures: u32,
    /// Sagas that they must be of, at least.
    pub sagas: u32,
    /// A silence that ends a streak of failures, in microseconds.
    pub window: Micros,
    /// How long it is open at first, in microseconds; it doubles with every probe that fails.
    pub open_first: Micros,
    /// How long it is open at most, in microseconds, unless the participant wishes for more.
    pub open_max: Micros,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        let second = 1_000_000;
        let (open_first, open_max) = (second, 30 * second);
        Self { failures: 5, sagas: 2, window: 60 * second, open_first, open_max }
    }
}

/// Failures in a row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    /// How many.
    pub failures: u32,
    /// Of which sagas, as far as they are told apart.
    pub sagas: Vec<Uuid>,
    /// When the last one was heard of.
    pub last: Micros,
}

/// Where a breaker stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are named after what the variants' comments say")]
pub enum Breaker {
    /// Calls go out.
    Closed {
        #[serde(default)]
        streak: Streak,
    },
    /// No call goes out until `probe_at`. It has opened `openings` times since it was closed.
    Open { since: Micros, probe_at: Micros, openings: u32 },
    /// One call goes out, at the replica `probe`.
    HalfOpen { since: Micros, openings: u32, probe: Uuid },
    /// An operator lets no call out.
    HeldOpen { since: Micros },
    /// An operator lets all calls out, whatever becomes of them.
    HeldClosed { since: Micros },
}

/// What was heard since the last report: whether any answer came, and then the failures after the last answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// An answer came, of whatever kind.
    pub answer: bool,
    /// Calls that failed after it.
    pub failures: u32,
    /// Of which sagas.
    pub sagas: Vec<Uuid>,
    /// The longest wish of the participant for a pause.
    pub retry_after: Option<Micros>,
}

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// The participant answers.
    Answer,
    /// It does not; with its wish for a pause.
    Failure(Option<Micros>),
    /// The call was given up for a reason of ours: nobody knows.
    Lost,
}

/// What happens to a breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stimulus {
    /// A replica reports what it heard.
    Heard(Heard),
    /// A replica would make the one call. `abandoned`: whoever was making it is dead.
    Probe {
        /// Which replica.
        by: Uuid,
        /// Whether the replica that was to make it is dead.
        abandoned: bool,
    },
    /// A replica tells what became of its probe.
    Probed(Uuid, Probed),
    /// An operator holds it.
    Hold(Hold),
}

/// What an operator wants of a breaker. A closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Let no call out.
    Open,
    /// Let all calls out.
    Closed,
    /// Hold it no longer.
    Auto,
}

impl Hold {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Auto => "auto",
        }
    }
}

impl Heard {
    /// Notes an answer.
    pub fn answered(&mut self) {
        *self = Self { answer: true, ..Self::default() };
    }

    /// Notes a failure.
    pub fn failed(&mut self, saga: Uuid, retry_after: Option<Micros>) {
        self.failures = self.failures.saturating_add(1);
        tell_apart(&mut self.sagas, saga);
        self.retry_after = self.retry_after.max(retry_after);
    }

    /// Whether nothing was heard.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What was heard first and could not be told, and then this.
    pub fn after(self, first: Self) -> Self {
        if self.answer {
            return self;
        }
        let mut sagas = first.sagas;
        for saga in self.sagas {
            tell_apart(&mut sagas, saga);
        }
        let failures = first.failures.saturating_add(self.failures);
        let retry_after = first.retry_after.max(self.retry_after);
        Self { answer: first.answer, failures, sagas, retry_after }
    }
}

fn tell_apart(sagas: &mut Vec<Uuid>, saga: Uuid) {
    if sagas.len() < SAGAS_TOLD_APART && !sagas.contains(&saga) {
        sagas.push(saga);
    }
}

impl Breaker {
    /// Closed, and nothing was heard.
    pub fn fresh() -> Self {
        Self::Closed { streak: Streak::default() }
    }

    /// Whether calls go out freely.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. } | Self::HeldClosed { .. })
    }

    /// Whether failures were heard of that have opened it not yet.
    pub fn is_suspect(&self) -> bool {
        matches!(self, Self::Closed { streak } if streak.failures > 0)
    }

    /// Its name, as it is counted and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
            Self::HeldOpen { .. } => "held_open",
            Self::HeldClosed { .. } => "held_closed",
        }
    }

    /// What follows. The one place where a breaker changes.
    pub fn next(&self, settings: &BreakerSettings, stimulus: &Stimulus, now: Micros) -> Self {
        use Stimulus::{Heard, Hold, Probe, Probed};
        match (self.clone(), stimulus) {
            (_, Hold(self::Hold::Open)) => Self::HeldOpen { since: now },
            (_, Hold(self::Hold::Closed)) => Self::HeldClosed { since: now },
            (Self::HeldOpen { .. } | Self::HeldClosed { .. }, Hold(self::Hold::Auto)) => {
                Self::fresh()
            }
            (same, Hold(self::Hold::Auto)) => same,

            (Self::Closed { streak }, Heard(heard)) => after(settings, streak, heard, now),
            (same @ Self::Closed { .. }, Probe { .. } | Probed(..)) => same,

            // What was called before it opened, and ended after.
            (Self::Open { since, probe_at, openings }, Heard(heard)) => {
                let wished = now + heard.retry_after.unwrap_or_default();
                Self::Open { since, probe_at: probe_at.max(wished), openings }
            }
            (Self::Open { since, probe_at, openings }, Probe { by, .. }) if now >= probe_at => {
                Self::HalfOpen { since, openings, probe: *by }
            }
            (same @ Self::Open { .. }, Probe { .. } | Probed(..)) => same,

            (Self::HalfOpen { since, openings, .. }, Probe { by, abandoned: true }) => {
                Self::HalfOpen { since, openings, probe: *by }
            }
            (Self::HalfOpen { since, openings, probe }, Probed(by, probed)) if probe == *by => {
                match probed {
                    self::Probed::Answer => Self::fresh(),
                    self::Probed::Failure(retry_after) => {
                        opened(settings, since, openings + 1, *retry_after, now)
                    }
                    self::Probed::Lost => Self::Open { since, probe_at: now, openings },
                }
            }
            (same @ Self::HalfOpen { .. }, Heard(_) | Probe { .. } | Probed(..)) => same,

            (same @ (Self::HeldOpen { .. } | Self::HeldClosed { .. }), _) => same,
        }
    }
}

/// A closed breaker after a report.
fn after(settings: &BreakerSettings, streak: Streak, heard: &Heard, now: Micros) -> Breaker {
    let is_over = heard.answer || now - streak.last > settings.window;
    let mut streak = if is_over { Streak::default() } else { streak };
    if heard.failures == 0 {
        return Breaker::Closed { streak };
    }
    streak.failures = streak.failures.saturating_add(heard.failures);
    streak.last = now;
    for saga in &heard.sagas {
        tell_apart(&mut streak.sagas, *saga);
    }
    let of_many = streak.sagas.len() as u64 >= u64::from(settings.sagas);
    if streak.failures >= settings.failures && of_many {
        return opened(settings, now, 1, heard.retry_after, now);
    }
    Breaker::Closed { streak }
}

/// Open: longer every time, up to a cap, and never shorter than the participant wishes.
fn opened(
    settings: &BreakerSettings,
    since: Micros,
    openings: u32,
    retry_after: Option<Micros>,
    now: Micros,
) -> Breaker {
    let doubled = settings.open_first.saturating_mul(1 << openings.saturating_sub(1).min(20));
    let wait = doubled.min(settings.open_max).max(retry_after.unwrap_or_default());
    Breaker::Open { since, probe_at: now + wait, openings }
}

#[cfg(test)]
mod tests;
