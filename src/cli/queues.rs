//! `crema queues`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use comfy_table::Table;
use serde::Deserialize;

use super::{
    client::Client,
    error::CliError,
    show::{self, clean, to_right},
};

/// A queue.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Queue {
    queue: String,
    ready: i64,
    leased: i64,
    done: i64,
    failed: i64,
    oldest_age_seconds: Option<f64>,
    unasked_seconds: Option<f64>,
    unserved: bool,
    max_in_flight: Option<i64>,
    rate: Option<f64>,
}

/// The queues.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Queues {
    queues: Vec<Queue>,
}

/// Shows the queues of tasks. Exits with 1 if there is work in one that nobody asks for.
pub(super) async fn run(client: &Client, json: bool) -> Result<ExitCode, CliError> {
    let answer = client.get(&["v1", "queues"], &[]).await?;
    let Queues { queues } = client.read(&answer)?;
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{answer:#}")?;
    } else if queues.is_empty() {
        writeln!(out, "No queue has tasks, workers or limits.")?;
    } else {
        writeln!(out, "{}", table(&queues))?;
    }
    let is_unserved = queues.iter().any(|it| it.unserved);
    Ok(if is_unserved { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(queues: &[Queue]) -> Table {
    let header =
        ["queue", "ready", "leased", "done 1h", "failed 1h", "oldest", "asked", "limits", ""];
    let mut table = show::table(&header);
    for it in queues {
        let mut limits = Vec::new();
        limits.extend(it.max_in_flight.map(|max| format!("{max} at once")));
        limits.extend(it.rate.map(|rate| format!("{rate}/s")));
        table.add_row([
            clean(&it.queue),
            it.ready.to_string(),
            it.leased.to_string(),
            it.done.to_string(),
            it.failed.to_string(),
            it.oldest_age_seconds.map_or_else(|| "-".to_owned(), seconds),
            it.unasked_seconds
                .map_or_else(|| "never".to_owned(), |s| format!("{} ago", seconds(s))),
            if limits.is_empty() { "-".to_owned() } else { limits.join(", ") },
            if it.unserved { "nobody asks for this work".to_owned() } else { String::new() },
        ]);
    }
    to_right(&mut table, &[1, 2, 3, 4]);
    table
}

fn seconds(s: f64) -> String {
    match s {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3_600.0),
    }
}
