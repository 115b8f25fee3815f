//! The settings as they can be said: one list for flags, variables and the file.

use std::{net::SocketAddr, path::PathBuf};

use clap::{
    Args, ValueEnum,
    builder::{BoolishValueParser, OsStringValueParser, TypedValueParser},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::steps::StepSettings;

/// The arguments of `crema serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Read settings from this TOML file; flags and variables win over it
    #[arg(long, env = "CREMA_CONFIG", value_name = "FILE", value_parser = folder())]
    pub config: Option<PathBuf>,
    /// Everything that may also stand in the file.
    #[command(flatten)]
    pub settings: Settings,
}

/// The arguments of `crema rehearse`: the stand-in participants as a process of their own.
#[derive(Debug, Clone, Args)]
pub struct RehearseArgs {
    /// Where the stand-ins listen
    #[arg(long, env = "CREMA_REHEARSAL_LISTEN", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Where their ledger lies [default: a folder `rehearsal` in the server's data folder]
    #[arg(long, env = "CREMA_REHEARSAL_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Paths, of which clap's own parser refuses the empty one.
pub(super) fn folder() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise
    #[default]
    Auto,
    /// One line for people
    Human,
    /// One JSON object a line
    Json,
}

/// What can be set, as said: nothing has a default here, so that the strengths can be told apart.
/// An empty URL, secret, name or path counts as not said, because compose files pass unset
/// variables on as empty ones.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, env = "CREMA_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// The Postgres database; without it a private one is started in the data folder
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<SecretString>,
    /// Where the private database and the rehearsal's ledger live [default: /var/lib/crema for
    /// root, else ~/.local/share/crema]
    #[arg(long, env = "CREMA_DATA_DIR", value_name = "DIR", value_parser = folder())]
    pub data_dir: Option<PathBuf>,
    /// The folder of Postgres's programs (initdb, postgres) [default: searched for]
    #[arg(long, env = "CREMA_PG_BIN", value_name = "DIR", value_parser = folder())]
    pub pg_bin: Option<PathBuf>,
    /// The payment provider's base URL
    #[arg(long, env = "CREMA_PAYMENT_URL", value_name = "URL")]
    pub payment_url: Option<String>,
    /// The kitchen's base URL
    #[arg(long, env = "CREMA_KITCHEN_URL", value_name = "URL")]
    pub kitchen_url: Option<String>,
    /// Let workers pull what is ordered from task queues, instead of handing it to the kitchen: `all`, or the
    /// stations whose items they pull, with commas between them
    #[arg(long, env = "CREMA_KITCHEN_PULL", value_name = "all|STATION,...")]
    pub kitchen_pull: Option<String>,
    /// The URL that signed notices are sent to
    #[arg(long, env = "CREMA_NOTIFIER_URL", value_name = "URL")]
    pub notifier_url: Option<String>,
    /// The secret that notices are signed with (whsec_…)
    #[arg(long, env = "CREMA_NOTIFIER_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub notifier_secret: Option<SecretString>,
    /// An endpoint that orders may name for their notices, signed with the same secret; several are given
    /// by several flags, or with commas between them
    #[arg(long, env = "CREMA_NOTIFY_ENDPOINT", value_name = "NAME=URL", value_delimiter = ',')]
    pub notify_endpoint: Option<Vec<String>>,
    /// Let built-in stand-ins play every participant that has no URL
    #[arg(long, env = "CREMA_REHEARSAL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    pub rehearsal: Option<bool>,
    /// Use the stand-ins of a `crema rehearse` at this base URL
    #[arg(long, env = "CREMA_REHEARSAL_URL", value_name = "URL")]
    pub rehearsal_url: Option<String>,
    /// Allow an address that others can reach, though there is no access control
    #[arg(long, env = "CREMA_INSECURE", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    pub insecure: Option<bool>,
    /// Start although the database may lose acknowledged commits (fsync or synchronous_commit off)
    #[arg(long, env = "CREMA_UNSAFE_DURABILITY", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    pub unsafe_durability: Option<bool>,
    /// Start although orders are open of versions that this program does not have; they wait for a replica
    /// that has them
    #[arg(long, env = "CREMA_ALLOW_UNKNOWN_VERSIONS", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    pub allow_unknown_versions: Option<bool>,
    /// Refuse orders without an Idempotency-Key
    #[arg(long, env = "CREMA_REQUIRE_IDEMPOTENCY_KEY", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    pub require_idempotency_key: Option<bool>,
    /// The most open HTTP connections [default: 4096]
    #[arg(long, env = "CREMA_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<usize>,
    /// How many seconds a replica may be silent before the others take its orders over [default: 10]
    #[arg(long, env = "CREMA_LEASE_SECONDS", value_name = "N")]
    pub lease_seconds: Option<u32>,
    /// How log lines look [default: auto]
    #[arg(long, env = "CREMA_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What this replica is called in lists and histories [default: the address it listens on; the
    /// machine's name and the port where it listens on all addresses]
    #[arg(long, env = "CREMA_REPLICA_NAME", value_name = "NAME")]
    pub replica_name: Option<String>,
    /// The policies of an order's steps.
    #[command(flatten)]
    pub steps: StepSettings,
}

impl Settings {
    /// What is said here, and for the rest what `weaker` says.
    #[must_use]
    pub fn or(self, weaker: Self) -> Self {
        Self {
            listen: self.listen.or(weaker.listen),
            database_url: self.database_url.or(weaker.database_url),
            data_dir: self.data_dir.or(weaker.data_dir),
            pg_bin: self.pg_bin.or(weaker.pg_bin),
            payment_url: self.payment_url.or(weaker.payment_url),
            kitchen_url: self.kitchen_url.or(weaker.kitchen_url),
            kitchen_pull: self.kitchen_pull.or(weaker.kitchen_pull),
            notifier_url: self.notifier_url.or(weaker.notifier_url),
            notifier_secret: self.notifier_secret.or(weaker.notifier_secret),
            notify_endpoint: self.notify_endpoint.or(weaker.notify_endpoint),
            rehearsal: self.rehearsal.or(weaker.rehearsal),
            rehearsal_url: self.rehearsal_url.or(weaker.rehearsal_url),
            insecure: self.insecure.or(weaker.insecure),
            unsafe_durability: self.unsafe_durability.or(weaker.unsafe_durability),
            allow_unknown_versions: self.allow_unknown_versions.or(weaker.allow_unknown_versions),
            require_idempotency_key: self
                .require_idempotency_key
                .or(weaker.require_idempotency_key),
            max_connections: self.max_connections.or(weaker.max_connections),
            lease_seconds: self.lease_seconds.or(weaker.lease_seconds),
            log_format: self.log_format.or(weaker.log_format),
            replica_name: self.replica_name.or(weaker.replica_name),
            steps: self.steps.or(weaker.steps),
        }
    }

    /// Empty texts as not said, so that a weaker source may say them.
    #[must_use]
    pub fn without_blanks(mut self) -> Self {
        let blank = |text: &mut Option<String>| {
            text.take_if(|t| t.trim().is_empty());
        };
        for text in [
            &mut self.payment_url,
            &mut self.kitchen_url,
            &mut self.kitchen_pull,
            &mut self.notifier_url,
            &mut self.rehearsal_url,
            &mut self.replica_name,
        ] {
            blank(text);
        }
        if let Some(endpoints) = &mut self.notify_endpoint {
            endpoints.retain(|it| !it.trim().is_empty());
        }
        self.notify_endpoint.take_if(|it| it.is_empty());
        for secret in [&mut self.database_url, &mut self.notifier_secret] {
            secret.take_if(|s| s.expose_secret().trim().is_empty());
        }
        for folder in [&mut self.data_dir, &mut self.pg_bin] {
            folder.take_if(|f| f.as_os_str().is_empty());
        }
        self
    }
}
