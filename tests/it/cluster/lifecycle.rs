//! Opening, sharing, closing.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Barrier},
    thread,
};

use crema::postgres::{Cluster, Database, Durability, How, Source};
use nix::unistd::geteuid;
use sqlx::{Connection, PgConnection};

use crate::world::cluster::Place;

async fn count_starts(cluster: &Cluster) -> i64 {
    let options = cluster.connect_options("postgres");
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS starts (at timestamptz); INSERT INTO starts VALUES (now())",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM starts");
    let count = count.fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    count
}

#[tokio::test]
async fn the_first_start_creates_the_second_adopts_and_the_last_one_out_stops() {
    let place = Place::new();
    let first = Cluster::open(place.config()).unwrap();
    assert_eq!(first.how(), How::Created);
    assert_eq!(count_starts(&first).await, 1);

    let second = Cluster::open(place.config()).unwrap();
    assert_eq!(second.how(), How::Adopted);
    assert_eq!(second.pid(), first.pid());

    assert!(!first.close().unwrap(), "the second still uses it");
    assert_eq!(count_starts(&second).await, 2);
    assert!(second.close().unwrap(), "nobody uses it any more");
    assert_eq!(second.pid(), None);
    assert!(!second.close().unwrap(), "it is closed already");

    let third = Cluster::open(place.config()).unwrap();
    assert_eq!(third.how(), How::Started);
    assert_eq!(count_starts(&third).await, 3, "the data persist");
    third.close().unwrap();
}

#[tokio::test]
async fn of_four_that_start_together_one_creates_and_three_adopt() {
    let place = Place::new();
    let together = Arc::new(Barrier::new(4));
    let starting: Vec<_> = (0..4)
        .map(|_| {
            let (config, together) = (place.config(), Arc::clone(&together));
            thread::spawn(move || {
                together.wait();
                Cluster::open(config).unwrap()
            })
        })
        .collect();
    let clusters: Vec<Cluster> = starting.into_iter().map(|t| t.join().unwrap()).collect();
    let created = clusters.iter().filter(|c| c.how() == How::Created).count();
    let adopted = clusters.iter().filter(|c| c.how() == How::Adopted).count();
    assert_eq!((created, adopted), (1, 3));
    let stopped: Vec<bool> = clusters.iter().map(|c| c.close().unwrap()).collect();
    assert_eq!(stopped, [false, false, false, true]);
}

#[tokio::test]
async fn a_private_cluster_is_durable_and_open_to_its_owner_only() {
    let place = Place::with_cluster().await;
    let database = Database::open(&Source::Private(place.config())).await.unwrap();
    let found = database.check_durability(false).await.unwrap();
    assert!(matches!(found, Durability::Disk { .. }), "{found}");
    let mode =
        |name: &str| fs::metadata(place.base().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("password"), 0o600);
    assert_eq!(["", "data", "run"].map(mode), [0o700; 3]);

    let mut connection = PgConnection::connect_with(&database.connect_options()).await.unwrap();
    let shown: Vec<String> = sqlx::query_scalar(
        "SELECT name || '=' || setting FROM pg_settings WHERE name IN \
         ('listen_addresses', 'data_checksums', 'application_name', 'TimeZone') ORDER BY lower(name)",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(
        shown,
        ["application_name=crema", "data_checksums=on", "listen_addresses=", "TimeZone=UTC"]
    );
    connection.close().await.unwrap();
    assert!(database.close().await.unwrap());
}

#[tokio::test]
async fn new_parent_folders_can_be_entered_by_the_servers_user() {
    let place = Place::new();
    let mut config = place.config();
    config.base = place.base().join("deep/er");
    config.bin_dir = Some(place.base().join("nothing-here"));
    Cluster::open(config).unwrap_err();
    let mode = fs::metadata(place.base().join("deep")).unwrap().permissions().mode();
    assert!(!geteuid().is_root() || mode & 0o777 == 0o755);
}
