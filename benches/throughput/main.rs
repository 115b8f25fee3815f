//! Orders a second, of the engine as it ships, beside the naive path, the prototype and raw commits on the
//! same cluster, in one run: `cargo bench --bench throughput`, for a look with `-- --quick`.
//!
//! Every run has a fresh database; every repetition runs all contenders after each other. Only the ratios
//! within a repetition are worth comparing between machines.
#![allow(clippy::print_stdout, reason = "the tables are what this program is for")]

mod alone;
mod bare;
#[path = "../baseline/mod.rs"]
mod baseline;
mod books;
mod http;
mod meter;
mod product;
mod report;
mod service;
mod waiting;
mod world;

use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use self::{
    meter::{Figures, Load},
    report::{Cell, Name},
    world::World,
};

/// The one of the binary that ships.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Customers of the service over HTTP.
const CUSTOMERS: [usize; 3] = [1, 64, 1_024];

/// Above this many the naive path needs longer to fill up than a run lasts.
const NAIVE_IN_FLIGHT_MAX: usize = 1_024;

#[derive(Parser)]
struct Options {
    /// One repetition of one second each.
    #[arg(long)]
    quick: bool,
    /// Interleaved repetitions.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// Seconds measured of each run.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Orders in flight.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1_024, 8_192])]
    in_flight: Vec<usize>,
    /// Only these parts.
    #[arg(long, value_delimiter = ',', value_enum)]
    parts: Vec<Part>,
    /// Only these contenders.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Name>,
    /// Given by cargo when it benchmarks; without it nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The engine and what it is compared with.
    Contenders,
    /// One order at a time, in turns with raw commits.
    Alone,
    /// The service over HTTP.
    Http,
    /// Memory of orders that wait.
    Waiting,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    if !options.bench {
        println!("measured by `cargo bench --bench throughput`");
        return Ok(());
    }
    if options.quick {
        (options.repetitions, options.seconds) = (1, 1.0);
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure(&options))
}

async fn measure(options: &Options) -> Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    // Counting is part of what ships.
    let metrics = crema::telemetry::Metrics::install()?;
    tokio::spawn(metrics.upkeep(tokio_util::sync::CancellationToken::new()));
    let world = World::open().await?;
    let (mut cells, mut alone, mut customers) = (cells(options), Vec::new(), customers(options));
    for repetition in 1..=options.repetitions {
        for cell in &mut cells {
            let figures = run(&world, cell.name, load(cell.in_flight, options)).await?;
            let (name, in_flight) = (cell.name, cell.in_flight);
            eprintln!("{repetition}: {name}, {in_flight} in flight: {figures:.1?}");
            cell.runs.push(figures);
        }
        if options.wants(Part::Alone) {
            alone.push(alone::ratio(&world, load(1, options)).await?);
        }
        for cell in &mut customers {
            let figures = http::run(&world, load(cell.in_flight, options)).await?;
            eprintln!("{repetition}: over HTTP, {} customers: {figures:.1?}", cell.in_flight);
            cell.runs.push(figures);
        }
    }
    println!("{}\n{}", report::table(&cells), report::bars(&cells, &alone));
    println!("{}", http::table(&customers));
    if options.wants(Part::Waiting) {
        let bytes = waiting::bytes_a_saga(&world).await?;
        println!("An order that waits for a participant takes {bytes:.0} bytes of memory.");
    }
    world.close().await
}

/// The service over HTTP, by its number of customers.
fn customers(options: &Options) -> Vec<http::Cell> {
    let is_wanted = |_: &usize| options.wants(Part::Http);
    let cell = |in_flight| http::Cell { in_flight, runs: Vec::new() };
    CUSTOMERS.into_iter().filter(is_wanted).map(cell).collect()
}

/// What is run, in its order: what is compared follows each other.
fn cells(options: &Options) -> Vec<Cell> {
    let names = [Name::Commits, Name::Naive, Name::Bare, Name::Prototype, Name::Books];
    let is_wanted = |name: Name, in_flight: usize| {
        options.wants(Part::Contenders)
            && (options.only.is_empty() || options.only.contains(&name))
            && (name != Name::Naive || in_flight <= NAIVE_IN_FLIGHT_MAX)
    };
    let mut cells = Vec::new();
    for in_flight in options.in_flight.iter().copied() {
        let wanted = names.into_iter().filter(|it| is_wanted(*it, in_flight));
        cells.extend(wanted.map(|name| Cell { name, in_flight, runs: Vec::new() }));
    }
    cells
}

fn load(in_flight: usize, options: &Options) -> Load {
    let seconds = options.seconds;
    let [warm_up, measured] = [(seconds / 2.0).min(1.0), seconds].map(Duration::from_secs_f64);
    Load { in_flight, warm_up, measured }
}

async fn run(world: &World, name: Name, load: Load) -> Result<Figures> {
    match name {
        // It needs a while until as many orders are in flight.
        Name::Naive => baseline::naive::run(world, Load { warm_up: load.measured, ..load }).await,
        Name::Prototype => baseline::prototype::run(world, load).await,
        Name::Bare => product::run(world, &bare::contender(), load).await,
        Name::Books => product::run(world, &books::contender(), load).await,
        Name::Commits => baseline::commits::run(world, load).await,
    }
}
