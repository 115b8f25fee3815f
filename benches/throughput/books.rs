//! The engine with all the shop's books: what placing, paying, deducting and telling write, by the shop's
//! own `apply`; only the calls to the participants are left out.

use crema::{
    saga::{Close, Cx, Done, Ending, Lane, Saga, Step, StepError},
    shop::{
        books::{self, Effect, Money, Placing},
        message::{self, End},
        order::{Need, Order},
    },
};

use super::{
    bare::{self, Output},
    product::{self, Contender, Input},
};

const DEFINITION: (&str, i32) = ("books", 1);

pub(crate) fn contender() -> Contender<Effect> {
    Contender {
        saga,
        definition: DEFINITION,
        apply: books::apply,
        start,
        prepare: "update stock set on_hand = 1000000000000",
        audit: "select (select count(*) from orders) = $1 and (select count(*) from ledger) = $1
                   and (select count(*) from idempotency_key) = $1
                   and (select count(*) from pickup_code) = $1
                   and (select count(*) from outbox) = $1
                   and (select count(*) from stock_move) = 2 * $1
                   and (select bool_and(reserved = 0) from stock)
                   and (select 1000000000000 - on_hand from stock where ingredient = 'beans') = 27 * $1",
    }
}

fn start(number: u64) -> (Order, Vec<Effect>, Lane) {
    let need = |ingredient: &str, quantity| Need { ingredient: ingredient.to_owned(), quantity };
    let mut order = product::order();
    order.needs = vec![need("beans", 27), need("cup", 3), need("milk", 240)];
    order.pickup_code = product::unique(number);
    let placing = Placing {
        customer_id: order.customer_id.clone(),
        key: Some((product::unique(number), [7; 32])),
        menu_version: 1,
        needs: order.needs.clone(),
        currency: order.currency.clone(),
        total: order.total,
        pickup_code: order.pickup_code.clone(),
        rehearsal: order.rehearsal,
        attributes: None,
    };
    (order, vec![Effect::Place(Box::new(placing))], Lane::Shared)
}

fn saga() -> Saga<Input, Effect> {
    let (name, version) = DEFINITION;
    Saga::new(name, version, "PENDING", closing)
        .step(Payment)
        .step(Preparation)
        .pivot(Inventory)
        .best_effort(Notification)
}

fn closing(input: &Input, ending: &Ending<'_>) -> Close<Effect> {
    let status = if ending.cause.is_none() { "COMPLETED" } else { "FAILED" };
    let end = End { status, reason: ending.cause, words: None, returned: None };
    let notice = message::notice(ending.saga_id, &input.order, end);
    Close { status, reason: None, effects: vec![Effect::Notice(notice)], lane: Lane::Own }
}

struct Payment;

impl Step for Payment {
    const NAME: &'static str = "payment";
    const LABEL_DONE: Option<&'static str> = Some("PAID");
    type Input = Input;
    type Output = Output;
    type Effect = Effect;

    async fn execute(&self, _: &Cx, input: &Input) -> Result<Done<Output, Effect>, StepError> {
        let money = Money {
            amount: input.order.total,
            currency: input.order.currency.clone(),
            receipt: "6f1d7a0e-5c1b-4c7e-9a52-0f6f3a9f2b11".to_owned(),
        };
        Ok(Done::new(bare::output()).with(Effect::Capture(money)))
    }
}

struct Preparation;

impl Step for Preparation {
    const NAME: &'static str = "preparation";
    type Input = Input;
    type Output = Output;
    type Effect = Effect;

    async fn execute(&self, _: &Cx, _: &Input) -> Result<Done<Output, Effect>, StepError> {
        Ok(Done::new(bare::output()))
    }
}

struct Inventory;

impl Step for Inventory {
    const NAME: &'static str = "inventory";
    const LABEL_DONE: Option<&'static str> = Some("READY");
    const IS_LOCAL: bool = true;
    type Input = Input;
    type Output = Output;
    type Effect = Effect;

    async fn execute(&self, _: &Cx, input: &Input) -> Result<Done<Output, Effect>, StepError> {
        let deduct = Effect::Deduct(input.order.needs.clone());
        Ok(Done::new(bare::output()).with_shared(deduct))
    }
}

struct Notification;

impl Step for Notification {
    const NAME: &'static str = "notification";
    type Input = Input;
    type Output = Output;
    type Effect = Effect;

    async fn execute(&self, _: &Cx, _: &Input) -> Result<Done<Output, Effect>, StepError> {
        Ok(Done::new(bare::output()))
    }
}
