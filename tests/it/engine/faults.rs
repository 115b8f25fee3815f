//! What the database does to the engine: connections cut at any point, COMMITs without an answer, restarts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crema::{
    postgres::{Cluster, Database, PoolSpec, Source},
    saga::{Engine, Started, step::Lane},
};
use sqlx::{
    ConnectOptions, PgPool,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

use super::{
    effects::{Effect, TABLE},
    replicas::toy,
    rig::{QUICK, Rig, audit, settings, start_engine},
    toys::World,
};
use crate::world::{cluster::Place, until};

/// Cuts the connections of all writers of this database, whatever they are at.
pub(super) const KILL_WRITERS: &str = "select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and application_name = 'writer'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_lose_their_connections_lose_and_double_nothing() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let mut accepted = 0;
    for number in 0..500 {
        accepted += i64::from(rig.try_start(&engine, "pivoted", toy(number)).await);
        if number % 40 == 0 {
            rig.execute(KILL_WRITERS).await;
        }
    }
    rig.all_end().await;
    assert_eq!(accepted, 500);
    assert_eq!(rig.number("select count(*) from saga").await, 500);
    rig.audit().await;
    effects_are_exact(rig.pool()).await;
}

#[tokio::test]
async fn the_engines_other_connections_may_break_as_well() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let everything = "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name like '%' and pid <> pg_backend_pid()
           and application_name <> 'crema test'";
    for number in 0..60 {
        rig.try_start(&engine, "pivoted", toy(number)).await;
        if number % 10 == 0 {
            rig.execute(everything).await;
        }
    }
    rig.all_end().await;
    rig.audit().await;
}

/// A proxy in front of the server that cuts a connection at its n-th COMMIT: before the server sees it, or
/// before its answer comes back.
struct Cutter {
    port: u16,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    async fn new(socket: std::path::PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicUsize::new(0));
        let counter = cuts.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                let server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(relay(client, server, number, counter.clone()));
            }
        });
        Self { port, cuts }
    }
}

async fn relay(client: TcpStream, server: UnixStream, number: usize, cuts: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let swallow = Arc::new(AtomicUsize::new(0));
    let swallowing = swallow.clone();
    let back = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            if swallowing.load(Ordering::SeqCst) > 0 {
                return; // The answer is lost, and with it the connection.
            }
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 65_536];
    let mut commits = 0;
    while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
        let is_commit = buffer[..length].windows(6).any(|it| it == b"COMMIT");
        commits += usize::from(is_commit);
        if is_commit && commits > 3 + number % 5 {
            cuts.fetch_add(1, Ordering::SeqCst);
            if number % 2 == 0 {
                back.abort();
                return;
            }
            swallow.store(1, Ordering::SeqCst);
        }
        if to_server.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _ = back.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_without_an_answer_lose_and_double_nothing() {
    let rig = Rig::new().await;
    let direct = rig.db.database().connect_options();
    let socket = direct.get_socket().expect("the cluster listens on a socket").clone();
    let socket = socket.join(format!(".s.PGSQL.{}", direct.get_port()));
    let cutter = Cutter::new(socket).await;
    let url = url::Url::parse(rig.db.url()).unwrap();
    let through = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(cutter.port)
        .username(url.username())
        .password(url.password().unwrap())
        .database(url.path().trim_start_matches('/'))
        .ssl_mode(PgSslMode::Disable);
    let drive = rig.db.database().pool(DRIVE);
    let engine = start_engine(&rig.world, through, drive, settings("first"), QUICK).await;
    until("the engine places", async || engine.is_placing().then_some(())).await;
    let mut accepted = 0;
    for number in 0..300 {
        accepted += i64::from(rig.try_start(&engine, "pivoted", toy(number)).await);
    }
    rig.all_end().await;
    assert!(cutter.cuts.load(Ordering::SeqCst) > 10, "{:?}", cutter.cuts);
    assert_eq!(accepted, 300);
    assert_eq!(rig.number("select count(*) from saga").await, 300);
    rig.audit().await;
    effects_are_exact(rig.pool()).await;
}

const DRIVE: PoolSpec = PoolSpec {
    role: "drive",
    max_connections: 4,
    statement_timeout: Duration::from_secs(30),
    read_only: false,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_database_under_load_costs_time_and_nothing_else() {
    let place = Place::with_cluster().await;
    let config = place.config();
    let opening = tokio::task::spawn_blocking(move || Cluster::open(config));
    let cluster = Arc::new(opening.await.unwrap().unwrap());
    let database = Database::open(&Source::Url(cluster.url("postgres"))).await.unwrap();
    database.migrate().await.unwrap();
    let (pool, drive) = (database.pool(DRIVE), database.pool(DRIVE));
    sqlx::raw_sql(TABLE).execute(&pool).await.unwrap();
    let world = World::new();
    let options = database.connect_options().disable_statement_logging();
    let engine = start_engine(&world, options, drive, settings("first"), QUICK).await;
    until("the engine places", async || engine.is_placing().then_some(())).await;
    let mut accepted = 0;
    for round in 0..3 {
        let starting = start_many(&engine, 60);
        let restarting = async {
            if round < 2 {
                let pid = cluster.pid().unwrap().to_string();
                let killed = std::process::Command::new("kill").args(["-QUIT", &pid]).status();
                assert!(killed.unwrap().success());
                let cluster = cluster.clone();
                until("it is down", async || {
                    let cluster = cluster.clone();
                    let restarted = tokio::task::spawn_blocking(move || cluster.ensure_running());
                    matches!(restarted.await.unwrap(), Ok(true)).then_some(())
                })
                .await;
            }
        };
        accepted += tokio::join!(starting, restarting).0;
    }
    until("all sagas end", async || {
        let open = "select count(*) from saga where closed_status is null";
        let open: i64 = sqlx::query_scalar(open).fetch_one(&pool).await.ok()?;
        (open == 0).then_some(())
    })
    .await;
    let all: i64 = sqlx::query_scalar("select count(*) from saga").fetch_one(&pool).await.unwrap();
    assert!(all >= accepted, "{accepted} were accepted, {all} are there");
    audit(&pool, &world).await;
    effects_are_exact(&pool).await;
    engine.stop(Duration::from_secs(5)).await;
}

async fn start_many(engine: &Engine<Effect>, sagas: usize) -> i64 {
    let mut accepted = 0;
    for number in 0..sagas {
        let Some(saga_id) = engine.new_id() else { continue };
        let toy = toy(number);
        let started = engine.start(("pivoted", 1), saga_id, toy, Vec::new(), Lane::Own).await;
        accepted += i64::from(started == Ok(Started::Accepted));
    }
    accepted
}

/// The effects of a step are there if and only if its line is.
async fn effects_are_exact(pool: &PgPool) {
    let told_not_done: i64 = sqlx::query_scalar(
        "select count(*) from journal j
          where (kind = 'step_done' and step = 'a' or kind = 'closed') and not exists (
                select from toy_effect e where e.saga_id = j.saga_id
                   and e.name = case kind when 'closed' then 'close' else 'a' end)",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(told_not_done, 0, "lines whose effects are missing");
    let done_not_told: i64 = sqlx::query_scalar(
        "select count(*) from toy_effect e where not exists (
             select from journal j where j.saga_id = e.saga_id
                and (e.name = 'close' and kind = 'closed' or kind = 'step_done' and step = e.name))",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(done_not_told, 0, "effects without their line");
}
