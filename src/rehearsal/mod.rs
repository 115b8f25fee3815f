//! Stand-in participants: a payment provider, a kitchen and a notifier over real HTTP on loopback.
//!
//! They keep the contract of `docs/participants.md`, written down a second time and sharing no code
//! with the clients, so that the default run, the demo, the tests and the benchmarks exercise what a
//! real participant would. What they did is in an append-only [ledger](Line) that is on disk before
//! each answer: keys and tombstones survive a SIGKILL, and an audit can compare it with our books.
//! How they fail is their [mood](Mood), set for all through `PUT /moods` or for one order by the
//! header `Crema-Rehearse`.
//!
//! | route | |
//! |---|---|
//! | `/payment/…` `/kitchen/…` `/notifier/…` | the three participants |
//! | `GET /ledger?order_id=` | the ledger as a JSON array |
//! | `GET`, `PUT /moods` | moods, paces, and calls per participant |
//! | `GET /livez`, `GET /readyz` | 200 |

mod book;
mod control;
mod desk;
mod host;
mod kitchen;
mod ledger;
mod lookout;
mod moods;
mod notifier;
mod payment;
mod reply;
mod serve;

use std::{io, path::PathBuf};

pub use host::Stage;
pub use ledger::{Kind, Line};
pub use lookout::{Lookout, Presence};
pub use moods::{Area, Mood};
pub use serve::serve;
use url::Url;

use crate::config::below;

/// One of the three participants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The payment provider.
    Payment,
    /// The kitchen.
    Kitchen,
    /// The receiver of notices.
    Notifier,
}

impl Role {
    /// The participant's base URL, from the rehearsal's root.
    pub fn address(self, root: &Url) -> Url {
        let name = match self {
            Self::Payment => "payment",
            Self::Kitchen => "kitchen",
            Self::Notifier => "notifier",
        };
        below(root, name)
    }
}

/// Why a rehearsal ended.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// A file of the rehearsal cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line of the ledger that is not its last cannot be read: it was changed by hand, or the disk
    /// lost it. Keys and tombstones may be missing, so nothing is served.
    #[error("{}: line {line} cannot be read: {source}", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// No address to listen on, or the listener broke.
    #[error("the rehearsal cannot listen: {0}")]
    Listen(io::Error),
    /// The client that looks after rehearsals cannot be built.
    #[error("the rehearsal cannot be looked for: {0}")]
    Lookout(reqwest::Error),
    /// The ledger takes no more lines, because the rehearsal stops. The caller gets no answer.
    #[error("the ledger is closed")]
    Closed,
}
