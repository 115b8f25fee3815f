//! Applies the effects of a batch: verdicts first, greedily and in order, then everything at once.
//!
//! Arrays are taken apart in select lists: side by side, padded with NULL, and for a fifth of what several arrays in
//! one `unnest` in a FROM cost.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Effect, Money, Notice, bucket,
    place::{self, Placings},
    refusal, stock,
};
use crate::{
    saga::{Applied, Entry, Refusal, Step, journal::task},
    shop::{
        order::{Channel, Need},
        saga::Preparation,
    },
};

/// The function that the shop gives the engine; see [`Apply`](crate::saga::Apply).
pub fn apply<'a>(
    connection: &'a mut PgConnection,
    entries: &'a [Entry<'a, Effect>],
) -> BoxFuture<'a, sqlx::Result<Vec<Applied>>> {
    Box::pin(apply_all(connection, entries))
}

async fn apply_all(
    connection: &mut PgConnection,
    entries: &[Entry<'_, Effect>],
) -> sqlx::Result<Vec<Applied>> {
    let mut answers = vec![Applied::Yes; entries.len()];
    let placings = Placings::of(entries);
    place::judge(connection, &placings, &mut answers).await?;
    let mut shelf = Shelf::lock(connection, entries, &answers).await?;
    for (entry, answer) in entries.iter().zip(&mut answers) {
        if *answer == Applied::Yes
            && let Some(refusal) = shelf.take(entry)
        {
            *answer = Applied::Refused(refusal);
        }
    }
    place::forget_refused(connection, &placings, &answers).await?;
    place::write(connection, &placings, &answers).await?;
    shelf.write(connection).await?;
    let mut effects: Vec<(Uuid, &Effect)> = Vec::with_capacity(entries.len());
    for (entry, answer) in entries.iter().zip(&answers) {
        if *answer == Applied::Yes {
            effects.extend(entry.effects.iter().map(|it| (entry.saga_id, it)));
        }
    }
    write_rest(connection, effects).await?;
    Ok(answers)
}

/// The stock as this batch sees it: locked, and changed in memory until all verdicts are known.
#[derive(Default)]
struct Shelf<'a> {
    levels: BTreeMap<String, stock::Level>,
    changes: BTreeMap<&'a str, stock::Level>,
    moves: Vec<stock::Move<'a>>,
}

impl<'a> Shelf<'a> {
    async fn lock(
        connection: &mut PgConnection,
        entries: &'a [Entry<'a, Effect>],
        answers: &[Applied],
    ) -> sqlx::Result<Self> {
        let mut names: Vec<&str> = entries
            .iter()
            .zip(answers)
            .filter(|(_, answer)| **answer == Applied::Yes)
            .flat_map(|(entry, _)| entry.effects)
            .flat_map(needs_of)
            .map(|it| it.ingredient.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self { levels: stock::lock(connection, &names).await?, ..Self::default() })
    }

    /// Takes one entry's share, wholly or not at all.
    fn take(&mut self, entry: &'a Entry<'a, Effect>) -> Option<Refusal> {
        for effect in entry.effects {
            let (phase, kind, code) = match effect {
                Effect::Place(_) => (1, "reserve", refusal::OUT_OF_STOCK),
                Effect::Deduct(_) => (2, "deduct", refusal::INVENTORY_FAILED),
                Effect::Release { .. } => (2, "release", refusal::INVENTORY_FAILED),
                Effect::Capture(_)
                | Effect::Refund(_)
                | Effect::Notice(_)
                | Effect::Tasks(_)
                | Effect::Withdraw => continue,
            };
            let needs = needs_of(effect);
            if let Some(short) = needs.iter().find(|it| !self.has(it, kind)) {
                let detail = format!("there is not enough {}", short.ingredient);
                return Some(Refusal {
                    code,
                    detail,
                    data: json!({ "ingredient": short.ingredient }),
                });
            }
            for need in needs {
                let (on_hand, reserved) = match kind {
                    "reserve" => (0, need.quantity),
                    "deduct" => (-need.quantity, -need.quantity),
                    _ => (0, -need.quantity),
                };
                let change = self.changes.entry(need.ingredient.as_str()).or_default();
                *change = change.plus(on_hand, reserved);
            }
            self.moves.push(stock::Move { order_id: entry.saga_id, phase, kind, needs });
        }
        None
    }

    fn has(&self, need: &Need, kind: &str) -> bool {
        let Some(level) = self.levels.get(&need.ingredient) else { return false };
        let change = self.changes.get(need.ingredient.as_str()).copied().unwrap_or_default();
        let level = level.plus(change.on_hand, change.reserved);
        match kind {
            "reserve" => level.on_hand - level.reserved >= need.quantity,
            "deduct" => level.on_hand >= need.quantity && level.reserved >= need.quantity,
            _ => level.reserved >= need.quantity,
        }
    }

    async fn write(self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if self.moves.is_empty() {
            return Ok(());
        }
        stock::write(connection, &self.changes, &self.moves).await
    }
}

fn needs_of(effect: &Effect) -> &[Need] {
    match effect {
        Effect::Place(placing) => &placing.needs,
        Effect::Deduct(needs) | Effect::Release { needs, .. } => needs,
        Effect::Capture(_)
        | Effect::Refund(_)
        | Effect::Notice(_)
        | Effect::Tasks(_)
        | Effect::Withdraw => &[],
    }
}

/// Writes what cannot be refused: money, notices, freed codes, tasks. Tasks last: who claims them waits for nothing of
/// this.
async fn write_rest(
    connection: &mut PgConnection,
    effects: Vec<(Uuid, &Effect)>,
) -> sqlx::Result<()> {
    let (mut money, mut notices, mut codes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut tasks, mut withdrawn) = (Vec::new(), Vec::new());
    for (order_id, effect) in effects {
        match effect {
            Effect::Capture(it) => money.push((order_id, "capture", it)),
            Effect::Refund(it) => money.push((order_id, "refund", it)),
            Effect::Notice(it) => notices.push((order_id, it)),
            Effect::Release { pickup_code, .. } => codes.push(pickup_code.clone()),
            Effect::Tasks(it) => {
                tasks.extend(it.iter().map(|task| (order_id, Preparation::NAME, task)));
            }
            Effect::Withdraw => withdrawn.push(order_id),
            Effect::Place(_) | Effect::Deduct(_) => {}
        }
    }
    if !money.is_empty() {
        write_money(connection, &money).await?;
    }
    if !notices.is_empty() {
        write_notices(connection, &notices).await?;
    }
    if !codes.is_empty() {
        place::free_codes(connection, &mut codes).await?;
    }
    if !tasks.is_empty() {
        task::create_tasks(connection, &tasks).await?;
    }
    if !withdrawn.is_empty() {
        task::withdraw_tasks(connection, &withdrawn).await?;
    }
    Ok(())
}

async fn write_money(
    connection: &mut PgConnection,
    money: &[(Uuid, &str, &Money)],
) -> sqlx::Result<()> {
    let orders: Vec<Uuid> = money.iter().map(|(it, _, _)| *it).collect();
    let kinds: Vec<&str> = money.iter().map(|(_, it, _)| *it).collect();
    let amounts: Vec<i64> = money.iter().map(|(_, _, it)| it.amount).collect();
    let currencies: Vec<&str> = money.iter().map(|(_, _, it)| it.currency.as_str()).collect();
    let receipts: Vec<&str> = money.iter().map(|(_, _, it)| it.receipt.as_str()).collect();
    sqlx::query!(
        "insert into ledger (order_id, kind, amount, currency, receipt)
         select unnest($1::uuid[]), unnest($2::text[]), unnest($3::bigint[]), unnest($4::text[]),
                unnest($5::text[])",
        &orders,
        &kinds as &[&str],
        &amounts,
        &currencies as &[&str],
        &receipts as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_notices(
    connection: &mut PgConnection,
    notices: &[(Uuid, &Notice)],
) -> sqlx::Result<()> {
    let buckets: Vec<i16> = notices.iter().map(|(it, _)| bucket(*it)).collect();
    let ids: Vec<&str> = notices.iter().map(|(_, it)| it.message_id.as_str()).collect();
    let orders: Vec<Uuid> = notices.iter().map(|(it, _)| *it).collect();
    let channels: Vec<&str> = notices.iter().map(|(_, it)| channel_name(it.channel)).collect();
    let bodies: Vec<&str> = notices.iter().map(|(_, it)| it.body.as_str()).collect();
    let attempts: Vec<Option<i32>> = notices
        .iter()
        .map(|(_, it)| it.given_up_after.map(|it| i32::try_from(it).unwrap_or(i32::MAX)))
        .collect();
    sqlx::query!(
        "insert into outbox (bucket, message_id, order_id, channel, body, attempts, given_up_at)
         select x.bucket, x.message_id, x.order_id, x.channel, x.body::json, coalesce(x.attempts, 0),
                case when x.attempts is not null then now() end
           from (select unnest($1::smallint[]) as bucket, unnest($2::text[]) as message_id,
                        unnest($3::uuid[]) as order_id, unnest($4::text[]) as channel,
                        unnest($5::text[]) as body, unnest($6::integer[]) as attempts) x",
        &buckets,
        &ids as &[&str],
        &orders,
        &channels as &[&str],
        &bodies as &[&str],
        &attempts as &[Option<i32>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Webhook => "webhook",
        Channel::Log => "log",
    }
}
