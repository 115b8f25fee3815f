//! A saga that is no order of coffee: a table is held, a deposit taken, the reservation confirmed, the guest told.
//!
//! `cargo run --example table_reservation` starts a private PostgreSQL, lets two guests ask for a table, prints what
//! the journals tell of it, and stops. All that the engine is told stands here: steps, effects, and how a saga ends.

use std::{io::Write, time::Duration};

use crema::{
    postgres::{ClusterConfig, Database, PoolSpec, Source},
    saga::{Applied, Close, Cx, Done, Ending, EngineBuilder, Entry, Lane, Saga, Step, StepError},
};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

/// What a reservation begins with.
#[derive(Serialize, Deserialize)]
struct Wish {
    table: i32,
    card: String,
}

/// What changes in the bistro's own table: data, which commits with the line that tells of it.
struct Effect {
    table: i32,
    becomes: &'static str,
}

impl Wish {
    fn seats<O: Default>(&self, becomes: &'static str) -> Done<O, Effect> {
        Done::new(O::default()).with(Effect { table: self.table, becomes })
    }
}

const SCHEMA: &str = "create schema bistro; create table bistro.seating \
     (saga_id uuid, table_no int, becomes text, primary key (saga_id, becomes))";
const SEAT: &str =
    "insert into bistro.seating select * from unnest($1::uuid[], $2::int[], $3::text[])";

/// Applies the effects of a whole batch at once; any of them could be refused here.
fn apply<'a>(
    connection: &'a mut PgConnection,
    entries: &'a [Entry<'a, Effect>],
) -> BoxFuture<'a, sqlx::Result<Vec<Applied>>> {
    let of = |entry: &'a Entry<'a, Effect>| entry.effects.iter().map(|it| (entry.saga_id, it));
    let all = || entries.iter().flat_map(of);
    let sagas: Vec<Uuid> = all().map(|(saga_id, _)| saga_id).collect();
    let tables: Vec<i32> = all().map(|(_, it)| it.table).collect();
    let becomes: Vec<&str> = all().map(|(_, it)| it.becomes).collect();
    Box::pin(async move {
        let seat = sqlx::query(SEAT).bind(sagas).bind(tables).bind(becomes);
        seat.execute(connection).await?;
        Ok(vec![Applied::Yes; entries.len()])
    })
}

type Outcome<O> = Result<Done<O, Effect>, StepError>;

/// A step as it is written out: a name for ever, what it does, and how that is taken back.
macro_rules! step {
    ($step:ident, $name:literal, $output:ty, |$cx:ident, $wish:ident| $do:expr, $undo:expr) => {
        struct $step;
        impl Step for $step {
            const NAME: &'static str = $name;
            type Input = Wish;
            type Output = $output;
            type Effect = Effect;

            async fn execute(&self, $cx: &Cx, $wish: &Wish) -> Outcome<$output> {
                let _ = ($cx, $wish);
                $do
            }

            async fn compensate(
                &self,
                $cx: &Cx,
                $wish: &Wish,
                _: Option<$output>,
            ) -> Outcome<Value> {
                let _ = ($cx, $wish);
                $undo
            }
        }
    };
}

step!(Hold, "hold_table", (), |cx, wish| Ok(wish.seats("held")), Ok(wish.seats("free")));
// Whoever calls a bank hands it the key, which is the same at every attempt.
step!(
    Deposit,
    "deposit",
    String,
    |cx, wish| match wish.card.as_str() {
        "tok_empty" => Err(StepError::refused("card_declined", "the card is empty")),
        _ => Ok(Done::new(cx.key())),
    },
    Ok(Done::new(json!({ "returned": cx.key(), "to": wish.card })))
);
step!(Confirm, "confirm", (), |cx, wish| Ok(wish.seats("taken")), Ok(wish.seats("free")));
step!(Message, "message", (), |cx, wish| Ok(Done::new(())), Ok(Done::new(Value::Null)));

fn close(_: &Wish, ending: &Ending<'_>) -> Close<Effect> {
    let status = if ending.cause.is_none() { "RESERVED" } else { "TURNED_AWAY" };
    Close { status, reason: ending.cause.map(str::to_owned), effects: vec![], lane: Lane::Own }
}

/// Lets two guests ask for a table each, and tells what their journals say.
pub async fn run(database: &Database) -> anyhow::Result<String> {
    let (role, statement_timeout) = ("bistro", Duration::from_secs(30));
    let spec = PoolSpec { role, max_connections: 4, statement_timeout, read_only: false };
    let pool = database.pool(spec);
    sqlx::raw_sql(SCHEMA).execute(&pool).await?;
    let reservation = Saga::new("reservation", 1, "ASKED", close);
    let reservation = reservation.step(Hold).step(Deposit).pivot(Confirm).best_effort(Message);
    let builder = EngineBuilder::new(database.connect_options(), pool.clone(), apply);
    let engine = builder.register(reservation).start().await?;
    let mut told = String::new();
    for (table, card) in [(7, "tok_visa"), (8, "tok_empty")] {
        let saga_id = engine.new_id().ok_or_else(|| anyhow::anyhow!("no bucket is owned"))?;
        let mut news = engine.feed().subscribe();
        let wish = Wish { table, card: card.to_owned() };
        engine.start(("reservation", 1), saga_id, wish, vec![], Lane::Own).await?;
        while engine.row(&pool, saga_id).await?.is_none_or(|it| it.closed_status.is_none()) {
            let _ = news.recv().await;
        }
        for line in engine.lines(&pool, saga_id, 0).await? {
            let step = line.step.unwrap_or_default();
            told += &format!("table {table}: {} {} {step} {}\n", line.seq, line.kind, line.data);
        }
    }
    engine.stop(Duration::from_secs(5)).await;
    pool.close().await;
    Ok(told)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("crema-bistro-{}", std::process::id()));
    let database = Database::open(&Source::Private(ClusterConfig::new(&folder))).await?;
    database.migrate().await?;
    let told = run(&database).await;
    database.close().await?;
    std::fs::remove_dir_all(folder)?;
    Ok(std::io::stdout().lock().write_all(told?.as_bytes())?)
}
