//! The toy sagas.

use crema::saga::{Close, Cx, Done, Lane, Policy, Saga, Step, StepError, definition::Ending};
use serde_json::{Value, json};

use super::{
    effects::Effect,
    toys::{Leg, Toy, World},
};

fn close(input: &Toy, ending: &Ending<'_>) -> Close<Effect> {
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
