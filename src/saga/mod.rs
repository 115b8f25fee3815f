//! The engine. It knows no coffee.
//!
//! A **saga** is a named, versioned list of **steps** ([`Saga`], [`Step`]). It is started with an input, goes
//! through its steps in order, and when one cannot be done goes back through what it did, or may have done,
//! **compensating**. A step marked as **pivot** ends that: after it the saga only goes forward.
//!
//! Everything a saga went through stands in its **journal** ([`event`]), and what its journal adds up to is
//! its [`State`](event::State). [`decide`](decide::decide) says what follows from a state: pure, total, no
//! clock. The **runner** carries it out: decide, act, write down. The commit that finishes one step *is* the
//! intent of the next: after a crash the step at hand is taken as "may have happened" and called again with
//! the same key.
//!
//! A step touches no database. What it changes in our own tables it returns as **effects**, data that commits
//! with the line that tells of them, through the one function that the engine was given
//! ([`Apply`]). So a local effect is exactly once, and the engine knows no shop.
//!
//! Sagas live in 256 **buckets**, leased by **replicas** ([`lease`]); every write carries the bucket's
//! **epoch**, the fencing token. Transitions of all running sagas are committed in groups ([`journal`]).
//! A saga that waits long is **suspended**: a row with a time to wake, no task, no connection.
//!
//! Only the owner of a bucket writes its journals. Whoever else wants something (a cancellation, say) does
//! one guarded update and leaves a row in the **inbox**; whoever commits first, that update or the pivot, wins.

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
pub mod history;
mod house;
pub mod journal;
pub mod lease;
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
    journal::Journal,
    lease::{LeaseSettings, Ownership},
    live::LiveSagas,
    work::Work,
};
pub use self::{
    definition::{Close, Ending, Saga},
    engine::{Engine, EngineBuilder, StartError, Started},
    event::Wait,
    journal::{Applied, Apply, Asked, Entry, Refusal},
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
        }
    }
}

/// What all tasks of an engine share.
pub(crate) struct Core<E> {
    plans: HashMap<(String, i32), Arc<Plan<E>>>,
    apply: Apply<E>,
    ownership: Arc<Ownership>,
    journal: Journal<E>,
    feed: Feed,
    live: Arc<LiveSagas>,
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
