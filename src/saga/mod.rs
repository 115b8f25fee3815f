//! The engine. It knows no coffee.
//!
// The chapter stands by itself, so that neither it nor this file gets too long to be read at once.
#![doc = include_str!("chapter.md")]

mod attempt;
mod clock;
pub mod decide;
pub mod definition;
mod draft;
pub mod dry_run;
mod engine;
pub mod event;
pub mod feed;
mod first;
pub mod fold;
mod foreign;
pub mod history;
mod house;
pub mod journal;
pub mod lease;
pub mod limits;
pub mod line;
mod live;
mod loading;
mod meters;
pub mod past;
mod process;
mod reads;
mod requests;
mod runner;
pub mod step;
mod takeover;
mod tasks;
#[cfg(test)]
mod tests;
mod tick;
pub mod upgrade;
mod wait;
mod wire;
mod work;

use std::{collections::HashMap, sync::Arc, time::Duration};

use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    clock::Clock,
    definition::Plan,
    feed::Feed,
    foreign::Foreign,
    journal::Journal,
    lease::{LeaseSettings, Ownership},
    limits::{LimitSettings, Limits},
    live::LiveSagas,
    work::Work,
};
pub use self::{
    definition::{Close, Definitions, Ending, Saga},
    engine::{Engine, EngineBuilder, StartError, Started},
    event::{Settlement, Wait},
    foreign::{EngineError, UnknownVersion, UnknownVersions},
    journal::{Applied, Apply, Asked, Entry, Only, Refusal},
    requests::Unfit,
    step::{Cx, Done, Lane, Policy, Step, StepError},
    work::UNSERVED_AFTER,
};

/// The limits of an engine, each with its unit and reason.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// What this replica calls itself in journals and lists.
    pub name: String,
    /// Leases and ticks.
    pub lease: LeaseSettings,
    /// A wait up to this long stays in memory; a longer one suspends the saga. Two ticks, so that what is
    /// due between two looks is in memory in time.
    pub horizon: Duration,
    /// How long a step may go on after its saga was cancelled, before it is dropped as in doubt.
    pub cancel_grace: Duration,
    /// How long a bucket's sagas have to let go before it is handed over.
    pub handover_timeout: Duration,
    /// How long a saga that may have killed its replicas runs alone before the next one is let in. What
    /// kills a process does so when it is called; whatever runs on after that only holds up the others.
    pub alone_for: Duration,
    /// How long a crash loop sleeps: until an operator wakes it.
    pub crash_loop_wait: Duration,
    /// Time between two sweeps for sagas that nobody drives.
    pub sweep: Duration,
    /// Longest time for one batch of the journal; then its outcome counts as unknown.
    pub commit_timeout: Duration,
    /// Sagas in memory beyond which no suspended one is woken.
    pub live_max: usize,
    /// Sagas read at once.
    pub page: i64,
    /// Start although sagas are open of versions that are not registered: they wait for a replica that has them.
    pub allow_unknown_versions: bool,
    /// Limits of participants, and their breakers.
    pub limits: LimitSettings,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            name: "crema".to_owned(),
            lease: LeaseSettings::default(),
            horizon: Duration::from_secs(2),
            cancel_grace: Duration::from_secs(5),
            handover_timeout: Duration::from_secs(5),
            alone_for: Duration::from_secs(1),
            crash_loop_wait: Duration::from_secs(86_400 * 365 * 10),
            sweep: Duration::from_secs(60),
            commit_timeout: Duration::from_secs(10),
            live_max: 50_000,
            page: 1_000,
            allow_unknown_versions: false,
            limits: LimitSettings::default(),
        }
    }
}

/// What all tasks of an engine share.
pub(crate) struct Core<E> {
    plans: HashMap<(String, i32), Arc<Plan<E>>>,
    foreign: Foreign,
    apply: Apply<E>,
    ownership: Arc<Ownership>,
    journal: Journal<E>,
    feed: Feed,
    live: Arc<LiveSagas>,
    /// What lets calls out to participants.
    limits: Limits,
    options: PgConnectOptions,
    drive: PgPool,
    settings: EngineSettings,
    /// One at a time: sagas that may have killed their replicas, until they have survived for a while.
    alone: Arc<Semaphore>,
    work: Arc<Work>,
    look_now: Notify,
    clock: Clock,
    tasks: TaskTracker,
    /// No new work: tasks end at their next rest.
    drain: CancellationToken,
    /// Everything ends.
    halt: CancellationToken,
}
