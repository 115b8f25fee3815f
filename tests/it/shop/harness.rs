//! The four harnesses that every saga has to pass, for the order's own and its participants over HTTP: each
//! step twice, failure at each step, each compensation twice, resumed from every prefix of its journal. What is
//! audited afterwards is the participants' ledger, the stock and the money.

use futures::future::join_all;
use serde_json::{Value, json};

use super::prefix::{Cut, every_cut, put_back};
use crate::world::{
    api::order_with,
    house::{Audited, House},
};

/// Milk at the start, and in a cappuccino.
const MILK: (i64, i64) = (100_000, 120);

/// Attempts that come again fast and have all the time that people have: their number is compared.
const PATIENT: [&str; 2] = ["--retry-backoff=20ms", "--retry-backoff-max=200ms"];

const STEPS: [&str; 4] = ["payment", "preparation", "inventory", "notification"];

type Moods = &'static [(&'static str, &'static str)];

/// Steps that are tried once only, so that an answer that is lost is one in doubt.
fn once() -> Vec<&'static str> {
    [&PATIENT[..], &["--payment-attempts=1", "--preparation-attempts=1"]].concat()
}

async fn place(house: &House, moods: Moods) -> String {
    house.api().place(&order_with(moods)).await
}

/// The number of this kind of line about a step.
fn attempt_of(history: &[Value], line: &Value) -> Option<i64> {
    let same = |it: &&Value| (&it["kind"], &it["step"]) == (&line["kind"], &line["step"]);
    history.iter().find(same)?["attempt"].as_i64()
}

/// An order that was put back, and what became of it.
struct Resumed {
    cut: Cut,
    audited: Audited,
}

/// Runs orders like this to their end, puts each back to another place of those that `choose` wants, kills
/// what runs, and lets the next replica go on. Everything must be as if nothing had been put back.
async fn resume(
    flags: &[&str],
    moods: Moods,
    choose: impl Fn(&[Value], &Cut) -> bool,
) -> (Audited, Vec<Resumed>) {
    let mut house = House::with(flags).await;
    let id = place(&house, moods).await;
    let original = house.audited(&house.api(), &id).await;
    let mut cuts = every_cut(&original.history, &original.ledger.lines);
    cuts.retain(|it| choose(&original.history, it));
    let ids = join_all(cuts.iter().map(|_| place(&house, moods))).await;
    for id in &ids {
        let audited = house.audited(&house.api(), id).await;
        assert_eq!(audited.kinds(), original.kinds(), "they are all alike");
    }
    let orders: Vec<(String, Cut)> = ids.into_iter().zip(cuts).collect();
    house.take_and_kill();
    put_back(&house, &orders).await;
    house.add(flags).await;
    let api = house.api();
    let mut resumed = Vec::new();
    for (id, cut) in orders {
        let audited = house.audited(&api, &id).await;
        assert_same(&original, &cut, &audited);
        resumed.push(Resumed { cut, audited });
    }
    let ends = house.audit_all(&api).await;
    let sold = ends.iter().filter(|it| it["status"] == "COMPLETED").count();
    let left = MILK.0 - MILK.1 * i64::try_from(sold).unwrap();
    assert_eq!(api.stock("milk").await, (left, 0), "{sold} were sold");
    (original, resumed)
}

/// The same end, the same deeds, the same story up to the cut, and then a takeover.
fn assert_same(original: &Audited, cut: &Cut, audited: &Audited) {
    let context = format!("{cut:?}: {:?}", audited.kinds());
    assert_eq!(audited.end(), original.end(), "{context}");
    assert_eq!(audited.ledger.deeds(), original.ledger.deeds(), "{context}");
    assert_eq!(audited.ledger.told(), original.ledger.told(), "{context}");
    assert_eq!(audited.order["money"], original.order["money"], "{context}");
    assert_eq!(audited.kinds()[..cut.lines], original.kinds()[..cut.lines], "{context}");
    let is_closed = cut.lines == original.history.len();
    match audited.history.get(cut.lines) {
        Some(line) => {
            let died = (&line["kind"], &line["data"]["handed_over"]);
            assert_eq!(died, (&json!("taken_up"), &json!(false)), "{context}");
            assert!(!is_closed, "{context}");
        }
        None => assert!(is_closed, "{context}"),
    }
}

/// Whether the next line of the cut is of this kind.
fn comes_next(history: &[Value], cut: &Cut, kind: &str) -> bool {
    history.get(cut.lines).is_some_and(|it| it["kind"] == kind)
}

/// Every line at which these were cut was written after one more attempt; the steps of those that had been done
/// the first time already.
fn made_twice(original: &Audited, resumed: &[Resumed]) -> Vec<String> {
    let mut twice = Vec::new();
    for it in resumed {
        let line = &original.history[it.cut.lines];
        let attempts = [&original.history, &it.audited.history].map(|it| attempt_of(it, line));
        assert!(attempts[1] > attempts[0], "{:?}: {line} {:?}", it.cut, it.audited.history);
        let step = line["step"].as_str().unwrap().to_owned();
        if it.cut.ahead > 0 && !twice.contains(&step) {
            twice.push(step);
        }
    }
    twice
}

#[tokio::test]
async fn each_step_of_an_order_made_twice_leaves_the_same_ledger() {
    let (original, resumed) =
        resume(&PATIENT, &[], |history, cut| comes_next(history, cut, "step_done")).await;
    assert_eq!(original.end(), ("COMPLETED", None));
    assert_eq!(original.ledger.deeds(), ["captured", "ticket", "prepared"]);
    // The inventory's deed is in the commit of its line: it never is ahead of it.
    assert_eq!(made_twice(&original, &resumed), ["payment", "preparation", "notification"]);
    assert!(resumed.iter().any(|it| original.history[it.cut.lines]["step"] == "inventory"));
}

#[tokio::test]
async fn each_compensation_of_an_order_made_twice_leaves_the_same_ledger() {
    let before = |history: &[Value], cut: &Cut| comes_next(history, cut, "compensation_done");
    let (original, resumed) = resume(&PATIENT, &[("rehearse.inventory", "refuse")], before).await;
    assert_eq!(original.end(), ("REFUNDED", Some("inventory_failed")));
    assert_eq!(made_twice(&original, &resumed), ["preparation", "payment"]);
    // One that is in doubt is voided first.
    let (original, resumed) = resume(&once(), &[("rehearse.payment", "answer_lost")], before).await;
    assert_eq!(original.end(), ("REFUNDED", Some("payment_unavailable")));
    assert_eq!(original.ledger.deeds(), ["captured", "voided", "refunded"]);
    assert_eq!(made_twice(&original, &resumed), ["payment"]);
    let ahead: Vec<usize> = resumed.iter().map(|it| it.cut.ahead).collect();
    assert_eq!(ahead, [0, 1, 2], "nothing, the void, and the refund as well");
}

#[tokio::test]
async fn a_completed_order_resumes_from_every_prefix_of_its_journal() {
    let lost: Moods = &[("rehearse.payment", "answer_lost"), ("rehearse.kitchen", "answer_lost")];
    for (moods, lines) in [(&[][..], 8), (lost, 10)] {
        let (original, resumed) = resume(&PATIENT, moods, |_, _| true).await;
        assert_eq!(original.end(), ("COMPLETED", None));
        assert_eq!(original.history.len(), lines);
        let cuts: Vec<usize> = resumed.iter().map(|it| it.cut.lines).collect();
        assert!((1..=lines).all(|it| cuts.contains(&it)), "{cuts:?}");
    }
}

#[tokio::test]
async fn a_refunded_order_resumes_from_every_prefix_of_its_journal() {
    let (original, resumed) =
        resume(&PATIENT, &[("rehearse.inventory", "refuse")], |_, _| true).await;
    assert_eq!(original.end(), ("REFUNDED", Some("inventory_failed")));
    let deeds = ["captured", "ticket", "prepared", "call_off", "refunded"];
    assert_eq!(original.ledger.deeds(), deeds);
    let cuts: Vec<usize> = resumed.iter().map(|it| it.cut.lines).collect();
    assert!((1..=9).all(|it| cuts.contains(&it)), "{cuts:?}");
}

/// What an order comes to that fails so.
struct Failure {
    moods: Moods,
    end: (&'static str, Option<&'static str>),
    deeds: &'static [&'static str],
    /// The steps that were taken back.
    undone: &'static [&'static str],
}

const FAILURES: [Failure; 6] = [
    Failure {
        moods: &[("rehearse.payment", "decline")],
        end: ("FAILED", Some("payment_declined")),
        deeds: &["declined"],
        undone: &[],
    },
    Failure {
        moods: &[("rehearse.payment", "down")],
        end: ("FAILED", Some("payment_unavailable")),
        deeds: &["voided"],
        undone: &["payment"],
    },
    Failure {
        moods: &[("rehearse.payment", "answer_lost")],
        end: ("REFUNDED", Some("payment_unavailable")),
        deeds: &["captured", "voided", "refunded"],
        undone: &["payment"],
    },
    Failure {
        moods: &[("rehearse.kitchen", "out_of_ingredients")],
        end: ("REFUNDED", Some("preparation_failed")),
        deeds: &["captured", "out_of_ingredients", "refunded"],
        undone: &["payment"],
    },
    Failure {
        moods: &[("rehearse.kitchen", "answer_lost")],
        end: ("REFUNDED", Some("preparation_failed")),
        deeds: &["captured", "ticket", "prepared", "call_off", "refunded"],
        undone: &["payment", "preparation"],
    },
    Failure {
        moods: &[("rehearse.inventory", "refuse")],
        end: ("REFUNDED", Some("inventory_failed")),
        deeds: &["captured", "ticket", "prepared", "call_off", "refunded"],
        undone: &["payment", "preparation"],
    },
];

#[tokio::test]
async fn failure_at_each_step_of_an_order_takes_back_exactly_what_may_have_happened() {
    let house = House::with(&once()).await;
    let api = house.api();
    for failure in FAILURES {
        let id = place(&house, failure.moods).await;
        let audited = house.audited(&api, &id).await;
        let context = format!("{:?}", failure.moods);
        assert_eq!(audited.end(), failure.end, "{context}");
        assert_eq!(audited.ledger.deeds(), failure.deeds, "{context}");
        let is_undone = |it: &&str| audited.step(it)["compensation"]["state"] == "done";
        let undone: Vec<&str> = STEPS.into_iter().filter(is_undone).collect();
        assert_eq!(undone, failure.undone, "{context}");
        assert_eq!(api.stock("milk").await, (MILK.0, 0), "{context}");
    }
    // Behind the pivot nothing goes back: the last step is one that an order can do without.
    let id = place(&house, &[("rehearse.notification", "down")]).await;
    let audited = house.audited(&api, &id).await;
    assert_eq!(audited.end(), ("COMPLETED", None));
    assert_eq!(audited.ledger.deeds(), ["captured", "ticket", "prepared"]);
    assert_eq!(audited.step("notification")["state"], "given_up");
    assert_eq!(api.stock("milk").await, (MILK.0 - MILK.1, 0));
    assert_eq!(house.audit_all(&api).await.len(), FAILURES.len() + 1);
}
