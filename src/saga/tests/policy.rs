//! When an attempt follows on a failed one.

use std::time::Duration;

use rand::Rng;

use crate::saga::Policy;

const PLAIN: Policy = Policy {
    attempts_max: 10,
    start_to_close: Duration::from_secs(30),
    heartbeat: None,
    backoff: Duration::from_secs(1),
    backoff_factor: 2.0,
    backoff_max: Duration::from_secs(100),
    jitter: 0.2,
};

fn seconds(attempt: u32, spread: f64) -> f64 {
    PLAIN.delay(attempt, spread, None).as_secs_f64()
}

#[test]
fn the_default_is_the_well_known_one_with_jitter() {
    assert_eq!(Policy::default(), Policy { attempts_max: 3, ..PLAIN });
}

#[test]
fn delays_grow_up_to_the_cap() {
    let delays: Vec<f64> = (1..=9).map(|attempt| seconds(attempt, 0.0)).collect();
    assert_eq!(delays, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0, 100.0]);
}

#[test]
fn jitter_stays_within_its_bounds_and_comes_after_the_cap() {
    let mut rng = rand::rng();
    for (attempt, middle) in [(1, 1.0), (3, 4.0), (30, 100.0)] {
        let samples: Vec<f64> =
            (0..1_000).map(|_| seconds(attempt, rng.random_range(-1.0..=1.0))).collect();
        let bounds = middle * 0.8 - 1e-6..=middle * 1.2 + 1e-6;
        assert!(samples.iter().all(|it| bounds.contains(it)), "attempt {attempt}");
        let spread_out = |from: f64, to: f64| samples.iter().any(|it| (from..to).contains(it));
        assert!(spread_out(middle * 0.8, middle * 0.9), "attempt {attempt}");
        assert!(spread_out(middle * 1.1, middle * 1.2), "attempt {attempt}: above the cap too");
    }
}

#[test]
fn the_participants_wish_wins_when_it_is_later() {
    let delay = |wish| PLAIN.delay(1, 1.0, Some(Duration::from_secs(wish)));
    assert_eq!(delay(300), Duration::from_secs(300));
    assert_eq!(delay(1), Duration::from_millis(1_200), "it never shortens a delay");
}

#[test]
fn no_policy_makes_it_panic() {
    for backoff in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        for backoff_factor in [0.0, 1.0, 2.0, f64::MAX, f64::INFINITY, f64::NAN, -3.0] {
            let policy = Policy { backoff, backoff_factor, backoff_max: Duration::MAX, ..PLAIN };
            for attempt in [0, 1, 2, 1_000, u32::MAX] {
                let _ = policy.delay(attempt, 1.0, None);
            }
        }
    }
}
