//! Asking about orders, and what is asked of them later: find, list, cancel, collect, retry.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Shop, ShopError,
    books::{list, menu as menu_books, orders, outbox, stock},
    menu::{Menu, NewMenuItem},
    order::Order,
    view::{OrderView, id_floor, is_collectable},
    why::Why,
};
use crate::saga::{
    history::SagaView,
    journal::{CancelVerdict, JournalLine, Replica, SagaRow},
};

/// What a list of orders shows. All conditions hold together.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this status.
    pub status: Option<String>,
    /// Only this customer's.
    pub customer_id: Option<String>,
    /// Placed at or after this time.
    pub created_from: Option<Timestamp>,
    /// Placed before this time.
    pub created_to: Option<Timestamp>,
    /// Only those that need a person, or only those that do not.
    pub attention: Option<bool>,
    /// With all of these attributes.
    pub attributes: serde_json::Map<String, Value>,
    /// Older than this order.
    pub before: Option<Uuid>,
    /// Orders at most.
    pub limit: usize,
}

/// One page of a list, newest first.
#[derive(Debug, Clone)]
pub struct Page {
    /// The orders.
    pub orders: Vec<OrderView>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<Uuid>,
}

impl Shop {
    /// An order as it stands.
    pub async fn find(&self, order_id: Uuid) -> Result<OrderView, ShopError> {
        self.views(&[order_id]).await?.pop().ok_or(ShopError::NotFound("order"))?
    }

    /// Why an order is not shown of which the engine has nothing to show: it is not there, or of a version that this
    /// replica does not know.
    pub(super) async fn absent(&self, order_id: Uuid) -> ShopError {
        self.find(order_id).await.err().unwrap_or(ShopError::NotFound("order"))
    }

    /// Why an order stands where it does.
    pub async fn why(&self, order_id: Uuid) -> Result<Why, ShopError> {
        let order = self.find(order_id).await?;
        let held_up = self.held_up(&order).await?;
        let awaited = match order.is_closed() {
            true => Vec::new(),
            false => self.awaited(order_id).await?,
        };
        Ok(Why::of(&order, &self.policies, held_up.as_ref(), &awaited))
    }

    /// The status of an order, and whether that is final: one statement, for those who only wait.
    pub async fn status(&self, order_id: Uuid) -> Result<(String, bool), ShopError> {
        let row = self.engine.row(&self.read, order_id).await?;
        let row = row.ok_or(ShopError::NotFound("order"))?;
        Ok((row.label, row.closed_status.is_some()))
    }

    async fn views(&self, ids: &[Uuid]) -> Result<Vec<Result<OrderView, ShopError>>, ShopError> {
        let sagas = self.engine.views(&self.read, ids).await?;
        let extras = orders::extras(&self.read, ids).await?;
        let extras: HashMap<Uuid, orders::Extra> =
            extras.into_iter().map(|it| (it.order_id, it)).collect();
        let view = |saga: SagaView| {
            let id = saga.row.saga_id;
            let (Ok(order), Some(extra)) =
                (serde_json::from_str::<Order>(&saga.input), extras.get(&id))
            else {
                return Err(ShopError::NotFound("order"));
            };
            let progress = self.engine.progress(id);
            Ok(OrderView::of(saga, order, extra, progress.as_ref()))
        };
        Ok(sagas.into_iter().map(|saga| view(saga?)).collect())
    }

    /// What an order's saga was started with.
    pub(super) async fn order(&self, order_id: Uuid) -> sqlx::Result<Option<Order>> {
        let input = self.engine.input(&self.read, order_id).await?;
        Ok(input.and_then(|it| serde_json::from_str(&it).ok()))
    }

    /// A page of orders, newest first.
    pub async fn list(&self, filter: Filter) -> Result<Page, ShopError> {
        let to = filter.created_to.map(id_floor);
        let before = [filter.before, to].into_iter().flatten().min();
        let wanted = list::Filter {
            status: filter.status,
            customer_id: filter.customer_id,
            before: before.unwrap_or(Uuid::max()),
            from: filter.created_from.map_or(Uuid::nil(), id_floor),
            attention: filter.attention,
            attributes: (!filter.attributes.is_empty()).then_some(Value::Object(filter.attributes)),
            limit: i64::try_from(filter.limit).unwrap_or(i64::MAX - 1) + 1,
        };
        let mut ids = list::page(&self.read, &wanted).await?;
        let next = (ids.len() > filter.limit).then(|| ids.truncate(filter.limit));
        let next = next.and_then(|()| ids.last().copied());
        let mut orders = Vec::with_capacity(ids.len());
        for view in self.views(&ids).await? {
            match view {
                Ok(order) => orders.push(order),
                // One order of a newer release must not hide the others.
                Err(ShopError::Journal(error)) if error.is_of_another_release() => {
                    tracing::warn!(%error, "a list leaves out an order of another release");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Page { orders, next })
    }

    /// Requests the cancellation. True when it was accepted now or before and is under way; false when
    /// the order is cancelled already.
    pub async fn cancel(
        &self,
        order_id: Uuid,
        by: &str,
        reason: Option<&str>,
    ) -> Result<bool, ShopError> {
        is_under_way(self.engine.cancel(&self.write, order_id, by, reason).await?)
    }

    /// Asks for the next attempt of a waiting order now.
    pub async fn retry(&self, order_id: Uuid, reason: Option<&str>) -> Result<(), ShopError> {
        if self.engine.retry(&self.write, order_id, "operator", reason).await? {
            return Ok(());
        }
        self.find(order_id).await?;
        Err(ShopError::NotWaiting)
    }

    /// Records that an order was collected by whoever knows its code.
    pub async fn collect(&self, order_id: Uuid, code: &str) -> Result<(), ShopError> {
        let order = self.find(order_id).await?;
        if !order.pickup_code.eq_ignore_ascii_case(code) {
            return Err(ShopError::WrongCode);
        }
        if !is_collectable(&order.status) {
            return Err(ShopError::NotCollectable(order.status));
        }
        let mut transaction = self.write.begin().await?;
        // The row before the code: the lock order of the journal's batches.
        self.engine.touch(&mut transaction, order_id).await?;
        if !orders::collect(&mut transaction, order_id, &order.pickup_code).await? {
            transaction.rollback().await?;
            return Err(ShopError::AlreadyCollected);
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The journal of an order after a line.
    pub async fn lines(&self, order_id: Uuid, after: i32) -> Result<Vec<JournalLine>, ShopError> {
        Ok(self.engine.lines(&self.read, order_id, after).await?)
    }

    /// Orders that need a person, grouped by nothing yet: the reason first, then the oldest.
    pub async fn needing_attention(&self, limit: i64) -> Result<Vec<SagaRow>, ShopError> {
        Ok(self.engine.needing_attention(&self.read, limit).await?)
    }

    /// Notices that were given up.
    pub async fn undelivered(&self, limit: i64) -> Result<Vec<outbox::Undelivered>, ShopError> {
        Ok(outbox::undelivered(&self.read, limit).await?)
    }

    /// The replicas.
    pub async fn replicas(&self) -> Result<Vec<Replica>, ShopError> {
        Ok(self.engine.replicas(&self.read).await?)
    }

    /// The menu as it stands, and the stock that its availability follows from.
    pub async fn menu(&self) -> Result<(Arc<Menu>, Vec<stock::StockRow>), ShopError> {
        Ok((self.menu.refresh(&self.read).await?, stock::read(&self.read).await?))
    }

    /// Writes an item of the menu.
    pub async fn put_item(&self, item: &str, put: &NewMenuItem) -> Result<(), ShopError> {
        match menu_books::put(&self.write, item, put).await {
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => {
                Err(ShopError::NotFound("ingredient"))
            }
            other => Ok(other?),
        }
    }

    /// The stock.
    pub async fn stock(&self) -> Result<Vec<stock::StockRow>, ShopError> {
        Ok(stock::read(&self.read).await?)
    }

    /// Changes what is there of an ingredient.
    pub async fn adjust(
        &self,
        ingredient: &str,
        delta: i64,
        reason: &str,
    ) -> Result<stock::StockRow, ShopError> {
        match stock::adjust(&self.write, ingredient, delta, reason).await {
            Ok(Some(row)) => Ok(row),
            Ok(None) => Err(ShopError::NotFound("ingredient")),
            Err(sqlx::Error::Database(error))
                if error.is_check_violation() || error.code().as_deref() == Some("22003") =>
            {
                Err(ShopError::StockTooLow)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the shop takes orders, and how many at once.
    pub async fn state(&self) -> Result<menu_books::ShopState, ShopError> {
        Ok(menu_books::shop(&self.read).await?)
    }

    /// Sets whether the shop takes orders, and how many at once.
    pub async fn set_state(
        &self,
        mode: &str,
        max_open_orders: Option<i32>,
    ) -> Result<menu_books::ShopState, ShopError> {
        Ok(menu_books::set_shop(&self.write, mode, max_open_orders).await?)
    }
}

/// What a request to cancel is answered: whether the cancellation is under way, or over.
pub(super) fn is_under_way(verdict: CancelVerdict) -> Result<bool, ShopError> {
    match verdict {
        CancelVerdict::Requested | CancelVerdict::AlreadyRequested => Ok(true),
        CancelVerdict::Closed { cancelled: true, .. } => Ok(false),
        CancelVerdict::Closed { status, .. } => Err(ShopError::TooLate(status)),
        CancelVerdict::TooLate => Err(ShopError::TooLate("READY".to_owned())),
        CancelVerdict::Unknown => Err(ShopError::NotFound("order")),
    }
}
