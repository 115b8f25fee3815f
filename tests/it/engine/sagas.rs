//! The toy sagas.

use crema::saga::{Close, Cx, Done, Lane, Policy, Saga, Step, StepError, Wait, definition::Ending};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    effects::Effect,
    toys::{Leg, Toy, World},
};

/// How all of them end.
pub(crate) fn close(input: &Toy, ending: &Ending<'_>) -> Close<Effect> {
    let status = match ending.cause {
        None => "COMPLETED",
        Some("cancelled") => "CANCELLED",
        Some(_) => "FAILED",
    };
    let effects = input.effects.get("close").cloned().unwrap_or_default();
    Close { status, reason: ending.cause.map(str::to_owned), effects, lane: Lane::Own }
}

/// Three steps, each of which can be taken back; no pivot.
pub(crate) fn plain(world: &World, policy: Policy) -> Saga<Toy, Effect> {
    Saga::new("plain", 1, "NEW", close)
        .step(Leg::<0> { world: world.clone(), policy })
        .step(Leg::<1> { world: world.clone(), policy })
        .step(Leg::<2> { world: world.clone(), policy })
}

/// The same in its second version: with a step more, which it can go on without.
pub(crate) fn plain_v2(world: &World, policy: Policy) -> Saga<Toy, Effect> {
    Saga::new("plain", 2, "NEW", close)
        .step(Leg::<0> { world: world.clone(), policy })
        .step(Leg::<1> { world: world.clone(), policy })
        .step(Leg::<2> { world: world.clone(), policy })
        .best_effort(Leg::<3> { world: world.clone(), policy })
}

/// Two steps, a pivot, and one that the saga can go on without.
pub(crate) fn pivoted(world: &World, policy: Policy) -> Saga<Toy, Effect> {
    Saga::new("pivoted", 1, "NEW", close)
        .step(Leg::<0> { world: world.clone(), policy })
        .step(Leg::<1> { world: world.clone(), policy })
        .pivot(Leg::<2> { world: world.clone(), policy })
        .best_effort(Leg::<3> { world: world.clone(), policy })
}

/// A pivot, and a step behind it that must be done.
pub(crate) fn forward(world: &World, policy: Policy) -> Saga<Toy, Effect> {
    Saga::new("forward", 1, "NEW", close)
        .step(Leg::<0> { world: world.clone(), policy })
        .pivot(Leg::<1> { world: world.clone(), policy })
        .step(Leg::<2> { world: world.clone(), policy })
}

/// Two steps, and a pivot that calls nobody.
pub(crate) fn near(world: &World, policy: Policy) -> Saga<Toy, Effect> {
    Saga::new("near", 1, "NEW", close)
        .step(Leg::<0> { world: world.clone(), policy })
        .step(Leg::<1> { world: world.clone(), policy })
        .pivot(Near)
}

/// A step, a wait for the signal `go` or for a time, a pivot; and a time for all of it.
pub(crate) fn patient(world: &World, policy: Policy) -> Saga<Toy, Effect> {
    Saga::new("patient", 1, "NEW", close)
        .deadline(|toy: &Toy, started| {
            Some(started + SignedDuration::from_millis(toy.deadline_ms?))
        })
        .step(Leg::<0> { world: world.clone(), policy })
        .step(Patience)
        .pivot(Leg::<2> { world: world.clone(), policy })
}

/// Waits for the signal `go`, or until its time has come.
struct Patience;

impl Step for Patience {
    const NAME: &'static str = "b";
    const IS_LOCAL: bool = true;
    type Input = Toy;
    type Output = Value;
    type Effect = Effect;

    async fn execute(&self, cx: &Cx, input: &Toy) -> Result<Done<Value, Effect>, StepError> {
        let go: Vec<&str> = cx.signals("go").map(|it| it.data.get()).collect();
        match (go.is_empty(), cx.timed_out(), input.wait_ms) {
            (false, _, _) => Ok(input.done("b", json!({ "by": go }))),
            (true, true, _) => Ok(input.done("b", json!({ "by": "time" }))),
            (true, false, wait) => {
                let until = wait.map(|it| cx.now + SignedDuration::from_millis(it));
                let wait = Wait::signal("go", "for the word");
                let wait = until.into_iter().fold(wait, Wait::or_until);
                Ok(Done::waiting(wait).with(Effect::Row(format!("wait {}", cx.attempt))))
            }
        }
    }
}

/// A step that is its effects.
struct Near;

impl Step for Near {
    const NAME: &'static str = "c";
    const LABEL_DONE: Option<&'static str> = Some("C_DONE");
    const IS_LOCAL: bool = true;
    type Input = Toy;
    type Output = Value;
    type Effect = Effect;

    fn policy(&self) -> Policy {
        super::rig::FAR_APART
    }

    async fn execute(&self, cx: &Cx, input: &Toy) -> Result<Done<Value, Effect>, StepError> {
        let before = cx.output::<Leg<1>>().map(|it| it["receipt"].clone());
        Ok(input.done("c", json!({ "after": before })))
    }
}
