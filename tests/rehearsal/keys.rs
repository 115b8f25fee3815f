//! One key, one deed: over restarts, in parallel, and against what arrives late.

use std::{
    fs::{self, OpenOptions},
    io::Write,
};

use crema::{
    rehearsal::{Kind, Lookout, Presence, RehearsalError, Role, Stage, serve},
    shop::{
        participant::{Limits, Participant},
        payments::Payments,
    },
};
use futures::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::world::{DEADLINE, Order, World, assert_in_doubt, assert_refused, items, until};

const EUR: &str = "EUR";

#[tokio::test]
async fn the_first_answer_survives_a_restart() {
    let (mut world, order, declined) = (World::new().await, Order::new(), Order::new());
    let mut answers = Vec::new();
    for _ in 0..2 {
        let payments = world.payments();
        let captured = payments.capture(order.payment(None), 450, EUR, "tok").await.unwrap();
        let refunded = payments.refund(order.refund(None), 450, EUR).await.unwrap();
        let ticket = world.kitchen().start(order.ticket("slow"), &items()).await.unwrap();
        answers.push((captured, refunded, ticket.reason));
        let refused = payments.capture(declined.payment("decline"), 450, EUR, "tok").await;
        assert_refused(refused, "declined");
        world = world.restart().await;
    }
    assert_eq!(answers[0], answers[1]);
    let kinds = [Kind::Captured, Kind::Refunded, Kind::Ticket];
    assert_eq!(world.kinds(order.id).await, kinds);
    assert_eq!(world.kinds(declined.id).await, [Kind::Declined]);
    let numbers: Vec<_> = world.lines(order.id).await.iter().map(|line| line.n).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test]
async fn tombstones_refuse_what_comes_late_also_after_a_restart() {
    let (mut world, order) = (World::new().await, Order::new());
    for _ in 0..2 {
        let (payments, kitchen) = (world.payments(), world.kitchen());
        let voided = payments.void(order.payment(None)).await.unwrap();
        assert_eq!((voided.captured, voided.currency), (None, None));
        assert!(!kitchen.call_off(order.ticket(None)).await.unwrap().prepared);
        assert_refused(payments.capture(order.payment(None), 450, EUR, "tok").await, "voided");
        assert_refused(kitchen.start(order.ticket(None), &items()).await, "called_off");
        world = world.restart().await;
    }
    assert_eq!(world.kinds(order.id).await, [Kind::Voided, Kind::CallOff]);
}

#[tokio::test]
async fn a_void_remembers_what_had_been_captured() {
    let (mut world, order) = (World::new().await, Order::new());
    world.payments().capture(order.payment(None), 450, EUR, "tok").await.unwrap();
    for _ in 0..2 {
        let voided = world.payments().void(order.payment(None)).await.unwrap();
        assert_eq!((voided.captured, voided.currency.as_deref()), (Some(450), Some(EUR)));
        world = world.restart().await;
    }
    assert_eq!(world.kinds(order.id).await, [Kind::Captured, Kind::Voided]);
}

#[tokio::test]
async fn a_hundred_captures_with_one_key_take_the_money_once() {
    let (world, order) = (World::new().await, Order::new());
    let payments = world.payments();
    let captures = (0..100).map(|_| payments.capture(order.payment(None), 450, EUR, "tok"));
    let answers = join_all(captures).await;
    let first = answers[0].clone().unwrap();
    assert!(answers.into_iter().all(|answer| answer == Ok(first.clone())));
    assert_eq!(world.kinds(order.id).await, [Kind::Captured]);
}

#[tokio::test]
async fn an_answer_is_in_the_file_before_it_is_given() {
    let (world, orders) = (World::new().await, [(); 20].map(|()| Order::new()));
    let payments = world.payments();
    join_all(orders.iter().map(async |order| {
        payments.capture(order.payment(None), 450, EUR, "tok").await.unwrap();
        let text = fs::read_to_string(world.ledger_path()).unwrap();
        assert!(text.contains(&order.id.to_string()));
    }))
    .await;
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_the_rest_stands() {
    let (world, order) = (World::new().await, Order::new());
    world.payments().capture(order.payment(None), 450, EUR, "tok").await.unwrap();
    let mut dir = world.stop().await;
    for torn in ["{\"n\":2,\"at\":\"20", "\0\0\0\0\n"] {
        let path = dir.path().join("ledger");
        let whole = fs::read(&path).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(torn.as_bytes()).unwrap();
        let world = World::on(dir).await;
        world.payments().capture(order.payment(None), 450, EUR, "tok").await.unwrap();
        dir = world.stop().await;
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    let world = World::on(dir).await;
    world.payments().refund(order.refund(None), 450, EUR).await.unwrap();
    assert_eq!(world.kinds(order.id).await, [Kind::Captured, Kind::Refunded]);
}

#[tokio::test]
async fn a_ledger_damaged_in_the_middle_is_not_served() {
    let (world, order) = (World::new().await, Order::new());
    world.payments().capture(order.payment(None), 450, EUR, "tok").await.unwrap();
    let dir = world.stop().await;
    let path = dir.path().join("ledger");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("garbage\n{whole}")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    match serve(listener, path, CancellationToken::new()).await {
        Err(RehearsalError::Corrupt { line, .. }) => assert_eq!(line, 1),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_hangs_up_does_not_undo_what_was_begun() {
    let (world, order) = (World::new().await, Order::new());
    world.moods(json!({"slow_ms": 300})).await;
    let payments = world.payments();
    {
        let capture = payments.capture(order.payment("slow"), 450, EUR, "tok");
        tokio::pin!(capture);
        let called = until("the call", || async {
            world.moods(json!({})).await["calls"]["payment"] == json!(1)
        });
        tokio::select! {
            _ = &mut capture => {}
            () = called => {}
        }
    }
    until("the capture", || async { !world.lines(order.id).await.is_empty() }).await;
    payments.capture(order.payment(None), 450, EUR, "tok").await.unwrap();
    assert_eq!(world.kinds(order.id).await, [Kind::Captured]);
}

#[tokio::test]
async fn when_the_host_goes_another_takes_over_and_the_clients_follow() {
    let (dir, order, lookout) = (TempDir::new().unwrap(), Order::new(), Lookout::new().unwrap());
    let (base, addresses) = watch::channel(None);
    let participant = Participant::new("payment", addresses, Limits::default()).unwrap();
    let payments = Payments::new(participant);
    let mut receipts = Vec::new();
    for _ in 0..2 {
        assert_in_doubt(payments.capture(order.payment(None), 450, EUR, "tok").await);
        let stop = CancellationToken::new();
        let stage = Stage::set(dir.path(), &stop).await.unwrap().expect("nobody has the folder");
        assert!(Stage::set(dir.path(), &stop).await.unwrap().is_none(), "one at a time");
        let url = stage.url().clone();
        let playing = tokio::spawn(stage.play());
        assert_eq!(lookout.look(&url).await, Presence::Plays);
        // Somebody else who has the port now is not taken for it.
        assert_eq!(lookout.look(&url.join("../other/").unwrap()).await, Presence::Gone);
        base.send(Some(Role::Payment.address(&url))).unwrap();
        receipts.push(payments.capture(order.payment(None), 450, EUR, "tok").await.unwrap());
        stop.cancel();
        timeout(DEADLINE, playing).await.unwrap().unwrap().unwrap();
        assert_eq!(lookout.look(&url).await, Presence::Gone);
    }
    assert_eq!(receipts[0], receipts[1]);
}
