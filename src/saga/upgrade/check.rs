//! The walk through all open sagas. It reads, in short transactions of its own, and writes nothing.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::{Change, compare};
use crate::saga::{
    definition::Definitions,
    journal::{JournalLine, open, past, read},
    lease::BUCKETS,
};

/// What would become of all open sagas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many are open.
    pub open: u64,
    /// How many of each version.
    pub versions: Vec<VersionOpen>,
    /// Those for which something would change.
    pub affected: Vec<Affected>,
}

/// Open sagas of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionOpen {
    /// The definition's name.
    pub definition: String,
    /// The version that they are pinned to.
    pub version: i32,
    /// The newest version that is registered, if any is.
    pub newest: Option<i32>,
    /// How many they are.
    pub open: u64,
    /// For how many of them something would change.
    pub affected: u64,
}

/// A saga for which something would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Affected {
    /// The saga.
    pub id: Uuid,
    /// The definition's name.
    pub definition: String,
    /// The version that it is pinned to.
    pub version: i32,
    /// The newest version that is registered, if any is.
    pub newest: Option<i32>,
    /// What would change.
    pub changes: Vec<Change>,
}

/// Walks through all open sagas, in pages by their ids, and holds each against the version that it is pinned to and the
/// newest one. A page is of one moment; no transaction is open while it is thought about.
pub async fn check<E>(
    pool: &PgPool,
    definitions: &Definitions<E>,
    page: i64,
) -> sqlx::Result<Report> {
    let mut report = Report::default();
    let mut counts: BTreeMap<(String, i32), (u64, u64)> = BTreeMap::new();
    for bucket in 0..BUCKETS as i16 {
        let mut after = Uuid::nil();
        loop {
            let mut snapshot = past::snapshot(pool).await?;
            let rows = open::page(&mut snapshot, bucket, after, page).await?;
            let ids: Vec<Uuid> = rows.iter().map(|it| it.saga_id).collect();
            let lines = read::lines(&mut *snapshot, &ids, 0).await?;
            snapshot.rollback().await?;
            let Some(last) = ids.last() else { break };
            after = *last;
            let mut journals = by_saga(lines);
            for row in rows {
                let lines = journals.remove(&row.saga_id).unwrap_or_default();
                let newest = definitions.newest(&row.definition);
                let pinned = definitions.get(&row.definition, row.definition_version);
                let changes = compare(&lines, pinned.map(AsRef::as_ref), newest.map(AsRef::as_ref));
                let key = (row.definition.clone(), row.definition_version);
                let count = counts.entry(key).or_default();
                *count = (count.0 + 1, count.1 + u64::from(!changes.is_empty()));
                if !changes.is_empty() {
                    report.affected.push(Affected {
                        id: row.saga_id,
                        definition: row.definition,
                        version: row.definition_version,
                        newest: newest.map(|it| it.version),
                        changes,
                    });
                }
            }
        }
    }
    report.affected.sort_by_key(|it| it.id);
    report.open = counts.values().map(|(open, _)| open).sum();
    let versions = counts.into_iter().map(|((definition, version), (open, affected))| {
        let newest = definitions.newest(&definition).map(|it| it.version);
        VersionOpen { definition, version, newest, open, affected }
    });
    report.versions = versions.collect();
    Ok(report)
}

fn by_saga(lines: Vec<JournalLine>) -> HashMap<Uuid, Vec<JournalLine>> {
    let mut journals: HashMap<Uuid, Vec<JournalLine>> = HashMap::new();
    for line in lines {
        journals.entry(line.saga_id).or_default().push(line);
    }
    journals
}
