//! Every mood, seen through the clients.

use std::time::{Duration, Instant};

use crema::{
    rehearsal::Kind,
    saga::step::{Cx, StepError},
    shop::{
        kitchen::{Kitchen, TicketState},
        participant::Limits,
        payments::CaptureState,
    },
};
use serde_json::json;

use crate::world::{Order, World, assert_in_doubt, assert_refused, items, participant, until};

const EUR: &str = "EUR";

#[tokio::test]
async fn in_no_mood_everything_works() {
    let (world, order) = (World::new().await, Order::new());
    let (payments, kitchen) = (world.payments(), world.kitchen());

    let receipt = payments.capture(order.payment(None), 450, EUR, "tok").await.unwrap();
    assert_eq!((receipt.amount, receipt.currency.as_str()), (450, EUR));
    let found = payments.find(order.payment(None)).await.unwrap().unwrap();
    assert_eq!((found.state, found.amount), (CaptureState::Captured, Some(450)));
    assert_eq!(found.receipt.as_deref(), Some(receipt.receipt.as_str()));
    assert_eq!(payments.find(Order::new().payment(None)).await, Ok(None));

    let cx = Cx::detached(order.id, "preparation");
    let ticket = kitchen.prepare(&cx, order.ticket(None), &items()).await.unwrap();
    assert_eq!(ticket.state, TicketState::Prepared);
    assert!(kitchen.call_off(order.ticket(None)).await.unwrap().prepared);

    assert_eq!(payments.void(order.payment(None)).await.unwrap().captured, Some(450));
    assert_eq!(payments.refund(order.refund(None), 450, EUR).await.unwrap().amount, 450);
    let kinds = [Kind::Captured, Kind::Ticket, Kind::Prepared];
    let ends = [Kind::CallOff, Kind::Voided, Kind::Refunded];
    assert_eq!(world.kinds(order.id).await, [kinds, ends].concat());

    let shown = world.moods(json!({})).await;
    assert_eq!(shown["payment"], json!(null));
    assert_eq!(shown["calls"], json!({"payment": 5, "kitchen": 3, "notifier": 0}));
}

#[tokio::test]
async fn decline_refuses_and_leaves_nothing_to_void() {
    let (world, order) = (World::new().await, Order::new());
    let payments = world.payments();
    for mood in [Some("decline"), None] {
        assert_refused(payments.capture(order.payment(mood), 450, EUR, "tok").await, "declined");
    }
    assert_eq!(payments.void(order.payment(None)).await.unwrap().captured, None);
    assert_eq!(world.kinds(order.id).await, [Kind::Declined, Kind::Voided]);
}

#[tokio::test]
async fn down_holds_for_its_area_only_and_null_ends_it() {
    let (world, order) = (World::new().await, Order::new());
    let (payments, kitchen) = (world.payments(), world.kitchen());
    world.moods(json!({"payment": "down", "kitchen": "down"})).await;
    assert_in_doubt(payments.capture(order.payment(None), 450, EUR, "tok").await);
    assert_in_doubt(kitchen.start(order.ticket(None), &items()).await);
    assert_in_doubt(kitchen.call_off(order.ticket(None)).await);
    let refund = payments.refund(order.refund(None), 450, EUR).await;
    assert_eq!(refund.unwrap().amount, 450);

    world.moods(json!({"payment": null, "refund": "down"})).await;
    payments.capture(order.payment(None), 450, EUR, "tok").await.unwrap();
    assert_in_doubt(kitchen.start(order.ticket(None), &items()).await);
    let other = Order::new();
    assert_in_doubt(payments.refund(other.refund(None), 450, EUR).await);
    assert_in_doubt(payments.capture(other.payment("down"), 450, EUR, "tok").await);
    payments.void(other.payment("down")).await.unwrap();

    let url = world.root.join("moods").unwrap();
    let wrong = reqwest::Client::new().put(url).json(&json!({"refund": "hang"}));
    assert_eq!(wrong.send().await.unwrap().status(), 422);
}

#[tokio::test]
async fn slow_takes_its_time_and_then_does_it() {
    let (world, order) = (World::new().await, Order::new());
    world.moods(json!({"slow_ms": 60})).await;
    let payments = world.payments();
    let begun = Instant::now();
    payments.capture(order.payment("slow"), 450, EUR, "tok").await.unwrap();
    payments.refund(order.refund("slow"), 450, EUR).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn a_slow_kitchen_tells_how_far_it_is() {
    let (world, order) = (World::new().await, Order::new());
    world.moods(json!({"slow_ms": 1_500})).await;
    let kitchen = world.kitchen();
    let ticket = kitchen.start(order.ticket("slow"), &items()).await.unwrap();
    assert_ne!(ticket.state, TicketState::Prepared);
    until("progress between the ends", || async {
        let ticket = kitchen.poll(order.ticket("slow")).await.unwrap();
        matches!(ticket.progress.map(|p| p.percent), Some(1..=99))
    })
    .await;
    let cx = Cx::detached(order.id, "preparation");
    let ticket = kitchen.prepare(&cx, order.ticket("slow"), &items()).await.unwrap();
    assert_eq!(ticket.state, TicketState::Prepared);
    assert_eq!(world.kinds(order.id).await, [Kind::Ticket, Kind::Prepared]);
}

#[tokio::test]
async fn what_is_called_off_in_time_is_not_made() {
    let (world, order) = (World::new().await, Order::new());
    let kitchen = world.kitchen();
    kitchen.start(order.ticket("slow"), &items()).await.unwrap();
    assert!(!kitchen.call_off(order.ticket(None)).await.unwrap().prepared);
    assert_refused(kitchen.start(order.ticket(None), &items()).await, "called_off");
    let ticket = kitchen.poll(order.ticket(None)).await.unwrap();
    assert_eq!(ticket.state, TicketState::CalledOff);
}

#[tokio::test]
async fn a_lost_answer_is_given_to_the_second_call() {
    let (world, order) = (World::new().await, Order::new());
    let (payments, kitchen) = (world.payments(), world.kitchen());
    let mood = "answer_lost";
    assert_in_doubt(payments.capture(order.payment(mood), 450, EUR, "tok").await);
    payments.capture(order.payment(mood), 450, EUR, "tok").await.unwrap();
    assert_in_doubt(kitchen.start(order.ticket(mood), &items()).await);
    kitchen.start(order.ticket(mood), &items()).await.unwrap();
    assert_eq!(world.kinds(order.id).await, [Kind::Captured, Kind::Ticket]);
}

#[tokio::test]
async fn a_late_capture_comes_after_the_caller_has_gone() {
    let (world, order) = (World::new().await, Order::new());
    world.moods(json!({"late_ms": 50})).await;
    let payments = world.payments();
    assert_in_doubt(payments.capture(order.payment("late"), 450, EUR, "tok").await);
    until("the late capture", || async { !world.lines(order.id).await.is_empty() }).await;
    payments.capture(order.payment("late"), 450, EUR, "tok").await.unwrap();
    assert_eq!(world.kinds(order.id).await, [Kind::Captured]);
}

#[tokio::test]
async fn a_void_outruns_a_late_capture() {
    let (world, first, second) = (World::new().await, Order::new(), Order::new());
    world.moods(json!({"payment": "late", "late_ms": 1_500})).await;
    let payments = world.payments();
    assert_in_doubt(payments.capture(first.payment(None), 450, EUR, "tok").await);
    assert_eq!(payments.void(first.payment(None)).await.unwrap().captured, None);
    // The second is as late and was asked for later: once it is there, the first has had its turn.
    assert_in_doubt(payments.capture(second.payment(None), 450, EUR, "tok").await);
    until("the second capture", || async { !world.lines(second.id).await.is_empty() }).await;
    assert_eq!(world.kinds(first.id).await, [Kind::Voided]);
}

#[tokio::test]
async fn a_wrong_amount_needs_a_person_and_a_void_tells_the_truth() {
    let (world, order) = (World::new().await, Order::new());
    let payments = world.payments();
    for mood in [Some("wrong_amount"), None] {
        match payments.capture(order.payment(mood), 450, EUR, "tok").await {
            Err(StepError::NeedsAttention { reason, .. }) => assert_eq!(reason, "amount_mismatch"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(payments.void(order.payment(None)).await.unwrap().captured, Some(451));
}

#[tokio::test]
async fn out_of_ingredients_refuses() {
    let (world, order) = (World::new().await, Order::new());
    let (kitchen, cx) = (world.kitchen(), Cx::detached(order.id, "preparation"));
    for mood in [Some("out_of_ingredients"), None] {
        let refused = kitchen.prepare(&cx, order.ticket(mood), &items()).await;
        assert_refused(refused, "out_of_ingredients");
    }
    assert_eq!(world.kinds(order.id).await, [Kind::OutOfIngredients]);
}

#[tokio::test]
async fn a_kitchen_that_hangs_ends_the_attempt_in_doubt_and_can_be_called_off() {
    let (world, order) = (World::new().await, Order::new());
    let first_byte_timeout = Duration::from_millis(200);
    let limits = Limits { first_byte_timeout, ..Limits::default() };
    let base = crema::rehearsal::Role::Kitchen.address(&world.root);
    let kitchen = Kitchen::new(participant(base, limits));
    // The ticket itself must be answered within the short time, so it is handed in before.
    world.kitchen().start(order.ticket("hang"), &items()).await.unwrap();
    assert_in_doubt(kitchen.poll(order.ticket("hang")).await);
    let cx = Cx::detached(order.id, "preparation");
    assert_in_doubt(kitchen.prepare(&cx, order.ticket("hang"), &items()).await);
    world.kitchen().call_off(order.ticket("hang")).await.unwrap();
    assert_eq!(world.kinds(order.id).await.last(), Some(&Kind::CallOff));
}
