//! A participant that counts, by itself, how many calls are in flight at it, and when each came.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crema::{
    postgres::PoolSpec,
    saga::{
        Close, Cx, Done, Engine, EngineBuilder, EngineSettings, Lane, Policy, Saga, Started, Step,
        StepError, journal::Change,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    effects::{Effect, apply},
    rig::Rig,
};
use crate::world::until;

/// The participant's name.
pub(crate) const NAME: &str = "oven";

/// What the participant saw.
#[derive(Default)]
pub(crate) struct Seen {
    in_flight: AtomicU32,
    most: AtomicU32,
    calls: Mutex<Vec<(Instant, Uuid, bool)>>,
    down: AtomicBool,
    pause_us: AtomicU64,
}

/// The participant. Clones share it.
#[derive(Clone)]
pub(crate) struct Oven {
    seen: Arc<Seen>,
    gate: Arc<Semaphore>,
}

/// A call in flight; ended when dropped.
struct Call<'a>(&'a Seen);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Oven {
    /// One that answers at once.
    pub(crate) fn new() -> Self {
        Self { seen: Arc::default(), gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }

    /// One that answers when it is let.
    pub(crate) fn gated() -> Self {
        Self { seen: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    /// Lets this many calls be answered.
    pub(crate) fn open(&self, calls: usize) {
        self.gate.add_permits(calls);
    }

    /// How long a call takes.
    pub(crate) fn takes(self, pause: Duration) -> Self {
        self.seen.pause_us.store(pause.as_micros() as u64, Ordering::SeqCst);
        self
    }

    /// Whether calls are answered at all.
    pub(crate) fn set_down(&self, down: bool) {
        self.seen.down.store(down, Ordering::SeqCst);
    }

    /// The most calls that were ever in flight at once since this was asked last.
    pub(crate) fn most(&self) -> u32 {
        let now = self.seen.in_flight.load(Ordering::SeqCst);
        self.seen.most.swap(now, Ordering::SeqCst)
    }

    /// Calls in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        self.seen.in_flight.load(Ordering::SeqCst)
    }

    /// How many calls there were.
    pub(crate) fn count(&self) -> usize {
        self.seen.calls.lock().unwrap().len()
    }

    /// When calls came, of those after this time.
    pub(crate) fn times_after(&self, since: Instant) -> Vec<Instant> {
        let calls = self.seen.calls.lock().unwrap();
        calls.iter().map(|it| it.0).filter(|it| *it >= since).collect()
    }

    /// Whether the n-th call was a compensation.
    pub(crate) fn was_back(&self, n: usize) -> bool {
        self.seen.calls.lock().unwrap()[n].2
    }

    async fn call(&self, saga_id: Uuid, is_back: bool) -> Result<(), StepError> {
        let now = self.seen.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        let _call = Call(&self.seen);
        self.seen.most.fetch_max(now, Ordering::SeqCst);
        self.seen.calls.lock().unwrap().push((Instant::now(), saga_id, is_back));
        self.gate.acquire().await.unwrap().forget();
        match self.seen.pause_us.load(Ordering::SeqCst) {
            0 => tokio::task::yield_now().await,
            pause => tokio::time::sleep(Duration::from_micros(pause)).await,
        }
        match self.seen.down.load(Ordering::SeqCst) {
            true => Err(StepError::in_doubt("the oven does not answer")),
            false => Ok(()),
        }
    }
}

/// What a saga is started with.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Bread {
    /// The step after the oven refuses, so that the oven is asked to take back.
    pub burns: bool,
}

/// Asks the oven.
struct Bake(Oven, Policy);

impl Step for Bake {
    const NAME: &'static str = "bake";
    const PARTICIPANT: Option<&'static str> = Some(NAME);
    type Input = Bread;
    type Output = Value;
    type Effect = Effect;

    fn policy(&self) -> Policy {
        self.1
    }

    async fn execute(&self, cx: &Cx, _: &Bread) -> Result<Done<Value, Effect>, StepError> {
        self.0.call(cx.saga_id, false).await?;
        Ok(Done::new(Value::Null))
    }

    async fn compensate(
        &self,
        cx: &Cx,
        _: &Bread,
        _: Option<Value>,
    ) -> Result<Done<Value, Effect>, StepError> {
        self.0.call(cx.saga_id, true).await?;
        Ok(Done::new(Value::Null))
    }
}

/// Asks nobody.
struct Eat;

impl Step for Eat {
    const NAME: &'static str = "eat";
    type Input = Bread;
    type Output = Value;
    type Effect = Effect;

    async fn execute(&self, _: &Cx, bread: &Bread) -> Result<Done<Value, Effect>, StepError> {
        match bread.burns {
            true => Err(StepError::refused("burnt", "it is black")),
            false => Ok(Done::new(Value::Null)),
        }
    }
}

fn bread(oven: &Oven, policy: Policy) -> Saga<Bread, Effect> {
    Saga::new("bread", 1, "NEW", |_, ending| {
        let status = match ending.cause {
            None => "COMPLETED",
            Some("cancelled") => "CANCELLED",
            Some(_) => "FAILED",
        };
        Close { status, reason: None, effects: Vec::new(), lane: Lane::Own }
    })
    .step(Bake(oven.clone(), policy))
    .step(Eat)
}

/// A replica that bakes; it may have to wait for its buckets.
pub(crate) async fn baker(
    rig: &Rig,
    oven: &Oven,
    settings: EngineSettings,
    policy: Policy,
) -> Engine<Effect> {
    let drive = rig.db.database().pool(PoolSpec {
        role: "drive",
        max_connections: 4,
        statement_timeout: Duration::from_secs(30),
        read_only: false,
    });
    let options = rig.db.database().connect_options().application_name("writer");
    let builder = EngineBuilder::new(options, drive, apply).settings(settings);
    builder.register(bread(oven, policy)).start().await.unwrap()
}

/// Starts this many sagas, each on one of the replicas that owns a bucket at the moment.
pub(crate) async fn start(engines: &[&Engine<Effect>], count: usize, bread: Bread) -> Vec<Uuid> {
    let one = async |number: usize| {
        until("a saga is accepted", async || {
            let engine = engines[number % engines.len()];
            let saga_id = engine.new_id()?;
            let started = engine.start(("bread", 1), saga_id, bread, Vec::new(), Lane::Own).await;
            matches!(started, Ok(Started::Accepted)).then_some(saga_id)
        })
        .await
    };
    let mut ids = Vec::new();
    for first in (0..count).step_by(500) {
        let batch = (first..count.min(first + 500)).map(one);
        ids.extend(futures::future::join_all(batch).await);
    }
    ids
}

/// Sets limits.
pub(crate) async fn limit(rig: &Rig, engine: &Engine<Effect>, max: Option<i32>, rate: Option<f64>) {
    let (by, reason) = ("a test".to_owned(), "to see".to_owned());
    let change = Change { max_in_flight: Some(max), rate: Some(rate), by, reason };
    assert!(engine.limit(rig.pool(), NAME, &change).await.unwrap());
}
