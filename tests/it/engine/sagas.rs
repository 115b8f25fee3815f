//! The toy sagas.

use crema::saga::{Close, Lane, Policy, Saga, definition::Ending};

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
