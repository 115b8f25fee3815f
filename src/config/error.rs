//! Why settings are refused.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why the settings cannot be used; the text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the settings file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML, or says something that cannot be set. The text never quotes the file,
    /// which may hold secrets.
    #[error("the settings file {}, line {line}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 1 where none is known.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A setting that should be a URL is none.
    #[error("{setting} must be an http:// or https:// URL without user, query or fragment")]
    Url {
        /// The flag's name.
        setting: &'static str,
    },
    /// The database's URL is none of Postgres's. Its text is not shown, because it holds a password.
    #[error("DATABASE_URL must start with postgres:// or postgresql://")]
    DatabaseUrl,
    /// The address can be reached by others and there is no access control.
    #[error(
        "{0} can be reached from other machines, and there is no access control: listen on \
         127.0.0.1 behind a proxy that has one, or say --insecure"
    )]
    Exposed(SocketAddr),
    /// A participant is missing.
    #[error(
        "no {participant} is set up: give --{participant}-url (CREMA_{}_URL), or say --rehearsal \
         to let a built-in stand-in play it", participant.to_uppercase()
    )]
    NoParticipant {
        /// Which one.
        participant: &'static str,
    },
    /// Everything is real though a rehearsal was asked for.
    #[error(
        "a rehearsal was asked for, but --payment-url, --kitchen-url and --notifier-url are all \
         set, so that real money would move: drop one side"
    )]
    NothingToRehearse,
    /// A rehearsal was both refused and given an address.
    #[error("--rehearsal-url was given together with --rehearsal=false: drop one of them")]
    RehearsalContradiction,
    /// Notices that leave the rehearsal could not be signed.
    #[error(
        "{setting} needs --notifier-secret (CREMA_NOTIFIER_SECRET): make one with \
         `echo whsec_$(openssl rand -base64 32)`"
    )]
    NotifierUnsigned {
        /// The flag's name.
        setting: &'static str,
    },
    /// A named endpoint is malformed, or is there twice. Its text is not shown, because it may hold a secret.
    #[error(
        "--notify-endpoint must be NAME=URL: a name of at most 128 letters, digits and any of . _ -, each once, \
         and an http:// or https:// URL without user, query or fragment"
    )]
    NotifyEndpoint,
    /// What workers pull is no list of stations.
    #[error(
        "--kitchen-pull must be `all`, or names of stations with commas between them, each of at most {max} \
         lower-case letters, digits and any of . _ -", max = super::limits::QUEUE_CHARS_MAX
    )]
    KitchenPull,
    /// The signing secret is malformed. Its text is not shown.
    #[error("--notifier-secret must be whsec_ followed by 24 to 64 bytes in base64")]
    NotifierSecret,
    /// Nobody could connect.
    #[error("--max-connections must be at least 1")]
    NoConnections,
    /// The lease is too short or too long.
    #[error("--lease-seconds must be {min} to {max}, and the same for all replicas",
        min = super::limits::LEASE_SECONDS_MIN, max = super::limits::LEASE_SECONDS_MAX)]
    Lease,
    /// A step that is never tried.
    #[error("{setting} must be at least 1")]
    NoAttempts {
        /// The flag's name.
        setting: &'static str,
    },
    /// A time of a step that is none.
    #[error("{setting} must be a time of more than nothing and at most a day, like 30s or 15m")]
    StepTime {
        /// The flag's name.
        setting: &'static str,
    },
    /// There is no place for the private database.
    #[error("there is no home folder to keep data in: give --data-dir (CREMA_DATA_DIR)")]
    NoDataDir,
}
