//! A running service, put together and taken apart: database, participants, shop, counter.

mod played;

use std::{
    io::{ErrorKind, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{RehearseArgs, ServeConfig, StepSettings, Surroundings, limits, steps::time_or},
    http::{self, Counter, service},
    postgres::{self, ClusterConfig, Database, PoolSpec, Source},
    rehearsal,
    saga::{EngineSettings, Policy, lease::LeaseSettings},
    shop::{Opening, Pools, Shop, rehearse::Rehearsed, saga::Policies},
    telemetry::Metrics,
};

/// Of the ten seconds that a stop may take, what requests in flight get, and then attempts in flight.
const DRAIN_REQUESTS: Duration = Duration::from_secs(4);
const DRAIN_ATTEMPTS: Duration = Duration::from_secs(2);
/// How often the pools are sampled.
const POOL_SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How often readiness is told anew.
const READINESS_EVERY: Duration = Duration::from_millis(250);

/// Runs the service until SIGTERM or Ctrl-C.
pub async fn serve(config: ServeConfig, metrics: Metrics) -> anyhow::Result<()> {
    let listener = bind(config.listen).await?;
    let address = listener.local_addr()?;
    let database = open_database(&config).await?;
    let stopping = CancellationToken::new();
    let halt = CancellationToken::new();
    let background = TaskTracker::new();
    if let Some(cluster) = database.cluster() {
        background.spawn(postgres::supervise(cluster, halt.clone()));
    }
    background.spawn(metrics.clone().upkeep(halt.clone()));
    let pools = pools(&database);
    background.spawn(sample_pools(pools.clone(), halt.clone()));
    let addresses = played::stand_ins(&config, &pools, &background, &halt);
    played::await_stand_ins(&config, &addresses).await;
    let rehearsed = played::rehearsed(&config);
    let policies = policies(&config.steps);
    let shop = Shop::open(Opening {
        options: database.connect_options(),
        pools,
        participants: played::participants(&config, &addresses, &policies)?,
        rehearsed,
        policies,
        engine: engine_settings(&config, address),
    })
    .await
    .context("the shop cannot be opened")?;
    let notices = CancellationToken::new();
    let telling = background.spawn(shop.clone().send_notices(notices.clone()));

    let (ready, readiness) = watch::channel(service::Readiness::Ready);
    background.spawn(tell_readiness(shop.clone(), ready, stopping.clone()));
    let tasks = TaskTracker::new();
    let counter = Counter {
        shop: shop.clone(),
        require_idempotency_key: config.require_idempotency_key,
        tasks: tasks.clone(),
        stop: stopping.clone(),
    };
    let yaml = http::openapi_yaml().map_err(|error| anyhow::anyhow!("{error}"))?;
    let service = service::Service { readiness, metrics, openapi_yaml: yaml.into() };
    let mut limits = config.http.clone();
    limits.drain_timeout = limits.drain_timeout.min(DRAIN_REQUESTS);
    let router = http::with_layers(http::router(counter, service), &limits);
    announce(address, &database, rehearsed)?;
    let server = tokio::spawn(http::serve::serve(listener, router, limits, stopping.clone()));

    wait_for_signal().await?;
    tracing::info!("stopping");
    stopping.cancel();
    server.await?;
    notices.cancel();
    telling.await?;
    shop.close(DRAIN_ATTEMPTS).await;
    halt.cancel();
    background.close();
    background.wait().await;
    let stopped = database.close().await?;
    tracing::info!(database_stopped = stopped, "stopped");
    Ok(())
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

async fn open_database(config: &ServeConfig) -> anyhow::Result<Database> {
    let source = match &config.database_url {
        Some(url) => Source::Url(url.clone()),
        None => {
            let bin_dir = config.pg_bin.clone();
            Source::Private(ClusterConfig {
                bin_dir,
                ..ClusterConfig::new(config.data_dir.join("postgres"))
            })
        }
    };
    let database = Database::open(&source).await?;
    let ready = async {
        let durability = database.check_durability(config.unsafe_durability).await?;
        tracing::info!(database = database.target(), %durability, "database");
        database.migrate().await
    };
    match ready.await {
        Ok(()) => Ok(database),
        Err(error) => {
            // Give the cluster back before saying why.
            let _ = database.close().await;
            Err(error.into())
        }
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
            () = stopping.cancelled(), if !stopping.is_cancelled() => {}
            () = tokio::time::sleep(READINESS_EVERY) => {}
        }
        if stopping.is_cancelled() && ready.is_closed() {
            return;
        }
    }
}

/// Samples what a caller would wait for a connection now. Where one is free that is nothing, and costs no
/// query.
async fn sample_pools(pools: Pools, halt: CancellationToken) {
    let mut ticks = tokio::time::interval(POOL_SAMPLE_EVERY);
    loop {
        tokio::select! {
            () = halt.cancelled() => return,
            _ = ticks.tick() => {}
        }
        for (name, pool) in
            [("read", &pools.read), ("write", &pools.write), ("drive", &pools.drive)]
        {
            let started = tokio::time::Instant::now();
            let is_free = pool.num_idle() > 0 || pool.size() < pool.options().get_max_connections();
            if !is_free {
                // An error is a wait that was in vain, and counts in full.
                drop(pool.acquire().await);
            }
            metrics::histogram!("crema_pool_wait_seconds", "pool" => name)
                .record(started.elapsed().as_secs_f64());
        }
    }
}

fn pools(database: &Database) -> Pools {
    let pool = |role, max_connections, read_only| {
        let statement_timeout = Duration::from_secs(if read_only { 5 } else { 30 });
        database.pool(PoolSpec { role, max_connections, statement_timeout, read_only })
    };
    Pools {
        read: pool("read", limits::POOL_READ_CONNECTIONS, true),
        write: pool("write", limits::POOL_WRITE_CONNECTIONS, false),
        drive: pool("drive", limits::POOL_DRIVE_CONNECTIONS, false),
    }
}

fn engine_settings(config: &ServeConfig, address: SocketAddr) -> EngineSettings {
    let name = config.replica_name.clone().unwrap_or_else(|| address.to_string());
    let lease = LeaseSettings::of(config.lease);
    let handover_timeout = Duration::from_secs(1);
    EngineSettings { name, lease, handover_timeout, ..EngineSettings::default() }
}

/// The steps' policies: the house's own, and over them what was said.
fn policies(said: &StepSettings) -> Policies {
    let usual = Policies::default();
    let paced = |policy: Policy, attempts: Option<u32>, timeout| Policy {
        attempts_max: attempts.unwrap_or(policy.attempts_max),
        start_to_close: time_or(timeout, policy.start_to_close),
        backoff: time_or(said.retry_backoff, policy.backoff),
        backoff_max: time_or(said.retry_backoff_max, policy.backoff_max),
        ..policy
    };
    let silence = usual.preparation.heartbeat.map(|it| time_or(said.preparation_silence, it));
    let preparation = Policy { heartbeat: silence, ..usual.preparation };
    Policies {
        payment: paced(usual.payment, said.payment_attempts, said.payment_timeout),
        preparation: paced(preparation, said.preparation_attempts, said.preparation_timeout),
        notification: paced(
            usual.notification,
            said.notification_attempts,
            said.notification_timeout,
        ),
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

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Whoever asks twice does not want to wait.
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(())
}

/// Runs the stand-in participants by themselves until SIGTERM or Ctrl-C.
pub async fn rehearse(args: RehearseArgs) -> anyhow::Result<()> {
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
    let stop = CancellationToken::new();
    let play = tokio::spawn(rehearsal::serve(listener, dir.join("rehearsal.jsonl"), stop.clone()));
    wait_for_signal().await?;
    stop.cancel();
    Ok(play.await??)
}
