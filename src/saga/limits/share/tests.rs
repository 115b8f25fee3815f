//! Shares of a limit: never more than there is, all of it where it is wanted, and fair.

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

const SECOND: Micros = 1_000_000;

fn boot(n: usize) -> Uuid {
    Uuid::from_u128(n as u128 + 1)
}

fn seen(max: Option<u32>, others: Vec<Share>) -> Seen {
    Seen {
        max_in_flight: max,
        rate: None,
        next_free: 0,
        breaker: Breaker::fresh(),
        now: 1_000 * SECOND,
        others,
        dead: Vec::new(),
        ours: Written::default(),
    }
}

fn ask(n: usize, in_use: u32, waiting: u32) -> Ask {
    Ask {
        boot_id: boot(n),
        keep: in_use,
        in_use,
        waiting,
        reserved: 0,
        heard: Heard::default(),
        is_probing: false,
        probed: None,
    }
}

fn share(n: usize, slots: u32, in_use: u32, waiting: u32) -> Share {
    Share { boot_id: boot(n), written: Written { slots, in_use, waiting } }
}

fn settled(seen: &Seen, ask: &Ask) -> Settled {
    settle(&BreakerSettings::default(), seen, ask)
}

/// A replica in the simulation below: what it holds in memory, what is out, who waits.
#[derive(Clone, Copy, Default)]
struct Toy {
    held: u32,
    out: u32,
    waiting: u32,
    written: Written,
    is_dead: bool,
}

#[test]
fn whatever_happens_no_more_is_out_than_the_limit_and_all_of_it_where_it_is_wanted() {
    let mut rng = StdRng::seed_from_u64(7);
    for round in 0..300 {
        let (count, max) = (rng.random_range(1..5), rng.random_range(0..9));
        let mut toys = vec![Toy::default(); count];
        for step in 0..200_i64 {
            let n = rng.random_range(0..count);
            match rng.random_range(0..6) {
                0 => toys[n].waiting += rng.random_range(0..4),
                1 if toys[n].out > 0 => toys[n].out -= 1,
                2 if rng.random_range(0..20) == 0 => toys[n] = Toy { is_dead: true, ..toys[n] },
                3 if toys[n].is_dead => toys[n] = Toy::default(),
                _ => exchange(&mut toys, n, max, step * SECOND / 3),
            }
            let used: u32 = toys.iter().map(|it| if it.is_dead { 0 } else { it.out }).sum();
            let written: u32 =
                toys.iter().map(|it| if it.is_dead { 0 } else { it.written.slots }).sum();
            assert!(used <= written && written <= max, "round {round}: {used} {written} of {max}");
        }
        toys.retain(|it| !it.is_dead);
        toys.iter_mut().for_each(|it| it.waiting = 10);
        for step in 0..20 * count {
            let n = step % toys.len().max(1);
            if n < toys.len() {
                exchange(&mut toys, n, max, 0);
            }
        }
        let used: u32 = toys.iter().map(|it| it.out).sum();
        assert!(used == max || toys.is_empty(), "round {round}: {used} of {max} wanted slots");
    }
}

/// One replica reads, settles, and lets out whom it may.
fn exchange(toys: &mut [Toy], n: usize, max: u32, now: Micros) {
    if toys[n].is_dead {
        return;
    }
    let living = toys.iter().enumerate().filter(|(it, toy)| *it != n && !toy.is_dead);
    let others =
        living.map(|(it, toy)| Share { boot_id: boot(it), written: toy.written }).collect();
    let seen = Seen { now, ours: toys[n].written, ..seen(Some(max), others) };
    let keep = toys[n].held.max(toys[n].out);
    let settled = settled(&seen, &Ask { keep, ..ask(n, toys[n].out, toys[n].waiting) });
    let toy = &mut toys[n];
    (toy.held, toy.written) = (settled.slots.unwrap(), settled.written);
    while toy.waiting > 0 && toy.out < toy.held {
        (toy.waiting, toy.out) = (toy.waiting - 1, toy.out + 1);
    }
}

#[test]
fn what_one_does_not_want_is_the_others() {
    let seen = seen(Some(9), vec![share(1, 0, 0, 1), share(2, 0, 0, 100)]);
    assert_eq!(settled(&seen, &ask(0, 0, 100)).slots, Some(4));
    let alone = super::tests::seen(Some(9), Vec::new());
    assert_eq!(settled(&alone, &ask(0, 0, 100)).slots, Some(9));
    assert_eq!(settled(&alone, &ask(0, 0, 2)).slots, Some(2), "no more than it can use");
}

#[test]
fn who_has_too_much_uses_less_first_and_says_so_afterwards() {
    let lowered = seen(Some(3), vec![share(1, 3, 3, 9)]);
    let settled = settled(&lowered, &Ask { keep: 4, ..ask(0, 4, 9) });
    assert_eq!(settled.slots, Some(0), "nobody goes until enough has ended");
    assert_eq!(settled.written.slots, 4, "and what is out is told of");
}

#[test]
fn of_more_replicas_than_slots_each_has_its_time() {
    let others = vec![share(1, 0, 0, 5), share(2, 0, 0, 5)];
    let turns = (0..6).map(|second| {
        let seen = Seen { now: second * SECOND, ..seen(Some(1), others.clone()) };
        settled(&seen, &ask(0, 0, 5)).slots.unwrap()
    });
    assert_eq!(turns.sum::<u32>(), 2, "two seconds of six");
}

#[test]
fn calls_are_reserved_one_distance_apart_and_never_far_ahead() {
    let at = 1_000 * SECOND;
    let seen = Seen { rate: Some(10.0), next_free: at + 50_000, ..seen(None, Vec::new()) };
    let settled_now = settled(&seen, &ask(0, 0, 1_000));
    assert_eq!(settled_now.reserved, [at + 50_000, at + 150_000, at + 250_000]);
    assert_eq!(settled_now.next_free, at + 350_000);
    let with_some = settled(&seen, &Ask { reserved: 3, ..ask(0, 0, 1_000) });
    assert_eq!((with_some.reserved.len(), with_some.next_free), (0, at + 50_000));
    let slow = Seen { rate: Some(0.1), ..seen };
    assert_eq!(settled(&slow, &ask(0, 0, 9)).reserved.len(), 1);
    // Time that nobody used is not saved up.
    let idle = Seen { next_free: 0, ..slow };
    assert_eq!(settled(&idle, &ask(0, 0, 9)).next_free, at + 10 * SECOND);
}

#[test]
fn the_probe_is_whose_turn_it_is_and_has_a_slot() {
    let breaker = Breaker::Open { since: 0, probe_at: 0, openings: 1 };
    let free = Seen { breaker: breaker.clone(), ..seen(Some(7), Vec::new()) };
    let ours = settled(&free, &ask(0, 0, 100));
    assert!(ours.is_probe && ours.slots == Some(1), "one slot for one call");
    assert_eq!(ours.breaker.name(), "half_open");
    let full = Seen { breaker, ..seen(Some(7), vec![share(1, 7, 7, 0)]) };
    assert!(!settled(&full, &ask(0, 0, 100)).is_probe);
    // The answer that said so was lost; one that is out is not made again.
    let lost = Seen { breaker: ours.breaker, ours: ours.written, ..free };
    assert!(settled(&lost, &ask(0, 0, 100)).is_probe);
    assert!(!settled(&lost, &Ask { is_probing: true, ..ask(0, 1, 99) }).is_probe);
}

#[test]
fn where_nothing_is_limited_nothing_is_written() {
    let settled = settled(&seen(None, Vec::new()), &ask(0, 50, 0));
    assert!(!settled.is_changed && settled.slots.is_none());
}
