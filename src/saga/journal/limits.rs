//! Participants: their limits, who holds what of them, and their breakers.
//!
//! Whoever changes a participant or a share has read both before, decides, and writes in one statement that holds
//! the participant's row and matches its `turn`: who comes second matches nothing, and reads again.

use sqlx::PgPool;
use uuid::Uuid;

use crate::saga::limits::{
    breaker::{Breaker, Micros},
    desk::{Holder, Standing},
    share::{Seen, Settled, Share, Written},
};

/// Makes rows for participants that have none. What is there stays as it is.
pub(in crate::saga) async fn ensure(pool: &PgPool, names: &[String]) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into participant (name) select unnest($1::text[]) on conflict (name) do nothing",
        names,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// How a participant stands, for a replica that is alive, and its turn. `None` when the replica is not.
pub(in crate::saga) async fn read(
    pool: &PgPool,
    name: &str,
    boot_id: Uuid,
) -> sqlx::Result<Option<(Seen, i64)>> {
    let row = sqlx::query!(
        r#"select p.max_in_flight, p.rate, p.turn, p.breaker::text as "breaker!",
                  (extract(epoch from p.next_free) * 1000000)::bigint as "next_free!",
                  (extract(epoch from now()) * 1000000)::bigint as "now!",
                  array(select s.boot_id from participant_share s where s.name = p.name
                         order by s.boot_id) as "boots!",
                  array(select s.slots from participant_share s where s.name = p.name
                         order by s.boot_id) as "slots!",
                  array(select s.in_use from participant_share s where s.name = p.name
                         order by s.boot_id) as "in_use!",
                  array(select s.waiting from participant_share s where s.name = p.name
                         order by s.boot_id) as "waiting!",
                  array(select r.boot_id from replica r where r.leased_until > now()) as "alive!"
             from participant p where p.name = $1"#,
        name,
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row.filter(|it| it.alive.contains(&boot_id)) else { return Ok(None) };
    let (mut others, mut dead, mut ours) = (Vec::new(), Vec::new(), Written::default());
    let numbers = row.slots.iter().zip(&row.in_use).zip(&row.waiting);
    for (holder, ((slots, in_use), waiting)) in row.boots.iter().zip(numbers) {
        let written = written(*slots, *in_use, *waiting);
        match holder {
            holder if *holder == boot_id => ours = written,
            holder if row.alive.contains(holder) => {
                others.push(Share { boot_id: *holder, written });
            }
            holder => dead.push(*holder),
        }
    }
    let seen = Seen {
        max_in_flight: row.max_in_flight.map(|it| u32::try_from(it).unwrap_or(0)),
        rate: row.rate,
        next_free: row.next_free,
        breaker: parsed(&row.breaker)?,
        now: row.now,
        others,
        dead,
        ours,
    };
    Ok(Some((seen, row.turn)))
}

fn written(slots: i32, in_use: i32, waiting: i32) -> Written {
    let number = |it: i32| u32::try_from(it).unwrap_or(0);
    Written { slots: number(slots), in_use: number(in_use), waiting: number(waiting) }
}

fn parsed(breaker: &str) -> sqlx::Result<Breaker> {
    serde_json::from_str(breaker).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn json(breaker: &Breaker) -> sqlx::Result<String> {
    serde_json::to_string(breaker).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// Writes what was settled from what was seen. False, and nothing is written, when somebody else came first or
/// the replica is dead. What dead replicas held goes away with it.
pub(in crate::saga) async fn write(
    pool: &PgPool,
    name: &str,
    turn: i64,
    boot_id: Uuid,
    seen: &Seen,
    settled: &Settled,
    running: &[Uuid],
) -> sqlx::Result<bool> {
    let (before, after) = (&seen.breaker, &settled.breaker);
    let is_news = before.name() != after.name() || before.is_suspect() != after.is_suspect();
    let number = |it: u32| i32::try_from(it).unwrap_or(i32::MAX);
    let Written { slots, in_use, waiting } = settled.written;
    let done = sqlx::query!(
        "with held as (
             update participant set turn = turn + 1, version = version + $4, breaker = $5::text::json,
                    next_free = 'epoch'::timestamptz + $6 * interval '1 microsecond'
              where name = $1 and turn = $2
                and exists (select from replica where boot_id = $3 and leased_until > now())
             returning name),
         gone as (
             delete from participant_share s using held h
              where s.name = h.name and s.boot_id = any($7))
         insert into participant_share as s (name, boot_id, slots, in_use, waiting, running, at)
         select h.name, $3, $8, $9, $10, $11::uuid[], now() from held h
         on conflict (name, boot_id) do update
            set slots = excluded.slots, in_use = excluded.in_use, waiting = excluded.waiting,
                running = excluded.running, at = excluded.at",
        name,
        turn,
        boot_id,
        i64::from(is_news),
        json(after)?,
        settled.next_free as f64,
        &seen.dead,
        number(slots),
        number(in_use),
        number(waiting),
        running,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How participants stand, by name: this one, or all.
pub(in crate::saga) async fn standings(
    pool: &PgPool,
    name: Option<&str>,
) -> sqlx::Result<Vec<Standing>> {
    let rows = sqlx::query!(
        r#"select name, max_in_flight, rate, breaker::text as "breaker!",
                  (extract(epoch from now()) * 1000000)::bigint as "now!"
             from participant where $1::text is null or name = $1 order by name"#,
        name,
    )
    .fetch_all(pool)
    .await?;
    let shares = sqlx::query!(
        "select s.name, s.boot_id, r.name as replica, s.slots, s.in_use, s.waiting, s.running
           from participant_share s join replica r on r.boot_id = s.boot_id
          where r.leased_until > now() and ($1::text is null or s.name = $1)
          order by r.started_at, r.boot_id",
        name,
    )
    .fetch_all(pool)
    .await?;
    let mut standings = Vec::with_capacity(rows.len());
    for row in rows {
        let of_it = shares.iter().filter(|it| it.name == row.name).map(|it| Holder {
            boot_id: it.boot_id,
            name: it.replica.clone(),
            written: written(it.slots, it.in_use, it.waiting),
            running: it.running.clone(),
        });
        standings.push(Standing {
            max_in_flight: row.max_in_flight,
            rate: row.rate,
            breaker: parsed(&row.breaker)?,
            now: row.now,
            shares: of_it.collect(),
            name: row.name,
        });
    }
    Ok(standings)
}

/// A change of limits. What is `None` stays as it is; what is `Some(None)` is no limit any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Calls in flight at most.
    pub max_in_flight: Option<Option<i32>>,
    /// Calls a second at most.
    pub rate: Option<Option<f64>>,
    /// Who wants it.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Sets limits and records who wanted it. The next call by a new rate is one of its distances away at most.
/// False when there is no such participant.
pub(in crate::saga) async fn set(pool: &PgPool, name: &str, change: &Change) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "with changed as (
             update participant p
                set max_in_flight = case when $2 then $3 else max_in_flight end,
                    rate = case when $4 then $5 else rate end,
                    next_free = case when $4 and $5 is not null
                                     then least(greatest(next_free, now()), now() + interval '1 second' / $5)
                                     else next_free end,
                    version = version + 1, turn = turn + 1
              where name = $1
             returning name, max_in_flight, rate, breaker ->> 'state' as breaker)
         insert into participant_change (change_id, name, at, by, reason, max_in_flight, rate, breaker)
         select $6, name, now(), $7, $8, max_in_flight, rate, breaker from changed",
        name,
        change.max_in_flight.is_some(),
        change.max_in_flight.flatten(),
        change.rate.is_some(),
        change.rate.flatten(),
        Uuid::now_v7(),
        change.by,
        change.reason,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A participant's breaker, its turn and the time; `None` when there is no such participant.
pub(in crate::saga) async fn breaker(
    pool: &PgPool,
    name: &str,
) -> sqlx::Result<Option<(Breaker, i64, Micros)>> {
    let row = sqlx::query!(
        r#"select breaker::text as "breaker!", turn,
                  (extract(epoch from now()) * 1000000)::bigint as "now!"
             from participant where name = $1"#,
        name,
    )
    .fetch_optional(pool)
    .await?;
    row.map(|it| Ok((parsed(&it.breaker)?, it.turn, it.now))).transpose()
}

/// Writes a breaker that an operator holds, or let go, and records who wanted it. False when somebody else came
/// first.
pub(in crate::saga) async fn hold(
    pool: &PgPool,
    name: &str,
    turn: i64,
    breaker: &Breaker,
    by: &str,
    reason: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "with changed as (
             update participant
                set breaker = $3::text::json, version = version + 1, turn = turn + 1
              where name = $1 and turn = $2
             returning name, max_in_flight, rate, breaker ->> 'state' as breaker)
         insert into participant_change (change_id, name, at, by, reason, max_in_flight, rate, breaker)
         select $4, name, now(), $5, $6, max_in_flight, rate, breaker from changed",
        name,
        turn,
        json(breaker)?,
        Uuid::now_v7(),
        by,
        reason,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A change as it was recorded.
#[derive(Debug, Clone)]
pub struct Changed {
    /// When.
    pub at: jiff_sqlx::Timestamp,
    /// Who wanted it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Calls in flight at most, from then on.
    pub max_in_flight: Option<i32>,
    /// Calls a second at most, from then on.
    pub rate: Option<f64>,
    /// How the breaker stood from then on.
    pub breaker: String,
}

/// What was changed about a participant, the newest first.
pub(in crate::saga) async fn changes(
    pool: &PgPool,
    name: &str,
    at_most: i64,
) -> sqlx::Result<Vec<Changed>> {
    sqlx::query_as!(
        Changed,
        r#"select at as "at: jiff_sqlx::Timestamp", by, reason, max_in_flight, rate, breaker from participant_change
            where name = $1 order by change_id desc limit $2"#,
        name,
        at_most,
    )
    .fetch_all(pool)
    .await
}
