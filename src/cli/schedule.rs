//! `crema schedule`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    answers::{Schedule, Schedules, Tick},
    client::Client,
    error::CliError,
    order::{Wanted, said, show_order},
    show::{self, clean, table, to_right},
};

/// What can be done with schedules.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Create a schedule, or replace what it says
    Put(Box<PutArgs>),
    /// List the schedules
    List,
    /// Show a schedule and its next ticks
    Show {
        /// The schedule's name
        name: String,
    },
    /// Pause a schedule
    Pause(SwitchArgs),
    /// Let a paused schedule go on
    Resume(SwitchArgs),
    /// Delete a schedule; its orders stay
    Delete {
        /// The schedule's name
        name: String,
    },
    /// Place the order of a schedule now
    Trigger {
        /// The schedule's name
        name: String,
        /// The idempotency key, with which the same order can be placed again [default: a new one]
        #[arg(long)]
        key: Option<String>,
    },
}

/// The arguments of `crema schedule put`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("rhythm").required(true).args(["cron", "every"]))]
pub struct PutArgs {
    /// The schedule's name
    pub name: String,
    /// What to order.
    #[command(flatten)]
    pub wanted: Wanted,
    /// When: minute, hour, day of the month, month, day of the week
    #[arg(long, value_name = "EXPRESSION", requires = "time_zone")]
    pub cron: Option<String>,
    /// When: every so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub every: Option<u32>,
    /// By whose clock, like Europe/Paris
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// What to do at a tick while the order of the tick before is open
    #[arg(long, value_enum, default_value = "skip")]
    pub overlap: OverlapArg,
    /// How many seconds late an order may still be placed
    #[arg(long, value_name = "SECONDS")]
    pub catch_up: Option<u32>,
}

/// What to do at a tick while the order of the tick before is open.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OverlapArg {
    /// Skip the tick
    Skip,
    /// Place its order all the same
    Allow,
    /// Let it wait, and further ticks be skipped
    BufferOne,
    /// Place its order and cancel the other one
    CancelOther,
}

/// The arguments of `crema schedule pause` and `resume`.
#[derive(Debug, Args)]
pub struct SwitchArgs {
    /// The schedule's name
    pub name: String,
    /// Why
    #[arg(long)]
    pub reason: Option<String>,
    /// Who says so
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// Asks the server and shows what it says.
pub(super) async fn run(
    client: &Client,
    command: ScheduleCommand,
    json: bool,
) -> Result<ExitCode, CliError> {
    match command {
        ScheduleCommand::Put(args) => {
            let answer = client.put(&["v1", "schedules", &args.name], &body(&args)).await?;
            show_one(client, &answer, json)?;
        }
        ScheduleCommand::List => {
            let answer = client.get(&["v1", "schedules"], &[]).await?;
            if json { show::json(&answer)? } else { list(&client.read(&answer)?)? }
        }
        ScheduleCommand::Show { name } => {
            let answer = client.get(&["v1", "schedules", &name], &[]).await?;
            show_one(client, &answer, json)?;
        }
        ScheduleCommand::Pause(args) => switch(client, &args, "pause", json).await?,
        ScheduleCommand::Resume(args) => switch(client, &args, "resume", json).await?,
        ScheduleCommand::Delete { name } => {
            client.delete(&["v1", "schedules", &name]).await?;
            if json {
                show::json(&json!({ "deleted": name }))?;
            } else {
                writeln!(io::stdout().lock(), "schedule {}: deleted", clean(&name))?;
            }
        }
        ScheduleCommand::Trigger { name, key } => {
            let key = key.unwrap_or_else(|| Uuid::new_v4().to_string());
            let path = ["v1", "schedules", &name, "trigger"];
            let answer = client.post(&path, &[], &json!({}), Some(&key)).await?;
            show_order(client, &answer, json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn body(args: &PutArgs) -> Value {
    let overlap = args.overlap.to_possible_value();
    let overlap = overlap.map(|it| it.get_name().replace('-', "_")).unwrap_or_default();
    let mut body = json!({ "overlap": overlap, "order": args.wanted.body() });
    let members = [
        ("cron", args.cron.as_deref().map(Value::from)),
        ("every_seconds", args.every.map(Value::from)),
        ("time_zone", args.time_zone.as_deref().map(Value::from)),
        ("catch_up_seconds", args.catch_up.map(Value::from)),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    body
}

async fn switch(client: &Client, args: &SwitchArgs, how: &str, json: bool) -> Result<(), CliError> {
    let why = said(&[("reason", args.reason.as_deref()), ("by", args.by.as_deref())]);
    let body: serde_json::Map<String, Value> =
        why.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let path = ["v1", "schedules", &args.name, how];
    let answer = client.post(&path, &[], &Value::Object(body), None).await?;
    show_one(client, &answer, json)
}

fn show_one(client: &Client, answer: &Value, json: bool) -> Result<(), CliError> {
    if json {
        return Ok(show::json(answer)?);
    }
    let schedule: Schedule = client.read(answer)?;
    let mut facts = table(&[]);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            facts.add_row([name.to_owned(), clean(&value)]);
        }
    };
    fact("schedule", schedule.name.clone());
    fact("when", when(&schedule));
    fact("customer", schedule.order.customer_id.clone());
    let items = schedule.order.items.iter().map(|it| format!("{} × {}", it.quantity, it.item));
    fact("orders", items.collect::<Vec<_>>().join(", "));
    fact("overlap", schedule.overlap.clone());
    fact("catch-up", format!("{} s", schedule.catch_up_seconds));
    if let Some(switched) = &schedule.switched {
        let word = if schedule.paused { "paused" } else { "resumed" };
        let by = switched.by.as_ref().map(|it| format!(" by {it}")).unwrap_or_default();
        let why = switched.reason.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
        fact(word, format!("{}{by}{why}", switched.at));
    }
    for (index, tick) in schedule.next.iter().enumerate() {
        fact(if index == 0 { "next" } else { "then" }, tick.clone());
    }
    fact("under way", schedule.pending.as_ref().map(under_way).unwrap_or_default());
    fact("last tick", schedule.last_tick.as_ref().map(over).unwrap_or_default());
    let error = |it: &Tick| format!("{}: {} ({})", it.tick, it.detail, it.code);
    fact("last error", schedule.last_error.as_ref().map(error).unwrap_or_default());
    let counted = [schedule.placed, schedule.refused, schedule.skipped, schedule.missed];
    let [placed, refused, skipped, missed] = counted;
    fact(
        "ticks",
        format!("{placed} placed, {refused} refused, {skipped} skipped, {missed} missed"),
    );
    writeln!(io::stdout().lock(), "{facts}")?;
    Ok(())
}

fn list(answer: &Schedules) -> io::Result<()> {
    let header =
        ["schedule", "when", "next", "last tick", "placed", "refused", "skipped", "missed"];
    let mut rows = table(&header);
    for it in &answer.schedules {
        let next = if it.paused { "paused" } else { it.next.first().map_or("", String::as_str) };
        rows.add_row([
            clean(&it.name),
            clean(&when(it)),
            clean(next),
            clean(&it.last_tick.as_ref().map(|it| it.outcome.clone()).unwrap_or_default()),
            it.placed.to_string(),
            it.refused.to_string(),
            it.skipped.to_string(),
            it.missed.to_string(),
        ]);
    }
    to_right(&mut rows, &[4, 5, 6, 7]);
    writeln!(io::stdout().lock(), "{rows}")
}

fn when(schedule: &Schedule) -> String {
    match (&schedule.cron, schedule.every_seconds) {
        (Some(cron), _) => format!("{cron} ({})", schedule.time_zone),
        (None, Some(seconds)) => format!("every {seconds} s"),
        (None, None) => String::new(),
    }
}

fn under_way(tick: &Tick) -> String {
    format!("{}: {}", tick.tick, tick.state)
}

fn over(tick: &Tick) -> String {
    let order = tick.order_id.as_ref().map(|it| format!(", order {it}")).unwrap_or_default();
    format!("{}: {}{order}", tick.tick, tick.outcome)
}
