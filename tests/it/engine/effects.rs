//! The effects of toy sagas: rows of a table of their own.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use crema::saga::{Applied, Entry, Refusal};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

/// How often an entry was put off to a later batch, in this process.
pub(crate) static PUT_OFF: AtomicUsize = AtomicUsize::new(0);

/// The table; `amount` has a constraint to be violated.
pub(crate) const TABLE: &str = "create table toy_effect (saga_id uuid not null, name text not null, \
     amount integer not null check (amount >= 0), primary key (saga_id, name))";

/// A change to `toy_effect`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Effect {
    /// Inserts a row.
    Row(String),
    /// Inserts a row that the table's constraint refuses.
    Violation,
    /// Is refused.
    Refused,
    /// Inserts a row, in the shared lane; two of one name do not fit into one batch.
    Exclusive(String),
    /// The code panics.
    Panic,
}

impl Effect {
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Exclusive(_))
    }
}

/// Applies a batch.
pub(crate) fn apply<'a>(
    connection: &'a mut PgConnection,
    entries: &'a [Entry<'a, Effect>],
) -> BoxFuture<'a, sqlx::Result<Vec<Applied>>> {
    Box::pin(async move {
        let mut names = HashSet::new();
        let mut answers = Vec::new();
        for entry in entries {
            answers.push(match entry.effects.iter().find_map(|it| verdict(it, &mut names)) {
                Some(answer) => answer,
                None => {
                    for effect in entry.effects {
                        write(connection, entry, effect).await?;
                    }
                    Applied::Yes
                }
            });
        }
        Ok(answers)
    })
}

fn verdict<'a>(effect: &'a Effect, names: &mut HashSet<&'a str>) -> Option<Applied> {
    match effect {
        Effect::Refused => Some(Applied::Refused(Refusal {
            code: "toy_effect_refused",
            detail: "no".to_owned(),
            data: Value::Null,
        })),
        Effect::Exclusive(name) if !names.insert(name) => {
            PUT_OFF.fetch_add(1, Ordering::Relaxed);
            Some(Applied::Later)
        }
        Effect::Panic => panic!("a planted panic"),
        _ => None,
    }
}

async fn write(
    connection: &mut PgConnection,
    entry: &Entry<'_, Effect>,
    effect: &Effect,
) -> sqlx::Result<()> {
    let (name, amount) = match effect {
        Effect::Row(name) | Effect::Exclusive(name) => (name.as_str(), 1),
        _ => ("violation", -1),
    };
    sqlx::query("insert into toy_effect (saga_id, name, amount) values ($1, $2, $3)")
        .bind(entry.saga_id)
        .bind(name)
        .bind(amount)
        .execute(connection)
        .await?;
    Ok(())
}
