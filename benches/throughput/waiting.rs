//! What a saga costs in memory while it waits for a participant.

use anyhow::Result;
use crema::saga::{Close, Cx, Done, Lane, Saga, Step, StepError};
use tokio::task::JoinSet;

use super::{
    bare::{self, Effect, Output},
    meter,
    product::{self, Contender, Input},
    world::{Schema, World},
};

const DEFINITION: (&str, i32) = ("waiting", 1);

/// Sagas that wait at once.
const SAGAS: usize = 20_000;

/// Bytes of resident memory a saga in the middle of a step that does not answer.
pub(crate) async fn bytes_a_saga(world: &World) -> Result<f64> {
    let arena = world.arena(&Schema::Product).await?;
    let contender = Contender { saga, definition: DEFINITION, ..bare::contender() };
    let engine = product::engine(&arena, &contender).await?;
    // The first thousand fill what is kept for later: buffers, prepared statements, threads' arenas.
    let mut before = 0;
    let mut starting = JoinSet::new();
    for number in 0..SAGAS + 1_000 {
        if number == 1_000 {
            starting.join_all().await;
            (before, starting) = (meter::resident_bytes()?, JoinSet::new());
        }
        let engine = engine.clone();
        starting.spawn(async move {
            let order = product::order();
            product::start(&engine, DEFINITION, order, Vec::new(), Lane::Own).await
        });
    }
    let ends: Vec<_> = starting.join_all().await.into_iter().collect::<Result<_>>()?;
    let bytes = meter::resident_bytes()?.saturating_sub(before) as f64 / SAGAS as f64;
    drop(ends);
    engine.stop(std::time::Duration::ZERO).await;
    drop(engine);
    world.clear(arena).await?;
    Ok(bytes)
}

fn saga() -> Saga<Input, Effect> {
    let (name, version) = DEFINITION;
    Saga::new(name, version, "PENDING", |_, _| Close {
        status: "COMPLETED",
        reason: None,
        effects: Vec::new(),
        lane: Lane::Own,
    })
    .step(Waiting)
}

struct Waiting;

impl Step for Waiting {
    const NAME: &'static str = "waiting";
    type Input = Input;
    type Output = Output;
    type Effect = Effect;

    async fn execute(&self, cx: &Cx, _: &Input) -> Result<Done<Output, Effect>, StepError> {
        cx.cancelled().await;
        Ok(Done::new(bare::output()))
    }
}
