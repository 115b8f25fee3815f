//! Sagas as they stood. A journal is never changed, so its first lines still tell what the saga was after them; and
//! all of its lines together must tell what is stored now.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, PgTransaction};
use uuid::Uuid;

use super::{
    EngineSettings,
    definition::Plan,
    engine::Engine,
    event::State,
    fold::Fold,
    history::{HistoryError, SagaView},
    journal::{
        past::{self, Stored},
        read::{self, JournalLine, SagaRow},
    },
    wait,
};

/// A moment in a saga's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After everything that was written up to this time, by the database's clock.
    At(Timestamp),
    /// When this line, from 1, had just been written.
    Line(i32),
}

/// Why a saga is not shown as it stood.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// It was not there then.
    #[error("it was not there by then")]
    NotYet,
    /// The line does not exist, or not yet.
    #[error("its journal ends with line {0}")]
    Beyond(i32),
    /// The journal does not add up.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// The journal of a saga, for going back in it.
pub struct Past<E> {
    pub(super) plan: Arc<Plan<E>>,
    pub(super) row: SagaRow,
    pub(super) lines: Vec<JournalLine>,
    pub(super) settings: EngineSettings,
}

/// A saga as it stood.
#[derive(Debug, Clone)]
pub struct Stood {
    /// As its journal tells it up to there.
    pub saga: SagaView,
    /// What its lines added up to.
    pub state: State,
    /// The moment.
    pub at: Timestamp,
}

/// What the journal and the row say otherwise of a saga.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The fact.
    pub what: &'static str,
    /// What follows from the journal.
    pub journal: Value,
    /// What is stored.
    pub stored: Value,
}

/// A journal that was folded, and held against the row.
#[derive(Debug)]
pub struct Replay {
    /// Where its lines lead to.
    pub fold: Fold,
    /// What the saga was started with, as JSON text.
    pub input: String,
    /// What the row says otherwise.
    pub differences: Vec<Difference>,
}

impl<E: Send + Sync + 'static> Engine<E> {
    /// The journal of a saga, for going back in it; `None` when there is none.
    pub async fn past(&self, pool: &PgPool, saga_id: Uuid) -> sqlx::Result<Option<Past<E>>> {
        let Some(row) = read::rows(pool, &[saga_id]).await?.pop() else { return Ok(None) };
        let lines = read::lines(pool, &[saga_id], 0).await?;
        Ok(self.past_of(row, lines))
    }

    /// The same, as a transaction sees it.
    pub(super) async fn past_within(
        &self,
        connection: &mut PgConnection,
        saga_id: Uuid,
    ) -> sqlx::Result<Option<Past<E>>> {
        let Some(stored) = past::stored(connection, saga_id).await? else { return Ok(None) };
        let lines = past::lines(connection, saga_id).await?;
        Ok(self.past_of(stored.row, lines))
    }

    fn past_of(&self, row: SagaRow, lines: Vec<JournalLine>) -> Option<Past<E>> {
        let plan = self.core.plans.get(&(row.definition.clone(), row.definition_version))?.clone();
        Some(Past { plan, row, lines, settings: self.core.settings.clone() })
    }

    /// A transaction whose statements all see the same moment, and that writes nothing.
    pub async fn snapshot(&self, pool: &PgPool) -> sqlx::Result<PgTransaction<'static>> {
        past::snapshot(pool).await
    }

    /// Folds the journal of a saga, telling of each line what it leads to, and holds the end against the row.
    /// The connection is to be inside a [snapshot](Self::snapshot); `None` when there is no such saga.
    pub async fn replay(
        &self,
        connection: &mut PgConnection,
        saga_id: Uuid,
        mut each: impl FnMut(&JournalLine, &Fold),
    ) -> sqlx::Result<Option<Replay>> {
        let Some(stored) = past::stored(connection, saga_id).await? else { return Ok(None) };
        let lines = past::lines(connection, saga_id).await?;
        let key = (stored.row.definition.clone(), stored.row.definition_version);
        let Some(plan) = self.core.plans.get(&key) else { return Ok(None) };
        let mut fold = Fold::new(plan, &self.core.settings);
        let input = lines.first().and_then(|it| (plan.decode)(&it.data).ok());
        fold.has_deadline = input.is_some_and(|it| wait::deadline_ms(plan, saga_id, &it).is_some());
        let mut broken = None;
        for line in &lines {
            if let Err(error) = fold.add(line) {
                // What cannot be read is the difference; what follows it would only be guessed.
                let stored = json!({ "seq": line.seq, "kind": line.kind });
                broken =
                    Some(Difference { what: "line", journal: json!(error.to_string()), stored });
                break;
            }
            each(line, &fold);
        }
        let differences = broken.into_iter().chain(differences(&fold, &stored)).collect();
        let input = lines.into_iter().next().map(|it| it.data).unwrap_or_default();
        Ok(Some(Replay { fold, input, differences }))
    }
}

impl<E> Past<E> {
    /// The saga as it stood at a moment.
    pub fn at(&self, moment: Moment) -> Result<Stood, PastError> {
        let count = match moment {
            Moment::Line(seq) => usize::try_from(seq).unwrap_or(0),
            Moment::At(time) => self.lines.iter().take_while(|it| it.at.to_jiff() <= time).count(),
        };
        let told = self.lines.get(..count).ok_or_else(|| {
            PastError::Beyond(i32::try_from(self.lines.len()).unwrap_or(i32::MAX))
        })?;
        let last = told.last().ok_or(PastError::NotYet)?;
        let at = match moment {
            // Of a time to come nothing is known yet: it shows the saga as it stands.
            Moment::At(time) => time.min(self.row.read_at.to_jiff()),
            Moment::Line(_) => last.at.to_jiff(),
        };
        let fold = self.fold(told)?;
        let saga = SagaView::of(&self.plan, fold.row(&self.row, at), told)?;
        Ok(Stood { saga, state: fold.state, at })
    }

    /// The saga as it stands by its row.
    pub fn now(&self) -> Result<SagaView, HistoryError> {
        SagaView::of(&self.plan, self.row.clone(), &self.lines)
    }

    pub(super) fn fold(&self, lines: &[JournalLine]) -> Result<Fold, HistoryError> {
        let mut fold = Fold::new(&self.plan, &self.settings);
        for line in lines {
            fold.add(line)?;
        }
        Ok(fold)
    }
}

/// What the row says otherwise than the journal. Two facts may be ahead of it: a cancellation that was accepted and
/// is not journaled yet, or was overtaken by the end; and a saga that is in memory again has no time to wake.
fn differences(fold: &Fold, stored: &Stored) -> Vec<Difference> {
    let row = &stored.row;
    let mut found = Vec::new();
    let mut compare = |what, journal: Value, stored: Value| {
        if journal != stored {
            found.push(Difference { what, journal, stored });
        }
    };
    compare("label", json!(fold.label), json!(row.label));
    compare("seq", json!(fold.state.seq), json!(row.seq));
    compare("cursor", json!(fold.state.cursor), json!(stored.cursor));
    compare("past_pivot", json!(fold.state.past_pivot()), json!(row.past_pivot));
    compare("attention", json!(fold.state.attention), json!(row.attention));
    compare("closed_status", json!(fold.closed_status()), json!(row.closed_status));
    compare("closed_reason", json!(fold.closed_reason), json!(row.closed_reason));
    let is_journaled = fold.state.cancelled_by.is_some();
    let is_ahead = stored.waiting.iter().any(|it| it == "cancel") || row.closed_status.is_some();
    if row.cancel_requested != is_journaled && (is_journaled || !is_ahead) {
        compare("cancel_requested", json!(is_journaled), json!(row.cancel_requested));
    }
    let read_at = row.read_at.to_jiff();
    let wake_at = row.wake_at.map(|it| it.to_jiff());
    let is_woken = fold.may_be_awake(read_at) || !stored.waiting.is_empty();
    if !fold.agrees_with(wake_at) && (wake_at.is_some() || !is_woken) {
        compare("wake_at", json!(fold.due_at), json!(wake_at));
    }
    found
}
