//! The menu, and what an order costs by it. Pure but for the cache.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use sqlx::PgPool;

use super::{
    books,
    order::{Need, NewItem, OrderLine},
    pull::Pull,
};

/// The menu as of one version.
#[derive(Debug, Clone, Default)]
pub struct Menu {
    /// Rises with every change.
    pub version: i64,
    /// ISO 4217.
    pub currency: String,
    /// What is sold, by id.
    pub items: BTreeMap<String, MenuItem>,
}

/// One thing that is sold.
#[derive(Debug, Clone)]
pub struct MenuItem {
    /// For people.
    pub name: String,
    /// Minor units.
    pub price: i64,
    /// Whether it is on sale at all.
    pub available: bool,
    /// Where it is made: the queue of its tasks, if workers pull them.
    pub station: String,
    /// What one piece takes from the stock.
    pub recipe: Vec<Need>,
}

/// An item as it is to be.
#[derive(Debug, Clone)]
pub struct NewMenuItem {
    /// For people.
    pub name: String,
    /// Minor units.
    pub price: i64,
    /// Whether it is on sale at all.
    pub available: bool,
    /// Where it is made; as before, and at first at the bar, if absent.
    pub station: Option<String>,
    /// What one piece takes from the stock.
    pub recipe: Vec<Need>,
}

/// Why an order has no price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpriced {
    /// Not on the menu.
    #[error("the menu has no item `{0}`")]
    Unknown(String),
    /// On the menu, but taken off sale.
    #[error("`{0}` is not on sale at the moment")]
    OffSale(String),
    /// The customer saw another price.
    #[error("the price of `{what}` is {now}, not {seen}")]
    Changed {
        /// The item, or `total`.
        what: String,
        /// What the customer saw, in minor units.
        seen: i64,
        /// What it is, in minor units.
        now: i64,
    },
}

/// An order's lines and total by the menu.
#[derive(Debug, Clone, PartialEq)]
pub struct Priced {
    /// In the order's order.
    pub lines: Vec<OrderLine>,
    /// Minor units.
    pub total: i64,
    /// What it takes from the stock, by ingredient, sorted.
    pub needs: Vec<Need>,
}

impl Menu {
    /// Prices items. Sums cannot overflow: prices are at most 10^8, quantities 100, lines 50.
    pub fn price(
        &self,
        items: &[NewItem],
        expected: Option<i64>,
        pull: &Pull,
    ) -> Result<Priced, Unpriced> {
        let mut lines = Vec::with_capacity(items.len());
        let mut needs: BTreeMap<&str, i64> = BTreeMap::new();
        for asked in items {
            let known = self.items.get(&asked.item);
            let known = known.ok_or_else(|| Unpriced::Unknown(asked.item.clone()))?;
            if !known.available {
                return Err(Unpriced::OffSale(asked.item.clone()));
            }
            if let Some(seen) = asked.price.filter(|seen| *seen != known.price) {
                let (what, now) = (asked.item.clone(), known.price);
                return Err(Unpriced::Changed { what, seen, now });
            }
            for need in &known.recipe {
                *needs.entry(&need.ingredient).or_default() += need.quantity * asked.quantity;
            }
            lines.push(OrderLine {
                item: asked.item.clone(),
                quantity: asked.quantity,
                unit_price: known.price,
                line_total: known.price * asked.quantity,
                note: asked.note.clone(),
                queue: pull.has(&known.station).then(|| known.station.clone()),
            });
        }
        let total = lines.iter().map(|it| it.line_total).sum();
        if let Some(seen) = expected.filter(|seen| *seen != total) {
            return Err(Unpriced::Changed { what: "total".to_owned(), seen, now: total });
        }
        let needs = needs
            .into_iter()
            .map(|(ingredient, quantity)| Need { ingredient: ingredient.to_owned(), quantity })
            .collect();
        Ok(Priced { lines, total, needs })
    }
}

/// The menu in memory. It may be behind: an order says by which version it was priced, and the commit
/// that places it refuses another one, so nobody pays an old price.
#[derive(Debug, Default)]
pub struct MenuCache {
    menu: RwLock<Arc<Menu>>,
}

impl MenuCache {
    /// The menu as last read.
    pub fn get(&self) -> Arc<Menu> {
        self.menu.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the menu again.
    pub async fn refresh(&self, pool: &PgPool) -> sqlx::Result<Arc<Menu>> {
        let menu = Arc::new(books::menu::read(pool).await?);
        *self.menu.write().unwrap_or_else(PoisonError::into_inner) = menu.clone();
        Ok(menu)
    }
}
