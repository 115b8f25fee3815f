//! Why a command of the client fails.

use std::{io, process::ExitCode};

/// Why a command fails. Texts of the server are shown without control characters.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The server said no, and why.
    #[error("{detail} ({code})")]
    Refused {
        /// What is wrong this time.
        detail: String,
        /// The kind of problem.
        code: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server did not answer, or stopped in the middle.
    #[error("cannot reach {server}: {reason}")]
    Unreachable {
        /// Its base URL.
        server: String,
        /// The innermost reason.
        reason: String,
    },
    /// The answer is not one of Crema's.
    #[error("{server} does not answer like a Crema server: {reason}")]
    Garbled {
        /// Its base URL.
        server: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The API's description cannot be made.
    #[error("the API's description cannot be made: {0}")]
    Description(String),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// 1 when the server refused, 2 when it could not be asked.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(if matches!(self, Self::Refused { .. }) { 1 } else { 2 })
    }

    /// Whether the reader of our output has left (`| head`), which is no failure.
    #[must_use]
    pub fn is_seen_enough(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether asking again soon may help.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Refused { status: 503, .. })
    }
}
