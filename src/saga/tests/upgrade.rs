//! E-27: what would change for a saga under another version of its definition.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{raw, refused};
use crate::saga::{
    Close, Cx, Done, Ending, Lane, Saga, Step, StepError, Wait,
    definition::Definitions,
    event::{Event, Kind, Shape},
    history::to_sqlx,
    journal::JournalLine,
    upgrade::{Change, compare},
};

const NAMES: [&str; 4] = ["a", "p", "n", "x"];

struct Named<const N: usize>;

impl<const N: usize> Step for Named<N> {
    const NAME: &'static str = NAMES[N];
    type Input = Vec<u32>;
    type Output = Value;
    type Effect = ();

    async fn execute(&self, _: &Cx, _: &Vec<u32>) -> Result<Done<Value, ()>, StepError> {
        Ok(Done::new(Value::Null))
    }
}

fn close<I>(_: &I, _: &Ending<'_>) -> Close<()> {
    Close { status: "END", reason: None, effects: Vec::new(), lane: Lane::Own }
}

fn saga(version: i32) -> Saga<Vec<u32>, ()> {
    Saga::new("s", version, "NEW", close)
}

/// Version 1: a, the pivot, and one that is nice to have.
fn first() -> Saga<Vec<u32>, ()> {
    saga(1).step(Named::<0>).pivot(Named::<1>).best_effort(Named::<2>)
}

/// Lines of version 1.
fn lines(events: &[Event]) -> Vec<JournalLine> {
    let shape = [
        Shape { name: "a", kind: Kind::Required, is_compensated: true },
        Shape { name: "p", kind: Kind::Pivot, is_compensated: true },
        Shape { name: "n", kind: Kind::BestEffort, is_compensated: true },
    ];
    let started = [Event::Started { input: raw(json!([1])) }];
    let lines = started.iter().chain(events).map(|it| it.line(&shape)).zip(1..);
    lines
        .map(|(line, seq)| JournalLine {
            saga_id: Uuid::nil(),
            seq,
            at: to_sqlx(Timestamp::UNIX_EPOCH),
            kind: line.kind.to_owned(),
            step: line.step.map(str::to_owned),
            attempt: line.attempt,
            data: line.data,
        })
        .collect()
}

fn done(step: u8) -> Event {
    Event::StepDone { step, attempt: 1, output: raw(Value::Null) }
}

/// What would change for a saga of version 1 with these lines.
fn changes(lines: &[JournalLine], newest: Option<Saga<Vec<u32>, ()>>) -> Vec<Change> {
    let mut definitions = Definitions::default().register(first());
    if let Some(newest) = newest {
        definitions = definitions.register(newest);
    }
    let newest = definitions.newest("s").map(AsRef::as_ref);
    compare(lines, definitions.get("s", 1).map(AsRef::as_ref), newest)
}

fn at_hand(pinned: &str, newest: &str) -> Change {
    Change::StepAtHand { pinned: pinned.to_owned(), newest: newest.to_owned() }
}

fn to_come(pinned: &[&str], newest: &[&str]) -> Change {
    let route = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect();
    Change::StepsToCome { pinned: route(pinned), newest: route(newest) }
}

#[test]
fn a_version_that_says_the_same_changes_nothing() {
    let again = || saga(2).step(Named::<0>).pivot(Named::<1>).best_effort(Named::<2>);
    let turned = [done(0), refused(1, 1, false), Event::Compensating { cause: "no".to_owned() }];
    for journal in [&[][..], &[done(0)], &[done(0), done(1)], &turned] {
        assert_eq!(changes(&lines(journal), Some(again())), [], "{journal:?}");
        assert_eq!(changes(&lines(journal), None), [], "{journal:?}");
    }
}

#[test]
fn a_step_more_changes_what_is_to_come_until_it_would_have_been_passed() {
    let longer = || saga(2).step(Named::<0>).step(Named::<3>).pivot(Named::<1>);
    let longer = || longer().best_effort(Named::<2>);
    let pinned = ["execute p (pivot)", "execute n (best effort)", "close"];
    let newest = ["execute x", "execute p (pivot)", "execute n (best effort)", "close"];
    assert_eq!(changes(&lines(&[]), Some(longer())), [to_come(&pinned, &newest)]);
    let next = [at_hand("execute p (pivot)", "execute x"), to_come(&pinned[1..], &newest[1..])];
    assert_eq!(changes(&lines(&[done(0)]), Some(longer())), next);
    // Past it, its place in the list is one that no journal of version 1 leads to.
    let [Change::LineBroken { version: 2, seq: 3, kind, .. }] =
        &changes(&lines(&[done(0), done(1)]), Some(longer()))[..]
    else {
        panic!("the pivot cannot be done before x")
    };
    assert_eq!(kind, "step_done");
    // Who goes back goes back the same way.
    let back = [done(0), Event::Compensating { cause: "no".to_owned() }];
    assert_eq!(changes(&lines(&back), Some(longer())), []);
}

#[test]
fn a_step_that_is_gone_breaks_the_journals_that_tell_of_it_and_moves_the_others() {
    let shorter = || saga(2).pivot(Named::<1>).best_effort(Named::<2>);
    let [Change::LineBroken { version: 2, seq: 2, error, .. }] =
        &changes(&lines(&[done(0)]), Some(shorter()))[..]
    else {
        panic!("a is gone")
    };
    assert!(error.contains("step_done") && error.contains("`a`"), "{error}");
    let moved = changes(&lines(&[]), Some(shorter()));
    assert_eq!(moved[0], at_hand("execute a", "execute p (pivot)"));
}

#[test]
fn another_pivot_is_another_way() {
    let earlier = saga(2).pivot(Named::<0>).step(Named::<1>).best_effort(Named::<2>);
    let changed = changes(&lines(&[]), Some(earlier));
    assert_eq!(changed[0], at_hand("execute a", "execute a (pivot)"));
}

#[test]
fn what_is_lacking_or_cannot_be_read_is_said() {
    let none: Vec<Change> = compare::<()>(&lines(&[]), None, None);
    assert_eq!(none, [Change::VersionMissing]);
    let definitions = Definitions::default().register(first());
    let newest = definitions.newest("s").map(AsRef::as_ref);
    assert_eq!(compare(&lines(&[]), None, newest), [Change::VersionMissing]);
    // Broken under the version that it is pinned to: the list was changed in place.
    let mut strange = lines(&[done(0)]);
    strange[1].step = Some("renamed".to_owned());
    let broken = changes(&strange, None);
    assert!(matches!(&broken[..], [Change::LineBroken { version: 1, seq: 2, .. }]), "{broken:?}");
    let mut input = lines(&[]);
    input[0].data = "{\"a\": 1}".to_owned();
    let broken = changes(&input, None);
    assert!(matches!(&broken[..], [Change::InputBroken { version: 1, .. }]), "{broken:?}");
}

#[test]
fn who_waits_or_is_paused_is_taken_to_go_on() {
    let again = || saga(2).step(Named::<0>).pivot(Named::<1>).best_effort(Named::<2>);
    let shorter = || saga(2).step(Named::<0>).pivot(Named::<1>);
    let wait = Wait::signal("ready", "for the barista");
    let waits = Event::StepWaiting { step: 0, attempt: 1, wait };
    let paused = Event::Paused { by: "ada".to_owned(), reason: None, at_ms: 0, left_ms: None };
    for (event, first) in [(waits, "execute a"), (paused, "execute a")] {
        let journal = lines(&[event]);
        assert_eq!(changes(&journal, Some(again())), []);
        let rest = [first, "execute p (pivot)"];
        let pinned = [&rest[..], &["execute n (best effort)", "close"]].concat();
        let expected = [to_come(&pinned, &[&rest[..], &["close"]].concat())];
        assert_eq!(changes(&journal, Some(shorter())), expected);
    }
}
