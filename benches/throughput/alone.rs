//! What a transition costs an order that is alone, in commits' time.
//!
//! An order and as many raw commits as it makes take turns, so that both meet the same disk: on a machine
//! with other work a commit's time changes tenfold from one second to the next, and two runs that follow
//! each other tell more about that than about the engine.

use anyhow::Result;
use hdrhistogram::Histogram;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use crate::{
    bare,
    baseline::commits,
    meter::Load,
    product,
    world::{Schema, World},
};

/// Transitions of an order that goes well: its start, and one a step. They take a commit less: the local
/// step is written with the one before it.
const TRANSITIONS: usize = 5;

/// The median time of an order over that of its commits made raw.
pub(crate) async fn ratio(world: &World, load: Load) -> Result<f64> {
    let arena = world.arena(&Schema::Product).await?;
    let contender = bare::contender();
    let engine = product::engine(&arena, &contender).await?;
    let mut connection = PgConnection::connect_with(&arena.options).await?;
    let (mut orders, mut raw) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    let started = Instant::now();
    while started.elapsed() < load.warm_up + load.measured {
        let before = Instant::now();
        let (order, effects, lane) = (contender.start)(0);
        let ended = product::start(&engine, contender.definition, order, effects, lane).await?;
        ended.await.ok();
        let between = Instant::now();
        for _ in 0..TRANSITIONS {
            commits::insert(&mut connection).await?;
        }
        if started.elapsed() > load.warm_up {
            orders.record(u64::try_from((between - before).as_micros())?)?;
            raw.record(u64::try_from(between.elapsed().as_micros())?)?;
        }
    }
    connection.close().await?;
    engine.stop(std::time::Duration::from_secs(10)).await;
    drop(engine);
    world.clear(arena).await?;
    let (order_us, raw_us) = (orders.value_at_quantile(0.5), raw.value_at_quantile(0.5).max(1));
    eprintln!("alone: an order takes {order_us} us, {TRANSITIONS} raw commits {raw_us} us");
    Ok(order_us as f64 / raw_us as f64)
}
