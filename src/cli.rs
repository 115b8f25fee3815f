//! The command line: what can be said to `crema`, and the client side of it.
//!
//! The client knows the server by its HTTP API only. Exit codes: 0 it is as wished (for a watched
//! order: COMPLETED), 1 it is not (refused, or closed otherwise), 2 the question could not be put.
//! `crema upgrade` asks the database; what it finds is printed here (0, or 3 when something would change).

mod answers;
mod client;
mod error;
mod follow;
mod order;
mod participants;
mod queues;
mod schedule;
mod show;
mod sse;
mod tell;
mod travel;
mod upgrade;
mod work;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use url::Url;

use crate::config::{DatabaseArgs, RehearseArgs, ServeArgs};
use client::Client;
pub use error::CliError;
pub use order::OrderCommand;
pub use participants::{ParticipantsArgs, run as participants};
pub use schedule::ScheduleCommand;
pub use upgrade::upgrade;
pub use work::{WorkArgs, work};

/// Crema takes a coffee shop's orders and sees every one through to its end.
///
/// Without a command it serves, with a private Postgres where no DATABASE_URL is given.
#[derive(Debug, Parser)]
#[command(name = "crema", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; serving when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve when no command is said.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What `crema` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take orders and fulfil them (the default)
    Serve(Box<ServeArgs>),
    /// Run the stand-in participants as a process of their own
    Rehearse(RehearseArgs),
    /// Place, watch and cancel orders on a running server
    Order(OrderArgs),
    /// Show the queues of tasks that workers pull; exits with 1 if nobody asks for work that is there
    Queues(QueuesArgs),
    /// Work on tasks as a barista for rehearsals, until SIGTERM or Ctrl-C
    Work(WorkArgs),
    /// Have orders placed again and again by a running server
    Schedule(ScheduleArgs),
    /// List whom a running server calls, limit what they take, hold their circuits
    Participants(ParticipantsArgs),
    /// Ask whether a server is ready; exits with 0 if it is
    Health(ServerArgs),
    /// Tell what would become of the open orders under this program
    Upgrade(UpgradeArgs),
    /// Print the API's description (OpenAPI, YAML)
    Openapi,
}

/// Which server to ask.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The server's base URL
    #[arg(long, env = "CREMA_SERVER", default_value = "http://127.0.0.1:8080", global = true)]
    pub server: Url,
}

/// The arguments of `crema upgrade`.
#[derive(Debug, Args)]
pub struct UpgradeArgs {
    /// Where the orders are.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Only tell, and change nothing: exits with 0 when nothing would change, with 3 when something would
    #[arg(long, required = true)]
    pub check: bool,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `crema order`.
#[derive(Debug, Args)]
pub struct OrderArgs {
    /// Which server to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Print what the server answers as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do with an order.
    #[command(subcommand)]
    pub command: OrderCommand,
}

/// The arguments of `crema queues`.
#[derive(Debug, Args)]
pub struct QueuesArgs {
    /// Which server to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Print what the server answers as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs `crema queues`.
///
/// # Errors
/// [`CliError`] when the server refuses or cannot be asked.
pub async fn queues(args: QueuesArgs) -> Result<ExitCode, CliError> {
    queues::run(&Client::new(args.server.server)?, args.json).await
}

/// The arguments of `crema schedule`.
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// Which server to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Print what the server answers as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do with a schedule.
    #[command(subcommand)]
    pub command: ScheduleCommand,
}

/// Runs `crema order`.
///
/// # Errors
/// [`CliError`] when the server refuses or cannot be asked.
pub async fn order(args: OrderArgs) -> Result<ExitCode, CliError> {
    order::run(&Client::new(args.server.server)?, args.command, args.json).await
}

/// Runs `crema schedule`.
///
/// # Errors
/// [`CliError`] when the server refuses or cannot be asked.
pub async fn schedule(args: ScheduleArgs) -> Result<ExitCode, CliError> {
    schedule::run(&Client::new(args.server.server)?, args.command, args.json).await
}

/// Runs `crema health`: success only if the server says that it is ready.
///
/// # Errors
/// [`CliError`] when it is not, or does not answer.
pub async fn health(args: ServerArgs) -> Result<ExitCode, CliError> {
    Client::new(args.server)?.get(&["readyz"], &[]).await?;
    writeln!(io::stdout().lock(), "ready")?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `crema openapi`.
///
/// # Errors
/// [`CliError`] when the description cannot be made or printed.
pub fn openapi() -> Result<ExitCode, CliError> {
    let yaml = crate::http::openapi_yaml().map_err(|e| CliError::Description(e.to_string()))?;
    write!(io::stdout().lock(), "{yaml}")?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_needs_no_word() {
        let bare = Cli::try_parse_from(["crema", "--listen=127.0.0.1:1"]).unwrap();
        assert!(bare.command.is_none() && bare.serve.settings.listen.is_some());
        let said = Cli::try_parse_from(["crema", "serve", "--listen=127.0.0.1:1"]).unwrap();
        assert!(matches!(said.command, Some(Command::Serve(s)) if s.settings.listen.is_some()));
        assert!(Cli::try_parse_from(["crema", "--listen=127.0.0.1:1", "openapi"]).is_err());
    }

    #[test]
    fn the_server_can_be_named_after_the_order() {
        let args = ["crema", "order", "get", "1", "--server=http://shop:1/", "--json"];
        let Some(Command::Order(order)) = Cli::try_parse_from(args).unwrap().command else {
            panic!("not an order")
        };
        assert_eq!((order.server.server.as_str(), order.json), ("http://shop:1/", true));
    }
}
