//! What is ordered, as it is said on the command line.

use std::str::FromStr;

/// A line to order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub(super) name: String,
    pub(super) quantity: u32,
    pub(super) price: Option<i64>,
}

impl FromStr for Item {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, price) = match text.split_once('@') {
            Some((rest, price)) => (rest, Some(price)),
            None => (text, None),
        };
        let (name, quantity) = rest.split_once(':').unwrap_or((rest, "1"));
        if name.is_empty() {
            return Err("the item has no name".to_owned());
        }
        let price =
            price.map(|p| p.parse().map_err(|_| format!("{p:?} is no price in minor units")));
        let quantity = quantity.parse().map_err(|_| format!("{quantity:?} is no quantity"))?;
        Ok(Self { name: name.to_owned(), quantity, price: price.transpose()? })
    }
}

pub(super) fn attribute(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("an attribute is NAME=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}
