//! One batch, one commit: what is written, and the verdict on each transition.

use std::collections::{HashMap, HashSet};

use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{
    Applied, Apply, Entry, Pending, Transition, Verdict, bucket_of, single,
    write::{self, FeedPosition, Fence, Standing, Wrote},
};
use crate::saga::{
    lease::{BUCKETS, Ownership},
    step::Lane,
};

/// What became of one transition of a batch.
pub(super) enum Outcome {
    Answered(Verdict),
    /// To be tried again in a later batch.
    Again,
}

impl<E> Transition<E> {
    pub(super) fn last_seq(&self) -> i32 {
        let lines = i32::try_from(self.lines.len()).unwrap_or(i32::MAX);
        self.first_seq.saturating_add(lines).saturating_sub(1)
    }
}

/// The fence of a batch, and the batch without what is not ours any more.
pub(super) fn fence_of<E>(ownership: &Ownership, batch: &[Pending<E>]) -> Fence {
    let mut touched = [false; BUCKETS];
    for pending in batch {
        if let Some(it) = touched.get_mut(usize::from(bucket_of(pending.transition.saga_id))) {
            *it = true;
        }
    }
    let buckets = (0..=u8::MAX).zip(touched).filter(|(_, is_touched)| *is_touched);
    let (buckets, epochs) = buckets
        .filter_map(|(bucket, _)| Some((i16::from(bucket), ownership.epoch(bucket)?)))
        .unzip();
    Fence { buckets, epochs }
}

/// Commits a batch: one outcome a transition, in order. On an error nothing is known; the caller decides
/// by its class.
pub(super) async fn commit<E: Sync + Send>(
    connection: &mut PgConnection,
    apply: Apply<E>,
    fence: &Fence,
    feed: FeedPosition,
    batch: &[Pending<E>],
) -> sqlx::Result<Vec<Outcome>> {
    let in_one_statement =
        batch.iter().all(|it| it.transition.effects.is_empty() && it.transition.lane == Lane::Own);
    if in_one_statement {
        let alone = match batch {
            [pending] => single::write(connection, fence, feed, &pending.transition).await?,
            _ => None,
        };
        let wrote = match alone {
            Some(wrote) => wrote,
            None => write::write(connection, fence, feed, batch.iter().collect()).await?,
        };
        return Ok(judge_written(batch, &wrote));
    }
    let mut transaction = connection.begin().await?;
    let held: HashSet<i16> = write::fence(&mut transaction, fence).await?.into_iter().collect();
    let moving: Vec<Uuid> = batch
        .iter()
        .filter(|it| it.transition.start.is_none())
        .map(|it| it.transition.saga_id)
        .collect();
    let standing = match moving.as_slice() {
        [] => Vec::new(),
        moving => write::lock_rows(&mut transaction, moving).await?,
    };
    let standing: HashMap<Uuid, Standing> =
        standing.into_iter().map(|it| (it.saga_id, it)).collect();
    let mut outcomes: Vec<Option<Outcome>> =
        batch.iter().map(|it| guard(&held, &standing, &it.transition)).collect();
    apply_effects(&mut transaction, apply, batch, &mut outcomes).await?;
    let accepted: Vec<&Pending<E>> = batch
        .iter()
        .zip(&outcomes)
        .filter_map(|(pending, outcome)| outcome.is_none().then_some(pending))
        .collect();
    if accepted.is_empty() {
        transaction.rollback().await?;
    } else {
        write::write(&mut transaction, fence, feed, accepted).await?;
        transaction.commit().await?;
    }
    let written = || Outcome::Answered(Verdict::Written);
    Ok(outcomes.into_iter().map(|it| it.unwrap_or_else(written)).collect())
}

/// What speaks against a transition before its effects are tried; `None` when nothing does.
fn guard<E>(
    held: &HashSet<i16>,
    standing: &HashMap<Uuid, Standing>,
    transition: &Transition<E>,
) -> Option<Outcome> {
    if !held.contains(&i16::from(bucket_of(transition.saga_id))) {
        return Some(Outcome::Answered(Verdict::Fenced));
    }
    if transition.start.is_some() {
        return None;
    }
    match standing.get(&transition.saga_id) {
        Some(row) if row.seq != transition.first_seq - 1 => Some(Outcome::Answered(Verdict::Stale)),
        Some(row) if row.cancel_requested && transition.row.unless_cancelled => {
            Some(Outcome::Answered(Verdict::Cancelled))
        }
        Some(_) => None,
        None => Some(Outcome::Answered(Verdict::Stale)),
    }
}

/// Gives `apply` the effects of what is still standing, and takes its answers over.
async fn apply_effects<E: Sync + Send>(
    connection: &mut PgConnection,
    apply: Apply<E>,
    batch: &[Pending<E>],
    outcomes: &mut [Option<Outcome>],
) -> sqlx::Result<()> {
    let (indexes, entries): (Vec<usize>, Vec<Entry<'_, E>>) = batch
        .iter()
        .enumerate()
        .filter(|(index, pending)| {
            outcomes.get(*index).is_some_and(Option::is_none)
                && !pending.transition.effects.is_empty()
        })
        .map(|(index, pending)| {
            let transition = &pending.transition;
            (index, Entry { saga_id: transition.saga_id, effects: &transition.effects })
        })
        .unzip();
    if entries.is_empty() {
        return Ok(());
    }
    let answers = apply(connection, &entries).await?;
    if answers.len() != entries.len() {
        return Err(sqlx::Error::Protocol("`apply` left an entry without an answer".to_owned()));
    }
    for (index, answer) in indexes.into_iter().zip(answers) {
        let outcome = match answer {
            Applied::Yes => continue,
            Applied::Refused(refusal) => Outcome::Answered(Verdict::Refused(refusal)),
            Applied::Later => Outcome::Again,
        };
        if let Some(slot) = outcomes.get_mut(index) {
            *slot = Some(outcome);
        }
    }
    Ok(())
}

/// The verdicts of a batch that was one statement.
fn judge_written<E>(batch: &[Pending<E>], wrote: &Wrote) -> Vec<Outcome> {
    let Some(moved) = &wrote.moved else {
        return batch.iter().map(|_| Outcome::Answered(Verdict::Written)).collect();
    };
    let held: HashSet<i16> = wrote.held.iter().copied().collect();
    let moved: HashSet<Uuid> = moved.iter().copied().collect();
    let verdict = |transition: &Transition<E>| {
        if moved.contains(&transition.saga_id) {
            Verdict::Written
        } else if !held.contains(&i16::from(bucket_of(transition.saga_id))) {
            Verdict::Fenced
        } else if transition.row.unless_cancelled {
            // Stale or cancelled: the saga looks at its inbox, and if nothing is there, reads again.
            Verdict::Cancelled
        } else {
            Verdict::Stale
        }
    };
    batch.iter().map(|it| Outcome::Answered(verdict(&it.transition))).collect()
}
