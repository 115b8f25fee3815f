//! What can go wrong between this program and its PostgreSQL, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// A result of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every text says what is the matter and what to do; none of them holds a password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No folder that was looked into holds both `postgres` and `initdb`.
    #[error(
        "no PostgreSQL server programs found (looked in {searched}). Install them (Debian, Ubuntu: \
         `apt install postgresql`), or name their folder with --pg-bin, or use a database that you \
         run yourself with --database-url"
    )]
    NoBinaries {
        /// The folders, joined with `:`.
        searched: String,
    },
    /// The cluster belongs to a major version whose programs are not here.
    #[error(
        "the cluster in {data} was made by PostgreSQL {made_by}, but the programs found (in {bin}) are \
         PostgreSQL {found}. Name the folder of PostgreSQL {made_by}'s programs with --pg-bin, or \
         convert the cluster with pg_upgrade"
    )]
    OtherVersion {
        /// The data directory.
        data: PathBuf,
        /// The major version in its `PG_VERSION`.
        made_by: String,
        /// Where other programs were found.
        bin: PathBuf,
        /// Their major version.
        found: String,
    },
    /// A file or a folder could not be used.
    #[error("{path}: {cause}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// PostgreSQL refuses to run as root, and there is nobody to run it as.
    #[error(
        "this runs as root, which PostgreSQL refuses, and there is no user `postgres` or `nobody` to run \
         the server as. Create one (`useradd --system postgres`), or run this as an ordinary user"
    )]
    NoUser,
    /// The server's user cannot pass through a folder on the way to something it needs.
    #[error(
        "the PostgreSQL server runs as user `{user}`, who cannot reach {wanted}, because `{user}` may not \
         enter {folder}. Allow it (`chmod o+x {folder}`), or run this as the owner of that folder, or \
         choose another place with {flag}"
    )]
    Unreachable {
        /// Who must get there.
        user: String,
        /// What must be reached.
        wanted: PathBuf,
        /// The first folder on the way which lacks the x permission.
        folder: PathBuf,
        /// The setting that names another place.
        flag: &'static str,
    },
    /// A server runs in our data directory which this program did not start.
    #[error(
        "a PostgreSQL server that this program did not start (pid {pid}) runs in {data}: {why}. Stop it \
         with `pg_ctl stop -D {data}` or `kill -INT {pid}`, or choose another folder with --data-dir"
    )]
    Foreign {
        /// The data directory.
        data: PathBuf,
        /// The server's process.
        pid: i32,
        /// How it was recognised.
        why: String,
    },
    /// Somebody answers on our socket, whom we cannot see as a process.
    #[error(
        "a PostgreSQL server answers on {socket}, but its process is not to be seen from here: it runs in \
         another container or as another user. Stop it there, or choose another folder with --data-dir"
    )]
    Hidden {
        /// The socket.
        socket: PathBuf,
    },
    /// The cluster exists, and nobody knows its password any more.
    #[error(
        "the cluster in {data} has lost its password file {password}. Put that file back from a backup; \
         or, to begin anew without the data in it, move {data} away"
    )]
    NoPassword {
        /// The data directory.
        data: PathBuf,
        /// The file that is missing.
        password: PathBuf,
    },
    /// The folder of a cluster which was running is gone or empty.
    #[error("the cluster in {0} has vanished while in use; a new one is only made at start-up")]
    Vanished(PathBuf),
    /// `initdb` said no.
    #[error("PostgreSQL's initdb failed: {0}")]
    InitDb(String),
    /// The server ended, or did not get ready.
    #[error("the PostgreSQL server did not start: {why}\nthe end of {log}:\n{tail}")]
    Start {
        /// What was seen.
        why: String,
        /// The server's log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// Unix sockets have short names only.
    #[error(
        "the folder {0} is too deep: the path of a Unix socket in it would be longer than {max} bytes. \
         Choose a shorter one with --data-dir",
        max = super::postmaster::SOCKET_PATH_MAX_BYTES
    )]
    SocketPath(PathBuf),
    /// The server was told to stop, or is dead, and a process of it is still there.
    #[error("process {pid} of the PostgreSQL server in {data} has not ended within {waited:?}")]
    Stop {
        /// The process.
        pid: i32,
        /// The data directory.
        data: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The database URL cannot be understood.
    #[error("the database URL is not usable: {0}")]
    Url(String),
    /// There is no way to the database.
    #[error("cannot connect to {target}: {cause}")]
    Connect {
        /// Host, port and database.
        target: String,
        /// What was answered, if anything.
        cause: String,
    },
    /// A question about the database itself failed.
    #[error("{target}: {cause}")]
    Query {
        /// Host, port and database.
        target: String,
        /// What was answered.
        cause: sqlx::Error,
    },
    /// The server is older than what the SQL here needs.
    #[error("{target} is PostgreSQL {found}; version {required} or newer is needed")]
    TooOld {
        /// Host, port and database.
        target: String,
        /// The server's major version.
        found: i32,
        /// The oldest major version that will do.
        required: i32,
    },
    /// A newer release has migrated the database.
    #[error(
        "the database's schema is newer than this binary (it has migration {version}, which this binary \
         does not know): start the newer release, or restore the backup made before the upgrade"
    )]
    SchemaNewer {
        /// The first unknown migration.
        version: i64,
    },
    /// A migration failed; the database is as it was before it.
    #[error("cannot migrate {target}: {cause}")]
    Migrate {
        /// Host, port and database.
        target: String,
        /// What was answered.
        cause: sqlx::migrate::MigrateError,
    },
    /// What is acknowledged there may be lost in a power cut.
    #[error(
        "{target} does not keep what it acknowledges ({settings}): a crash can lose accepted orders. Turn \
         fsync, full_page_writes and synchronous_commit on, or accept the loss with --unsafe-durability"
    )]
    NotDurable {
        /// Host, port and database.
        target: String,
        /// The settings found.
        settings: String,
    },
    /// Asked to stop while it was being opened, or a blocking task was lost: the program is ending.
    #[error("interrupted: the program is ending")]
    Interrupted,
}

/// Names the path in an I/O error.
pub(super) trait At<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|cause| Error::Io { path: path.to_owned(), cause })
    }
}
