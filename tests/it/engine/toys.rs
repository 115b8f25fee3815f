//! Toy participants with a ledger, and toy sagas that call them. What a participant does is said by the
//! saga's input, so that it is the same on every replica and for every copy of a saga.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use crema::saga::{Cx, Done, Policy, Step, StepError, Wait};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::effects::Effect;
pub(crate) use super::moods::Mood;

pub(crate) const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const LABELS: [Option<&str>; 4] = [Some("A_DONE"), Some("B_DONE"), Some("C_DONE"), None];

/// What a toy saga is started with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Toy {
    /// By step's name; `a.undo` is the compensation of `a`.
    pub moods: BTreeMap<String, Mood>,
    /// By step's name; `close` is the end.
    pub effects: BTreeMap<String, Vec<Effect>>,
    /// How long the saga that waits does, at most.
    pub wait_ms: Option<i64>,
    /// How long the saga that waits has in all.
    pub deadline_ms: Option<i64>,
}

pub(crate) const NEVER_ANSWERS: u32 = u32::MAX;

impl Toy {
    pub(crate) fn with(mut self, step: &str, mood: Mood) -> Self {
        self.moods.insert(step.to_owned(), mood);
        self
    }

    pub(crate) fn effect(mut self, step: &str, effect: Effect) -> Self {
        self.effects.entry(step.to_owned()).or_default().push(effect);
        self
    }

    pub(crate) fn done<O>(&self, step: &str, output: O) -> Done<O, Effect> {
        let effects = self.effects.get(step).into_iter().flatten();
        effects.fold(Done::new(output), |done, effect| match effect.is_shared() {
            true => done.with_shared(effect.clone()),
            false => done.with(effect.clone()),
        })
    }
}

/// What a participant's ledger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Did,
    Undid,
    /// Taken back before it ever happened: a later call is refused.
    Barred,
}

/// One call that reached a participant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub saga_id: Uuid,
    pub step: String,
    pub attempt: u32,
}

#[derive(Default)]
struct Book {
    acts: Vec<(Uuid, &'static str, Act)>,
    calls: Vec<Call>,
    counts: HashMap<String, u32>,
    done: HashSet<String>,
    barred: HashSet<String>,
}

/// All participants and their ledger. Clones share it.
#[derive(Clone)]
pub(crate) struct World {
    book: Arc<Mutex<Book>>,
    gate: Arc<Semaphore>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { book: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    /// Lets this many calls pass that wait at the gate.
    pub(crate) fn open(&self, calls: usize) {
        self.gate.add_permits(calls);
    }

    /// The ledger of one saga, in order.
    pub(crate) fn ledger(&self, saga_id: Uuid) -> Vec<(&'static str, Act)> {
        let book = self.book.lock().unwrap();
        book.acts.iter().filter(|it| it.0 == saga_id).map(|it| (it.1, it.2)).collect()
    }

    /// The calls of one saga, in order.
    pub(crate) fn calls(&self, saga_id: Uuid) -> Vec<Call> {
        let book = self.book.lock().unwrap();
        book.calls.iter().filter(|it| it.saga_id == saga_id).cloned().collect()
    }

    /// How often a step (or `a.undo`) of a saga was called.
    pub(crate) fn count(&self, saga_id: Uuid, step: &str) -> usize {
        self.calls(saga_id).iter().filter(|it| it.step == step).count()
    }

    /// Plants what happened to a saga before.
    pub(crate) fn plant(&self, saga_id: Uuid, step: &str, act: Act) {
        let step = NAMES.iter().find(|it| **it == step).unwrap();
        match act {
            Act::Did => self.happen(saga_id, step).unwrap(),
            Act::Undid | Act::Barred => self.unhappen(saga_id, step),
        }
    }

    /// Plants a call that was made before.
    pub(crate) fn plant_call(&self, saga_id: Uuid, step: &str) {
        let mut book = self.book.lock().unwrap();
        *book.counts.entry(format!("{saga_id}/{step}")).or_default() += 1;
    }

    /// Whether a step of a saga has been, or would be, refused for good.
    pub(crate) fn refuses(toy: &Toy, step: &str) -> bool {
        toy.moods.get(step) == Some(&Mood::Refuse)
    }

    fn called(&self, cx: &Cx, step: String) -> u32 {
        let mut book = self.book.lock().unwrap();
        let count = book.counts.entry(format!("{}/{step}", cx.saga_id)).or_default();
        *count += 1;
        let count = *count;
        book.calls.push(Call { saga_id: cx.saga_id, step, attempt: cx.attempt });
        count
    }

    fn happen(&self, saga_id: Uuid, step: &'static str) -> Result<(), StepError> {
        let key = format!("{saga_id}/{step}");
        let mut book = self.book.lock().unwrap();
        if book.barred.contains(&key) {
            return Err(StepError::refused("barred", "it was taken back before"));
        }
        if book.done.insert(key) {
            book.acts.push((saga_id, step, Act::Did));
        }
        Ok(())
    }

    fn unhappen(&self, saga_id: Uuid, step: &'static str) {
        let key = format!("{saga_id}/{step}");
        let mut book = self.book.lock().unwrap();
        if book.barred.insert(key.clone()) {
            let act = if book.done.contains(&key) { Act::Undid } else { Act::Barred };
            book.acts.push((saga_id, step, act));
        }
    }

    async fn pass(&self) {
        self.gate.acquire().await.unwrap().forget();
    }
}

/// The N-th toy step.
pub(crate) struct Leg<const N: usize> {
    pub world: World,
    pub policy: Policy,
}

impl<const N: usize> Leg<N> {
    async fn behave(&self, cx: &Cx, mood: Option<Mood>, count: u32) -> Result<(), StepError> {
        let happen = || self.world.happen(cx.saga_id, NAMES[N]);
        match mood {
            Some(Mood::GiveUp) => return Err(StepError::GivenUp { detail: "of no use".into() }),
            Some(Mood::Refuse) => return Err(StepError::refused("toy_refused", "no")),
            Some(Mood::Doubt { times, happens }) if count <= times => {
                if happens {
                    happen()?;
                }
                return Err(StepError::in_doubt("the answer is lost"));
            }
            Some(Mood::DoubtThenRefuse { happens }) => {
                if happens {
                    happen()?;
                }
                return Err(match count {
                    1 => StepError::in_doubt("the answer is lost"),
                    _ => StepError::refused("toy_refused", "no"),
                });
            }
            Some(Mood::Attention { times }) if count <= times => {
                let (reason, detail) = ("toy_mismatch".into(), "a person is needed".into());
                return Err(StepError::NeedsAttention { reason, detail });
            }
            Some(Mood::Hang) => {
                happen()?;
                std::future::pending::<()>().await;
            }
            Some(Mood::DoubtThenPolite { times }) if count <= times => {
                return Err(StepError::in_doubt("the answer is lost"));
            }
            Some(Mood::DoubtThenGate) if count > 1 => self.world.pass().await,
            Some(Mood::DoubtThenGate) => return Err(StepError::in_doubt("the answer is lost")),
            Some(Mood::GateThenDoubt) => {
                self.world.pass().await;
                return Err(StepError::in_doubt("the answer is lost"));
            }
            Some(Mood::Polite | Mood::DoubtThenPolite { .. }) => {
                cx.cancelled().await;
                return Err(StepError::in_doubt("asked to stop"));
            }
            Some(Mood::Gate) => self.world.pass().await,
            Some(Mood::Panic { times }) if count <= times => panic!("a planted panic"),
            Some(Mood::Silent) => {
                cx.heartbeat(Some(json!({ "percent": 1 })));
                std::future::pending::<()>().await;
            }
            Some(Mood::Lively) => {
                for percent in 0..20 {
                    cx.heartbeat(Some(json!({ "percent": percent })));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            Some(Mood::Reach) => {
                cx.reached("HALFWAY").await;
                self.world.pass().await;
            }
            Some(Mood::Later { ms }) if count == 1 => {
                let retry_after = Some(Duration::from_millis(ms));
                return Err(StepError::InDoubt { detail: "later".into(), retry_after });
            }
            _ => {}
        }
        Ok(())
    }
}

impl<const N: usize> Step for Leg<N> {
    const NAME: &'static str = NAMES[N];
    const LABEL_DONE: Option<&'static str> = LABELS[N];
    type Input = Toy;
    type Output = Value;
    type Effect = Effect;

    fn policy(&self) -> Policy {
        self.policy
    }

    async fn execute(&self, cx: &Cx, input: &Toy) -> Result<Done<Value, Effect>, StepError> {
        let count = self.world.called(cx, NAMES[N].to_owned());
        let mood = input.moods.get(NAMES[N]).copied();
        if mood == Some(Mood::GateThenWait) && cx.signals("go").next().is_none() {
            self.world.pass().await;
            return Ok(Done::waiting(Wait::signal("go", "for the word")));
        }
        self.behave(cx, mood, count).await?;
        self.world.happen(cx.saga_id, NAMES[N])?;
        Ok(input.done(NAMES[N], json!({ "receipt": cx.key() })))
    }

    async fn compensate(
        &self,
        cx: &Cx,
        input: &Toy,
        output: Option<Value>,
    ) -> Result<Done<Value, Effect>, StepError> {
        let undo = format!("{}.undo", NAMES[N]);
        if let Some(output) = output {
            assert_eq!(output, json!({ "receipt": cx.key() }));
        }
        let count = self.world.called(cx, undo.clone());
        match input.moods.get(&undo) {
            Some(Mood::Doubt { times, happens }) if count <= *times => {
                if *happens {
                    self.world.unhappen(cx.saga_id, NAMES[N]);
                }
                return Err(StepError::in_doubt("the answer is lost"));
            }
            Some(Mood::Attention { times }) if count <= *times => {
                let (reason, detail) = ("toy_mismatch".into(), "a person is needed".into());
                return Err(StepError::NeedsAttention { reason, detail });
            }
            Some(Mood::Gate) => self.world.pass().await,
            Some(Mood::DoubtThenGate) if count > 1 => self.world.pass().await,
            Some(Mood::DoubtThenGate) => return Err(StepError::in_doubt("the answer is lost")),
            _ => {}
        }
        self.world.unhappen(cx.saga_id, NAMES[N]);
        Ok(input.done(&undo, json!({ "undone": true })))
    }
}
