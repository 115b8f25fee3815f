//! The batch of one. It is the same chain as in `write`, without the arrays over sagas: what a lone saga
//! waits for is this statement, and half of the time of the other one went into reading its arrays and
//! setting up what it does not need. The plans do not depend on their parameters, so that the server settles on one and does not plan each time.

use sqlx::PgConnection;

use super::{
    Transition, bucket_of,
    write::{FeedPosition, Fence, Wrote},
};
use crate::saga::line::Line;

/// Whether the fence held, and whether the saga moved (or started).
struct Outcome {
    held: bool,
    moved: bool,
}

/// Writes one transition, if it is of the usual form; `None`, with nothing done, if it is not: then it goes the
/// way of many.
pub(super) async fn write<E>(
    connection: &mut PgConnection,
    fence: &Fence,
    feed: FeedPosition,
    transition: &Transition<E>,
) -> sqlx::Result<Option<Wrote>> {
    if !transition.taken.is_empty() {
        return Ok(None);
    }
    let bucket = i16::from(bucket_of(transition.saga_id));
    let held = (bucket, fence.epoch(bucket));
    let outcome = match (transition.start, transition.lines.as_slice()) {
        (Some(definition), [line]) => {
            start(connection, held, feed, transition, definition, line).await?
        }
        (None, [line]) => go_on(connection, held, feed, transition, line).await?,
        (None, [line, next]) => {
            go_on_by_two(connection, held, feed, transition, (line, next)).await?
        }
        _ => return Ok(None),
    };
    let held = if outcome.held { vec![bucket] } else { Vec::new() };
    Ok(Some(Wrote { held, moved: (!outcome.moved).then(Vec::new) }))
}

async fn start<E>(
    connection: &mut PgConnection,
    (bucket, epoch): (i16, i64),
    feed: FeedPosition,
    transition: &Transition<E>,
    (definition, version): (&'static str, i32),
    line: &Line,
) -> sqlx::Result<Outcome> {
    let row = &transition.row;
    sqlx::query_as!(
        Outcome,
        r#"with fence as materialized (
               select bucket from bucket where bucket = $1 and epoch = $2 for share),
           done as (
               insert into saga (bucket, saga_id, definition, definition_version, label, seq, version,
                                 cursor, wake_at)
               select bucket, $3::uuid, $4::text, $5::integer, $6::text, $7::integer, 1, $8::smallint,
                      now() + $9::bigint * interval '1 millisecond'
                 from fence
               returning bucket, saga_id),
           line as (
               insert into journal (bucket, saga_id, seq, epoch, kind, step, attempt, data)
               select bucket, saga_id, $7, $2, $10::text, $11::text, $12::integer, $13::text::json from done),
           fed as (
               insert into feed (writer, n, saga_ids, seqs)
               select $14::bigint, $15::bigint, array[saga_id], array[$7] from done)
           select exists(select from fence) as "held!", exists(select from done) as "moved!""#,
        bucket,
        epoch,
        transition.saga_id,
        definition,
        version,
        &row.label,
        transition.last_seq(),
        row.cursor,
        row.wake_in_ms,
        line.kind,
        line.step,
        line.attempt,
        line.data,
        feed.writer,
        feed.n,
    )
    .fetch_one(connection)
    .await
}

async fn go_on<E>(
    connection: &mut PgConnection,
    (bucket, epoch): (i16, i64),
    feed: FeedPosition,
    transition: &Transition<E>,
    line: &Line,
) -> sqlx::Result<Outcome> {
    let row = &transition.row;
    sqlx::query_as!(
        Outcome,
        r#"with fence as materialized (
               select bucket from bucket where bucket = $1 and epoch = $2 for share),
           done as (
               update saga s
                  set label = $4, seq = $5, version = s.version + 1, cursor = $6, past_pivot = $7,
                      wake_at = now() + $9::bigint * interval '1 millisecond', attention = $10,
                      closed_status = $11, closed_reason = $12, updated_at = now()
                 from fence f
                where s.bucket = f.bucket and s.saga_id = $3 and coalesce(s.closed_status, '') = ''
                  and s.seq = $5 - 1 and not ($8 and s.cancel_requested)
               returning s.bucket, s.saga_id),
           line as (
               insert into journal (bucket, saga_id, seq, epoch, kind, step, attempt, data)
               select bucket, saga_id, $5, $2, $13::text, $14::text, $15::integer, $16::text::json from done),
           fed as (
               insert into feed (writer, n, saga_ids, seqs)
               select $17::bigint, $18::bigint, array[saga_id], array[$5] from done)
           select exists(select from fence) as "held!", exists(select from done) as "moved!""#,
        bucket,
        epoch,
        transition.saga_id,
        &row.label,
        transition.last_seq(),
        row.cursor,
        row.past_pivot,
        row.unless_cancelled,
        row.wake_in_ms,
        row.attention,
        row.closed_status(),
        row.closed_reason(),
        line.kind,
        line.step,
        line.attempt,
        line.data,
        feed.writer,
        feed.n,
    )
    .fetch_one(connection)
    .await
}

/// Two lines: the last step, and the end.
async fn go_on_by_two<E>(
    connection: &mut PgConnection,
    (bucket, epoch): (i16, i64),
    feed: FeedPosition,
    transition: &Transition<E>,
    (line, next): (&Line, &Line),
) -> sqlx::Result<Outcome> {
    let row = &transition.row;
    sqlx::query_as!(
        Outcome,
        r#"with fence as materialized (
               select bucket from bucket where bucket = $1 and epoch = $2 for share),
           done as (
               update saga s
                  set label = $4, seq = $6, version = s.version + 1, cursor = $7, past_pivot = $8,
                      wake_at = now() + $10::bigint * interval '1 millisecond', attention = $11,
                      closed_status = $12, closed_reason = $13, updated_at = now()
                 from fence f
                where s.bucket = f.bucket and s.saga_id = $3 and coalesce(s.closed_status, '') = ''
                  and s.seq = $5 - 1 and not ($9 and s.cancel_requested)
               returning s.bucket, s.saga_id),
           line as (
               insert into journal (bucket, saga_id, seq, epoch, kind, step, attempt, data)
               select d.bucket, d.saga_id, l.seq, $2, l.kind, l.step, l.attempt, l.data::json
                 from done d
                cross join (values ($5, $14::text, $15::text, $16::integer, $17::text),
                                   ($6, $18::text, $19::text, $20::integer, $21::text))
                   as l (seq, kind, step, attempt, data)),
           fed as (
               insert into feed (writer, n, saga_ids, seqs)
               select $22::bigint, $23::bigint, array[saga_id, saga_id], array[$5, $6] from done)
           select exists(select from fence) as "held!", exists(select from done) as "moved!""#,
        bucket,
        epoch,
        transition.saga_id,
        &row.label,
        transition.first_seq,
        transition.last_seq(),
        row.cursor,
        row.past_pivot,
        row.unless_cancelled,
        row.wake_in_ms,
        row.attention,
        row.closed_status(),
        row.closed_reason(),
        line.kind,
        line.step,
        line.attempt,
        line.data,
        next.kind,
        next.step,
        next.attempt,
        next.data,
        feed.writer,
        feed.n,
    )
    .fetch_one(connection)
    .await
}
