//! The batch statement: fence, guarded rows, lines, feed.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Pending, bucket_of};

/// What the statement wrote.
pub(super) struct Wrote {
    /// The buckets of the batch that are still ours.
    pub held: Vec<i16>,
    /// The sagas that moved (or started); `None` when all did.
    pub moved: Option<Vec<Uuid>>,
}

/// The buckets of a batch with the epochs we believe in, sorted: the order in which they are locked.
pub(in crate::saga) struct Fence {
    pub buckets: Vec<i16>,
    pub epochs: Vec<i64>,
}

impl Fence {
    pub(super) fn epoch(&self, bucket: i16) -> i64 {
        let index = self.buckets.binary_search(&bucket).ok();
        index.and_then(|it| self.epochs.get(it)).copied().unwrap_or_default()
    }
}

/// Locks the fence and returns the buckets that are still ours.
pub(super) async fn fence(connection: &mut PgConnection, fence: &Fence) -> sqlx::Result<Vec<i16>> {
    sqlx::query_scalar!(
        "select b.bucket
           from (select unnest($1::smallint[]) as bucket, unnest($2::bigint[]) as epoch) f
           join bucket b on b.bucket = f.bucket and b.epoch = f.epoch
          order by b.bucket
            for share of b",
        &fence.buckets,
        &fence.epochs,
    )
    .fetch_all(connection)
    .await
}

/// A saga's row as the guard finds it.
pub(super) struct Standing {
    pub saga_id: Uuid,
    pub seq: i32,
    pub cancel_requested: bool,
}

/// Locks the rows of the open sagas among those that are about to move, in the order of their keys. Open is
/// asked in the form that fits no partial index, as in `batch.sql`: the one on open sagas by bucket leads past all
/// of them, and past what was one until the next vacuum.
pub(super) async fn lock_rows(
    connection: &mut PgConnection,
    sagas: &[Uuid],
) -> sqlx::Result<Vec<Standing>> {
    let buckets: Vec<i16> = sagas.iter().map(|it| i16::from(bucket_of(*it))).collect();
    sqlx::query_as!(
        Standing,
        "select s.saga_id, s.seq, s.cancel_requested
           from (select unnest($1::smallint[]) as bucket, unnest($2::uuid[]) as saga_id) x
           join saga s on s.bucket = x.bucket and s.saga_id = x.saga_id
          where coalesce(s.closed_status, '') = ''
          order by s.bucket, s.saga_id
            for update of s",
        &buckets,
        sagas,
    )
    .fetch_all(connection)
    .await
}

/// Where a writer's feed stands: its id, and the number of its next batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct FeedPosition {
    pub writer: i64,
    pub n: i64,
}

/// Columns of the batch's rows, one entry a transition.
#[derive(Default)]
struct Rows<'a> {
    buckets: Vec<i16>,
    sagas: Vec<Uuid>,
    definitions: Vec<Option<&'static str>>,
    versions: Vec<Option<i32>>,
    firsts: Vec<i32>,
    lasts: Vec<i32>,
    labels: Vec<&'a str>,
    cursors: Vec<i16>,
    past_pivots: Vec<bool>,
    unless_cancelled: Vec<bool>,
    wakes: Vec<Option<i64>>,
    attentions: Vec<Option<&'a str>>,
    statuses: Vec<Option<&'a str>>,
    reasons: Vec<Option<&'a str>>,
}

/// Columns of the batch's lines.
#[derive(Default)]
struct Lines<'a> {
    buckets: Vec<i16>,
    sagas: Vec<Uuid>,
    seqs: Vec<i32>,
    epochs: Vec<i64>,
    kinds: Vec<&'static str>,
    steps: Vec<Option<&'static str>>,
    attempts: Vec<Option<i32>>,
    data: Vec<&'a str>,
    taken_buckets: Vec<i16>,
    taken: Vec<Uuid>,
}

/// Writes a batch, in the order of the sagas' keys: pages of the tables and of their indexes are then visited
/// side by side, and two writers lock rows in one order.
pub(super) async fn write<E>(
    connection: &mut PgConnection,
    fence: &Fence,
    feed: FeedPosition,
    mut batch: Vec<&Pending<E>>,
) -> sqlx::Result<Wrote> {
    batch.sort_unstable_by_key(|it| {
        let saga_id = it.transition.saga_id;
        (bucket_of(saga_id), saga_id)
    });
    let (rows, lines) = columns(&batch, fence);
    let wrote = sqlx::query_file!(
        "src/saga/journal/batch.sql",
        &fence.buckets,
        &fence.epochs,
        &rows.buckets,
        &rows.sagas,
        &rows.definitions as &[Option<&str>],
        &rows.versions as &[Option<i32>],
        &rows.firsts,
        &rows.lasts,
        &rows.labels as &[&str],
        &rows.cursors,
        &rows.past_pivots,
        &rows.unless_cancelled,
        &rows.wakes as &[Option<i64>],
        &rows.attentions as &[Option<&str>],
        &rows.statuses as &[Option<&str>],
        &rows.reasons as &[Option<&str>],
        &lines.buckets,
        &lines.sagas,
        &lines.seqs,
        &lines.epochs,
        &lines.kinds as &[&str],
        &lines.steps as &[Option<&str>],
        &lines.attempts as &[Option<i32>],
        &lines.data as &[&str],
        &lines.taken_buckets,
        &lines.taken,
        feed.writer,
        feed.n,
    )
    .fetch_one(connection)
    .await?;
    Ok(Wrote { held: wrote.held, moved: wrote.moved })
}

impl Rows<'_> {
    /// Drops the NULLs that columns end with; most hold nothing else. `unnest` pads with NULL, for less than
    /// reading it costs.
    fn trim(&mut self) {
        trim(&mut self.definitions);
        trim(&mut self.versions);
        trim(&mut self.wakes);
        trim(&mut self.attentions);
        trim(&mut self.statuses);
        trim(&mut self.reasons);
    }
}

fn trim<T>(column: &mut Vec<Option<T>>) {
    let length = column.iter().rposition(Option::is_some).map_or(0, |it| it + 1);
    column.truncate(length);
}

fn columns<'a, E>(batch: &[&'a Pending<E>], fence: &Fence) -> (Rows<'a>, Lines<'a>) {
    let (mut rows, mut lines) = (Rows::default(), Lines::default());
    for pending in batch {
        let transition = &pending.transition;
        let (saga_id, row) = (transition.saga_id, &transition.row);
        let bucket = i16::from(bucket_of(saga_id));
        rows.buckets.push(bucket);
        rows.sagas.push(saga_id);
        rows.definitions.push(transition.start.map(|(name, _)| name));
        rows.versions.push(transition.start.map(|(_, version)| version));
        rows.firsts.push(transition.first_seq);
        rows.lasts.push(transition.last_seq());
        rows.labels.push(&row.label);
        rows.cursors.push(row.cursor);
        rows.past_pivots.push(row.past_pivot);
        rows.unless_cancelled.push(row.unless_cancelled);
        rows.wakes.push(row.wake_in_ms);
        rows.attentions.push(row.attention.as_deref());
        rows.statuses.push(row.closed_status());
        rows.reasons.push(row.closed_reason());
        for (seq, line) in (transition.first_seq..).zip(&transition.lines) {
            lines.buckets.push(bucket);
            lines.sagas.push(saga_id);
            lines.seqs.push(seq);
            lines.epochs.push(fence.epoch(bucket));
            lines.kinds.push(line.kind);
            lines.steps.push(line.step);
            lines.attempts.push(line.attempt);
            lines.data.push(&line.data);
        }
        for inbox_id in &transition.taken {
            lines.taken_buckets.push(bucket);
            lines.taken.push(*inbox_id);
        }
    }
    rows.trim();
    (rows, lines)
}

/// Under which epoch these lines were written, for a writer that does not know whether its COMMIT counted;
/// those that do not exist are left out.
pub(super) async fn epochs_of_lines(
    connection: &mut PgConnection,
    sagas: &[Uuid],
    seqs: &[i32],
) -> sqlx::Result<Vec<(Uuid, i64)>> {
    let buckets: Vec<i16> = sagas.iter().map(|it| i16::from(bucket_of(*it))).collect();
    let rows = sqlx::query!(
        "select j.saga_id, j.epoch
           from unnest($1::smallint[], $2::uuid[], $3::integer[]) as x (bucket, saga_id, seq)
           join journal j on j.bucket = x.bucket and j.saga_id = x.saga_id and j.seq = x.seq",
        &buckets,
        sagas,
        seqs,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|it| (it.saga_id, it.epoch)).collect())
}
