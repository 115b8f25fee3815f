//! The database as the rest of the program sees it: options, pools, migrations, checks.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use secrecy::SecretString;
use sqlx::{
    Connection, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    cluster::{Cluster, ClusterConfig},
    durability::Durability,
    error::{Error, Result},
    target,
};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The oldest major version of PostgreSQL whose SQL and settings are enough.
const REQUIRED_MAJOR: i32 = 14;
/// How long a first connection may take before the database counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller waits for a pooled connection before it answers "busy".
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// A stopped process must not hold its row locks for longer than this.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement, also of a migration, may queue for a lock: behind one that waits, all others
/// wait too.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long migrations are tried again while another replica migrates or a table is in use.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(300);

/// Where the database comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A server that somebody else runs: `postgres://user:password@host:5432/database`.
    Url(SecretString),
    /// The private cluster, started when it does not run.
    Private(ClusterConfig),
}

/// What a pool is for.
#[derive(Debug, Clone, Copy)]
pub struct PoolSpec {
    /// A word for `application_name`, so that an operator sees who holds what (`crema accept`).
    pub role: &'static str,
    /// Upper bound of its connections.
    pub max_connections: u32,
    /// The server breaks off a statement that takes longer. It does not bound COMMIT.
    pub statement_timeout: Duration,
    /// Whether the server refuses writes.
    pub read_only: bool,
}

/// How to connect. Made once, at start-up.
pub struct Database {
    options: PgConnectOptions,
    target: String,
    cluster: Option<Arc<Cluster>>,
}

impl fmt::Debug for Database {
    /// Without the options, which hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.target).finish()
    }
}

impl Database {
    /// Connects once, to see that the database is there and new enough; starts the private cluster.
    pub async fn open(source: &Source) -> Result<Self> {
        let (options, cluster) = match source {
            Source::Url(url) => (target::parse(url)?, None),
            Source::Private(config) => {
                let config = config.clone();
                let cluster = blocking(move || Cluster::open(config)).await?;
                (cluster.connect_options("postgres"), Some(Arc::new(cluster)))
            }
        };
        let options = options.application_name("crema");
        let database = Self { target: target::describe(&options), options, cluster };
        let mut checked = database.check_version().await;
        if let (Err(Error::Connect { .. }), Some(cluster)) = (&checked, database.cluster()) {
            // The server that was adopted was dying just then, of what had killed its last user.
            blocking(move || cluster.ensure_running()).await?;
            checked = database.check_version().await;
        }
        match checked {
            Ok(()) => Ok(database),
            Err(error) => {
                if let Err(also) = database.close().await {
                    tracing::warn!(error = %also, "the private PostgreSQL was not stopped");
                }
                Err(error)
            }
        }
    }

    /// For a connection of one's own: the name is `crema`, times are UTC (sqlx always asks for it), there
    /// are no time-outs.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Host, port and database, for people; never the password.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The private cluster, if that is where the database is, to be [supervised](super::supervise).
    pub fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.clone()
    }

    /// A pool, which connects when it is first used. Its session settings travel in the start-up packet;
    /// a transaction pooler in between must be told to let them pass (PgBouncer:
    /// `ignore_startup_parameters = extra_float_digits,options`).
    ///
    /// Whoever takes a connection is served within two seconds or gets `PoolTimedOut`. A connection that
    /// comes back is taken out of any transaction first: sqlx returns one *inside an open transaction*
    /// when a `begin()` is dropped half way, and the next borrower's acknowledged writes would be lost.
    /// `BEGIN; ROLLBACK` does what ROLLBACK does, but does not write a warning into the server's log
    /// each time there is nothing to roll back.
    pub fn pool(&self, spec: PoolSpec) -> PgPool {
        let milliseconds = |time: Duration| time.as_millis().to_string();
        let options =
            self.connect_options().application_name(&format!("crema {}", spec.role)).options([
                ("statement_timeout", milliseconds(spec.statement_timeout)),
                ("lock_timeout", milliseconds(LOCK_TIMEOUT)),
                ("idle_in_transaction_session_timeout", milliseconds(IDLE_IN_TRANSACTION_TIMEOUT)),
                ("default_transaction_read_only", spec.read_only.to_string()),
            ]);
        PgPoolOptions::new()
            .max_connections(spec.max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .after_release(|connection, _| {
                Box::pin(async move {
                    sqlx::raw_sql("BEGIN; ROLLBACK").execute(connection).await?;
                    Ok(true)
                })
            })
            .connect_lazy_with(options)
    }

    /// Brings the schema up to date. Replicas that start together take turns; a migration that waits for
    /// a table in use steps back every two seconds, so that it never blocks the traffic behind it.
    pub async fn migrate(&self) -> Result<()> {
        let since = Instant::now();
        loop {
            match self.try_migrate().await? {
                Err(cause) if is_lock_timeout(&cause) && since.elapsed() < MIGRATION_PATIENCE => {
                    tracing::info!(%cause, "a migration waits for others to finish; trying again");
                }
                Err(MigrateError::VersionMissing(version)) => {
                    return Err(Error::SchemaNewer { version });
                }
                Err(cause) => return Err(Error::Migrate { target: self.target.clone(), cause }),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// One try on a connection of its own, whose end also frees the lock that replicas take turns by.
    async fn try_migrate(&self) -> Result<Result<(), MigrateError>> {
        let patience = LOCK_TIMEOUT.as_millis().to_string();
        let options = self.connect_options().options([("lock_timeout", patience)]);
        let mut connection = self.connect(&options).await?;
        let outcome = MIGRATIONS.run_direct(None, &mut connection, false).await;
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "the migration's connection did not close in order");
        }
        Ok(outcome)
    }

    /// Finds out what a commit survives there. Settings that can lose acknowledged orders in a crash are
    /// an error, unless `unsafe_ok`.
    pub async fn check_durability(&self, unsafe_ok: bool) -> Result<Durability> {
        let mut connection = self.connect(&self.options).await?;
        let found = Durability::read(&mut connection).await.map_err(|e| self.query_failed(e))?;
        match found {
            Durability::Unsafe { settings } if !unsafe_ok => {
                Err(Error::NotDurable { target: self.target.clone(), settings })
            }
            found => Ok(found),
        }
    }

    /// Gives up the share in the private cluster, if there is one; the last process out stops it. True
    /// if it was stopped. Pools should be closed before.
    pub async fn close(self) -> Result<bool> {
        match self.cluster {
            Some(cluster) => blocking(move || cluster.close()).await,
            None => Ok(false),
        }
    }

    async fn check_version(&self) -> Result<()> {
        let mut connection = self.connect(&self.options).await?;
        let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
            .fetch_one(&mut connection)
            .await
            .map_err(|e| self.query_failed(e))?;
        let found = version / 10_000;
        if found < REQUIRED_MAJOR {
            let target = self.target.clone();
            return Err(Error::TooOld { target, found, required: REQUIRED_MAJOR });
        }
        Ok(())
    }

    async fn connect(&self, options: &PgConnectOptions) -> Result<PgConnection> {
        let connecting = PgConnection::connect_with(options);
        let cause = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {CONNECT_TIMEOUT:?}"),
        };
        Err(Error::Connect { target: self.target.clone(), cause })
    }

    fn query_failed(&self, cause: sqlx::Error) -> Error {
        Error::Query { target: self.target.clone(), cause }
    }
}

/// Whether a lock was not got in time (SQLSTATE 55P03).
fn is_lock_timeout(error: &MigrateError) -> bool {
    let (MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _)) = error else {
        return false;
    };
    cause.as_database_error().and_then(|e| e.code()).as_deref() == Some("55P03")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Interrupted)?
}
