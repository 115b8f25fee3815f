//! One private cluster for all contenders, and a database of its own for every run.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result};
use crema::postgres::{Cluster, ClusterConfig, Database, Source};
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};

/// The migrated, empty database that the product's runs are copies of.
const TEMPLATE: &str = "crema_template";

/// The cluster, in a folder that goes with it.
pub(crate) struct World {
    cluster: Arc<Cluster>,
    database: Database,
    _folder: tempfile::TempDir,
    runs: AtomicU32,
}

/// What a database is made of.
pub(crate) enum Schema {
    /// The product's migrations.
    Product,
    /// These statements.
    Own(&'static str),
}

/// A fresh database, and a connection beside the contender's.
pub(crate) struct Arena {
    pub(crate) url: secrecy::SecretString,
    pub(crate) options: PgConnectOptions,
    pub(crate) admin: PgConnection,
    pub(crate) postmaster: i32,
    name: String,
}

impl World {
    /// Starts a cluster with the product's own settings: fsync, full pages and checksums are on.
    pub(crate) async fn open() -> Result<Self> {
        // The server runs as another user when this is root; that user must get there.
        let folder = tempfile::Builder::new()
            .prefix("crema-bench-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()?;
        let source = Source::Private(ClusterConfig::new(folder.path().join("cluster")));
        let database = Database::open(&source).await?;
        let cluster = database.cluster().context("a private database has a cluster")?;
        let world = Self { cluster, database, _folder: folder, runs: AtomicU32::new(0) };
        world.administer(&format!("create database {TEMPLATE}")).await?;
        let template = Database::open(&Source::Url(world.cluster.url(TEMPLATE))).await?;
        template.migrate().await?;
        Ok(world)
    }

    /// A fresh database, on a server that has nothing left to write from before.
    pub(crate) async fn arena(&self, schema: &Schema) -> Result<Arena> {
        let name = format!("run_{}", self.runs.fetch_add(1, Ordering::Relaxed));
        match schema {
            Schema::Product => {
                self.administer(&format!("create database {name} template {TEMPLATE}")).await?;
            }
            Schema::Own(_) => self.administer(&format!("create database {name}")).await?,
        }
        let options = self.cluster.connect_options(&name);
        let mut admin = PgConnection::connect_with(&options).await?;
        if let Schema::Own(statements) = schema {
            sqlx::raw_sql(*statements).execute(&mut admin).await?;
        }
        sqlx::raw_sql("checkpoint").execute(&mut admin).await?;
        let postmaster = self.cluster.pid().context("the server is down")?;
        Ok(Arena { url: self.cluster.url(&name), options, admin, postmaster, name })
    }

    /// Drops a run's database, so that the next run has the disk and the cache for itself.
    pub(crate) async fn clear(&self, arena: Arena) -> Result<()> {
        arena.admin.close().await?;
        self.administer(&format!("drop database {} with (force)", arena.name)).await
    }

    /// Stops the server.
    pub(crate) async fn close(self) -> Result<()> {
        self.database.close().await?;
        Ok(())
    }

    async fn administer(&self, statement: &str) -> Result<()> {
        let mut connection = PgConnection::connect_with(&self.database.connect_options()).await?;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }
}
