//! The invariants that hold inside the database, each a statement that finds the orders which break it.

use sqlx::{AssertSqlSafe, PgPool, Row};
use uuid::Uuid;

use super::{Ended, Violation};
use crate::scene::until;

/// What is wrong with the orders that a statement returns.
const INVARIANTS: &[(&str, &str)] = &[
    (
        "an order without a saga, or a saga without an order",
        "select coalesce(o.order_id, s.saga_id) from orders o \
         full join saga s on s.saga_id = o.order_id where o.order_id is null or s.saga_id is null",
    ),
    (
        "a journal with a gap, or not as long as the row says",
        "select s.saga_id from saga s left join journal j using (bucket, saga_id) \
         group by s.saga_id, s.seq \
         having min(j.seq) is distinct from 1 or max(j.seq) <> count(*) or count(*) <> s.seq",
    ),
    (
        "a saga outside the bucket of its id",
        "select saga_id from saga where bucket <> get_byte(uuid_send(saga_id), 15)",
    ),
    (
        "an epoch that fell within a journal",
        "select saga_id from (select saga_id, epoch, lag(epoch) over \
           (partition by saga_id order by seq) as before from journal) j where epoch < before",
    ),
    (
        "a line of an epoch that was never given out",
        "select j.saga_id from journal j join bucket b using (bucket) \
         where j.epoch > b.epoch or j.epoch < 1",
    ),
    (
        "a line after the end, or an end that the row does not show",
        "select s.saga_id from saga s \
           left join journal j on j.saga_id = s.saga_id and j.kind = 'closed' \
         where (s.closed_status is null) <> (j.seq is null) or j.seq <> s.seq \
            or s.closed_status <> s.label or s.closed_status <> j.data->>'status' \
            or s.closed_reason is distinct from j.data->>'reason'",
    ),
    (
        "an order that has not ended, or still waits",
        "select saga_id from saga where closed_status is null or wake_at is not null \
            or attention is not null",
    ),
    (
        "milestones out of order",
        "select saga_id from (select saga_id, \
             max(seq) filter (where kind = 'step_done' and step = 'payment') as paid, \
             max(seq) filter (where kind = 'step_reached') as preparing, \
             max(seq) filter (where kind = 'step_done' and step = 'preparation') as prepared, \
             max(seq) filter (where kind = 'step_done' and step = 'inventory') as ready, \
             max(seq) filter (where kind = 'compensating') as back \
           from journal group by saga_id) m \
         where preparing < paid or prepared < preparing or ready < prepared or back < prepared \
            or back is not null and ready is not null \
            or paid is null and coalesce(preparing, prepared, ready) is not null \
            or ready is not null and prepared is null",
    ),
    (
        "a step or a compensation that ended twice",
        "select saga_id from journal where kind in ('step_done', 'step_refused', 'step_given_up', \
             'compensation_done', 'compensating', 'closed', 'started') \
         group by saga_id, kind, step having count(*) > 1",
    ),
    (
        "money that does not fit the end",
        "select o.order_id from orders o join saga s on s.saga_id = o.order_id \
           left join lateral (select coalesce(sum(amount) filter (where kind = 'capture'), 0) as c, \
                                     coalesce(sum(amount) filter (where kind = 'refund'), 0) as r \
                                from ledger l where l.order_id = o.order_id) m on true \
         where case s.closed_status when 'COMPLETED' then m.c <> o.total or m.r <> 0 \
                                    when 'REFUNDED' then m.c = 0 or m.r <> m.c \
                                    else m.c <> 0 or m.r <> 0 end",
    ),
    (
        "a step that may have happened and was not taken back",
        "select u.saga_id from journal u where u.kind = 'compensating' and exists ( \
           select from journal m where m.saga_id = u.saga_id and m.step in ('payment', 'preparation') \
              and m.kind in ('step_done', 'step_given_up', 'attempt_failed', 'step_reached', 'parked') \
              and m.seq < u.seq \
              and not exists (select from journal r where r.saga_id = m.saga_id \
                                 and r.step = m.step and r.kind = 'step_refused') \
              and not exists (select from journal d where d.saga_id = m.saga_id \
                                 and d.step = m.step and d.kind = 'compensation_done' and d.seq > u.seq))",
    ),
    (
        "steps taken back in the wrong order",
        "select a.saga_id from journal a join journal b on a.saga_id = b.saga_id \
         where a.kind = 'compensation_done' and b.kind = 'compensation_done' \
           and a.step = 'preparation' and b.step = 'payment' and a.seq > b.seq",
    ),
    (
        "an accepted cancellation of an order that was completed, or one that was lost",
        "select s.saga_id from saga s where s.cancel_requested and (s.closed_status = 'COMPLETED' \
            or s.past_pivot or s.closed_status = 'CANCELLED' and not exists (select from journal j \
                 where j.saga_id = s.saga_id and j.kind = 'cancel_requested'))",
    ),
    (
        "stock that was not reserved once and then settled once, as the order ended",
        "select s.saga_id from saga s left join stock_move r on r.order_id = s.saga_id and r.phase = 1 \
           left join stock_move e on e.order_id = s.saga_id and e.phase = 2 \
         where r.order_id is null or e.order_id is null or r.ingredients <> e.ingredients \
            or r.quantities <> e.quantities or (e.kind = 'deduct') <> (s.closed_status = 'COMPLETED')",
    ),
    (
        "an order that was reserved for what its recipe does not say",
        "select m.order_id from stock_move m join journal j on j.saga_id = m.order_id and j.seq = 1 \
         where m.phase = 1 and m.quantities <> (select array_agg((j.data->'items'->0->>'quantity')::bigint \
             * r.quantity order by array_position(m.ingredients, r.ingredient)) from recipe r \
             where r.item = j.data->'items'->0->>'item')",
    ),
    (
        "a notice that was not written, or was written twice",
        "select s.saga_id from saga s left join outbox o on o.order_id = s.saga_id \
         group by s.saga_id, s.closed_status \
         having count(o.message_id) <> (s.closed_status <> 'COMPLETED' or not exists (select from journal j \
             where j.saga_id = s.saga_id and j.kind = 'step_done' and j.step = 'notification'))::int",
    ),
    (
        "a pickup code that is kept or gone against the end",
        "select s.saga_id from saga s join orders o on o.order_id = s.saga_id \
           left join pickup_code p on p.order_id = o.order_id and p.code = o.pickup_code \
         where (p.code is not null) <> (s.closed_status = 'COMPLETED')",
    ),
    (
        "a key that stands for no order, or for somebody else's",
        "select k.order_id from idempotency_key k left join orders o using (order_id) \
         where o.order_id is null or o.customer_id <> k.customer_id",
    ),
    ("a request that nobody took from the inbox", "select saga_id from inbox"),
    (
        "a line that the feed tells not once",
        "select coalesce(j.saga_id, f.saga_id) from journal j full join ( \
             select x.saga_id, x.seq, count(*) as n from feed, unnest(saga_ids, seqs) as x (saga_id, seq) \
              group by 1, 2) f on f.saga_id = j.saga_id and f.seq = j.seq \
         where j.seq is null or f.seq is null or f.n <> 1",
    ),
];

/// The same for what is about no single order.
const OF_THE_SHOP: &[(&str, &str)] = &[
    (
        "stock that is not what it was less what was used",
        "select format('%s: %s on hand, %s used, %s reserved', s.ingredient, s.on_hand, u.used, s.reserved) \
           from stock s left join lateral (select coalesce(sum(x.quantity), 0) as used \
              from stock_move m, unnest(m.ingredients, m.quantities) as x (ingredient, quantity) \
             where m.kind = 'deduct' and x.ingredient = s.ingredient) u on true \
          where s.reserved <> 0 or s.on_hand + u.used <> (case s.ingredient \
                when 'beans' then 50000 when 'milk' then 100000 when 'cup' then 5000 \
                when 'filter' then 2000 when 'croissant' then 500 when 'oat_milk' then 20000 \
                when 'chocolate' then 5000 end) \
             + (select coalesce(sum(delta), 0) from stock_adjustment a where a.ingredient = s.ingredient)",
    ),
    (
        "a feed with a gap",
        "select writer::text from feed group by writer having min(n) <> 1 or max(n) <> count(*)",
    ),
    (
        "a session of ours that was left in a transaction",
        "select application_name || ': ' || query from pg_stat_activity \
          where datname = current_database() and application_name like 'crema%' \
            and state like 'idle in transaction%' and now() - state_change > interval '6 seconds'",
    ),
];

/// Waits for what the owner does a moment after the last order ended.
pub(super) async fn settle(db: &PgPool) {
    until("the inbox is empty", async || {
        let empty = sqlx::query_scalar("select not exists (select from inbox)").fetch_one(db);
        empty.await.unwrap_or(false)
    })
    .await;
}

pub(super) async fn check(db: &PgPool) -> Vec<Violation> {
    let mut found = Vec::new();
    for (what, sql) in INVARIANTS {
        let rows: Vec<Uuid> = sqlx::query_scalar(*sql).fetch_all(db).await.expect(what);
        found.extend(rows.into_iter().map(|it| (Some(it), (*what).to_owned())));
    }
    for (what, sql) in OF_THE_SHOP {
        let rows: Vec<String> = sqlx::query_scalar(*sql).fetch_all(db).await.expect(what);
        found.extend(rows.into_iter().map(|it| (None, format!("{what}: {it}"))));
    }
    found
}

/// All orders, with the money of our books.
pub(super) async fn orders(db: &PgPool) -> Vec<Ended> {
    sqlx::query_as(
        "select o.order_id, o.customer_id, coalesce(s.closed_status, 'open') as status, o.total, \
                o.attributes, s.cancel_requested as cancelled, s.version, \
                coalesce((select sum(amount) from ledger l where l.order_id = o.order_id \
                             and kind = 'capture'), 0)::bigint as captured, \
                coalesce((select sum(amount) from ledger l where l.order_id = o.order_id \
                             and kind = 'refund'), 0)::bigint as refunded \
           from orders o join saga s on s.saga_id = o.order_id",
    )
    .fetch_all(db)
    .await
    .unwrap()
}

/// A journal, for people.
pub(super) async fn journal(db: &PgPool, order: Uuid) -> String {
    let sql = "select format('  %s epoch %s %s %s %s %s', seq, epoch, kind, step, attempt, \
               left(data::text, 120)) from journal where saga_id = $1 order by seq";
    let lines: Vec<String> =
        sqlx::query_scalar(sql).bind(order).fetch_all(db).await.unwrap_or_default();
    format!("{order}:\n{}\n", lines.join("\n"))
}

pub(super) async fn stuck(db: &PgPool) -> String {
    let sql = "select saga_id, format('%s owner %s alive %s epoch %s row %s', saga_id, b.owner, \
                 exists (select from replica r where r.boot_id = b.owner and leased_until > now()), \
                 b.epoch, to_json(s)) \
               from saga s join bucket b using (bucket) where closed_status is null limit 5";
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(db).await.unwrap_or_default();
    let mut told = String::new();
    for row in rows {
        told.push_str(&row.get::<String, _>(1));
        told.push('\n');
        told.push_str(&journal(db, row.get(0)).await);
    }
    told
}
