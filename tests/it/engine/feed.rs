//! The feed: every line exactly once, whoever wrote it and whenever it became visible.

use std::{collections::HashMap, time::Duration};

use crema::saga::feed::Cursor;
use uuid::Uuid;

use super::{
    replicas::toy,
    rig::{QUICK, Rig, settings},
    toys::Toy,
};
use crate::world::until;

/// Reads on from a cursor until nothing is there, counting the lines. The cursor travels as bytes, and
/// every few lines the reader goes away in the middle of a batch and comes back.
async fn read_on(rig: &Rig, bytes: Vec<u8>, seen: &mut HashMap<(Uuid, i32), u32>) -> Vec<u8> {
    let mut bytes = bytes;
    loop {
        let mut cursor = Cursor::from_bytes(&bytes).expect("bytes of ours");
        let Some(lines) = cursor.lines(rig.pool()).await.unwrap() else { return bytes };
        let mut left_early = false;
        for (line, behind) in lines {
            *seen.entry((line.saga_id, line.seq)).or_default() += 1;
            bytes = behind;
            left_early = seen.len().is_multiple_of(5);
            if left_early {
                break;
            }
        }
        if !left_early {
            bytes = cursor.to_bytes();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_beside_several_writers_gets_every_line_once() {
    let rig = Rig::new().await;
    let first = rig.engine().await;
    let second = rig.joining(settings("second"), QUICK).await;
    until("both place", async || second.is_placing().then_some(())).await;
    let mut seen = HashMap::new();
    let mut bytes = Cursor::default().to_bytes();
    for number in 0..300 {
        let engine = if number % 2 == 0 { &first } else { &second };
        rig.try_start(engine, "pivoted", toy(number)).await;
        if number % 7 == 0 {
            bytes = read_on(&rig, bytes, &mut seen).await;
        }
        if number % 60 == 59 {
            // Unknown outcomes: the writers go on under new names.
            rig.execute(super::faults::KILL_WRITERS).await;
        }
    }
    rig.all_end().await;
    read_on(&rig, bytes, &mut seen).await;
    let twice = seen.values().filter(|it| **it > 1).count();
    assert_eq!(twice, 0, "lines that came twice");
    assert_eq!(rig.number("select count(*) from journal").await, seen.len() as i64);
    rig.audit().await;
}

#[tokio::test]
async fn a_cursor_of_now_shows_only_what_comes_after_it() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    rig.run(&engine, "plain", Toy::default()).await;
    let now = Cursor::now(rig.pool()).await.unwrap();
    let (saga_id, _) = rig.run(&engine, "plain", Toy::default()).await;
    let mut seen = HashMap::new();
    read_on(&rig, now.to_bytes(), &mut seen).await;
    let mut lines: Vec<_> = seen.into_keys().collect();
    lines.sort_unstable();
    assert_eq!(lines, (1..=5).map(|seq| (saga_id, seq)).collect::<Vec<_>>());
    assert_eq!(Cursor::from_bytes(&[1, 2, 3]), None);
    assert_eq!(Cursor::from_bytes(&[0; 8]), None);
    assert_eq!(Cursor::from_bytes(&[0; 40]), None);
}

#[tokio::test]
async fn a_reader_who_cannot_read_for_a_moment_gets_no_line_twice() {
    let rig = Rig::new().await;
    let engine = rig.engine().await;
    let now = Cursor::now(rig.pool()).await.unwrap();
    let (saga_id, _) = rig.run(&engine, "plain", Toy::default()).await;
    engine.stop(Duration::from_secs(10)).await;
    // The end of a saga is a batch of two lines: step c, and that it is closed.
    let mut cursor = now;
    let behind_the_first = loop {
        let lines = cursor.lines(rig.pool()).await.unwrap().expect("a batch of two lines");
        if let [(first, behind), _] = &lines[..] {
            assert_eq!((first.saga_id, first.seq), (saga_id, 4));
            break behind.clone();
        }
    };
    let mut resumed = Cursor::from_bytes(&behind_the_first).expect("ours");
    rig.execute("alter table journal rename to journal_away").await;
    assert!(resumed.lines(rig.pool()).await.is_err());
    assert_eq!(resumed.to_bytes(), behind_the_first, "it stands where it stood");
    rig.execute("alter table journal_away rename to journal").await;
    let lines = resumed.lines(rig.pool()).await.unwrap().expect("the rest of the batch");
    assert_eq!(lines.iter().map(|it| it.0.seq).collect::<Vec<_>>(), [5]);
}

#[tokio::test]
async fn a_reader_who_comes_back_after_the_feed_was_dropped_is_told_so() {
    let rig = Rig::new().await;
    let first = rig.engine().await;
    rig.run(&first, "plain", Toy::default()).await;
    rig.execute("update feed set at = at - interval '50 hours'").await;
    let seen_all = read_on(&rig, Cursor::default().to_bytes(), &mut HashMap::new()).await;
    let is_whole = async |bytes: &[u8]| {
        Cursor::from_bytes(bytes).expect("ours").is_whole(rig.pool()).await.unwrap()
    };
    let housekeeping = async |name: &str| rig.joining(settings(name), QUICK).await;
    // Nothing has happened since: a long pause loses nothing.
    housekeeping("second").await;
    assert!(is_whole(&seen_all).await);
    rig.run(&first, "plain", Toy::default()).await;
    rig.execute(
        "update feed set at = at - interval '40 hours' where at > now() - interval '1 hour'",
    )
    .await;
    rig.run(&first, "plain", Toy::default()).await;
    let newest = read_on(&rig, seen_all.clone(), &mut HashMap::new()).await;
    housekeeping("third").await;
    until("what is old was dropped", async || {
        (rig.number("select count(*) from feed_floor").await == 1).then_some(())
    })
    .await;
    assert!(!is_whole(&seen_all).await, "lines after it are gone");
    assert!(is_whole(&newest).await);
}

#[tokio::test]
async fn a_subscriber_is_woken_by_its_own_replica_and_by_others() {
    let rig = Rig::new().await;
    let first = rig.engine().await;
    let second = rig.joining(settings("second"), QUICK).await;
    until("both place", async || second.is_placing().then_some(())).await;
    let mut woken = first.feed().subscribe();
    let mut awaited = Vec::new();
    // The follower begins where it finds the feed, so others' lines are written until one is heard.
    for engine in [&first, &second] {
        loop {
            awaited.push(rig.start(engine, "plain", Toy::default()).await);
            let heard = tokio::time::timeout(Duration::from_millis(500), async {
                loop {
                    let sagas = woken.recv().await.unwrap();
                    if sagas.iter().any(|it| Some(it) == awaited.last()) {
                        return;
                    }
                }
            });
            if heard.await.is_ok() {
                break;
            }
            assert!(awaited.len() < 50, "never heard of");
        }
    }
}
