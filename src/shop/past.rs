//! Orders as they stood, and the proof that their journals tell what is stored.

use jiff::Timestamp;
use jiff_sqlx::Timestamp as Collected;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Shop, ShopError,
    books::{audit, orders, orders::Extra},
    order::{Need, Order},
    payments::Receipt,
    saga::{Inventory, Payment},
    view::{MoneyView, OrderView},
};
use crate::saga::{
    Step,
    event::{Progress, State},
    fold::Fold,
    history,
    journal::JournalLine,
    past::{Difference, Moment, PastError, Stood},
};

/// An order as it stood.
#[derive(Debug, Clone)]
pub struct PastOrder {
    /// As it would have been shown then.
    pub order: OrderView,
    /// The last line of its journal then.
    pub seq: i32,
}

/// A journal read from its first line on, and held against what is stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayView {
    /// The order.
    pub order_id: Uuid,
    /// Lines in its journal.
    pub seq: i32,
    /// Whether everything that is stored is what the journal tells.
    pub equal: bool,
    /// What is not.
    pub differences: Vec<DifferenceView>,
    /// The journal, line by line, with what each leads to.
    pub lines: Vec<ReplayLine>,
}

/// One line of a journal, and what the order is after it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayLine {
    /// From 1, without a gap.
    pub seq: i32,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What happened, one of a closed set.
    #[schema(example = "step_done")]
    pub kind: String,
    /// The step it is about.
    pub step: Option<String>,
    /// The attempt it is about.
    pub attempt: Option<i32>,
    /// The order's status after it.
    #[schema(example = "PAID")]
    pub status: String,
    /// Why a person is needed after it, if one is.
    pub attention: Option<String>,
    /// What was taken and returned up to there.
    pub money: MoneyView,
}

/// One fact that the journal and the tables tell differently.
#[derive(Debug, Serialize, ToSchema)]
pub struct DifferenceView {
    /// The fact: a column of the saga's row, `facts`, `ledger` or `stock_moves`.
    #[schema(example = "label")]
    pub what: &'static str,
    /// What follows from the journal.
    #[schema(value_type = Object)]
    pub journal: Value,
    /// What is stored.
    #[schema(value_type = Object)]
    pub stored: Value,
}

impl Shop {
    /// An order as it stood at a moment.
    pub async fn find_past(&self, order_id: Uuid, moment: Moment) -> Result<PastOrder, ShopError> {
        let [order] = self.find_pasts(order_id, [moment]).await?;
        Ok(order)
    }

    /// An order as it stood at several moments.
    pub async fn find_pasts<const N: usize>(
        &self,
        order_id: Uuid,
        moments: [Moment; N],
    ) -> Result<[PastOrder; N], ShopError> {
        let past = self.engine.past(&self.read, order_id).await?;
        let Some(past) = past else { return Err(self.absent(order_id).await) };
        let beside = orders::extras(&self.read, &[order_id]).await?.pop();
        let collected_at = beside.and_then(|it| it.collected_at);
        let of = |moment| past_order(past.at(moment)?, collected_at);
        let orders: Result<Vec<PastOrder>, ShopError> = moments.into_iter().map(of).collect();
        orders?.try_into().map_err(|_| ShopError::NotFound("order"))
    }

    /// Folds an order's journal and holds it against its row and the books. Reads only, and of one moment.
    pub async fn replay_journal(&self, order_id: Uuid) -> Result<ReplayView, ShopError> {
        let mut snapshot = self.engine.snapshot(&self.read).await?;
        let mut lines = Vec::new();
        let each = |line: &JournalLine, fold: &Fold| lines.push(replay_line(line, fold));
        let replay = self.engine.replay(&mut snapshot, order_id, each).await?;
        let Some(replay) = replay else { return Err(self.absent(order_id).await) };
        let mut differences = replay.differences;
        // An input that cannot be read is a difference already: the line's.
        if let Ok(order) = serde_json::from_str::<Order>(&replay.input) {
            let of_books = audited(&mut snapshot, order_id, &order, &replay.fold).await?;
            differences.extend(of_books);
        }
        snapshot.rollback().await?;
        let differences: Vec<DifferenceView> = differences
            .into_iter()
            .map(|Difference { what, journal, stored }| DifferenceView { what, journal, stored })
            .collect();
        let (equal, seq) = (differences.is_empty(), replay.fold.state.seq);
        Ok(ReplayView { order_id, seq, equal, differences, lines })
    }
}

impl From<PastError> for ShopError {
    fn from(error: PastError) -> Self {
        match error {
            PastError::NotYet => Self::NotPlacedYet,
            PastError::Beyond(last) => Self::SeqBeyondEnd(last),
            PastError::History(error) => Self::Journal(error),
        }
    }
}

fn past_order(stood: Stood, collected_at: Option<Collected>) -> Result<PastOrder, ShopError> {
    let order = serde_json::from_str(&stood.saga.input);
    let order: Order = order.map_err(|_| ShopError::NotFound("order"))?;
    let (seq, order_id) = (stood.saga.row.seq, stood.saga.row.saga_id);
    let MoneyView { captured, refunded } = money(&stood.state);
    let collected_at = collected_at.filter(|it| it.to_jiff() <= stood.at);
    let extra = Extra { order_id, captured, refunded, collected_at };
    let mut order = OrderView::of(stood.saga, order, &extra, None);
    if let Some(collected_at) = order.collected_at {
        // Collecting is the one visible change that is not journaled.
        order.version += 1;
        order.updated_at = order.updated_at.max(collected_at);
    }
    Ok(PastOrder { order, seq })
}

fn replay_line(line: &JournalLine, fold: &Fold) -> ReplayLine {
    ReplayLine {
        seq: line.seq,
        at: history::at(line),
        kind: line.kind.clone(),
        step: line.step.clone(),
        attempt: line.attempt,
        status: fold.label.clone(),
        attention: fold.state.attention.clone(),
        money: money(&fold.state),
    }
}

/// What the ledger has to say by the journal: what was captured, then what was returned. Nothing is no entry.
fn entries(state: &State) -> Vec<(&'static str, i64)> {
    let returned = returned(state);
    // Without an answer, the void had found what was captured.
    let captured = receipt(state).map(|it| it.amount).or(returned);
    let entries = [("capture", captured), ("refund", returned)].into_iter();
    entries.filter_map(|(kind, amount)| Some((kind, amount.filter(|it| *it != 0)?))).collect()
}

/// What the payment provider answered to the capture.
pub(super) fn receipt(state: &State) -> Option<Receipt> {
    serde_json::from_str(state.output(Payment::NAME)?).ok()
}

/// What the compensation of the payment gave back; `None` before there was one.
fn returned(state: &State) -> Option<i64> {
    let left: Value = serde_json::from_str(state.compensation_output(Payment::NAME)?).ok()?;
    left.get("refunded")?.as_i64()
}

/// The money by the journal.
fn money(state: &State) -> MoneyView {
    let entries = entries(state);
    let sum = |kind| entries.iter().filter(|it| it.0 == kind).map(|it| it.1).sum();
    MoneyView { captured: sum("capture"), refunded: sum("refund") }
}

/// What the books say otherwise than the journal.
async fn audited(
    connection: &mut PgConnection,
    order_id: Uuid,
    order: &Order,
    fold: &Fold,
) -> sqlx::Result<Vec<Difference>> {
    let facts = audit::facts(connection, order_id).await?.map(|it| {
        let (customer, currency, code) = (it.customer_id, it.currency, it.pickup_code);
        facts(&customer, &currency, it.total, &code)
    });
    let ledger = audit::ledger(connection, order_id).await?;
    let ledger = ledger.iter().filter(|it| it.amount != 0);
    let ledger: Vec<Value> = ledger.map(|it| entry(&it.kind, it.amount)).collect();
    let moves = audit::moves(connection, order_id).await?;
    let moves: Vec<Value> = moves
        .iter()
        .map(|it| change(&it.kind, it.ingredients.iter().zip(it.quantities.iter().copied())))
        .collect();
    let told = facts_of(order);
    let entries: Vec<Value> =
        entries(&fold.state).into_iter().map(|(kind, amount)| entry(kind, amount)).collect();
    let pairs = [
        ("facts", told, json!(facts)),
        ("ledger", json!(entries), json!(ledger)),
        ("stock_moves", json!(moves_of(order, fold)), json!(moves)),
    ];
    let differ = pairs.into_iter().filter(|(_, journal, stored)| journal != stored);
    Ok(differ.map(|(what, journal, stored)| Difference { what, journal, stored }).collect())
}

fn facts_of(order: &Order) -> Value {
    facts(&order.customer_id, &order.currency, order.total, &order.pickup_code)
}

fn facts(customer_id: &str, currency: &str, total: i64, pickup_code: &str) -> Value {
    json!({ "customer_id": customer_id, "currency": currency, "total": total,
            "pickup_code": pickup_code })
}

fn entry(kind: &str, amount: i64) -> Value {
    json!({ "kind": kind, "amount": amount })
}

/// What the order did to the stock, by its journal: it reserved, and then used that up or gave it back.
fn moves_of(order: &Order, fold: &Fold) -> Vec<Value> {
    let needs = || order.needs.iter().map(|Need { ingredient, quantity }| (ingredient, *quantity));
    let inventory = fold.state.named(Inventory::NAME).map(|it| it.progress);
    let end = match (inventory, fold.closed_status()) {
        (Some(Progress::Done), _) => Some("deduct"),
        (_, Some(_)) => Some("release"),
        (_, None) => None,
    };
    ["reserve"].into_iter().chain(end).map(|kind| change(kind, needs())).collect()
}

fn change<'a>(kind: &str, needs: impl Iterator<Item = (&'a String, i64)>) -> Value {
    let needs: serde_json::Map<String, Value> =
        needs.map(|(ingredient, quantity)| (ingredient.clone(), json!(quantity))).collect();
    json!({ "kind": kind, "needs": needs })
}
