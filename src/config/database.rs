//! Where the database is, for commands that need nothing else.

use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::{ConfigError, Settings, Surroundings, read_file, settings::folder};

/// The arguments that say where the database is; `crema serve` has the same.
#[derive(Debug, Clone, Default, Args)]
pub struct DatabaseArgs {
    /// Read settings from this TOML file; flags and variables win over it
    #[arg(long, env = "CREMA_CONFIG", value_name = "FILE", value_parser = folder())]
    pub config: Option<PathBuf>,
    /// The Postgres database; without it the private one in the data folder
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<SecretString>,
    /// Where the private database lives [default: /var/lib/crema for root, else
    /// ~/.local/share/crema]
    #[arg(long, env = "CREMA_DATA_DIR", value_name = "DIR", value_parser = folder())]
    pub data_dir: Option<PathBuf>,
    /// The folder of Postgres's programs (initdb, postgres) [default: searched for]
    #[arg(long, env = "CREMA_PG_BIN", value_name = "DIR", value_parser = folder())]
    pub pg_bin: Option<PathBuf>,
}

/// Where the database is.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// The outside database; without one a private cluster lives in `data_dir`.
    pub url: Option<SecretString>,
    /// Where the private cluster lives.
    pub data_dir: PathBuf,
    /// The folder of Postgres's programs, when they should not be searched for.
    pub pg_bin: Option<PathBuf>,
}

impl DatabaseConfig {
    /// Reads the settings file, if one is named, and settles where the database is. The strengths are those of
    /// `crema serve`, and the file may be the same.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be used, or there is no such place.
    pub fn load(args: DatabaseArgs) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().filter(|path| !path.as_os_str().is_empty());
        let file = file.map(read_file).transpose()?.unwrap_or_default();
        let DatabaseArgs { database_url, data_dir, pg_bin, .. } = args;
        let said = Settings { database_url, data_dir, pg_bin, ..Settings::default() };
        let s = said.without_blanks().or(file.without_blanks());
        check_url(s.database_url.as_ref())?;
        let data_dir = s.data_dir.or_else(|| Surroundings::here().data_dir());
        let data_dir = data_dir.ok_or(ConfigError::NoDataDir)?;
        Ok(Self { url: s.database_url, data_dir, pg_bin: s.pg_bin })
    }
}

/// Refuses a database's URL that is none of Postgres's.
pub(super) fn check_url(url: Option<&SecretString>) -> Result<(), ConfigError> {
    let postgres = ["postgres://", "postgresql://"];
    let is_ours =
        |url: &SecretString| postgres.iter().any(|it| url.expose_secret().starts_with(it));
    if url.is_none_or(is_ours) { Ok(()) } else { Err(ConfigError::DatabaseUrl) }
}
