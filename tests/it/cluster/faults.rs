//! What may have happened before, or happens meanwhile.

use std::{
    ffi::OsString,
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use crema::postgres::{Cluster, ClusterConfig, Error, How, supervise};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::world::{
    cluster::{Place, TestDb, is_dead},
    eventually,
};

async fn kill_hard(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("what was killed is dead", || is_dead(pid)).await;
}

async fn answers(cluster: &Cluster) -> bool {
    match PgConnection::connect_with(&cluster.connect_options("postgres")).await {
        Ok(connection) => connection.close().await.is_ok(),
        Err(_) => false,
    }
}

fn refusal(config: ClusterConfig) -> Error {
    Cluster::open(config).expect_err("this must be refused")
}

/// This program again, as another process that runs one of the tests here; the variable tells it which part
/// to play.
fn child(test: &str, variable: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("cluster::faults::{test}"), "--exact"])
        .env(variable, path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_server_that_was_killed_is_recovered_by_the_next_to_open() {
    let place = Place::with_cluster().await;
    let first = Cluster::open(place.config()).unwrap();
    kill_hard(first.pid().unwrap()).await;
    let second = Cluster::open(place.config()).unwrap();
    assert_eq!(second.how(), How::Started);
    assert!(answers(&first).await && answers(&second).await);
    assert!(!first.close().unwrap());
    assert!(second.close().unwrap());
}

#[tokio::test]
async fn a_server_that_dies_under_us_is_started_again_until_we_close() {
    let place = Place::with_cluster().await;
    let cluster = Arc::new(Cluster::open(place.config()).unwrap());
    assert!(!cluster.ensure_running().unwrap(), "it runs");
    kill_hard(cluster.pid().unwrap()).await;
    assert!(cluster.ensure_running().unwrap(), "it had died");
    assert!(answers(&cluster).await);

    let stop = CancellationToken::new();
    let supervisor = tokio::spawn(supervise(Arc::clone(&cluster), stop.clone()));
    let killed = cluster.pid().unwrap();
    kill_hard(killed).await;
    eventually("the supervisor starts another", || cluster.pid().is_some_and(|pid| pid != killed))
        .await;
    stop.cancel();
    supervisor.await.unwrap();

    assert!(cluster.close().unwrap());
    assert!(!cluster.ensure_running().unwrap(), "closed is closed");
    assert_eq!(cluster.pid(), None);
}

#[tokio::test]
async fn a_half_made_cluster_is_never_taken_for_a_whole_one() {
    let place = Place::new();
    let half = place.base().join("data.new");
    fs::create_dir_all(half.join("base")).unwrap();
    fs::write(half.join("PG_VERSION"), "15\n").unwrap();
    fs::write(place.base().join("password"), "old").unwrap();
    let cluster = Cluster::open(place.config()).unwrap();
    assert_eq!(cluster.how(), How::Created);
    assert!(answers(&cluster).await);
    assert!(!half.exists());
    cluster.close().unwrap();
}

/// Names the folder in which the child process opens a cluster.
const BASE: &str = "CREMA_TEST_BASE";
/// The test whose child process that is.
const OPENS_A_CLUSTER: &str = "the_server_of_a_process_that_was_killed_is_adopted";

#[tokio::test]
async fn the_server_of_a_process_that_was_killed_is_adopted() {
    if let Some(base) = std::env::var_os(BASE) {
        let _cluster = Cluster::open(ClusterConfig::new(base)).unwrap();
        return std::future::pending().await;
    }
    let place = Place::with_cluster().await;
    let mut child = child(OPENS_A_CLUSTER, BASE, place.base());
    let pid_file = place.base().join("data/postmaster.pid");
    let ready = || fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready"));
    eventually("the child has a server", ready).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let cluster = Cluster::open(place.config()).unwrap();
    assert_eq!(cluster.how(), How::Adopted);
    assert!(answers(&cluster).await);
    assert!(cluster.close().unwrap());
}

#[tokio::test]
async fn a_process_that_got_the_id_of_a_dead_server_is_not_taken_for_it() {
    let place = Place::with_cluster().await;
    let id = std::process::id();
    fs::write(place.base().join("data/postmaster.pid"), format!("{id}\n")).unwrap();
    let cluster = Cluster::open(place.config()).unwrap();
    assert_eq!(cluster.how(), How::Started);
    assert!(cluster.close().unwrap());
}

#[tokio::test]
async fn a_server_that_answers_but_cannot_be_seen_is_refused() {
    let place = Place::with_cluster().await;
    let _server = UnixListener::bind(place.base().join("run/.s.PGSQL.5432")).unwrap();
    let error = refusal(place.config());
    assert!(matches!(error, Error::Hidden { .. }), "{error}");
}

#[tokio::test]
async fn after_a_kill_in_the_middle_of_initdb_the_next_start_works() {
    let place = Place::new();
    let mut child = child(OPENS_A_CLUSTER, BASE, place.base());
    let half = place.base().join("data.new/base");
    eventually("initdb is at work", || half.exists()).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(half.exists(), "it was killed too late to prove anything");
    let cluster = Cluster::open(place.config()).unwrap();
    assert_eq!(cluster.how(), How::Created);
    assert!(answers(&cluster).await);
    cluster.close().unwrap();
}

#[tokio::test]
async fn a_cluster_of_another_major_version_is_refused_with_both_named() {
    let place = Place::new();
    fs::create_dir_all(place.base().join("data")).unwrap();
    fs::write(place.base().join("data/PG_VERSION"), "9\n").unwrap();
    fs::write(place.base().join("password"), "x").unwrap();
    let error = refusal(place.config());
    assert!(matches!(&error, Error::OtherVersion { made_by, .. } if made_by == "9"), "{error}");
    assert!(error.to_string().contains("--pg-bin"), "{error}");
}

#[tokio::test]
async fn without_server_programs_three_ways_out_are_named() {
    let place = Place::new();
    let mut config = place.config();
    config.bin_dir = Some(place.base().join("nothing-here"));
    let text = refusal(config).to_string();
    for way in ["nothing-here", "apt install postgresql", "--pg-bin", "--database-url"] {
        assert!(text.contains(way), "{text}");
    }
}

#[tokio::test]
async fn a_folder_on_the_way_which_the_servers_user_cannot_enter_is_named() {
    let place = Place::new();
    let locked = place.base().join("locked");
    fs::create_dir_all(locked.join("inner")).unwrap();
    let mode = if geteuid().is_root() { 0o700 } else { 0o600 };
    fs::set_permissions(&locked, fs::Permissions::from_mode(mode)).unwrap();
    let error = refusal(ClusterConfig::new(locked.join("inner/pg")));
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).unwrap();
    let Error::Unreachable { folder, .. } = &error else { panic!("{error}") };
    assert_eq!(*folder, fs::canonicalize(&locked).unwrap());
    assert!(error.to_string().contains("chmod o+x"), "{error}");
}

#[tokio::test]
async fn a_place_too_deep_for_a_socket_is_refused() {
    let place = Place::new();
    let error = refusal(ClusterConfig::new(place.base().join("x".repeat(100))));
    assert!(matches!(error, Error::SocketPath(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_was_started_by_somebody_else_is_refused_and_left_alone() {
    let (place, moved) = (Place::with_cluster().await, Place::new());
    let ours = Cluster::open(place.config()).unwrap();
    let pid = ours.pid().unwrap();

    let (password, aside) = (place.base().join("password"), place.base().join("aside"));
    fs::rename(&password, &aside).unwrap();
    let error = refusal(place.config());
    assert!(matches!(&error, Error::Foreign { pid: named, .. } if *named == pid), "{error}");
    assert!(error.to_string().contains("pg_ctl stop -D"), "{error}");
    fs::rename(&aside, &password).unwrap();

    // a server whose sockets are elsewhere: as when the whole folder was moved under it
    fs::rename(place.base(), moved.base()).unwrap();
    let error = refusal(moved.config());
    assert!(matches!(&error, Error::Foreign { why, .. } if why.contains("socket")), "{error}");
    assert!(!is_dead(pid));
}

#[tokio::test]
async fn a_lost_password_file_is_named_instead_of_making_a_new_cluster() {
    let place = Place::with_cluster().await;
    fs::remove_file(place.base().join("password")).unwrap();
    let error = refusal(place.config());
    assert!(matches!(error, Error::NoPassword { .. }), "{error}");
}

/// Names the file into which the child process writes where its cluster is.
const REPORT: &str = "CREMA_TEST_REPORT";

/// Holds a cluster until it is killed.
async fn hold_a_cluster(report: OsString) {
    let database = TestDb::new().await;
    let folder: String =
        sqlx::query_scalar("SHOW data_directory").fetch_one(database.pool()).await.unwrap();
    let unfinished = Path::new(&report).with_extension("new");
    fs::write(&unfinished, folder).unwrap();
    fs::rename(unfinished, report).unwrap();
    std::future::pending().await
}

#[tokio::test]
async fn a_test_process_that_is_killed_leaves_no_server_and_no_folder() {
    if let Some(report) = std::env::var_os(REPORT) {
        return hold_a_cluster(report).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let test = "a_test_process_that_is_killed_leaves_no_server_and_no_folder";
    let mut child = child(test, REPORT, &report);
    eventually("the child has a cluster", || report.exists()).await;
    let data = fs::read_to_string(&report).unwrap();
    let data = Path::new(&data);
    let pid_file = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let pid: i32 = pid_file.lines().next().unwrap().parse().unwrap();
    assert!(!is_dead(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("its server is gone", || is_dead(pid)).await;
    eventually("its folder is gone", || !data.parent().unwrap().exists()).await;
}
