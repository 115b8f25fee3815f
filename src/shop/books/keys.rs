//! The statements that claim idempotency keys.

use std::collections::{BTreeMap, HashSet};

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    place::{Placings, refuse},
    refusal,
};
use crate::saga::Applied;

/// A customer and a key.
type Key<'a> = (&'a str, &'a str);

/// One placing that wants a key.
struct Claim<'a> {
    index: usize,
    order_id: Uuid,
    print: &'a [u8],
}

/// Claims the keys in their order, so that two replicas never wait for each other in a ring. Of several
/// placings with one key the first claims it; the others then wait for the next batch, or learn at once that
/// it was taken before.
pub(super) async fn claim(
    connection: &mut PgConnection,
    placings: &Placings<'_>,
    answers: &mut [Applied],
) -> sqlx::Result<()> {
    let mut claims: BTreeMap<Key<'_>, Vec<Claim<'_>>> = BTreeMap::new();
    for (index, order_id, placing) in &placings.orders {
        let Some((key, print)) = &placing.key else { continue };
        let claim = Claim { index: *index, order_id: *order_id, print };
        claims.entry((placing.customer_id.as_str(), key.as_str())).or_default().push(claim);
    }
    let (customers, keys): (Vec<&str>, Vec<&str>) = claims.keys().copied().unzip();
    let firsts = || claims.values().filter_map(|all| all.first());
    let orders: Vec<Uuid> = firsts().map(|it| it.order_id).collect();
    let prints: Vec<&[u8]> = firsts().map(|it| it.print).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let claimed = sqlx::query!(
        "insert into idempotency_key (customer_id, key, order_id, fingerprint)
         select unnest($1::text[]), unnest($2::text[]), unnest($3::uuid[]), unnest($4::bytea[])
         on conflict do nothing returning order_id",
        &customers as &[&str],
        &keys as &[&str],
        &orders,
        &prints as &[&[u8]],
    )
    .fetch_all(&mut *connection)
    .await?;
    let claimed: HashSet<Uuid> = claimed.into_iter().map(|it| it.order_id).collect();
    for claim in claims.values().flatten().filter(|it| !claimed.contains(&it.order_id)) {
        if let Some(answer) = answers.get_mut(claim.index) {
            *answer = Applied::Later;
        }
    }
    let is_ours = |all: &[Claim<'_>]| all.first().is_some_and(|it| claimed.contains(&it.order_id));
    claims.retain(|_, all| !is_ours(all));
    tell_who_has_them(connection, &claims, answers).await
}

/// Refuses the placings whose key stands for an order of an earlier batch.
async fn tell_who_has_them(
    connection: &mut PgConnection,
    lost: &BTreeMap<Key<'_>, Vec<Claim<'_>>>,
    answers: &mut [Applied],
) -> sqlx::Result<()> {
    let (customers, keys): (Vec<&str>, Vec<&str>) = lost.keys().copied().unzip();
    if keys.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        "select k.customer_id, k.key, k.order_id, k.fingerprint
           from unnest($1::text[], $2::text[]) as x (customer_id, key)
           join idempotency_key k on k.customer_id = x.customer_id and k.key = x.key",
        &customers as &[&str],
        &keys as &[&str],
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        for claim in lost.get(&(row.customer_id.as_str(), row.key.as_str())).into_iter().flatten() {
            let data = json!({ "order_id": row.order_id, "same": row.fingerprint == claim.print });
            let detail = "the key stands for another order";
            refuse(answers, claim.index, refusal::KEY_TAKEN, detail, data);
        }
    }
    Ok(())
}
