//! The binary: reads the command line, and hands over.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use crema::{
    app,
    cli::{self, Cli, CliError, Command},
    config::{ConfigError, LogFormat, RehearseArgs, ServeArgs, ServeConfig},
    postgres,
    saga::UnknownVersions,
    telemetry::{self, Metrics},
};

/// An order's way through the engine is many small allocations, by threads that hand them to each other: with the
/// system's allocator they took about a sixth of the process's time (sampled, 1,024 orders in flight).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command, serve } = Cli::parse();
    let result = match command.unwrap_or_else(|| Command::Serve(Box::new(serve))) {
        Command::Serve(args) => run_server(*args).await,
        Command::Rehearse(args) => run_rehearsal(args).await,
        Command::Order(args) => cli::order(args).await.map_err(Into::into),
        Command::Queues(args) => cli::queues(args).await.map_err(Into::into),
        Command::Work(args) => cli::work(args).await.map_err(Into::into),
        Command::Schedule(args) => cli::schedule(args).await.map_err(Into::into),
        Command::Participants(args) => cli::participants(args).await.map_err(Into::into),
        Command::Health(args) => cli::health(args).await.map_err(Into::into),
        Command::Upgrade(args) => app::check_upgrade(args).await,
        Command::Openapi => cli::openapi().map_err(Into::into),
    };
    result.unwrap_or_else(|error| fail(&error))
}

/// Says why it failed. 78 is `EX_CONFIG`, which tells a supervisor that starting again will not help.
fn fail(error: &anyhow::Error) -> ExitCode {
    let cli_error = error.downcast_ref::<CliError>();
    if cli_error.is_some_and(CliError::is_seen_enough) {
        return ExitCode::SUCCESS;
    }
    // Nobody is left to tell when stderr is closed too.
    let _ = writeln!(io::stderr().lock(), "error: {error:#}");
    match cli_error {
        Some(error) => error.exit_code(),
        None if needs_another_start(error) => ExitCode::from(78),
        None => ExitCode::FAILURE,
    }
}

/// Whether it fails as long as it is started in the same way.
fn needs_another_start(error: &anyhow::Error) -> bool {
    let is_not_durable = matches!(error.downcast_ref(), Some(postgres::Error::NotDurable { .. }));
    error.is::<ConfigError>() || error.is::<UnknownVersions>() || is_not_durable
}

async fn run_server(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let config = ServeConfig::load(args)?;
    telemetry::init_logs(config.log_format)?;
    let metrics = Metrics::install()?;
    app::serve(config, metrics).await?;
    Ok(ExitCode::SUCCESS)
}

async fn run_rehearsal(args: RehearseArgs) -> anyhow::Result<ExitCode> {
    telemetry::init_logs(LogFormat::Auto)?;
    app::rehearse(args).await?;
    Ok(ExitCode::SUCCESS)
}
