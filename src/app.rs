//! A running service, put together and taken apart: database, participants, shop, counter.

mod hosted;
mod parts;
mod played;
mod signals;
mod upgrade;

use std::{
    io::{ErrorKind, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{RehearseArgs, ServeConfig, Surroundings},
    http::{self, Counter, service},
    postgres::{self, ClusterConfig, Database, Source},
    rehearsal,
    saga::EngineError,
    shop::{Opening, Pools, Shop, rehearse::Rehearsed},
    telemetry::Metrics,
};

pub use upgrade::check_upgrade;

/// Of the ten seconds that a stop may take, what requests in flight get, and then attempts in flight.
const DRAIN_REQUESTS: Duration = Duration::from_secs(4);
const DRAIN_ATTEMPTS: Duration = Duration::from_secs(2);
/// How often readiness is told anew.
const READINESS_EVERY: Duration = Duration::from_millis(250);

/// Runs the service until SIGTERM or Ctrl-C, which may come at any time, also before it is open.
pub async fn serve(config: ServeConfig, metrics: Metrics) -> anyhow::Result<()> {
    let asked = signals::asked_to_stop()?;
    let listener = bind(config.listen).await?;
    let Some(database) = open_database(&config, &asked).await? else {
        tracing::info!("stopped before the database was open");
        return Ok(());
    };
    let served = on_database(&config, metrics, listener, &database, &asked).await;
    // Also after an error: a private Postgres that nobody else uses must not go on alone.
    let database_stopped = database.close().await;
    served?;
    tracing::info!(database_stopped = database_stopped?, "stopped");
    Ok(())
}

/// Serves on a database that is open. Nothing that it started is left when it returns, whatever it returns.
async fn on_database(
    config: &ServeConfig,
    metrics: Metrics,
    listener: TcpListener,
    database: &Database,
    asked: &CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let (background, halt) = (TaskTracker::new(), CancellationToken::new());
    if let Some(cluster) = database.cluster() {
        background.spawn(postgres::supervise(cluster, halt.clone()));
    }
    background.spawn(metrics.clone().upkeep(halt.clone()));
    let pools = parts::pools(database);
    background.spawn(parts::sample_pools(pools.clone(), halt.clone()));
    let start = Start {
        config: config.clone(),
        address,
        options: database.connect_options(),
        pools,
        background: background.clone(),
        halt: halt.clone(),
        asked: asked.clone(),
    };
    let served = match signals::unless_stopped(tokio::spawn(start.shop()), asked).await {
        Ok(Some(shop)) => {
            let served = with_shop(config, metrics, listener, database, &shop, asked).await;
            shop.close(DRAIN_ATTEMPTS).await;
            served
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    halt.cancel();
    background.close();
    background.wait().await;
    served
}

/// What a shop is started with.
struct Start {
    config: ServeConfig,
    address: SocketAddr,
    options: PgConnectOptions,
    pools: Pools,
    background: TaskTracker,
    halt: CancellationToken,
    asked: CancellationToken,
}

impl Start {
    /// Finds or hosts the participants, and opens the shop.
    async fn shop(self) -> anyhow::Result<Arc<Shop>> {
        let Self { config, address, options, pools, background, halt, asked } = self;
        let addresses = played::stand_ins(&config, &pools, &background, &halt);
        asked.run_until_cancelled(played::await_stand_ins(&config, &addresses)).await;
        let policies = parts::policies(&config.steps);
        let opening = Opening {
            options,
            pools,
            participants: played::participants(&config, &addresses, &policies)?,
            rehearsed: played::rehearsed(&config),
            policies,
            pull: parts::pull(&config.kitchen_pull),
            engine: parts::engine_settings(&config, address),
        };
        Shop::open(opening).await.map_err(|error| match error {
            EngineError::UnknownVersions(lacking) => anyhow::Error::new(lacking).context(
                "orders are open of versions that this program does not have; start one that has \
                 them, or let the orders wait for one with --allow-unknown-versions",
            ),
            error => anyhow::Error::new(error).context("the shop cannot be opened"),
        })
    }
}

/// Opens the counter until it is asked to stop. The shop is left open.
async fn with_shop(
    config: &ServeConfig,
    metrics: Metrics,
    listener: TcpListener,
    database: &Database,
    shop: &Arc<Shop>,
    asked: &CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let openapi_yaml = http::openapi_yaml().map_err(|error| anyhow::anyhow!("{error}"))?.into();
    announce(address, database, played::rehearsed(config))?;
    let stopping = asked.child_token();
    let (ready, readiness) = watch::channel(service::Readiness::Ready);
    let counter = Counter {
        shop: shop.clone(),
        require_idempotency_key: config.require_idempotency_key,
        tasks: TaskTracker::new(),
        stop: stopping.clone(),
    };
    let service = service::Service { readiness, metrics, openapi_yaml };
    let mut limits = config.http.clone();
    limits.drain_timeout = limits.drain_timeout.min(DRAIN_REQUESTS);
    let router = http::with_layers(http::router(counter, service), &limits);
    let telling_readiness = tokio::spawn(tell_readiness(shop.clone(), ready, stopping.clone()));
    let beside = CancellationToken::new();
    let telling = tokio::spawn(shop.clone().send_notices(beside.clone()));
    let keeping_schedules = tokio::spawn(shop.clone().keep_schedules(beside.clone()));

    let served = tokio::spawn(http::serve::serve(listener, router, limits, stopping)).await;
    tracing::info!("stopping");
    beside.cancel();
    telling.await?;
    keeping_schedules.await?;
    telling_readiness.await?;
    Ok(served?)
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!(
            "{address} is taken: another program (another Crema?) listens there; stop it, or choose \
             another address with --listen"
        ),
        ErrorKind::PermissionDenied => anyhow::anyhow!(
            "{address} may not be listened on; choose a port above 1023 with --listen"
        ),
        _ => anyhow::anyhow!("{address} cannot be listened on: {error}; choose one with --listen"),
    })
}

/// The database, up to date; none when it is asked to stop meanwhile. A private Postgres is running only if
/// there is one.
async fn open_database(
    config: &ServeConfig,
    asked: &CancellationToken,
) -> anyhow::Result<Option<Database>> {
    let opened = match &config.database_url {
        // Its one connection is its own, so that it may be dropped.
        Some(url) => {
            let source = Source::Url(url.clone());
            asked.run_until_cancelled(Database::open(&source)).await
        }
        None => {
            let base = config.data_dir.join("postgres");
            let (bin_dir, stop) = (config.pg_bin.clone(), asked.clone());
            let config = ClusterConfig { bin_dir, stop, ..ClusterConfig::new(base) };
            Some(Database::open(&Source::Private(config)).await)
        }
    };
    let database = match opened {
        None | Some(Err(postgres::Error::Interrupted)) => return Ok(None),
        Some(opened) => opened?,
    };
    let ready = async {
        let durability = database.check_durability(config.unsafe_durability).await?;
        tracing::info!(database = database.target(), %durability, "database");
        database.migrate().await
    };
    // What a migration has not committed when its connection is dropped is undone.
    let ready = asked.run_until_cancelled(ready).await;
    if matches!(ready, Some(Ok(()))) {
        return Ok(Some(database));
    }
    // Give the cluster back before saying why.
    let _ = database.close().await;
    match ready {
        Some(Err(error)) => Err(error.into()),
        Some(Ok(())) | None => Ok(None),
    }
}

/// Ready is who owns buckets: without, or without a lease, no order can be placed here.
async fn tell_readiness(
    shop: Arc<Shop>,
    ready: watch::Sender<service::Readiness>,
    stopping: CancellationToken,
) {
    loop {
        let why = match (stopping.is_cancelled(), shop.engine.is_placing()) {
            (true, _) => service::Readiness::NotReady("The service is stopping.".to_owned()),
            (false, false) => service::Readiness::NotReady("No buckets are owned yet.".to_owned()),
            (false, true) => service::Readiness::Ready,
        };
        ready.send_if_modified(|it| {
            *it != why && {
                *it = why;
                true
            }
        });
        tokio::select! {
            // Nobody is left who could ask.
            () = ready.closed() => return,
            () = stopping.cancelled(), if !stopping.is_cancelled() => {}
            () = tokio::time::sleep(READINESS_EVERY) => {}
        }
    }
}

/// Says where to go, and what to try.
fn announce(address: SocketAddr, database: &Database, rehearsed: Rehearsed) -> anyhow::Result<()> {
    let target = database.target();
    let who = if rehearsed.any() { "rehearsed" } else { "real" };
    let base = format!("http://{address}");
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "\nCrema is open on {base}  (database: {target}; participants: {who})\n\n\
         Try:\n\
         \x20 curl -s {base}/v1/menu\n\
         \x20 curl -s -X POST {base}/v1/orders -H 'content-type: application/json' \\\n\
         \x20   -d '{{\"customer_id\":\"ada\",\"items\":[{{\"item\":\"cappuccino\",\"quantity\":1}}],\
         \"payment\":{{\"method_token\":\"tok_visa\"}}}}'\n\
         \x20 curl -s {base}/v1/orders?limit=5\n"
    )?;
    out.flush()?;
    tracing::info!(%address, "ready");
    Ok(())
}

/// Runs the stand-in participants by themselves until SIGTERM or Ctrl-C.
pub async fn rehearse(args: RehearseArgs) -> anyhow::Result<()> {
    let asked = signals::asked_to_stop()?;
    let dir: PathBuf = match args.data_dir {
        Some(dir) => dir,
        None => Surroundings::here()
            .data_dir()
            .context("there is no home to keep the ledger in; name a folder with --data-dir")?
            .join("rehearsal"),
    };
    std::fs::create_dir_all(&dir)
        .with_context(|| format!("{} cannot be made; choose another --data-dir", dir.display()))?;
    let listener = bind(args.listen).await?;
    let address = listener.local_addr()?;
    writeln!(std::io::stdout().lock(), "The rehearsal plays at http://{address}")?;
    Ok(rehearsal::serve(listener, dir.join("rehearsal.jsonl"), asked).await?)
}
