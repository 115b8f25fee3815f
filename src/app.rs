//! A running service, put together and taken apart: database, participants, shop, counter.

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
use url::Url;

use crate::{
    config::{
        Participant as Played, Rehearsal, RehearseArgs, ServeConfig, StepSettings, Surroundings,
        limits, steps::time_or,
    },
    http::{self, Counter, service},
    postgres::{self, ClusterConfig, Database, PoolSpec, Source},
    rehearsal::{self, Role},
    saga::{EngineSettings, Policy, lease::LeaseSettings},
    shop::{
        Opening, Pools, Shop,
        kitchen::Kitchen,
        notices::{Notifier, Webhook},
        participant::{Limits, Participant},
        payments::Payments,
        rehearse::{self, Rehearsed},
        saga::{Notices, Participants, Policies},
    },
    telemetry::Metrics,
};

/// Of the ten seconds that a stop may take, what requests in flight get, and then attempts in flight.
const DRAIN_REQUESTS: Duration = Duration::from_secs(4);
const DRAIN_ATTEMPTS: Duration = Duration::from_secs(2);
/// How often a replica that does not host the rehearsal asks where it is.
const ADDRESS_EVERY: Duration = Duration::from_secs(2);
/// How long the start waits for the rehearsal to appear: twice what it takes to notice that a host is gone.
const STAND_INS_WAIT: Duration = Duration::from_secs(5);
/// How often readiness is told anew.
const READINESS_EVERY: Duration = Duration::from_millis(250);
/// What the rehearsal's notices are signed with when nobody set a secret: its receiver checks nothing.
const REHEARSAL_SECRET: &str = "whsec_Y3JlbWEtcmVoZWFyc2FsLW5vdC1hLXNlY3JldA==";

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
    let addresses = stand_ins(&config, &pools, &background, &halt);
    await_stand_ins(&config, &addresses).await;
    let rehearsed = rehearsed(&config);
    let policies = policies(&config.steps);
    let shop = Shop::open(Opening {
        options: database.connect_options(),
        pools,
        participants: participants(&config, &addresses, &policies)?,
        rehearsed,
        policies,
        engine: engine_settings(&config, address),
    })
    .await
    .context("the shop cannot be opened")?;
    let notices = CancellationToken::new();
    background.spawn(shop.clone().send_notices(notices.clone()));

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
    let lease = LeaseSettings {
        lease: limits::LEASE,
        renew: limits::LEASE_RENEW_INTERVAL,
        ..LeaseSettings::default()
    };
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

fn rehearsed(config: &ServeConfig) -> Rehearsed {
    let is = |played: &Played| *played == Played::Rehearsed;
    Rehearsed {
        payment: is(&config.payment),
        kitchen: is(&config.kitchen),
        notifier: is(&config.notifier),
    }
}

/// Where the stand-ins are, as far as known; one channel each, in the order of [`ROLES`]. In a rehearsal of
/// our own the address changes when its host dies and another replica takes over.
type Addresses = [watch::Receiver<Option<Url>>; 3];

const ROLES: [Role; 3] = [Role::Payment, Role::Kitchen, Role::Notifier];

fn stand_ins(
    config: &ServeConfig,
    pools: &Pools,
    background: &TaskTracker,
    halt: &CancellationToken,
) -> Addresses {
    let root = match &config.rehearsal {
        Rehearsal::Apart(url) => Some(url),
        Rehearsal::Off | Rehearsal::Own => None,
    };
    let channels = ROLES.map(|role| watch::channel(root.map(|it| role.address(it))));
    let addresses = channels.each_ref().map(|(_, receiver)| receiver.clone());
    if config.rehearsal == Rehearsal::Own {
        let (hosting, hosted) = watch::channel(None);
        let publish = move |url| {
            hosting.send_replace(Some(url));
        };
        let host = rehearsal::host(config.data_dir.join("rehearsal"), halt.clone(), publish);
        background.spawn(async move {
            if let Err(error) = host.await {
                tracing::error!(%error, "the rehearsal cannot be hosted here");
            }
        });
        let known = channels.map(|(sender, _)| sender);
        background.spawn(follow_address(pools.write.clone(), hosted, known, halt.clone()));
    }
    addresses
}

/// Lets the stand-ins appear before orders need them. Should they take long, orders wait for them instead.
async fn await_stand_ins(config: &ServeConfig, addresses: &Addresses) {
    if config.rehearsal == Rehearsal::Off {
        return;
    }
    for address in addresses {
        let known = async { address.clone().wait_for(Option::is_some).await.is_ok() };
        if tokio::time::timeout(STAND_INS_WAIT, known).await.is_err() {
            tracing::warn!("the rehearsal has not appeared yet; orders will wait for it");
            return;
        }
    }
}

/// Tells the others where our rehearsal is, or asks them where theirs is.
async fn follow_address(
    pool: sqlx::PgPool,
    mut hosted: watch::Receiver<Option<Url>>,
    known: [watch::Sender<Option<Url>>; 3],
    halt: CancellationToken,
) {
    loop {
        let ours = hosted.borrow_and_update().clone();
        let found = match &ours {
            Some(url) => rehearse::publish_address(&pool, url).await.map(|()| ours.clone()),
            None => rehearse::address(&pool).await,
        };
        match found {
            Ok(root) => {
                for (role, sender) in ROLES.iter().zip(&known) {
                    let address = root.as_ref().map(|it| role.address(it));
                    sender.send_if_modified(|it| {
                        *it != address && {
                            *it = address;
                            true
                        }
                    });
                }
            }
            Err(error) => tracing::debug!(%error, "the rehearsal's address is asked for again"),
        }
        tokio::select! {
            () = halt.cancelled() => return,
            _ = hosted.changed(), if ours.is_none() => {}
            () = tokio::time::sleep(ADDRESS_EVERY) => {}
        }
    }
}

fn participants(
    config: &ServeConfig,
    addresses: &Addresses,
    policies: &Policies,
) -> anyhow::Result<Participants> {
    // A call may take as long as its attempt; only the kitchen's are short, for its ticket is looked up.
    let one_call = |policy: &Policy| Limits {
        first_byte_timeout: policy.start_to_close,
        total_timeout: policy.start_to_close,
        ..Limits::default()
    };
    let reached = |name, played: &Played, stand_in: &watch::Receiver<Option<Url>>, limits| {
        let base = match played {
            Played::Real(url) => watch::channel(Some(url.clone())).1,
            Played::Rehearsed => stand_in.clone(),
        };
        Participant::new(name, base, limits)
    };
    let [payment, kitchen, notifier] = addresses;
    let by_notice = one_call(&policies.notification);
    let notifier = reached("notifier", &config.notifier, notifier, by_notice)?;
    let secret = config.notifier_secret.clone().unwrap_or_else(|| REHEARSAL_SECRET.into());
    let webhook = Notifier::Webhook(Webhook::new(notifier, &[secret])?);
    Ok(Participants {
        payments: Payments::new(reached(
            "payment",
            &config.payment,
            payment,
            one_call(&policies.payment),
        )?),
        kitchen: Kitchen::new(reached("kitchen", &config.kitchen, kitchen, Limits::default())?),
        notices: Notices { webhook },
    })
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
