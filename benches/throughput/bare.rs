//! The bare engine: four steps that answer at once, and no effects.

use crema::saga::{Applied, Close, Cx, Done, Entry, Lane, Saga, Step, StepError};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::product::{self, Contender, Input};

const DEFINITION: (&str, i32) = ("bare", 1);
const NAMES: [&str; 4] = ["payment", "preparation", "inventory", "notification"];
const LABELS: [Option<&str>; 4] = [Some("PAID"), None, Some("READY"), None];

/// The step in that list which calls nobody, in the shop as here.
const INVENTORY: usize = 2;

/// There are none.
pub(crate) enum Effect {}

pub(crate) fn contender() -> Contender<Effect> {
    Contender {
        saga,
        definition: DEFINITION,
        apply,
        start: |_| (product::order(), Vec::new(), Lane::Own),
        prepare: "",
        audit: "select $1::bigint >= 0",
    }
}

fn saga() -> Saga<Input, Effect> {
    let (name, version) = DEFINITION;
    Saga::new(name, version, "PENDING", |_, _| Close {
        status: "COMPLETED",
        reason: None,
        effects: Vec::new(),
        lane: Lane::Own,
    })
    .step(Act::<0>)
    .step(Act::<1>)
    .pivot(Act::<2>)
    .best_effort(Act::<3>)
}

/// The step with this place in the list.
struct Act<const PLACE: usize>;

/// Some 90 bytes of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Output {
    ok: bool,
    reference: String,
    amount: i64,
}

pub(crate) fn output() -> Output {
    let reference = "6f1d7a0e-5c1b-4c7e-9a52-0f6f3a9f2b11, by hand".to_owned();
    Output { ok: true, reference, amount: 1_200 }
}

impl<const PLACE: usize> Step for Act<PLACE> {
    const NAME: &'static str = NAMES[PLACE];
    const LABEL_DONE: Option<&'static str> = LABELS[PLACE];
    const IS_LOCAL: bool = PLACE == INVENTORY;
    type Input = Input;
    type Output = Output;
    type Effect = Effect;

    async fn execute(&self, _: &Cx, _: &Input) -> Result<Done<Output, Effect>, StepError> {
        Ok(Done::new(output()))
    }
}

fn apply<'a>(
    _: &'a mut PgConnection,
    entries: &'a [Entry<'a, Effect>],
) -> BoxFuture<'a, sqlx::Result<Vec<Applied>>> {
    Box::pin(async move { Ok(vec![Applied::Yes; entries.len()]) })
}
