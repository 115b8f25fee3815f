//! The private cluster: opening (creating, starting or adopting), sharing, supervising, closing.

use std::{
    fs::{self, File, TryLockError},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio_util::sync::CancellationToken;

use super::{
    binaries,
    error::{At, Error, Result},
    initdb,
    locks::{lock_file, lock_for_start},
    owner::{Owner, resolve},
    postmaster::{PORT, Places, SOCKET_PATH_MAX_BYTES},
};

/// What the server runs with; nothing is read from its configuration file that is said here.
pub const SETTINGS: &[&str] = &[
    // Only the Unix socket, in a folder of mode 0700: no other user and no network gets near.
    "listen_addresses=",
    "unix_socket_permissions=0700",
    // What is acknowledged survives a power cut. Never weakened.
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    // Room for the pools of several replicas on one machine.
    "max_connections=200",
    // The working set of a shop; small enough for a small machine.
    "shared_buffers=256MB",
    // A checkpoint makes the next change of every page a full page in the WAL, so they should be rare;
    // recovery after a crash replays at most this much.
    "checkpoint_timeout=5min",
    "max_wal_size=2GB",
    "wal_compression=on",
    // No replication from a private cluster; `wal_level` stays at what a backup by WAL needs.
    "wal_level=replica",
    "max_wal_senders=0",
    // Our statements are short: compiling them costs more than it gains.
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
];

/// Where a private cluster lives, and how.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The folder that holds all of it; made when it is not there.
    pub base: PathBuf,
    /// The folder of `postgres` and `initdb`; searched for when not given.
    pub bin_dir: Option<PathBuf>,
    /// `name=value` settings of the server, stronger than [`SETTINGS`].
    pub settings: Vec<String>,
    /// Breaks off an opening that is under way, which then leaves no server behind that nobody uses.
    pub stop: CancellationToken,
}

impl ClusterConfig {
    /// A cluster in the folder `base`, run by whatever programs are found, with [`SETTINGS`].
    pub fn new(base: impl Into<PathBuf>) -> Self {
        let stop = CancellationToken::new();
        Self { base: base.into(), bin_dir: None, settings: Vec::new(), stop }
    }
}

/// How [`Cluster::open`] came by its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// There was none in that folder; it was made.
    Created,
    /// It was there, and was started.
    Started,
    /// It was running: another process uses it, or one was killed and left it.
    Adopted,
}

/// This process's share in a private cluster. Dropping it gives the share up and leaves the server
/// running for the next process to adopt; [`close`](Cluster::close) stops it when nobody else uses it.
///
/// `start.lock` is held by whoever creates, starts or stops; `users.lock` is held, shared, for as long as
/// a process uses the cluster. The kernel frees both on any kind of death. All methods here block.
#[derive(Debug)]
pub struct Cluster {
    config: ClusterConfig,
    places: Places,
    how: How,
    password: SecretString,
    /// The shared lock on `users.lock`; none once it is closed.
    share: Mutex<Option<File>>,
}

impl Cluster {
    /// Takes a share in the cluster in `config.base`, which is created or started if need be. Blocks for
    /// some seconds, and for as long as recovery takes after a crash.
    pub fn open(config: ClusterConfig) -> Result<Self> {
        let owner = Owner::choose(&config.base.join("data"))?;
        owner.must_reach(&config.base, "--data-dir")?;
        owner.mkdir(&config.base)?;
        let places = Places::new(&resolve(&config.base)?);
        if places.socket().as_os_str().len() > SOCKET_PATH_MAX_BYTES {
            return Err(Error::SocketPath(places.base));
        }
        owner.mkdir(&places.sockets)?;
        let start = lock_for_start(&places.base, &owner, &config.stop)?;
        let share = lock_file(&places.base, "users.lock", &owner)?;
        share.lock_shared().at(&places.base)?;
        let how = match bring_up(&config, &places, &owner, &start) {
            Ok(how) => how,
            Err(error) => {
                // A server that was left alone, and was to be adopted, is not left alone once more.
                let ours = places.running().is_some_and(|pid| places.must_be_ours(pid).is_ok());
                if ours && let Err(also) = leave(&places, &share, &owner) {
                    tracing::warn!(error = %also, "the private PostgreSQL was not stopped");
                }
                return Err(error);
            }
        };
        let password = fs::read_to_string(&places.password).at(&places.password)?.into();
        tracing::info!(folder = %places.base.display(), ?how, "the private PostgreSQL is ready");
        Ok(Self { config, places, how, password, share: Mutex::new(Some(share)) })
    }

    /// Starts the server again if it has died under us. True if that was needed.
    ///
    /// A closed cluster is left alone, and one whose folder has vanished is an error: an empty cluster
    /// in place of the one in use would be worse than none.
    pub fn ensure_running(&self) -> Result<bool> {
        let share = self.share();
        if share.is_none() || self.places.running().is_some() {
            return Ok(false);
        }
        if !self.places.data.join("PG_VERSION").exists() {
            return Err(Error::Vanished(self.places.data.clone()));
        }
        let owner = Owner::choose(&self.places.data)?;
        let never = CancellationToken::new();
        let _start = lock_for_start(&self.places.base, &owner, &never)?;
        if let Some(pid) = self.places.running() {
            self.places.wait_ready(pid, None, &never)?; // another process was faster
            return Ok(false);
        }
        start_server(&self.config, &self.places, &owner, &never)?;
        Ok(true)
    }

    /// Gives up this process's share; the last one out stops the server. True if it was stopped. A second
    /// call does nothing.
    pub fn close(&self) -> Result<bool> {
        let mut share = self.share();
        let Some(lock) = share.as_ref() else { return Ok(false) };
        let owner = Owner::choose(&self.places.data)?;
        let _start = lock_for_start(&self.places.base, &owner, &CancellationToken::new())?;
        let stopped = leave(&self.places, lock, &owner)?;
        *share = None;
        Ok(stopped)
    }

    /// How this process came by the server.
    pub fn how(&self) -> How {
        self.how
    }

    /// The server's process id now; none while it is down.
    pub fn pid(&self) -> Option<i32> {
        self.places.running()
    }

    /// How to connect to one of its databases, as its only role.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.places.sockets)
            .port(PORT)
            .username(initdb::SUPERUSER)
            .password(self.password.expose_secret())
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// The same as a URL, for another program on this machine.
    pub fn url(&self, database: &str) -> SecretString {
        let folder = self.places.sockets.to_string_lossy();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("host", &folder)
            .append_pair("port", &PORT.to_string())
            .finish();
        let (user, password) = (initdb::SUPERUSER, self.password.expose_secret());
        format!("postgres://{user}:{password}@localhost/{database}?{query}").into()
    }

    fn share(&self) -> MutexGuard<'_, Option<File>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks once a second whether the server lives, and starts it again when it does not, until `stop`.
/// Failures are logged and tried again, at growing distances up to half a minute.
pub async fn supervise(cluster: Arc<Cluster>, stop: CancellationToken) {
    const EVERY: Duration = Duration::from_secs(1);
    const AT_MOST: Duration = Duration::from_secs(30);
    let mut pause = EVERY;
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        let watched = Arc::clone(&cluster);
        match tokio::task::spawn_blocking(move || watched.ensure_running()).await {
            Ok(Ok(restarted)) => {
                if restarted {
                    tracing::warn!("the private PostgreSQL had died; it was started again");
                }
                pause = EVERY;
            }
            Ok(Err(error)) => {
                pause = (pause * 2).min(AT_MOST);
                tracing::error!(%error, retry_in = ?pause, "the private PostgreSQL is down");
            }
            Err(error) => tracing::error!(%error, "the check of the private PostgreSQL was lost"),
        }
    }
}

/// Has the server run: the one that is there, one that is started, or one that is made.
fn bring_up(config: &ClusterConfig, places: &Places, owner: &Owner, start: &File) -> Result<How> {
    if let Some(pid) = places.running() {
        places.wait_ready(pid, None, &config.stop)?;
        places.must_be_ours(pid)?;
        return Ok(How::Adopted);
    }
    let how = if places.data.join("PG_VERSION").exists() {
        How::Started
    } else {
        let bin = find_programs(config, places, owner)?;
        initdb::create(&bin, &places.base, owner, start)?;
        How::Created
    };
    start_server(config, places, owner, &config.stop)?;
    Ok(how)
}

/// Gives up a share; the last one out stops the server. True if it was stopped. The caller holds `start.lock`.
fn leave(places: &Places, share: &File, owner: &Owner) -> Result<bool> {
    // said, not left to the end of the file: a child that is just being started holds a copy of it
    share.unlock().at(&places.base)?;
    let others = lock_file(&places.base, "users.lock", owner)?;
    match others.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(e)) => return Err(e).at(&places.base),
    }
    match places.running() {
        Some(pid) => places.stop(pid).map(|()| true),
        None => Ok(false),
    }
}

fn start_server(
    config: &ClusterConfig,
    places: &Places,
    owner: &Owner,
    stop: &CancellationToken,
) -> Result<()> {
    if stop.is_cancelled() {
        return Err(Error::Interrupted);
    }
    if !places.password.exists() {
        let (data, password) = (places.data.clone(), places.password.clone());
        return Err(Error::NoPassword { data, password });
    }
    let bin = find_programs(config, places, owner)?;
    let settings: Vec<String> =
        SETTINGS.iter().map(ToString::to_string).chain(config.settings.iter().cloned()).collect();
    places.start(&bin, owner, &settings, stop)
}

/// The programs that suit the cluster, which the server's user can get at.
fn find_programs(config: &ClusterConfig, places: &Places, owner: &Owner) -> Result<PathBuf> {
    let made_by = fs::read_to_string(places.data.join("PG_VERSION")).ok();
    let bin =
        binaries::find(config.bin_dir.as_deref(), made_by.as_deref().map(str::trim), &places.data)?;
    let bin = resolve(&bin)?;
    owner.must_reach(&bin, "--pg-bin")?;
    Ok(bin)
}
