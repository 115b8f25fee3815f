//! Why a journal is not shown.

use crate::saga::{event::Illegal, line::Unreadable};

/// A journal that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// No line at all.
    #[error("the journal is empty")]
    Empty,
    /// The saga is of a version that is not registered here.
    #[error("version {version} of `{definition}` is not known here")]
    UnknownVersion {
        /// The definition's name.
        definition: String,
        /// The version.
        version: i32,
    },
    /// A line of an unknown kind.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Lines that do not add up.
    #[error(transparent)]
    Illegal(#[from] Illegal),
}

impl HistoryError {
    /// Whether a replica of another release can read it: nothing is wrong with the journal.
    pub fn is_of_another_release(&self) -> bool {
        match self {
            Self::UnknownVersion { .. } => true,
            Self::Unreadable(line) => line.is_of_unknown_kind(),
            Self::Empty | Self::Illegal(_) => false,
        }
    }
}
