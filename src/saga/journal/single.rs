//! The batch of one. It is the same chain as in `write`, without the arrays over sagas: what a lone saga
//! waits for is this statement, and a third of the time of the other one went into reading its arrays and
//! setting up what it does not need. Its plan does not depend on its parameters either, so that the server
//! settles on one and does not plan each time.

use sqlx::PgConnection;

use super::{
    Transition, bucket_of,
    write::{FeedPosition, Fence, Wrote},
};

/// Columns of a transition's lines.
struct Lines<'a> {
    seqs: Vec<i32>,
    kinds: Vec<&'static str>,
    steps: Vec<Option<&'static str>>,
    attempts: Vec<Option<i32>>,
    data: Vec<&'a str>,
}

/// Writes one transition, which takes nothing from the inbox.
pub(super) async fn write<E>(
    connection: &mut PgConnection,
    fence: &Fence,
    feed: FeedPosition,
    transition: &Transition<E>,
) -> sqlx::Result<Wrote> {
    let bucket = i16::from(bucket_of(transition.saga_id));
    let lines = Lines {
        seqs: (transition.first_seq..=transition.last_seq()).collect(),
        kinds: transition.lines.iter().map(|it| it.kind).collect(),
        steps: transition.lines.iter().map(|it| it.step).collect(),
        attempts: transition.lines.iter().map(|it| it.attempt).collect(),
        data: transition.lines.iter().map(|it| it.data.as_str()).collect(),
    };
    let epoch = fence.epoch(bucket);
    let (is_held, has_moved) = match transition.start {
        Some(definition) => {
            start(connection, (bucket, epoch), feed, transition, definition, &lines).await?
        }
        None => go_on(connection, (bucket, epoch), feed, transition, &lines).await?,
    };
    let held = if is_held { vec![bucket] } else { Vec::new() };
    Ok(Wrote { held, moved: (!has_moved).then(Vec::new) })
}

/// Whether the fence held, and whether the saga was started.
async fn start<E>(
    connection: &mut PgConnection,
    (bucket, epoch): (i16, i64),
    feed: FeedPosition,
    transition: &Transition<E>,
    (definition, version): (&'static str, i32),
    lines: &Lines<'_>,
) -> sqlx::Result<(bool, bool)> {
    let row = &transition.row;
    let wrote = sqlx::query!(
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
               select d.bucket, d.saga_id, l.seq, $2, l.kind, l.step, l.attempt, l.data::json
                 from done d
                cross join unnest($10::integer[], $11::text[], $12::text[], $13::integer[], $14::text[])
                   as l (seq, kind, step, attempt, data)
               returning saga_id, seq),
           fed as (
               insert into feed (writer, n, saga_ids, seqs)
               select $15::bigint, $16::bigint, array_agg(saga_id), array_agg(seq) from line
               having count(*) > 0)
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
        &lines.seqs,
        &lines.kinds as &[&str],
        &lines.steps as &[Option<&str>],
        &lines.attempts as &[Option<i32>],
        &lines.data as &[&str],
        feed.writer,
        feed.n,
    )
    .fetch_one(connection)
    .await?;
    Ok((wrote.held, wrote.moved))
}

/// Whether the fence held, and whether the saga moved.
async fn go_on<E>(
    connection: &mut PgConnection,
    (bucket, epoch): (i16, i64),
    feed: FeedPosition,
    transition: &Transition<E>,
    lines: &Lines<'_>,
) -> sqlx::Result<(bool, bool)> {
    let row = &transition.row;
    let wrote = sqlx::query!(
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
                cross join unnest($14::integer[], $15::text[], $16::text[], $17::integer[], $18::text[])
                   as l (seq, kind, step, attempt, data)
               returning saga_id, seq),
           fed as (
               insert into feed (writer, n, saga_ids, seqs)
               select $19::bigint, $20::bigint, array_agg(saga_id), array_agg(seq) from line
               having count(*) > 0)
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
        row.closed.as_ref().map(|(status, _)| status.as_ref()),
        row.closed.as_ref().and_then(|(_, reason)| reason.as_deref()),
        &lines.seqs,
        &lines.kinds as &[&str],
        &lines.steps as &[Option<&str>],
        &lines.attempts as &[Option<i32>],
        &lines.data as &[&str],
        feed.writer,
        feed.n,
    )
    .fetch_one(connection)
    .await?;
    Ok((wrote.held, wrote.moved))
}
