//! The engine from outside: build it, start sagas, ask for things, stop it.

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    Core, EngineSettings,
    clock::Clock,
    definition::{Definitions, Saga},
    feed::Feed,
    first::First,
    foreign::{EngineError, Foreign},
    journal::{self, Apply, Journal, Refusal, Verdict, WriterSettings, inbox, lease},
    lease::Ownership,
    limits::Limits,
    live::{Arrival, LiveSagas},
    runner::Running,
    step::Lane,
    wait,
    work::Work,
};

/// An engine in the making.
pub struct EngineBuilder<E> {
    options: PgConnectOptions,
    drive: PgPool,
    apply: Apply<E>,
    settings: EngineSettings,
    definitions: Definitions<E>,
}

/// Drives sagas. Clones share everything.
pub struct Engine<E> {
    pub(super) core: Arc<Core<E>>,
}

impl<E> Clone for Engine<E> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone() }
    }
}

/// What became of a start.
#[derive(Debug, Clone, PartialEq)]
pub enum Started {
    /// Durable, and on its way.
    Accepted,
    /// Its effects were refused; nothing was written.
    Refused(Refusal),
}

/// Why a saga could not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// No saga of this definition and version is registered.
    #[error("no saga `{0}` is registered")]
    Unregistered(&'static str),
    /// This replica lost the bucket. The saga was not written; only when the database went away in the
    /// middle of the commit may it have been, and is then driven by whoever takes the bucket over.
    #[error("this replica owns no bucket for it at the moment")]
    NotOwned,
    /// The input is no JSON.
    #[error("the input cannot be written as JSON: {0}")]
    Input(String),
    /// The database does not accept it.
    #[error("the database does not accept it")]
    Impossible,
}

impl<E: Send + Sync + 'static> EngineBuilder<E> {
    /// `options` are for connections of the engine's own (the writers, the lease), `drive` is the pool for
    /// everything else it does; `apply` commits the sagas' effects.
    pub fn new(options: PgConnectOptions, drive: PgPool, apply: Apply<E>) -> Self {
        let (settings, definitions) = (EngineSettings::default(), Definitions::default());
        Self { options, drive, apply, settings, definitions }
    }

    /// Sets the limits.
    pub fn settings(mut self, settings: EngineSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds a saga. Versions of one saga stand side by side.
    pub fn register<I>(mut self, saga: Saga<I, E>) -> Self {
        self.definitions = self.definitions.register(saga);
        self
    }

    /// Sets all the sagas at once.
    pub fn definitions(mut self, definitions: Definitions<E>) -> Self {
        self.definitions = definitions;
        self
    }

    /// Registers this process as a replica and starts driving. Refused, before anything is written, when sagas are
    /// open of versions that are not registered, unless that is allowed.
    pub async fn start(self) -> Result<Engine<E>, EngineError> {
        let plans = self.definitions.plans.values();
        let called = plans.flat_map(|it| it.steps.iter().filter_map(|it| it.participant));
        let limits = Limits::new(called.collect(), self.settings.limits);
        let core = Arc::new(Core {
            foreign: Foreign::beside(self.definitions.plans.values().map(AsRef::as_ref)),
            plans: self.definitions.plans,
            apply: self.apply,
            ownership: Arc::new(Ownership::new()),
            journal: Journal::new(),
            feed: Feed::new(),
            live: Arc::new(LiveSagas::default()),
            limits,
            options: self.options,
            drive: self.drive,
            settings: self.settings,
            alone: Arc::new(Semaphore::new(1)),
            work: Arc::new(Work::default()),
            look_now: Notify::new(),
            clock: Clock::new(),
            tasks: TaskTracker::new(),
            drain: CancellationToken::new(),
            halt: CancellationToken::new(),
        });
        core.must_know_what_is_open().await?;
        core.make_partitions().await;
        let mut connection = PgConnection::connect_with(&core.options).await?;
        core.end_leases_of_the_dead(&mut connection).await?;
        core.register(&mut connection).await?;
        connection.close().await?;
        core.learn_limits().await?;
        let writers = WriterSettings {
            options: core.options.clone(),
            apply: self.apply,
            ownership: core.ownership.clone(),
            feed: core.feed.clone(),
            commit_timeout: core.settings.commit_timeout,
        };
        journal::spawn_writers(&core.tasks, &core.journal, &writers, &core.halt);
        // The first look before anybody asks: alone, a replica owns all buckets when this returns.
        core.tick().await?;
        core.tasks.spawn(core.clone().keep_lease());
        core.tasks.spawn(core.clone().watch_lease());
        core.tasks.spawn(core.clone().tick_forever());
        core.tasks.spawn(core.clone().keep_limits());
        core.tasks.spawn(core.feed.clone().follow(core.drive.clone(), core.halt.clone()));
        core.tasks.spawn(core.clone().listen());
        core.tasks.spawn(core.clone().hand_out());
        core.tasks.spawn(core.clone().keep_house());
        Ok(Engine { core })
    }
}

impl<E: Send + Sync + 'static> Engine<E> {
    /// An id for a new saga, in a bucket of ours; `None` while we own none.
    pub fn new_id(&self) -> Option<Uuid> {
        let bucket = self.core.ownership.next_bucket()?;
        let mut bytes = *Uuid::now_v7().as_bytes();
        bytes[15] = bucket;
        Some(Uuid::from_bytes(bytes))
    }

    /// Whether new sagas can be placed here.
    pub fn is_placing(&self) -> bool {
        self.core.ownership.is_placing()
    }

    /// Starts a saga: one commit for its row, its first line and its effects. Cancellation safe: dropped
    /// or not, the saga is written or refused as a whole, and driven if written.
    pub async fn start<I>(
        &self,
        definition: (&'static str, i32),
        saga_id: Uuid,
        input: I,
        effects: Vec<E>,
        lane: Lane,
    ) -> Result<Started, StartError>
    where
        I: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let First { plan, state, transition } =
            self.first(definition, saga_id, &input, effects, lane)?;
        let core = self.core.clone();
        let (answer, answered) = oneshot::channel();
        // In a task of the engine's own: the caller may go away, the saga then goes on all the same.
        self.core.tasks.spawn(async move {
            let presence = core.live.enter(saga_id, Arrival::Woken);
            let (verdict, _) = core.journal.commit(transition).await;
            let is_written = verdict == Verdict::Written;
            let _ = answer.send(verdict);
            match presence.filter(|it| !it.live.lost.is_cancelled()) {
                Some(presence) if is_written => {
                    let (label, input) = (Cow::Borrowed(plan.label), Arc::new(input) as _);
                    let state = Arc::new(state);
                    let deadline_ms = wait::deadline_ms(&plan, saga_id, &input);
                    let (clock, due) = (core.clock.clone(), None);
                    let running = Running {
                        saga_id,
                        plan,
                        input,
                        state,
                        label,
                        presence,
                        clock,
                        deadline_ms,
                        due,
                    };
                    core.run(running, Duration::ZERO, Arrival::Woken).await;
                }
                // Its bucket was lost and taken back while it waited to be written: whoever loaded the
                // bucket then did not see it yet.
                None if is_written => {
                    core.live.ask_to_reload(saga_id, Arrival::Missed);
                    core.look_now.notify_one();
                }
                _ => {}
            }
        });
        match answered.await {
            Ok(Verdict::Written) => Ok(Started::Accepted),
            Ok(Verdict::Refused(refusal)) => Ok(Started::Refused(refusal)),
            Ok(Verdict::Impossible(_)) => Err(StartError::Impossible),
            Ok(_) | Err(_) => Err(StartError::NotOwned),
        }
    }

    /// Makes a visible change that is none of the engine's show in the saga's version.
    pub async fn touch(&self, connection: &mut PgConnection, saga_id: Uuid) -> sqlx::Result<()> {
        inbox::touch(connection, saga_id).await
    }

    /// How far the running attempt of a saga has come, if it runs here and says so.
    pub fn progress(&self, saga_id: Uuid) -> Option<Value> {
        self.core.live.progress(saga_id)
    }

    /// Where to register interest in commits.
    pub fn feed(&self) -> &Feed {
        &self.core.feed
    }

    /// How many sagas are in the memory of this replica. One that is suspended is not.
    pub fn live(&self) -> usize {
        self.core.live.len()
    }

    /// The buckets of this replica, for work beside the sagas that its owner does (the outbox).
    pub fn buckets(&self) -> Vec<i16> {
        self.core.ownership.buckets()
    }

    /// Stops: places nothing more, lets attempts end for up to `patience`, hands the buckets over.
    pub async fn stop(&self, patience: Duration) {
        let core = &self.core;
        core.limits.note_who_stands();
        core.drain.cancel();
        core.ownership.stop_placing();
        core.live.drain(patience).await;
        // Only now: a look that was under way may have taken buckets over.
        let ours = core.ownership.buckets();
        if let Err(error) = core.hand_over(&ours).await {
            tracing::warn!(%error, "the buckets could not be released; their lease runs out");
        }
        if let Err(error) = lease::deregister(&core.drive, core.ownership.boot_id()).await {
            tracing::warn!(%error, "this replica stays listed until its lease runs out");
        }
        core.halt.cancel();
        core.tasks.close();
        core.tasks.wait().await;
    }
}
