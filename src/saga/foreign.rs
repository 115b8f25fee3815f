//! Sagas of another release: of a version that is not registered here, or with lines of a kind that this binary does
//! not know.
//!
//! They are not ours to drive, and not ours to touch: no line, no attention, no time to wake. Every statement that
//! takes sagas up passes over them ([`Readable`]), so they stand as they were until a replica that knows them owns
//! their bucket. What must not be is that nobody notices. At the start they are a reason not to start; later (the
//! replica that knew them died, say) they are told as a warning and counted by `crema_sagas_of_unknown_version`, at
//! every gain of buckets and at every sweep.

use std::{
    collections::HashSet,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use super::{
    Core,
    definition::Plan,
    journal::{
        bucket_of,
        foreign::{self, Readable, Unreadables},
        load::Loaded,
    },
    lease::BUCKETS,
};

/// How many open sagas of this replica's buckets it cannot drive.
const GAUGE: &str = "crema_sagas_of_unknown_version";

/// Open sagas that need a version which is not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVersion {
    /// The definition's name.
    pub definition: String,
    /// The version that is lacking.
    pub version: i32,
    /// How many sagas need it.
    pub open: i64,
    /// The id of one of them.
    pub example: String,
}

impl From<Unreadables> for UnknownVersion {
    fn from(found: Unreadables) -> Self {
        let Unreadables { definition, version, open, example, .. } = found;
        Self { definition, version, open, example }
    }
}

/// Every version that open sagas need and that is not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVersions(pub Vec<UnknownVersion>);

impl std::error::Error for UnknownVersions {}

impl fmt::Display for UnknownVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, lacking) in self.0.iter().enumerate() {
            let UnknownVersion { definition, version, open, example } = lacking;
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}`{definition}` version {version} ({open} open, for one {example})")?;
        }
        Ok(())
    }
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The database does not answer as it should.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Sagas are open of versions that are not registered.
    #[error("versions are lacking of which sagas are open: {0}")]
    UnknownVersions(#[from] UnknownVersions),
}

/// What an engine knows of what it cannot read.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    definitions: Vec<String>,
    left: Mutex<HashSet<Uuid>>,
}

impl Foreign {
    /// Knows these plans, and nothing else.
    pub(super) fn beside<'a, E: 'a>(plans: impl Iterator<Item = &'a Plan<E>>) -> Self {
        let definitions = plans.map(|it| format!("{} {}", it.name, it.version)).collect();
        Self { definitions, left: Mutex::default() }
    }

    fn left(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What can be read.
    pub(super) fn readable(&self) -> Readable {
        let but = self.left().iter().copied().collect();
        Readable { definitions: self.definitions.clone(), but }
    }
}

impl<E: Send + Sync + 'static> Core<E> {
    /// Refuses a start that would leave open sagas to nobody, or only warns when that was asked for.
    pub(super) async fn must_know_what_is_open(&self) -> Result<(), EngineError> {
        let all: Vec<i16> = (0..BUCKETS as i16).collect();
        let found = foreign::unreadables(&self.drive, &all, &self.foreign.readable()).await?;
        let lacking = UnknownVersions(found.into_iter().map(Into::into).collect());
        match lacking.0.is_empty() {
            true => Ok(()),
            false if self.settings.allow_unknown_versions => {
                tracing::warn!(%lacking, "open sagas wait for a replica that has their versions");
                Ok(())
            }
            false => Err(lacking.into()),
        }
    }

    /// Counts what stands in our buckets and cannot be driven here, and tells of it.
    pub(super) async fn notice_foreign(&self) -> sqlx::Result<()> {
        let ours = self.ownership.buckets();
        self.foreign.left().retain(|it| self.ownership.epoch(bucket_of(*it)).is_some());
        let found = foreign::unreadables(&self.drive, &ours, &self.foreign.readable()).await?;
        metrics::gauge!(GAUGE).set(found.iter().map(|it| it.open).sum::<i64>() as f64);
        for it in found {
            let Unreadables { definition, version, is_registered, open, example } = it;
            let lacking = if is_registered { "lines of their journals" } else { "their version" };
            tracing::warn!(
                definition,
                version,
                open,
                example,
                "open sagas wait for a replica that knows {lacking}: this one does not"
            );
        }
        Ok(())
    }

    /// Leaves a saga whose journal this binary cannot read as it was found.
    pub(super) async fn leave(&self, row: &Loaded, reason: &str) -> sqlx::Result<()> {
        let saga_id = row.saga_id;
        if self.foreign.left().insert(saga_id) {
            metrics::gauge!(GAUGE).increment(1.0);
            tracing::warn!(%saga_id, reason, "a saga is left for a replica that can read it");
        }
        match row.wake_at {
            Some(wake_at) => {
                foreign::put_back(&self.drive, &self.ownership.fence(), saga_id, wake_at).await
            }
            None => Ok(()),
        }
    }
}
