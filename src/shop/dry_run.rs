//! What would be: an order that is placed, or cancelled, for its verdict alone. It is the real transition, up to the
//! COMMIT: the same checks and prices, the same statements in the same order of locks, in a transaction of its own
//! that is rolled back. No participant is asked, no writer of the journal is involved, nothing stays.

mod view;

use std::cell::Cell;

use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::{sync::SemaphorePermit, time::timeout};
use uuid::Uuid;

pub use self::view::{
    DryCancellation, DryPlacing, PolicyView, PredictedCompensation, PredictedRefund, PredictedStep,
    StockChange,
};
use super::{
    Shop, ShopError,
    books::{self, Effect, orders, stock},
    order::{NewOrder, Order},
    past::receipt,
    payments::AMOUNT_MISMATCH,
    place::{How, fingerprint, not_started},
    query::is_under_way,
    saga::{ORDER_SAGA, Payment},
    view::OrderView,
};
use crate::{
    config::limits::IDEMPOTENCY_WAIT,
    saga::{
        Applied, Close, Entry, Lane, Started, Step,
        dry_run::{StepOutline, WayBack},
        event::State,
        history::HistoryError,
        past::Past,
    },
};

impl Shop {
    /// What [`place`](Shop::place) would answer. Neither the key nor a pickup code is used up.
    pub async fn dry_run_place(
        &self,
        new: NewOrder,
        key: Option<String>,
    ) -> Result<DryPlacing, ShopError> {
        self.check(&new)?;
        if let Some(key) = &key {
            self.first_is_decided(&new.customer_id, key).await?;
        }
        let _place = self.dry_run().await?;
        let key = key.map(|it| (it, fingerprint(&new)));
        let decided = self.try_to_place(&new, key, How::RolledBack).await?;
        let mut order = OrderView::accepted(decided.order_id, &decided.order);
        if !decided.replayed {
            (order.id, order.pickup_code) = (Uuid::nil(), String::new());
        }
        let steps = self.engine.outline(ORDER_SAGA).unwrap_or_default();
        let steps = steps.into_iter().map(PredictedStep::of).collect();
        let (total, replayed, stock) = (order.total, decided.replayed, decided.stock);
        Ok(DryPlacing { dry_run: true, replayed, order, total, steps, stock })
    }

    /// Waits for a request with the same key that is under way on this replica, as a placing would.
    async fn first_is_decided(&self, customer_id: &str, key: &str) -> Result<(), ShopError> {
        let named = (customer_id.to_owned(), key.to_owned());
        let Some(mut first) = self.in_flight.of_another(&named) else { return Ok(()) };
        // The channel never says anything: it closes when the first request is decided.
        let decided = timeout(IDEMPOTENCY_WAIT, first.changed()).await;
        decided.map(|_| ()).map_err(|_| ShopError::InProgress)
    }

    /// A turn among the dry runs.
    async fn dry_run(&self) -> Result<SemaphorePermit<'_>, ShopError> {
        self.dry_runs.acquire().await.map_err(|_| ShopError::NotPlacing)
    }

    /// The start of an order's saga with all that belongs to it, rolled back.
    pub(super) async fn dry_start(
        &self,
        order_id: Uuid,
        order: &Order,
        effects: Vec<Effect>,
    ) -> Result<(Started, Vec<StockChange>), ShopError> {
        let mut transaction = self.write.begin().await?;
        let started = self
            .engine
            .dry_start(&mut transaction, ORDER_SAGA, order_id, order, effects, Lane::Shared)
            .await?;
        let changed = match started {
            Ok(Started::Accepted) => changes(&mut transaction, order, 1).await?,
            Ok(Started::Refused(_)) | Err(_) => Vec::new(),
        };
        transaction.rollback().await?;
        Ok((started.map_err(not_started)?, changed))
    }

    /// What [`cancel`](Shop::cancel) would answer, and what would follow from it.
    pub async fn dry_run_cancel(
        &self,
        order_id: Uuid,
        by: &str,
        reason: Option<&str>,
    ) -> Result<DryCancellation, ShopError> {
        let _turn = self.dry_run().await?;
        let extra = orders::extras(&self.read, &[order_id]).await?.pop();
        let mut transaction = self.write.begin().await?;
        let (verdict, past) =
            self.engine.dry_cancel(&mut transaction, order_id, by, reason).await?;
        let answer = match (is_under_way(verdict), past.zip(extra)) {
            (Err(refused), _) => Err(refused),
            (Ok(_), None) => Err(self.absent(order_id).await),
            (Ok(_), Some((past, extra))) => {
                self.cancelled(&mut transaction, &past, &extra, by).await
            }
        };
        transaction.rollback().await?;
        answer
    }

    /// What an order looks like whose cancellation was accepted, and where it goes from there.
    async fn cancelled(
        &self,
        connection: &mut PgConnection,
        past: &Past<Effect>,
        extra: &orders::Extra,
        by: &str,
    ) -> Result<DryCancellation, ShopError> {
        let saga = past.now()?;
        let order: Result<Order, _> = serde_json::from_str(&saga.input);
        let order = order.map_err(|_| ShopError::NotFound("order"))?;
        let way = Way::of(past, &order, by)?;
        let stock = match &way.close {
            Some(close) => released(connection, extra.order_id, &order, close).await?,
            None => Vec::new(),
        };
        // An order that has ended stays what it is.
        let ends_as =
            if way.ends_as.is_empty() { vec![saga.row.label.clone()] } else { way.ends_as };
        let reason = saga.row.closed_reason.clone();
        let is_known = saga.row.attention.as_deref() != Some(AMOUNT_MISMATCH);
        let (amount, at_most) = (way.amount, is_known.then_some(way.at_most));
        let currency = order.currency.clone();
        let progress = self.engine.progress(extra.order_id);
        Ok(DryCancellation {
            dry_run: true,
            order: OrderView::of(saga, order, extra, progress.as_ref()),
            ends_as,
            closed_reason: way.close.and_then(|it| it.reason).or(reason),
            steps: way.steps.into_iter().map(PredictedCompensation::of).collect(),
            refund: PredictedRefund { amount, at_most, currency },
            stock,
        })
    }
}

/// How an order would go back.
struct Way {
    steps: Vec<(StepOutline, bool)>,
    ends_as: Vec<String>,
    amount: i64,
    at_most: i64,
    close: Option<Close<Effect>>,
}

impl Way {
    /// Goes the way twice: a capture that nobody has an answer of did not happen, or it did.
    fn of(past: &Past<Effect>, order: &Order, by: &str) -> Result<Self, HistoryError> {
        let (least, amount) = go(past, by, 0)?;
        let (most, at_most) = go(past, by, order.total)?;
        let ends = [&least.close, &most.close].into_iter().flatten();
        let mut ends_as: Vec<String> = ends.map(|it| it.status.to_owned()).collect();
        ends_as.dedup();
        Ok(Self { steps: most.steps, ends_as, amount, at_most, close: most.close })
    }
}

/// The way back, and what is returned on it, if a payment without an answer had captured this.
fn go(
    past: &Past<Effect>,
    by: &str,
    captured: i64,
) -> Result<(WayBack<Effect>, i64), HistoryError> {
    let returned = Cell::new(0);
    let left = |step: &str, state: &State| {
        if step != Payment::NAME {
            return Value::Null;
        }
        returned.set(receipt(state).map_or(captured, |it| it.amount));
        json!({ "refunded": returned.get() })
    };
    let way = past.way_back(by, left)?;
    Ok((way, returned.get()))
}

/// What the end of an order gives back, by the effects that would close it.
async fn released(
    connection: &mut PgConnection,
    order_id: Uuid,
    order: &Order,
    close: &Close<Effect>,
) -> sqlx::Result<Vec<StockChange>> {
    let entries = [Entry { saga_id: order_id, effects: &close.effects }];
    match books::apply(connection, &entries).await?.as_slice() {
        [Applied::Yes] => changes(connection, order, -1).await,
        _ => Ok(Vec::new()),
    }
}

/// What an order changes in the stock, and what is left then, as the transaction sees it.
async fn changes(
    connection: &mut PgConnection,
    order: &Order,
    sign: i64,
) -> sqlx::Result<Vec<StockChange>> {
    let names: Vec<String> = order.needs.iter().map(|it| it.ingredient.clone()).collect();
    let rows = stock::read_some(connection, &names).await?;
    let quantity = |ingredient: &str| {
        let need = order.needs.iter().find(|it| it.ingredient == ingredient);
        need.map_or(0, |it| it.quantity)
    };
    let change = |row: stock::StockRow| StockChange {
        reserved: sign * quantity(&row.ingredient),
        left: row.on_hand - row.reserved,
        ingredient: row.ingredient,
        unit: row.unit,
    };
    Ok(rows.into_iter().map(change).collect())
}
