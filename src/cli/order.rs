//! `crema order`.

use std::{process::ExitCode, str::FromStr};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    answers::{Order, Page},
    client::Client,
    error::CliError,
    follow::{Display, follow},
    show, travel,
};

/// Asks what would be.
const DRY_RUN: [(&str, &str); 1] = [("dry_run", "true")];

/// What can be done with orders.
#[derive(Debug, Subcommand)]
pub enum OrderCommand {
    /// Place an order
    Place(PlaceArgs),
    /// Show an order, now or as it stood
    Get {
        /// The order's id
        id: String,
        /// As it stood at this time (RFC 3339)
        #[arg(long, value_name = "TIME", conflicts_with = "seq")]
        at: Option<String>,
        /// As it stood after this line of its journal, from 1
        #[arg(long, value_name = "LINE")]
        seq: Option<u32>,
    },
    /// Show what changed in an order between two lines of its journal
    Diff {
        /// The order's id
        id: String,
        /// A line, from 1
        from: u32,
        /// Another one
        to: u32,
    },
    /// Fold an order's journal and compare the end with what is stored; exits with 0 if they are equal
    Replay {
        /// The order's id
        id: String,
    },
    /// Follow an order until it closes; exits with 0 if it was completed
    Watch {
        /// The order's id
        id: String,
    },
    /// Cancel an order
    Cancel {
        /// The order's id
        id: String,
        /// Why, for the shop
        #[arg(long)]
        reason: Option<String>,
        /// On whose behalf
        #[arg(long, value_enum)]
        by: Option<By>,
        /// Cancel nothing; say what would be
        #[arg(long)]
        dry_run: bool,
    },
    /// List orders, the newest first
    List(ListArgs),
    /// Say why an order stands where it does
    Why {
        /// The order's id
        id: String,
    },
    /// Show an order's journal
    History {
        /// The order's id
        id: String,
    },
}

/// Who cancels.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum By {
    /// The customer
    Customer,
    /// The shop
    Shop,
}

/// What is ordered, and by whom.
#[derive(Debug, Args)]
pub struct Wanted {
    /// What to order: ITEM, ITEM:QUANTITY, ITEM@PRICE or ITEM:QUANTITY@PRICE, with the price that
    /// was seen in minor units
    #[arg(required = true, value_name = "ITEM[:QTY][@PRICE]")]
    pub items: Vec<Item>,
    /// Who orders
    #[arg(long, value_name = "NAME")]
    pub customer: String,
    /// The payment provider's token of the means of payment
    #[arg(long, default_value = "tok_visa", value_name = "TOKEN")]
    pub method_token: String,
    /// An attribute of the order
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute)]
    pub attribute: Vec<(String, String)>,
}

/// The arguments of `crema order place`.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// What to order.
    #[command(flatten)]
    pub wanted: Wanted,
    /// The idempotency key, with which the same order can be sent again [default: a new one]
    #[arg(long)]
    pub key: Option<String>,
    /// Follow the order until it closes; exits with 0 if it was completed
    #[arg(long)]
    pub watch: bool,
    /// Place nothing; say what would be
    #[arg(long, conflicts_with = "watch")]
    pub dry_run: bool,
}

/// The arguments of `crema order list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only orders with this status
    #[arg(long)]
    pub status: Option<String>,
    /// Only this customer's orders
    #[arg(long, value_name = "NAME")]
    pub customer: Option<String>,
    /// How many at most
    #[arg(long)]
    pub limit: Option<u32>,
    /// Where the previous page ended
    #[arg(long)]
    pub cursor: Option<String>,
}

/// A line to order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    name: String,
    quantity: u32,
    price: Option<i64>,
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

fn attribute(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("an attribute is NAME=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

/// Asks the server and shows what it says.
pub(super) async fn run(
    client: &Client,
    command: OrderCommand,
    json: bool,
) -> Result<ExitCode, CliError> {
    match command {
        OrderCommand::Place(args) => return place(client, args, json).await,
        OrderCommand::Watch { id } => return follow(client, &id, &mut Display::new(json)).await,
        OrderCommand::Get { id, at, seq } => {
            let seq = seq.map(|it| it.to_string());
            let query = said(&[("at", at.as_deref()), ("seq", seq.as_deref())]);
            let answer = client.get(&["v1", "orders", &id], &query).await?;
            show_order(client, &answer, json)?;
        }
        OrderCommand::Diff { id, from, to } => {
            travel::diff(client, &id, [from, to], json).await?;
        }
        OrderCommand::Replay { id } => return travel::replay(client, &id, json).await,
        OrderCommand::Cancel { id, reason, by, dry_run } => {
            let by = by.map(|by| match by {
                By::Customer => "customer",
                By::Shop => "shop",
            });
            let body = said(&[("reason", reason.as_deref()), ("by", by)]);
            let body: Map<String, Value> =
                body.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            let (path, body) = (["v1", "orders", &id, "cancel"], Value::Object(body));
            if dry_run {
                let answer = client.post(&path, &DRY_RUN, &body, None).await?;
                travel::dry_cancellation(client, &answer, json)?;
            } else {
                let answer = client.post(&path, &[], &body, None).await?;
                show_order(client, &answer, json)?;
            }
        }
        OrderCommand::List(args) => list(client, &args, json).await?,
        OrderCommand::Why { id } => {
            let answer = client.get(&["v1", "orders", &id, "why"], &[]).await?;
            if json { show::json(&answer)? } else { show::why(&client.read(&answer)?)? }
        }
        OrderCommand::History { id } => {
            let answer = client.get(&["v1", "orders", &id, "history"], &[]).await?;
            if json { show::json(&answer)? } else { show::history(&client.read(&answer)?)? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn place(client: &Client, args: PlaceArgs, json: bool) -> Result<ExitCode, CliError> {
    let key = args.key.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
    let path = ["v1", "orders"];
    if args.dry_run {
        let answer = client.post(&path, &DRY_RUN, &args.wanted.body(), Some(&key)).await?;
        travel::dry_placing(client, &answer, json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer = client.post(&path, &[], &args.wanted.body(), Some(&key)).await?;
    if !args.watch {
        show_order(client, &answer, json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let order: Order = client.read(&answer)?;
    follow(client, &order.id, &mut Display::new(json)).await
}

impl Wanted {
    /// The body of the order.
    pub(super) fn body(&self) -> Value {
        let items = self.items.iter().map(|item| {
            let mut line = json!({"item": item.name, "quantity": item.quantity});
            if let Some(price) = item.price {
                line["price"] = price.into();
            }
            line
        });
        let attributes =
            self.attribute.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        json!({
            "customer_id": self.customer,
            "items": items.collect::<Vec<_>>(),
            "payment": {"method_token": self.method_token},
            "attributes": attributes.collect::<Map<_, _>>(),
        })
    }
}

async fn list(client: &Client, args: &ListArgs, json: bool) -> Result<(), CliError> {
    let limit = args.limit.map(|limit| limit.to_string());
    let query = said(&[
        ("status", args.status.as_deref()),
        ("customer_id", args.customer.as_deref()),
        ("limit", limit.as_deref()),
        ("cursor", args.cursor.as_deref()),
    ]);
    let answer = client.get(&["v1", "orders"], &query).await?;
    if json {
        show::json(&answer)?;
    } else {
        show::page(&client.read::<Page>(&answer)?)?;
    }
    Ok(())
}

/// What was said, of what can be.
pub(super) fn said<'a>(pairs: &[(&'a str, Option<&'a str>)]) -> Vec<(&'a str, &'a str)> {
    pairs.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect()
}

pub(super) fn show_order(client: &Client, answer: &Value, json: bool) -> Result<(), CliError> {
    if json {
        show::json(answer)?
    } else {
        show::order(&client.read(answer)?)?
    }
    Ok(())
}

#[cfg(test)]
mod tests;
