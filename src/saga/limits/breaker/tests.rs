//! Every state of a breaker, and what follows from everything that can happen to it.

use super::*;

const SECOND: Micros = 1_000_000;
const NOW: Micros = 1_000 * SECOND;

fn saga(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn settings() -> BreakerSettings {
    BreakerSettings::default()
}

fn failures(count: u128) -> Stimulus {
    let mut heard = Heard::default();
    (0..count).for_each(|it| heard.failed(saga(it), None));
    Stimulus::Heard(heard)
}

fn after_all(breaker: Breaker, stimuli: &[(Stimulus, Micros)]) -> Breaker {
    let next =
        |it: Breaker, (stimulus, at): &(Stimulus, Micros)| it.next(&settings(), stimulus, *at);
    stimuli.iter().fold(breaker, next)
}

fn open(openings: u32) -> Breaker {
    Breaker::Open { since: NOW, probe_at: NOW + SECOND, openings }
}

fn half_open() -> Breaker {
    Breaker::HalfOpen { since: NOW, openings: 1, probe: saga(7) }
}

fn probe(by: u128) -> Stimulus {
    Stimulus::Probe { by: saga(by), abandoned: false }
}

#[test]
fn it_opens_after_five_failures_in_a_row_whoever_reports_them() {
    let four = after_all(Breaker::fresh(), &[(failures(2), NOW), (failures(2), NOW + 1)]);
    assert!(four.is_closed() && four.is_suspect());
    let five = four.next(&settings(), &failures(1), NOW + 2);
    let at = NOW + 2;
    assert_eq!(five, Breaker::Open { since: at, probe_at: at + SECOND, openings: 1 });
}

#[test]
fn an_answer_in_between_begins_a_new_row() {
    let mut heard = Heard::default();
    heard.failed(saga(1), None);
    heard.answered();
    let answered = (Stimulus::Heard(heard), NOW);
    let breaker = after_all(Breaker::fresh(), &[(failures(4), NOW), answered, (failures(4), NOW)]);
    assert!(breaker.is_closed());
    assert_eq!(after_all(breaker, &[(failures(1), NOW)]).name(), "open");
}

#[test]
fn failures_of_one_saga_or_long_apart_open_nothing() {
    let mut heard = Heard::default();
    (0..50).for_each(|_| heard.failed(saga(1), None));
    assert!(Breaker::fresh().next(&settings(), &Stimulus::Heard(heard), NOW).is_closed());
    let later = NOW + settings().window + 1;
    assert!(after_all(Breaker::fresh(), &[(failures(4), NOW), (failures(4), later)]).is_closed());
}

#[test]
fn it_stays_open_longer_every_time_up_to_a_cap_and_as_long_as_the_participant_wishes() {
    let wait = |openings: u32, retry_after: Option<Micros>| {
        let half = Breaker::HalfOpen { since: NOW, openings, probe: saga(7) };
        let failed = Stimulus::Probed(saga(7), Probed::Failure(retry_after));
        let Breaker::Open { since, probe_at, openings: now } = half.next(&settings(), &failed, NOW)
        else {
            panic!("it opens again")
        };
        assert_eq!((since, now), (NOW, openings + 1));
        (probe_at - NOW) / SECOND
    };
    assert_eq!([1, 2, 3, 4, 5, 60].map(|it| wait(it, None)), [2, 4, 8, 16, 30, 30]);
    assert_eq!(wait(1, Some(90 * SECOND)), 90);
    let mut heard = Heard::default();
    (0..5).for_each(|it| heard.failed(saga(it), Some(7 * SECOND)));
    let opened = Breaker::fresh().next(&settings(), &Stimulus::Heard(heard.clone()), NOW);
    assert_eq!(opened, Breaker::Open { since: NOW, probe_at: NOW + 7 * SECOND, openings: 1 });
    // One that comes late may wish for more as well.
    let later = open(1).next(&settings(), &Stimulus::Heard(heard), NOW);
    assert_eq!(later, Breaker::Open { since: NOW, probe_at: NOW + 7 * SECOND, openings: 1 });
}

#[test]
fn one_probe_goes_out_when_its_time_has_come_and_another_only_for_one_that_died() {
    assert_eq!(open(1).next(&settings(), &probe(7), NOW + SECOND - 1), open(1));
    assert_eq!(open(1).next(&settings(), &probe(7), NOW + SECOND), half_open());
    assert_eq!(half_open().next(&settings(), &probe(8), NOW + 99 * SECOND), half_open());
    let heir = Stimulus::Probe { by: saga(8), abandoned: true };
    let next = half_open().next(&settings(), &heir, NOW);
    assert_eq!(next, Breaker::HalfOpen { since: NOW, openings: 1, probe: saga(8) });
}

#[test]
fn what_becomes_of_the_probe_decides_and_nothing_else() {
    let probed =
        |by: u128, it: Probed| half_open().next(&settings(), &Stimulus::Probed(saga(by), it), NOW);
    assert_eq!(probed(7, Probed::Answer), Breaker::fresh());
    assert_eq!(probed(7, Probed::Lost), Breaker::Open { since: NOW, probe_at: NOW, openings: 1 });
    assert_eq!(probed(8, Probed::Answer), half_open(), "it is not that one's");
    assert_eq!(half_open().next(&settings(), &failures(9), NOW), half_open());
    let mut heard = Heard::default();
    heard.answered();
    let heard = Stimulus::Heard(heard);
    for breaker in [open(2), half_open()] {
        assert_eq!(breaker.next(&settings(), &heard, NOW), breaker, "called before it opened");
    }
    for it in [Probed::Answer, Probed::Failure(None), Probed::Lost] {
        let stimulus = Stimulus::Probed(saga(7), it);
        for breaker in [Breaker::fresh(), open(1)] {
            assert_eq!(breaker.next(&settings(), &stimulus, NOW), breaker, "it comes too late");
        }
    }
}

#[test]
fn what_an_operator_holds_nothing_else_changes() {
    let all = [Breaker::fresh(), open(3), half_open()];
    for (hold, held) in [
        (Hold::Open, Breaker::HeldOpen { since: NOW }),
        (Hold::Closed, Breaker::HeldClosed { since: NOW }),
    ] {
        for breaker in &all {
            let next = breaker.next(&settings(), &Stimulus::Hold(hold), NOW);
            assert_eq!(next, held);
        }
        let heir = Stimulus::Probe { by: saga(8), abandoned: true };
        let probed = Stimulus::Probed(saga(7), Probed::Answer);
        for stimulus in [failures(9), probe(1), heir, probed] {
            assert_eq!(held.next(&settings(), &stimulus, NOW + 1), held);
        }
        assert_eq!(held.next(&settings(), &Stimulus::Hold(Hold::Auto), NOW), Breaker::fresh());
    }
    for breaker in all {
        assert_eq!(breaker.next(&settings(), &Stimulus::Hold(Hold::Auto), NOW), breaker);
    }
}

#[test]
fn what_was_heard_and_could_not_be_told_is_told_with_the_next() {
    let (mut first, mut second) = (Heard::default(), Heard::default());
    first.failed(saga(1), Some(3));
    second.failed(saga(2), Some(2));
    let both = second.clone().after(first.clone());
    assert_eq!((both.failures, both.sagas, both.retry_after), (2, vec![saga(1), saga(2)], Some(3)));
    second.answered();
    assert_eq!(second.clone().after(first), second, "it answered since");
}

#[test]
fn a_breaker_is_read_as_it_was_written() {
    let held = [Breaker::HeldOpen { since: NOW }, Breaker::HeldClosed { since: NOW }];
    for breaker in [Breaker::fresh(), open(2), half_open()].into_iter().chain(held) {
        let json = serde_json::to_value(&breaker).unwrap();
        assert_eq!(json["state"], breaker.name());
        assert_eq!(serde_json::from_value::<Breaker>(json).unwrap(), breaker);
    }
    let made = serde_json::from_str::<Breaker>(r#"{"state":"closed"}"#).unwrap();
    assert_eq!(made, Breaker::fresh(), "as the migration makes it");
}
