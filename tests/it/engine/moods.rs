//! How the toy participants behave.

use serde::{Deserialize, Serialize};

/// How a participant behaves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Mood {
    /// It did not happen and will not.
    Refuse,
    /// The first answers are lost, and whether it happened is this.
    Doubt { times: u32, happens: bool },
    /// The first attempts need a person.
    Attention { times: u32 },
    /// The first answer is lost, and whether it happened is this; the second says that it did not.
    DoubtThenRefuse { happens: bool },
    /// It happens, and no answer ever comes.
    Hang,
    /// No answer until it is asked to stop.
    Polite,
    /// In doubt at first, then like `Polite`.
    DoubtThenPolite { times: u32 },
    /// The first answer is lost; then like `Gate`.
    DoubtThenGate,
    /// Waits for [`World::open`], and then the answer is lost.
    GateThenDoubt,
    /// Waits for [`World::open`], then for the signal `go`, unless that has come.
    GateThenWait,
    /// Nobody knows, and to try again is of no use.
    GiveUp,
    /// Waits for [`World::open`], then it happens.
    Gate,
    /// The code panics at first.
    Panic { times: u32 },
    /// One heartbeat, then silence.
    Silent,
    /// Many heartbeats, for longer than the silence that is allowed, then done.
    Lively,
    /// Tells of a milestone, then waits like `Gate`.
    Reach,
    /// The participant wishes for a later attempt.
    Later { ms: u64 },
}
