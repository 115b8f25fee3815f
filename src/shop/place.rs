//! Placing an order: check, price, commit.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use rand::seq::IndexedRandom;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{
    Shop, ShopError,
    books::{Effect, Placing, orders, refusal},
    dry_run::StockChange,
    order::{NewOrder, Order, check_times},
    saga::ORDER_SAGA,
    view::OrderView,
};
use crate::{
    config::limits::IDEMPOTENCY_WAIT,
    saga::{Lane, Refusal, StartError, Started},
};

/// Letters and digits that nobody mistakes for each other, read or heard.
const LETTERS: &[u8] = b"ACDEFHJKLMNPRTUVWXY";
const DIGITS: &[u8] = b"2345679";
/// Characters of a pickup code while there is room: 19² × 7² = 17,689 codes.
pub(super) const CODE_LENGTH_MIN: usize = 4;
/// Characters of the longest code; no shop has that many uncollected orders.
const CODE_LENGTH_MAX: usize = 12;
/// Tries of one placing against a menu or a code that changed meanwhile.
const TRIES_MAX: usize = 32;

/// What became of a request to place an order.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The order as it was accepted.
    pub order: OrderView,
    /// Whether an earlier request with this key had placed it.
    pub replayed: bool,
}

/// What happens to a placing once it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It is committed.
    ForGood,
    /// It is rolled back: only the verdict was wanted.
    RolledBack,
}

/// A placing that was accepted, now or by an earlier request with its key.
#[derive(Debug)]
pub(super) struct Decided {
    pub order_id: Uuid,
    pub order: Order,
    pub replayed: bool,
    /// What it would do to the stock, of one that was rolled back.
    pub stock: Vec<StockChange>,
}

impl From<Decided> for Placed {
    fn from(decided: Decided) -> Self {
        let Decided { order_id, order, replayed, .. } = decided;
        Self { order: OrderView::accepted(order_id, &order), replayed }
    }
}

impl Shop {
    /// Places an order: durable when this returns. Same key and same content: the same answer, and nothing
    /// is placed a second time. Cancellation safe: dropped or not, the order is placed or not as a whole.
    pub async fn place(&self, new: NewOrder, key: Option<String>) -> Result<Placed, ShopError> {
        self.check(&new)?;
        let Some(key) = key else {
            return Ok(self.try_to_place(&new, None, How::ForGood).await?.into());
        };
        let fingerprint = fingerprint(&new);
        let named = (new.customer_id.clone(), key.clone());
        let deadline = Instant::now() + IDEMPOTENCY_WAIT;
        loop {
            let mut first = match self.in_flight.enter(&named) {
                Ok(_turn) => {
                    let key = Some((key, fingerprint));
                    return Ok(self.try_to_place(&new, key, How::ForGood).await?.into());
                }
                Err(first) => first,
            };
            // The channel never says anything: it closes when the first request is decided.
            if timeout_at(deadline, first.changed()).await.is_err() {
                return Err(ShopError::InProgress);
            }
            if let Some((id, known)) = orders::by_key(&self.read, &named.0, &named.1).await? {
                return Ok(self.replay(id, known == fingerprint).await?.into());
            }
        }
    }

    /// Checks what needs neither menu nor database.
    pub(super) fn check(&self, new: &NewOrder) -> Result<(), ShopError> {
        let to = new.notify.as_ref().and_then(|it| it.to.as_ref());
        // Whatever an endpoint is, it is no stand-in.
        let is_real =
            |of: &str| self.rehearsed.is_real(of) || (of == "notification" && to.is_some());
        check_times(Timestamp::now(), new.pickup_at, new.ready_by)?;
        Ok(new.check(|of| is_real(of))?)
    }

    /// Prices an order and has it committed, or rolled back, until that is decided.
    pub(super) async fn try_to_place(
        &self,
        new: &NewOrder,
        key: Option<(String, [u8; 32])>,
        how: How,
    ) -> Result<Decided, ShopError> {
        let to = new.notify.as_ref().and_then(|it| it.to.clone());
        if let Some(to) = to.as_ref().filter(|it| !self.participants.notices.has(it)) {
            let unknown = ShopError::EndpointUnknown(to.clone());
            return self.refuse_or_replay(unknown, new, key.as_ref()).await;
        }
        let mut menu = self.menu.get();
        for attempt in 0..TRIES_MAX {
            let priced = match menu.price(&new.items, new.expected_total, &self.pull) {
                Ok(priced) => priced,
                // The menu in memory may be behind: look before refusing.
                Err(_) if attempt == 0 => {
                    menu = self.menu.refresh(&self.read).await?;
                    continue;
                }
                Err(it) => return self.refuse_or_replay(it.into(), new, key.as_ref()).await,
            };
            let order = Order {
                customer_id: new.customer_id.clone(),
                items: priced.lines,
                currency: menu.currency.clone(),
                total: priced.total,
                pickup_code: self.pickup_code(attempt),
                method_token: new.payment.method_token.clone(),
                channel: new.notify.as_ref().map(|it| it.channel).unwrap_or_default(),
                notify_to: to.clone(),
                pickup_at: new.pickup_at,
                ready_by: new.ready_by,
                attributes: new.attributes.clone(),
                priority: new.priority,
                rehearsal: self.rehearsed.any(),
                needs: priced.needs,
            };
            let order_id = self.engine.new_id().ok_or(ShopError::NotPlacing)?;
            let placing = placing(&order, menu.version, key.clone());
            let effects = vec![Effect::Place(Box::new(placing))];
            let (started, stock) = match how {
                How::ForGood => (self.start(order_id, &order, effects).await?, Vec::new()),
                How::RolledBack => self.dry_start(order_id, &order, effects).await?,
            };
            match started {
                Started::Accepted => {
                    return Ok(Decided { order_id, order, replayed: false, stock });
                }
                Started::Refused(refused) => match refused.code {
                    refusal::MENU_CHANGED => menu = self.menu.refresh(&self.read).await?,
                    refusal::CODE_TAKEN if how == How::RolledBack => {}
                    refusal::CODE_TAKEN => self.note_clash(attempt),
                    refusal::KEY_TAKEN => return self.replay_refused(&refused).await,
                    _ => return Err(refused_error(refused)),
                },
            }
        }
        Err(ShopError::NotPlacing)
    }

    async fn start(
        &self,
        order_id: Uuid,
        order: &Order,
        effects: Vec<Effect>,
    ) -> Result<Started, ShopError> {
        let input = order.clone();
        match self.engine.start(ORDER_SAGA, order_id, input, effects, Lane::Shared).await {
            Err(StartError::NotOwned) => self.read_back(order_id).await,
            other => other.map_err(not_started),
        }
    }

    /// A placing that was fenced may have been written before: then it stands, and its bucket's new owner
    /// drives it. Otherwise nobody can know yet, for what was sent may still be on its way.
    async fn read_back(&self, order_id: Uuid) -> Result<Started, ShopError> {
        match self.order(order_id).await {
            Ok(Some(_)) => Ok(Started::Accepted),
            Ok(None) | Err(_) => Err(ShopError::OutcomeUnknown),
        }
    }

    /// What is refused by the menu or the settings of now may have been placed under its key when those were
    /// others.
    async fn refuse_or_replay(
        &self,
        refused: ShopError,
        new: &NewOrder,
        key: Option<&(String, [u8; 32])>,
    ) -> Result<Decided, ShopError> {
        let Some((key, fingerprint)) = key else { return Err(refused) };
        match orders::by_key(&self.read, &new.customer_id, key).await? {
            Some((order_id, known)) => self.replay(order_id, known == fingerprint).await,
            None => Err(refused),
        }
    }

    async fn replay_refused(&self, refused: &Refusal) -> Result<Decided, ShopError> {
        let order_id = refused.data.get("order_id").and_then(Value::as_str);
        let order_id = order_id.and_then(|it| it.parse().ok()).ok_or(ShopError::InProgress)?;
        let same = refused.data.get("same").and_then(Value::as_bool).unwrap_or(false);
        self.replay(order_id, same).await
    }

    async fn replay(&self, order_id: Uuid, same: bool) -> Result<Decided, ShopError> {
        if !same {
            return Err(ShopError::KeyReused);
        }
        let order = self.order(order_id).await?.ok_or(ShopError::InProgress)?;
        Ok(Decided { order_id, order, replayed: true, stock: Vec::new() })
    }

    /// A code for the `attempt`-th try. Codes grow when the short ones are used up.
    fn pickup_code(&self, attempt: usize) -> String {
        let length = self.code_length.load(Ordering::Relaxed) + attempt / 2;
        pickup_code(length.min(CODE_LENGTH_MAX))
    }

    /// Several clashes in a row mean that codes of this length run out: later orders start with longer ones.
    fn note_clash(&self, attempt: usize) {
        const CLASHES_BEFORE_GROWING: usize = 3;
        if attempt == CLASHES_BEFORE_GROWING {
            self.code_length.fetch_add(1, Ordering::Relaxed);
            tracing::info!("pickup codes grow by a character: many orders are uncollected");
        }
    }
}

/// Letters, then digits, half each.
fn pickup_code(length: usize) -> String {
    let mut rng = rand::rng();
    let letters = length / 2 + length % 2;
    (0..length)
        .filter_map(|place| {
            let alphabet = if place < letters { LETTERS } else { DIGITS };
            alphabet.choose(&mut rng).map(|it| char::from(*it))
        })
        .collect()
}

fn placing(order: &Order, menu_version: i64, key: Option<(String, [u8; 32])>) -> Placing {
    Placing {
        customer_id: order.customer_id.clone(),
        key,
        menu_version,
        needs: order.needs.clone(),
        currency: order.currency.clone(),
        total: order.total,
        pickup_code: order.pickup_code.clone(),
        rehearsal: order.rehearsal,
        attributes: (!order.attributes.is_empty())
            .then(|| serde_json::to_value(&order.attributes).unwrap_or_default()),
    }
}

/// SHA-256 of the request in its canonical form: our own serialisation of what was parsed, so that spaces and
/// the order of members do not matter.
pub(super) fn fingerprint(new: &NewOrder) -> [u8; 32] {
    let canonical = serde_json::to_vec(new).unwrap_or_default();
    Sha256::digest(&canonical).into()
}

pub(super) fn not_started(error: StartError) -> ShopError {
    tracing::debug!(%error, "an order could not be placed");
    ShopError::NotPlacing
}

fn refused_error(refused: Refusal) -> ShopError {
    match refused.code {
        refusal::OUT_OF_STOCK => {
            let ingredient = refused.data.get("ingredient").and_then(Value::as_str);
            ShopError::OutOfStock(ingredient.unwrap_or("of something").to_owned())
        }
        refusal::SHOP_CLOSED => ShopError::ShopClosed(refused.detail),
        refusal::AT_CAPACITY => ShopError::AtCapacity,
        _ => ShopError::NotPlacing,
    }
}
