//! What one commit costs: single-row inserts of a journal line, each committed by itself.

use anyhow::Result;
use sqlx::{Connection, PgConnection};
use tokio::{task::JoinSet, time::Instant};
use uuid::Uuid;

use crate::{
    meter::{self, Figures, Load, Meter},
    world::{Schema, World},
};

/// Connections at most; the server takes 200 in all.
const CONNECTIONS_MAX: usize = 64;

/// The output of a step, as the contenders write it.
const DATA: &str =
    r#"{"ok":true,"reference":"6f1d7a0e-5c1b-4c7e-9a52-0f6f3a9f2b11","amount":1200}"#;

pub(crate) async fn run(world: &World, load: Load) -> Result<Figures> {
    let mut arena = world.arena(&Schema::Product).await?;
    let meter = Meter::new()?;
    let mut drivers = JoinSet::new();
    for _ in 0..load.in_flight.min(CONNECTIONS_MAX) {
        let (meter, options) = (meter.clone(), arena.options.clone());
        drivers.spawn(async move {
            let mut connection = PgConnection::connect_with(&options).await?;
            while !meter.is_over() {
                let started = Instant::now();
                insert(&mut connection).await?;
                meter.completed(started);
            }
            connection.close().await
        });
    }
    let mut figures = meter.measure(&mut arena, load).await?;
    while let Some(ended) = drivers.join_next().await {
        ended??;
    }
    figures.commits = meter::commits(&arena.options).await? / meter.total().max(1) as f64;
    world.clear(arena).await?;
    Ok(figures)
}

/// One commit.
pub(crate) async fn insert(connection: &mut PgConnection) -> sqlx::Result<()> {
    let id = Uuid::now_v7();
    sqlx::query(
        "insert into journal (bucket, saga_id, seq, epoch, kind, step, attempt, data)
         values ($1, $2, 2, 1, 'step_done', 'payment', 1, $3::text::json)",
    )
    .bind(i16::from(id.as_bytes()[15]))
    .bind(id)
    .bind(DATA)
    .execute(connection)
    .await?;
    Ok(())
}
