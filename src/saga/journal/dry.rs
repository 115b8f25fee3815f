//! A transition for its verdict alone: the statements of a batch of one, inside a transaction of the caller's, who
//! rolls it back. What a writer would commit is a savepoint there.

use sqlx::PgConnection;
use tokio::sync::oneshot;

use super::{
    Apply, Pending, Transition, Verdict,
    commit::{Outcome, commit, fence_of},
    queue::Answered,
    write::FeedPosition,
};
use crate::saga::lease::Ownership;

/// What would become of a transition. `None`: that hangs on another one which is not decided yet.
pub(in crate::saga) async fn verdict<E: Send + Sync>(
    connection: &mut PgConnection,
    apply: Apply<E>,
    ownership: &Ownership,
    transition: Transition<E>,
) -> sqlx::Result<Option<Verdict>> {
    // Nobody waits for an answer: the outcome is what is returned.
    let (answer, _) = oneshot::channel();
    let batch = [Pending { transition, answer, answered: Answered::default() }];
    let fence = fence_of(ownership, &batch);
    if fence.buckets.is_empty() {
        return Ok(Some(Verdict::Fenced));
    }
    // A writer that never was: its one batch is rolled back with everything else.
    let feed = FeedPosition { writer: rand::random(), n: 1 };
    let outcomes = commit(connection, apply, &fence, feed, &batch).await?;
    Ok(outcomes.into_iter().find_map(|it| match it {
        Outcome::Answered(verdict) => Some(verdict),
        Outcome::Again => None,
    }))
}
