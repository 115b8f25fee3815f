//! Limits of participants, and a circuit breaker each, shared by all replicas.
//!
//! A step may name the participant that it calls ([`Step::PARTICIPANT`](super::Step::PARTICIPANT)). Before every
//! attempt and compensation its saga passes that participant's **gate**. Where nothing is limited and the
//! participant answers, that is two counts in memory. Otherwise the saga waits there: in memory, without a
//! connection, and before its attempt has begun, so that waiting uses up no attempt and no time of one.
//!
//! What may be in flight is **leased in advance** ([`share`]): replicas hold slots of the limit in memory, and a
//! **keeper** asks for more while sagas wait, and gives back what is not used, one guarded statement each. The
//! slots of a dead replica come back when its lease has run out, by when it has dropped its calls itself. Calls
//! by the rate are reserved by the database's clock. What is heard of a participant is reported in the same
//! statements, and the shared [`breaker`] follows from it.
//!
//! A limit counts what is called: one attempt, from its beginning to its end. A call that was dropped (its time
//! was over, its saga is another replica's) is not in flight any more as far as we can know.

mod admit;
pub mod breaker;
pub mod desk;
mod gate;
mod inside;
mod keeper;
mod pass;
pub mod share;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use uuid::Uuid;

use self::breaker::BreakerSettings;
pub use self::pass::Pass;
pub(super) use self::{admit::Way, gate::Gate};
use super::journal::bucket_of;

/// The limits of limiting.
#[derive(Debug, Clone, Copy)]
pub struct LimitSettings {
    /// Between two exchanges of slots and counts for one participant while its limits hold sagas up.
    pub exchange: Duration,
    /// The same while nothing may be called.
    pub exchange_barred: Duration,
    /// How late a call reserved by the rate may go out; later its turn is lost, or calls would bunch up.
    pub late_max: Duration,
    /// Calls in flight at this replica when a breaker has just closed; one more with every answer.
    pub ramp: u32,
    /// When breakers open, and for how long.
    pub breaker: BreakerSettings,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            exchange: Duration::from_millis(100),
            exchange_barred: Duration::from_millis(500),
            late_max: Duration::from_millis(200),
            ramp: 8,
            breaker: BreakerSettings::default(),
        }
    }
}

/// The gates of all participants that the registered sagas name.
#[derive(Debug)]
pub(super) struct Limits {
    gates: Vec<Arc<Gate>>,
    /// Somebody has something for the keeper to do.
    wake: Arc<Notify>,
    settings: LimitSettings,
    /// While buckets are handed over: sagas that stood at a gate when they let go.
    stood: Mutex<Option<Vec<Uuid>>>,
}

impl Limits {
    pub(super) fn new(mut names: Vec<&'static str>, settings: LimitSettings) -> Self {
        names.sort_unstable();
        names.dedup();
        let wake = Arc::new(Notify::new());
        let gate = |name| Arc::new(Gate::new(name, settings, wake.clone()));
        let gates = names.into_iter().map(gate).collect();
        Self { gates, wake, settings, stood: Mutex::new(None) }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.gates.iter().map(|it| it.name().to_owned()).collect()
    }

    pub(super) fn gate(&self, name: &str) -> Option<&Arc<Gate>> {
        self.gates.iter().find(|it| it.name() == name)
    }

    /// Hears of the table's versions, all in one; what is new is read.
    pub(super) fn hear_of(&self, versions: i64) {
        for gate in &self.gates {
            gate.hear_of(versions);
            gate.measure();
        }
    }

    fn stood(&self) -> MutexGuard<'_, Option<Vec<Uuid>>> {
        self.stood.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on sagas are noted that let go while they stand at a gate. Nothing of them is under way, so they
    /// can be handed over as suspended, and that uses up no attempt.
    pub(super) fn note_who_stands(&self) {
        self.stood().get_or_insert_default();
    }

    fn stands(&self, saga_id: Uuid) {
        if let Some(stood) = self.stood().as_mut() {
            stood.push(saga_id);
        }
    }

    /// Takes those of these buckets that were noted. `is_over`: no more are noted.
    pub(super) fn take_who_stood(&self, buckets: &[i16], is_over: bool) -> Vec<Uuid> {
        let mut noted = self.stood();
        let is_of = |it: &Uuid| buckets.contains(&i16::from(bucket_of(*it)));
        let all = noted.take().unwrap_or_default();
        let (ours, others) = all.into_iter().partition(is_of);
        if !is_over {
            *noted = Some(others);
        }
        ours
    }

    /// Lets go of everything that was given to the replica that we were.
    pub(super) fn forget(&self) {
        for gate in &self.gates {
            gate.forget();
        }
    }
}
