//! Who gets how much of a limit: what a replica asks for, and what it is given. Pure, by the database's clock.
//!
//! A replica that is given slots may use them without asking. It gives them back by using fewer first and saying
//! so afterwards, so what is written is never less than what is used; and what is written of all the living
//! never sums up to more than the limit, but while a limit is being lowered: then nobody is given more
//! until enough calls have ended.

use uuid::Uuid;

use super::breaker::{Breaker, BreakerSettings, Heard, Micros, Probed, Stimulus};

/// How far ahead calls are reserved by the rate, in microseconds: what a change of the rate does not reach.
const AHEAD: Micros = 250_000;

/// How a participant stands, as it was read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Calls in flight at most.
    pub max_in_flight: Option<u32>,
    /// Calls a second at most.
    pub rate: Option<f64>,
    /// When the next call is free to go out by the rate.
    pub next_free: Micros,
    /// The breaker.
    pub breaker: Breaker,
    /// The time of reading.
    pub now: Micros,
    /// What the other replicas hold that are alive.
    pub others: Vec<Share>,
    /// Replicas that hold something and are dead.
    pub dead: Vec<Uuid>,
    /// What is written of us.
    pub ours: Written,
}

/// What another replica holds and wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which.
    pub boot_id: Uuid,
    /// What is written of it.
    pub written: Written,
}

/// What is written of a replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Slots that it holds.
    pub slots: u32,
    /// Calls in flight.
    pub in_use: u32,
    /// Sagas that wait.
    pub waiting: u32,
}

/// What a replica asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who asks.
    pub boot_id: Uuid,
    /// Slots that it may be using by the time of the answer.
    pub keep: u32,
    /// Calls in flight.
    pub in_use: u32,
    /// Sagas that wait.
    pub waiting: u32,
    /// Calls that it has reserved by the rate and not made.
    pub reserved: u32,
    /// What it heard.
    pub heard: Heard,
    /// Whether the one call of a half-open breaker is its own, and out.
    pub is_probing: bool,
    /// What became of its probe.
    pub probed: Option<Probed>,
}

/// What it is given, and what is to be written.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Slots that it may use from now on; `None` is as many as it likes.
    pub slots: Option<u32>,
    /// What is written of it.
    pub written: Written,
    /// When it may make calls by the rate, from when on and how far apart.
    pub reserved: Vec<Micros>,
    /// When the next call is free to go out by the rate.
    pub next_free: Micros,
    /// The breaker.
    pub breaker: Breaker,
    /// Whether the one call of the half-open breaker is ours to make now.
    pub is_probe: bool,
    /// Whether there is anything to write.
    pub is_changed: bool,
}

/// Settles what a replica asks for.
pub fn settle(settings: &BreakerSettings, seen: &Seen, ask: &Ask) -> Settled {
    let mut breaker = seen.breaker.clone();
    if let Some(probed) = ask.probed {
        breaker = breaker.next(settings, &Stimulus::Probed(ask.boot_id, probed), seen.now);
    }
    if !ask.heard.is_nothing() {
        breaker = breaker.next(settings, &Stimulus::Heard(ask.heard.clone()), seen.now);
    }
    let probing = breaker.next(settings, &wish_to_probe(seen, &breaker, ask), seen.now);
    let would_probe = ask.waiting > 0 && (probing != breaker || is_ours_unawares(&breaker, ask));
    let calls = match (breaker.is_closed(), would_probe) {
        (true, _) => ask.waiting,
        (false, probes) => u32::from(probes),
    };
    let given = seen.max_in_flight.map(|max| {
        let others = seen.others.iter().map(|it| {
            let waiting = if breaker.is_closed() { it.written.waiting } else { 0 };
            (it.boot_id, it.written.in_use.saturating_add(waiting))
        });
        let ours = (ask.boot_id, ask.in_use.saturating_add(calls));
        allot(max, seen, others.chain([ours]).collect(), ask.boot_id)
    });
    let room = given.map_or(u32::MAX, |it| it.saturating_sub(ask.in_use));
    let is_probe = would_probe && room > 0;
    if is_probe {
        breaker = probing;
    }
    let (reserved, next_free) = reserve(seen, calls.min(room), ask.reserved);
    let slots = given.map_or(0, |it| it.max(ask.keep));
    let is_in_the_way = given.is_some() || seen.rate.is_some() || !breaker.is_closed();
    let written = match is_in_the_way {
        true => Written { slots, in_use: ask.in_use, waiting: ask.waiting },
        false => Written::default(),
    };
    let is_changed = written != seen.ours || breaker != seen.breaker || !reserved.is_empty();
    Settled { slots: given, written, reserved, next_free, breaker, is_probe, is_changed }
}

/// The answer that gave us the probe was lost.
fn is_ours_unawares(breaker: &Breaker, ask: &Ask) -> bool {
    let is_ours = matches!(breaker, Breaker::HalfOpen { probe, .. } if *probe == ask.boot_id);
    is_ours && !ask.is_probing
}

fn wish_to_probe(seen: &Seen, breaker: &Breaker, ask: &Ask) -> Stimulus {
    let is_alive = |boot_id: Uuid| {
        boot_id == ask.boot_id || seen.others.iter().any(|it| it.boot_id == boot_id)
    };
    let abandoned = matches!(breaker, Breaker::HalfOpen { probe, .. } if !is_alive(*probe));
    Stimulus::Probe { by: ask.boot_id, abandoned }
}

/// What a replica gets of a limit: its fair share of what is wanted, as far as it is free.
fn allot(max: u32, seen: &Seen, mut wants: Vec<(Uuid, u32)>, boot_id: Uuid) -> u32 {
    wants.retain(|it| it.1 > 0);
    wants.sort_unstable();
    let fair = fair_share(max, &wants, seen.now, boot_id);
    let held: u64 = seen.others.iter().map(|it| u64::from(it.written.slots)).sum();
    let free = u32::try_from(u64::from(max).saturating_sub(held)).unwrap_or(max);
    fair.min(free)
}

/// Shares a limit out: to all that want the same, what one does not want to the others. What does not come out
/// even goes round, a second each, so that of more replicas than slots each has its time.
fn fair_share(max: u32, wants: &[(Uuid, u32)], now: Micros, boot_id: Uuid) -> u32 {
    let mut open: Vec<(Uuid, u32)> = wants.to_vec();
    let (mut left, mut ours) = (max, 0);
    while left > 0 && !open.is_empty() {
        let count = u32::try_from(open.len()).unwrap_or(u32::MAX);
        let each = (left / count).max(1);
        let first = usize::try_from(now.max(0) / 1_000_000).unwrap_or(0) % open.len();
        open.rotate_left(first);
        for (boot, want) in &mut open {
            let given = (*want).min(each).min(left);
            (left, *want) = (left - given, *want - given);
            if *boot == boot_id {
                ours += given;
            }
        }
        open.retain(|it| it.1 > 0);
        open.sort_unstable();
    }
    ours
}

/// Reserves calls by the rate, besides those reserved before: when each may go out, and when the next one after
/// them may.
fn reserve(seen: &Seen, calls: u32, before: u32) -> (Vec<Micros>, Micros) {
    let Some(rate) = seen.rate else { return (Vec::new(), seen.next_free) };
    let apart = 1_000_000.0 / rate;
    let ahead = (AHEAD as f64 / apart).ceil().clamp(1.0, f64::from(u32::MAX)) as u32;
    let count = ahead.min(calls).saturating_sub(before);
    let first = seen.next_free.max(seen.now);
    let at = |call: u32| first.saturating_add((f64::from(call) * apart) as Micros);
    match count {
        0 => (Vec::new(), seen.next_free),
        count => ((0..count).map(at).collect(), at(count)),
    }
}

#[cfg(test)]
mod tests;
