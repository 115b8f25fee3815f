//! A PostgreSQL cluster for the tests, and databases in it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use std::os::unix::process::CommandExt;

use crema::postgres::{Cluster, ClusterConfig, Database, PoolSpec, Source};
use nix::{sys::signal::kill, unistd::Pid};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

const TEMPLATE: &str = "template_migrated";

/// A short path for a cluster, which may be opened there any number of times. What is left of it, the
/// server and the folder, goes when this is dropped and when the test process ends, however it ends.
pub(crate) struct Place {
    base: PathBuf,
    watchdog: Child,
}

impl Place {
    pub(crate) fn new() -> Self {
        let base =
            std::env::temp_dir().join(format!("cr-{}", &Uuid::new_v4().simple().to_string()[..8]));
        let watchdog = watchdog(&base);
        Self { base, watchdog }
    }

    /// A place with a cluster in it, which is stopped: a copy of one that was made once, for that takes
    /// seconds.
    pub(crate) async fn with_cluster() -> Self {
        let place = Self::new();
        copy_of_a_cluster(&place.base).await;
        place
    }

    /// A place for the data folder of a service, whose cluster lies a folder deeper: there already (and not
    /// migrated), or not.
    pub(crate) async fn of_a_service(has_cluster: bool) -> Self {
        let place = Self::new();
        std::fs::create_dir_all(&place.base).unwrap();
        // Where the watchdog looks for a server that it has to stop.
        std::os::unix::fs::symlink("postgres/data", place.base.join("data")).unwrap();
        if has_cluster {
            copy_of_a_cluster(&place.base.join("postgres")).await;
        }
        place
    }

    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    pub(crate) fn config(&self) -> ClusterConfig {
        ClusterConfig::new(&self.base)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

async fn copy_of_a_cluster(to: &Path) {
    static SEED: OnceCell<Place> = OnceCell::const_new();
    let seed = SEED
        .get_or_init(|| async {
            let seed = Place::new();
            let config = seed.config();
            let make = move || Cluster::open(config).and_then(|cluster| cluster.close());
            tokio::task::spawn_blocking(make).await.unwrap().expect("a cluster for the tests");
            seed
        })
        .await;
    let copied = Command::new("cp").arg("-pR").arg(&seed.base).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Dead, also when nobody has reaped it.
pub(crate) fn is_dead(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'),
        Err(_) => kill(Pid::from_raw(pid), None).is_err(),
    }
}

/// A process that waits for the end of its standard input, which is the end of this process or of the
/// [`Place`]; then it stops the server, by the id in the place's own `postmaster.pid`, and removes all.
fn watchdog(base: &Path) -> Child {
    const SCRIPT: &str = r#"
        cat > /dev/null
        while [ -e "$0/data.new" ] && [ ! -e "$0/data" ] && [ ${i:=0} -lt 100 ]; do
            i=$((i + 1)); sleep 0.05 # initdb is at work, and would make its folders again
        done
        n=0
        while [ $n -lt 200 ] && pid=$(head -n 1 "$0/data/postmaster.pid" 2> /dev/null) &&
            kill -QUIT "$pid" 2> /dev/null; do n=$((n + 1)); sleep 0.05; done
        rm -rf "$0"
    "#;
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT]).arg(base).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("there is a shell")
}

/// The cluster that all tests of this process share.
struct Shared {
    cluster: Cluster,
    /// `CREATE DATABASE` wants the template for itself.
    creating: Mutex<()>,
    _place: Place,
}

impl Shared {
    async fn get() -> &'static Self {
        static SHARED: OnceCell<Shared> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let place = Place::with_cluster().await;
        let mut config = place.config();
        config.settings = vec!["max_connections=400".to_owned(), "shared_buffers=64MB".to_owned()];
        let opening = tokio::task::spawn_blocking(move || Cluster::open(config));
        let cluster = opening.await.unwrap().expect("a cluster for the tests");
        create_database(&cluster, TEMPLATE, "template0").await;
        let template = Database::open(&Source::Url(cluster.url(TEMPLATE))).await.unwrap();
        template.migrate().await.expect("the migrations run");
        Self { cluster, creating: Mutex::new(()), _place: place }
    }
}

async fn create_database(cluster: &Cluster, name: &str, template: &str) {
    let mut connection =
        PgConnection::connect_with(&cluster.connect_options("postgres")).await.unwrap();
    let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// A fresh, migrated database for one test.
pub(crate) struct TestDb {
    database: Database,
    url: SecretString,
    pool: PgPool,
}

impl TestDb {
    pub(crate) async fn new() -> Self {
        let shared = Shared::get().await;
        let name = format!("test_{}", Uuid::new_v4().simple());
        {
            let _alone = shared.creating.lock().await;
            create_database(&shared.cluster, &name, TEMPLATE).await;
        }
        let url = shared.cluster.url(&name);
        let database = Database::open(&Source::Url(url.clone())).await.unwrap();
        let pool = database.pool(PoolSpec {
            role: "test",
            max_connections: 8,
            statement_timeout: Duration::from_secs(30),
            read_only: false,
        });
        Self { database, url, pool }
    }

    /// For another process, as `DATABASE_URL`.
    pub(crate) fn url(&self) -> &str {
        self.url.expose_secret()
    }

    /// A pool of eight connections, made as the product makes its own.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}
