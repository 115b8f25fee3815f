//! `crema participants`: whom the server calls, how much of it they take, and whether they answer.

use std::{
    io::{self, Write},
    process::ExitCode,
    str::FromStr,
};

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    ServerArgs,
    client::Client,
    error::CliError,
    show::{self, clean, table, to_right},
};

/// The arguments of `crema participants`.
#[derive(Debug, Args)]
pub struct ParticipantsArgs {
    /// Which server to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Print what the server answers as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do; listing them when nothing is said.
    #[command(subcommand)]
    pub command: Option<ParticipantsCommand>,
}

/// What can be done with participants.
#[derive(Debug, Subcommand)]
pub enum ParticipantsCommand {
    /// Show a participant, and who changed what about it
    Show {
        /// The participant's name
        name: String,
    },
    /// Limit what a participant takes, on all replicas; what is not said stays as it is
    Limit(LimitArgs),
    /// Hold a participant's circuit open or closed, or let go of it
    Circuit {
        /// The participant's name
        name: String,
        /// open: nobody is called; closed: everybody is; auto: as it comes
        #[arg(value_enum)]
        state: Held,
        /// Why, for the record
        #[arg(long)]
        reason: String,
        /// Who wants it
        #[arg(long)]
        by: Option<String>,
    },
}

/// The arguments of `crema participants limit`.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// The participant's name
    pub name: String,
    /// Calls in flight at most, over all replicas; `none` for no limit
    #[arg(long, value_name = "N|none", required_unless_present = "rate")]
    pub max_in_flight: Option<Limit<u32>>,
    /// Calls a second at most, over all replicas; `none` for no limit
    #[arg(long, value_name = "R|none")]
    pub rate: Option<Limit<f64>>,
    /// Why, for the record
    #[arg(long)]
    pub reason: String,
    /// Who wants it
    #[arg(long)]
    pub by: Option<String>,
}

/// How a circuit is held.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Held {
    /// Nobody is called
    Open,
    /// Everybody is called
    Closed,
    /// As it comes
    Auto,
}

/// A number, or `none`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit<T>(Option<T>);

impl<T: FromStr> FromStr for Limit<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            number => number
                .parse()
                .map(|it| Self(Some(it)))
                .map_err(|_| format!("{number:?} is neither a number nor `none`")),
        }
    }
}

/// A participant, as far as the client knows it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Participant {
    name: String,
    max_in_flight: Option<u64>,
    rate: Option<f64>,
    in_flight: Option<u64>,
    waiting: u64,
    circuit: Circuit,
    changes: Vec<Change>,
}

/// Its circuit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Circuit {
    state: String,
    held: bool,
    since: Option<String>,
    next_probe_at: Option<String>,
}

/// A change somebody made.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Change {
    at: String,
    by: String,
    reason: String,
    max_in_flight: Option<u64>,
    rate: Option<f64>,
    circuit: String,
}

/// All of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Participants {
    participants: Vec<Participant>,
}

/// Asks the server and shows what it says.
///
/// # Errors
/// [`CliError`] when the server refuses or cannot be asked.
pub async fn run(args: ParticipantsArgs) -> Result<ExitCode, CliError> {
    let client = Client::new(args.server.server)?;
    let path = |name, more| ["v1", "participants", name, more];
    let answer = match &args.command {
        None => client.get(&["v1", "participants"], &[]).await?,
        Some(ParticipantsCommand::Show { name }) => client.get(&path(name, "")[..3], &[]).await?,
        Some(ParticipantsCommand::Limit(limit)) => {
            client.put(&path(&limit.name, "limits"), &body(limit)).await?
        }
        Some(ParticipantsCommand::Circuit { name, state, reason, by }) => {
            let state = match state {
                Held::Open => "open",
                Held::Closed => "closed",
                Held::Auto => "auto",
            };
            let body = json!({ "state": state, "reason": reason, "by": by });
            client.put(&path(name, "circuit"), &body).await?
        }
    };
    match (args.json, &args.command) {
        (true, _) => show::json(&answer)?,
        (false, None) => list(&client.read::<Participants>(&answer)?.participants)?,
        (false, Some(_)) => one(client.read(&answer)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn body(limit: &LimitArgs) -> Value {
    let mut body = Map::new();
    body.insert("reason".to_owned(), json!(limit.reason));
    body.insert("by".to_owned(), json!(limit.by));
    if let Some(Limit(max)) = limit.max_in_flight {
        body.insert("max_in_flight".to_owned(), json!(max));
    }
    if let Some(Limit(rate)) = limit.rate {
        body.insert("rate".to_owned(), json!(rate));
    }
    Value::Object(body)
}

fn list(participants: &[Participant]) -> io::Result<()> {
    let mut rows =
        table(&["participant", "in flight", "at most", "a second", "waiting", "circuit"]);
    for it in participants {
        rows.add_row([
            clean(&it.name),
            it.in_flight.map(|it| it.to_string()).unwrap_or_default(),
            said(it.max_in_flight),
            said(it.rate),
            it.waiting.to_string(),
            circuit(&it.circuit),
        ]);
    }
    to_right(&mut rows, &[1, 2, 3, 4]);
    writeln!(io::stdout().lock(), "{rows}")
}

fn one(participant: Participant) -> io::Result<()> {
    list(std::slice::from_ref(&participant))?;
    let mut rows = table(&["changed", "by", "why", "at most", "a second", "circuit"]);
    for it in &participant.changes {
        rows.add_row([
            clean(&it.at),
            clean(&it.by),
            clean(&it.reason),
            said(it.max_in_flight),
            said(it.rate),
            clean(&it.circuit),
        ]);
    }
    to_right(&mut rows, &[3, 4]);
    writeln!(io::stdout().lock(), "{rows}")
}

fn said(limit: Option<impl ToString>) -> String {
    limit.map_or_else(|| "-".to_owned(), |it| it.to_string())
}

fn circuit(circuit: &Circuit) -> String {
    let mut text = circuit.state.clone();
    if circuit.held {
        text += ", held";
    }
    if let Some(since) = &circuit.since {
        text += &format!(" since {since}");
    }
    if let Some(at) = &circuit.next_probe_at {
        text += &format!(", next probe at {at}");
    }
    clean(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!("7".parse::<Limit<u32>>(), Ok(Limit(Some(7))));
        assert_eq!("none".parse::<Limit<f64>>(), Ok(Limit(None)));
        assert!("many".parse::<Limit<u32>>().is_err() && "-1".parse::<Limit<u32>>().is_err());
    }

    #[test]
    fn what_is_not_said_is_not_sent() {
        let args = |max, rate| LimitArgs {
            name: "oven".to_owned(),
            max_in_flight: max,
            rate,
            reason: "because".to_owned(),
            by: None,
        };
        let sent = body(&args(Some(Limit(Some(7))), None));
        assert_eq!(sent, json!({ "max_in_flight": 7, "reason": "because", "by": null }));
        let sent = body(&args(None, Some(Limit(None))));
        assert_eq!(sent, json!({ "rate": null, "reason": "because", "by": null }));
    }
}
