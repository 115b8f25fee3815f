//! The engine from outside: build it, start sagas, ask for things, stop it.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    Core, EngineSettings,
    definition::{Plan, Saga},
    event::{Event, State},
    feed::Feed,
    history::{HistoryError, SagaView},
    journal::{
        self, Apply, Journal, Refusal, Row, Transition, Verdict, WriterSettings, bucket_of,
        inbox::{self, CancelVerdict},
        lease, load,
        read::{self, JournalLine, SagaRow},
    },
    lease::Ownership,
    line::Line,
    live::{Arrival, LiveSagas},
    runner::Running,
    step::Lane,
};

/// The channel on which replicas hint to each other that an inbox was written to.
const CHANNEL: &str = "crema_inbox";

/// An engine in the making.
pub struct EngineBuilder<E> {
    options: PgConnectOptions,
    drive: PgPool,
    apply: Apply<E>,
    settings: EngineSettings,
    plans: HashMap<(String, i32), Arc<Plan<E>>>,
}

/// Drives sagas. Clones share everything.
pub struct Engine<E> {
    core: Arc<Core<E>>,
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
        let (settings, plans) = (EngineSettings::default(), HashMap::new());
        Self { options, drive, apply, settings, plans }
    }

    /// Sets the limits.
    pub fn settings(mut self, settings: EngineSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds a saga. Versions of one saga stand side by side.
    pub fn register<I>(mut self, saga: Saga<I, E>) -> Self {
        let plan = saga.plan;
        self.plans.insert((plan.name.to_owned(), plan.version), Arc::new(plan));
        self
    }

    /// Registers this process as a replica and starts driving.
    pub async fn start(self) -> sqlx::Result<Engine<E>> {
        let core = Arc::new(Core {
            plans: self.plans,
            ownership: Arc::new(Ownership::new()),
            journal: Journal::new(),
            feed: Feed::new(),
            live: Arc::new(LiveSagas::default()),
            options: self.options,
            drive: self.drive,
            settings: self.settings,
            alone: Arc::new(Semaphore::new(1)),
            look_now: Notify::new(),
            tasks: TaskTracker::new(),
            drain: CancellationToken::new(),
            halt: CancellationToken::new(),
        });
        load::ensure_partitions(&core.drive).await?;
        let mut connection = PgConnection::connect_with(&core.options).await?;
        core.register(&mut connection).await?;
        connection.close().await?;
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
        core.tasks.spawn(core.feed.clone().follow(core.drive.clone(), core.halt.clone()));
        core.tasks.spawn(core.clone().listen());
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
        let (name, version) = definition;
        let plan = self.core.plans.get(&(name.to_owned(), version)).cloned();
        let plan = plan.ok_or(StartError::Unregistered(name))?;
        let json = serde_json::value::to_raw_value(&input)
            .map_err(|error| StartError::Input(error.to_string()))?;
        let mut state = State::new(plan.shape.clone());
        let event = Event::Started { input: json.into() };
        let line: Line = event.line(&plan.shape);
        if state.apply(&event).is_err() {
            return Err(StartError::Impossible);
        }
        let transition = Transition {
            saga_id,
            start: Some((plan.name, plan.version)),
            first_seq: 1,
            lines: vec![line],
            row: first_row(plan.label),
            effects,
            lane,
            taken: Vec::new(),
        };
        let core = self.core.clone();
        // In a task of the engine's own: the caller may go away, the saga then goes on all the same.
        let task = self.core.tasks.spawn(async move {
            let presence = core.live.enter(saga_id, Arrival::Woken);
            let verdict = core.journal.commit(transition).await;
            if let (Verdict::Written, Some(presence)) = (&verdict, presence) {
                let (label, input) = (Cow::Borrowed(plan.label), Arc::new(input) as _);
                let state = Arc::new(state);
                core.run_started(Running { saga_id, plan, input, state, label, presence });
            }
            verdict
        });
        match task.await {
            Ok(Verdict::Written) => Ok(Started::Accepted),
            Ok(Verdict::Refused(refusal)) => Ok(Started::Refused(refusal)),
            Ok(Verdict::Impossible(_)) => Err(StartError::Impossible),
            Ok(_) | Err(_) => Err(StartError::NotOwned),
        }
    }

    /// Requests the cancellation of a saga, from whatever replica.
    pub async fn cancel(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
        by: &str,
        reason: Option<&str>,
    ) -> sqlx::Result<CancelVerdict> {
        let data = json!({ "by": by, "reason": reason }).to_string();
        let verdict = inbox::cancel(pool, saga_id, &data).await?;
        if verdict == CancelVerdict::Requested {
            self.hint(pool, saga_id).await;
        }
        Ok(verdict)
    }

    /// Asks for the next attempt of a waiting saga now. False when it does not wait.
    pub async fn retry(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
        by: &str,
        reason: Option<&str>,
    ) -> sqlx::Result<bool> {
        let data = json!({ "by": by, "reason": reason }).to_string();
        let accepted = inbox::retry(pool, saga_id, &data).await?;
        if accepted {
            self.hint(pool, saga_id).await;
        }
        Ok(accepted)
    }

    /// Tells the owner to look. What was asked for is durable, and found at the next tick in any case.
    async fn hint(&self, pool: &PgPool, saga_id: Uuid) {
        if self.core.ownership.epoch(bucket_of(saga_id)).is_some() {
            self.core.look_now.notify_one();
        } else if let Err(error) = inbox::hint(pool, CHANNEL).await {
            tracing::debug!(%error, "a hint was not sent");
        }
    }

    /// A saga as its journal tells it; `None` when there is none.
    pub async fn view(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
    ) -> sqlx::Result<Option<Result<SagaView, HistoryError>>> {
        Ok(self.views(pool, &[saga_id]).await?.pop())
    }

    /// Several sagas, in the order of their ids given; those that do not exist are left out.
    pub async fn views(
        &self,
        pool: &PgPool,
        sagas: &[Uuid],
    ) -> sqlx::Result<Vec<Result<SagaView, HistoryError>>> {
        // Rows first: lines beyond a row's number are then left out, and both tell the same moment.
        let rows = read::rows(pool, sagas).await?;
        let lines = read::lines(pool, sagas, 0).await?;
        let mut rows: HashMap<Uuid, SagaRow> =
            rows.into_iter().map(|it| (it.saga_id, it)).collect();
        let of = |id: Uuid| {
            let from = lines.partition_point(|it| it.saga_id < id);
            let to = lines.partition_point(|it| it.saga_id <= id);
            lines.get(from..to).unwrap_or_default()
        };
        Ok(sagas
            .iter()
            .filter_map(|id| rows.remove(id))
            .filter_map(|row| {
                let plan =
                    self.core.plans.get(&(row.definition.clone(), row.definition_version))?;
                let lines = of(row.saga_id);
                Some(SagaView::of(plan, row, lines))
            })
            .collect())
    }

    /// What a saga was started with, as JSON text; `None` when there is none.
    pub async fn input(&self, pool: &PgPool, saga_id: Uuid) -> sqlx::Result<Option<String>> {
        let first = read::lines_by_key(pool, &[saga_id], &[1]).await?;
        Ok(first.into_iter().next().map(|it| it.data))
    }

    /// Makes a visible change that is none of the engine's show in the saga's version.
    pub async fn touch(&self, connection: &mut PgConnection, saga_id: Uuid) -> sqlx::Result<()> {
        inbox::touch(connection, saga_id).await
    }

    /// The journal of a saga after a line.
    pub async fn lines(
        &self,
        pool: &PgPool,
        saga_id: Uuid,
        after_seq: i32,
    ) -> sqlx::Result<Vec<JournalLine>> {
        read::lines(pool, &[saga_id], after_seq).await
    }

    /// Sagas that need a person.
    pub async fn needing_attention(&self, pool: &PgPool, limit: i64) -> sqlx::Result<Vec<SagaRow>> {
        read::needing_attention(pool, limit).await
    }

    /// The replicas.
    pub async fn replicas(&self, pool: &PgPool) -> sqlx::Result<Vec<lease::Replica>> {
        lease::replicas(pool).await
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
        core.drain.cancel();
        core.ownership.stop_placing();
        let ours = core.ownership.buckets();
        core.live.drain(patience).await;
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

fn first_row(label: &'static str) -> Row {
    Row {
        label: Cow::Borrowed(label),
        cursor: 0,
        past_pivot: false,
        unless_cancelled: false,
        wake_in_ms: None,
        attention: None,
        closed: None,
    }
}

impl<E: Send + Sync + 'static> Core<E> {
    /// Turns the other replicas' hints into looks. Whatever is missed, the next tick finds.
    async fn listen(self: Arc<Self>) {
        loop {
            let heard = async {
                let mut listener = sqlx::postgres::PgListener::connect_with(&self.drive).await?;
                listener.listen(CHANNEL).await?;
                loop {
                    listener.recv().await?;
                    self.look_now.notify_one();
                }
            };
            let result: sqlx::Result<()> = tokio::select! {
                () = self.halt.cancelled() => return,
                result = heard => result,
            };
            if let Err(error) = result {
                tracing::debug!(%error, "not listening; looking every second meanwhile");
            }
            tokio::select! {
                () = self.halt.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// Once an hour: partitions ahead of time, old feed rows away.
    async fn keep_house(self: Arc<Self>) {
        const FEED_KEPT_S: f64 = 86_400.0;
        let mut ticks = tokio::time::interval(Duration::from_secs(3_600));
        loop {
            tokio::select! {
                () = self.halt.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let pruned = journal::feed::prune(&self.drive, FEED_KEPT_S).await;
            let made = load::ensure_partitions(&self.drive).await;
            if let Err(error) = pruned.map(|_| ()).and(made) {
                tracing::warn!(%error, "housekeeping failed; it is tried again in an hour");
            }
        }
    }
}
