//! How Crema is set up: what can be said where ([`Settings`]), what it comes to ([`ServeConfig`]),
//! and every [limit](limits) of the product.
//!
//! A flag wins over a variable (`CREMA_*`, and `DATABASE_URL`), a variable over the TOML file, the
//! file over the default. What contradicts itself, or would be unsafe without having been asked
//! for, is refused at the start, with a text that says what to do.

mod database;
mod error;
pub mod limits;
mod pull;
mod settings;
pub mod steps;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

pub use database::{DatabaseArgs, DatabaseConfig};
pub use error::ConfigError;
pub use limits::HttpLimits;
pub use pull::KitchenPull;
pub use settings::{LogFormat, RehearseArgs, ServeArgs, Settings};
pub use steps::StepSettings;

/// Where the counter listens when nothing is said: the own machine only.
pub const LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// What the system says about who runs us, apart so that [`ServeConfig::resolve`] stays pure.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Whether root runs us.
    pub root: bool,
    /// `$XDG_DATA_HOME`.
    pub xdg_data_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
}

impl Surroundings {
    /// Asks the system.
    #[must_use]
    pub fn here() -> Self {
        let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|f| f.is_absolute());
        Self {
            root: nix::unistd::geteuid().is_root(),
            xdg_data_home: folder("XDG_DATA_HOME"),
            home: folder("HOME"),
        }
    }

    /// Where data lies when nothing is said; none when there is no home.
    #[must_use]
    pub fn data_dir(&self) -> Option<PathBuf> {
        if self.root {
            return Some(PathBuf::from("/var/lib/crema"));
        }
        let share = self.home.as_ref().map(|home| home.join(".local/share"));
        self.xdg_data_home.clone().or(share).map(|data| data.join("crema"))
    }
}

/// Who plays a participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Participant {
    /// A service of somebody else, at this base URL.
    Real(Url),
    /// A stand-in of the [`Rehearsal`].
    Rehearsed,
}

/// Where the stand-ins run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rehearsal {
    /// Nowhere: every participant is real.
    Off,
    /// In this process, or in a replica of the same database.
    Own,
    /// In a process of its own at this base URL; each stand-in's address is [`below`] it.
    Apart(Url),
}

/// The settings of `crema serve`, complete and free of contradictions.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The outside database; without one a private cluster lives in `data_dir`.
    pub database_url: Option<SecretString>,
    /// Where the private cluster and the rehearsal's ledger live.
    pub data_dir: PathBuf,
    /// The folder of Postgres's programs, when they should not be searched for.
    pub pg_bin: Option<PathBuf>,
    /// Who takes the money.
    pub payment: Participant,
    /// Who makes the coffee.
    pub kitchen: Participant,
    /// What workers pull instead of the kitchen.
    pub kitchen_pull: KitchenPull,
    /// Who tells the customer.
    pub notifier: Participant,
    /// Where the stand-ins run.
    pub rehearsal: Rehearsal,
    /// What notices are signed with; always there when the notifier is real, or an endpoint is named.
    pub notifier_secret: Option<SecretString>,
    /// Where else notices may go, by the names that orders say.
    pub notify_endpoints: BTreeMap<String, Url>,
    /// Whether a database that may lose acknowledged commits is accepted.
    pub unsafe_durability: bool,
    /// Whether it starts although orders are open of versions that this program does not have.
    pub allow_unknown_versions: bool,
    /// Whether orders without an idempotency key are refused.
    pub require_idempotency_key: bool,
    /// What was said of the steps' policies.
    pub steps: StepSettings,
    /// What the counter lets in.
    pub http: HttpLimits,
    /// How long this replica may be silent before the others take its orders over.
    pub lease: Duration,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What this replica is called, if somebody named it.
    pub replica_name: Option<String>,
}

impl ServeConfig {
    /// Reads the settings file, if one is named, and settles everything.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be used or the settings contradict themselves.
    pub fn load(args: ServeArgs) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().filter(|path| !path.as_os_str().is_empty());
        let file = file.map(read_file).transpose()?.unwrap_or_default();
        Self::resolve(args.settings, file, &Surroundings::here())
    }

    /// Settles everything: `said` (flags and variables) wins over `file`, which wins over defaults.
    ///
    /// # Errors
    /// [`ConfigError`] when the settings contradict themselves or would be unsafe.
    pub fn resolve(
        said: Settings,
        file: Settings,
        surroundings: &Surroundings,
    ) -> Result<Self, ConfigError> {
        let s = said.without_blanks().or(file.without_blanks());
        let listen = s.listen.unwrap_or(LISTEN_DEFAULT);
        if !listen.ip().is_loopback() && !s.insecure.unwrap_or(false) {
            return Err(ConfigError::Exposed(listen));
        }
        database::check_url(s.database_url.as_ref())?;
        let (participants, rehearsal) = participants(&s)?;
        let [payment, kitchen, notifier] = participants;
        if let Some(secret) = &s.notifier_secret {
            check_secret(secret)?;
        } else if matches!(notifier, Participant::Real(_)) {
            return Err(ConfigError::NotifierUnsigned { setting: "--notifier-url" });
        } else if s.notify_endpoint.is_some() {
            return Err(ConfigError::NotifierUnsigned { setting: "--notify-endpoint" });
        }
        let connections = s.max_connections.unwrap_or(HttpLimits::default().connections);
        if connections == 0 {
            return Err(ConfigError::NoConnections);
        }
        let lease_seconds = s.lease_seconds.unwrap_or(limits::LEASE_SECONDS_DEFAULT);
        if !(limits::LEASE_SECONDS_MIN..=limits::LEASE_SECONDS_MAX).contains(&lease_seconds) {
            return Err(ConfigError::Lease);
        }
        s.steps.check()?;
        let data_dir = s.data_dir.or_else(|| surroundings.data_dir());
        Ok(Self {
            listen,
            database_url: s.database_url,
            data_dir: data_dir.ok_or(ConfigError::NoDataDir)?,
            pg_bin: s.pg_bin,
            payment,
            kitchen,
            kitchen_pull: KitchenPull::parse(s.kitchen_pull.as_deref())?,
            notifier,
            rehearsal,
            notifier_secret: s.notifier_secret,
            notify_endpoints: notify_endpoints(s.notify_endpoint.as_deref().unwrap_or_default())?,
            unsafe_durability: s.unsafe_durability.unwrap_or(false),
            allow_unknown_versions: s.allow_unknown_versions.unwrap_or(false),
            require_idempotency_key: s.require_idempotency_key.unwrap_or(false),
            steps: s.steps,
            http: HttpLimits { connections, ..HttpLimits::default() },
            lease: Duration::from_secs(lease_seconds.into()),
            log_format: s.log_format.unwrap_or_default(),
            replica_name: s.replica_name,
        })
    }
}

/// Who plays payment, kitchen and notifier, and where the stand-ins among them run. Stand-ins are
/// self-evident with the private database; with an outside one somebody must have asked for them,
/// lest a forgotten URL make a shop hand out coffee against play money.
fn participants(s: &Settings) -> Result<([Participant; 3], Rehearsal), ConfigError> {
    let apart = http_url("--rehearsal-url", s.rehearsal_url.as_deref())?;
    if apart.is_some() && s.rehearsal == Some(false) {
        return Err(ConfigError::RehearsalContradiction);
    }
    let asked = apart.is_some() || s.rehearsal == Some(true);
    let allowed = asked || (s.rehearsal.is_none() && s.database_url.is_none());
    let settle =
        |participant, setting, said: &Option<String>| match http_url(setting, said.as_deref())? {
            Some(url) => Ok(Participant::Real(url)),
            None if allowed => Ok(Participant::Rehearsed),
            None => Err(ConfigError::NoParticipant { participant }),
        };
    let all = [
        settle("payment", "--payment-url", &s.payment_url)?,
        settle("kitchen", "--kitchen-url", &s.kitchen_url)?,
        settle("notifier", "--notifier-url", &s.notifier_url)?,
    ];
    let rehearsal = match (all.contains(&Participant::Rehearsed), apart) {
        (true, Some(url)) => Rehearsal::Apart(url),
        (true, None) => Rehearsal::Own,
        (false, _) if asked => return Err(ConfigError::NothingToRehearse),
        (false, _) => Rehearsal::Off,
    };
    Ok((all, rehearsal))
}

/// Named endpoints, each once.
fn notify_endpoints(said: &[String]) -> Result<BTreeMap<String, Url>, ConfigError> {
    let mut endpoints = BTreeMap::new();
    for endpoint in said {
        let (name, url) = endpoint.split_once('=').ok_or(ConfigError::NotifyEndpoint)?;
        let is_plain = |it: char| it.is_ascii_alphanumeric() || "._-".contains(it);
        let is_name = (1..=128).contains(&name.len()) && name.chars().all(is_plain);
        let url = http_url("--notify-endpoint", Some(url)).ok().flatten();
        let (Some(url), true) = (url, is_name) else { return Err(ConfigError::NotifyEndpoint) };
        if endpoints.insert(name.to_owned(), url).is_some() {
            return Err(ConfigError::NotifyEndpoint);
        }
    }
    Ok(endpoints)
}

/// The address of `name` below a base URL, whether or not that ends in a slash.
#[must_use]
pub fn below(base: &Url, name: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{name}", base.path().trim_end_matches('/')));
    url
}

fn http_url(setting: &'static str, text: Option<&str>) -> Result<Option<Url>, ConfigError> {
    let Some(text) = text else { return Ok(None) };
    let plain = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    Url::parse(text).ok().filter(plain).map(Some).ok_or(ConfigError::Url { setting })
}

fn check_secret(secret: &SecretString) -> Result<(), ConfigError> {
    let key = secret.expose_secret().strip_prefix("whsec_").and_then(|k| STANDARD.decode(k).ok());
    key.filter(|k| (24..=64).contains(&k.len())).map(drop).ok_or(ConfigError::NotifierSecret)
}

fn read_file(path: &Path) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse_file(path, &text)
}

fn parse_file(path: &Path, text: &str) -> Result<Settings, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::File {
        path: path.to_owned(),
        line: error
            .span()
            .map_or(1, |at| text.bytes().take(at.start).filter(|b| *b == b'\n').count() + 1),
        message: error.message().to_owned(),
    })
}

#[cfg(test)]
mod tests;
