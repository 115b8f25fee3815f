//! `crema upgrade --check`: what would become of the open orders under this program. It reads, and writes nothing.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::sync::Notify;

use super::played;
use crate::{
    cli::{self, UpgradeArgs},
    config::DatabaseConfig,
    postgres::{ClusterConfig, Database, PoolSpec, Source},
    saga::upgrade::{self, Report},
    shop::saga,
};

/// Orders read at once: their journals are in memory together.
const PAGE: i64 = 500;

/// Holds every open order against the versions that this program has, and prints what would change.
pub async fn check_upgrade(args: UpgradeArgs) -> anyhow::Result<ExitCode> {
    let database = open(DatabaseConfig::load(args.database)?).await?;
    let report = report(&database).await;
    // Also after an error: a private Postgres that nobody else uses must not go on alone.
    let closed = database.close().await;
    let report = serde_json::to_value(report?)?;
    closed?;
    Ok(cli::upgrade(report, args.json)?)
}

/// The database as it is: nothing is made that is not there.
async fn open(config: DatabaseConfig) -> anyhow::Result<Database> {
    let source = match config.url {
        Some(url) => Source::Url(url),
        None => {
            let base = config.data_dir.join("postgres");
            anyhow::ensure!(
                base.join("data/PG_VERSION").exists(),
                "there is no private database in {}; name its folder with --data-dir, or another \
                 database with --database-url",
                config.data_dir.display()
            );
            Source::Private(ClusterConfig { bin_dir: config.pg_bin, ..ClusterConfig::new(base) })
        }
    };
    Ok(Database::open(&source).await?)
}

async fn report(database: &Database) -> anyhow::Result<Report> {
    let definitions =
        saga::definitions(played::nobody()?, saga::Policies::default(), Arc::new(Notify::new()));
    let pool = database.pool(PoolSpec {
        role: "upgrade",
        max_connections: 1,
        statement_timeout: Duration::from_secs(30),
        read_only: true,
    });
    let report = upgrade::check(&pool, &definitions, PAGE).await;
    pool.close().await;
    report.with_context(|| format!("the open orders in {} cannot be read", database.target()))
}
