//! The coffee. It knows the engine, and no HTTP coming in.
//!
//! What one can ask of the shop: [`place`](Shop::place), [`find`](Shop::find), [`list`](Shop::list),
//! [`cancel`](Shop::cancel), [`collect`](Shop::collect), and the counter's own business (menu, stock, mode). How an
//! order stood at any moment is [`past`]; what placing or cancelling would do is [`dry_run`]; orders that are placed
//! again and again are [`standing`].

pub mod books;
pub mod calendar;
mod card;
pub mod dry_run;
mod in_flight;
pub mod kitchen;
pub mod menu;
pub mod message;
pub mod notices;
pub mod order;
mod outbox;
pub mod participant;
pub mod participants;
pub mod past;
pub mod payments;
mod place;
pub mod pull;
mod query;
pub mod queues;
pub mod rehearse;
mod requests;
pub mod saga;
pub mod schedule;
pub mod standing;
mod ticks;
pub mod view;
pub mod why;

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use sqlx::PgPool;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, interval_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    books::Effect,
    in_flight::InFlight,
    menu::{MenuCache, Unpriced},
    order::Malformed,
    pull::Pull,
    rehearse::Rehearsed,
    saga::Participants,
};
pub use self::{
    place::Placed,
    query::{Filter, Page},
};
use crate::{
    config::limits::DRY_RUNS_AT_ONCE,
    saga::{Engine, EngineBuilder, EngineError, EngineSettings, history::HistoryError},
};

/// How often the months ahead are made ready. Two are, so that this may fail for weeks.
const UPKEEP_EVERY: Duration = Duration::from_secs(86_400);

/// The shop: its engine, its books, its participants.
pub struct Shop {
    /// Drives the orders.
    pub engine: Engine<Effect>,
    read: PgPool,
    write: PgPool,
    menu: MenuCache,
    participants: Participants,
    policies: saga::Policies,
    pull: Pull,
    rehearsed: Rehearsed,
    code_length: AtomicUsize,
    in_flight: Arc<InFlight>,
    notices_due: Arc<Notify>,
    schedules_changed: Notify,
    tasks: TaskTracker,
    halt: CancellationToken,
    dry_runs: Semaphore,
}

/// The pools that a shop works with, apart so that none starves another.
#[derive(Debug, Clone)]
pub struct Pools {
    /// Everything that only reads.
    pub read: PgPool,
    /// Cancellations, collections, adjustments, the outbox.
    pub write: PgPool,
    /// The engine's own.
    pub drive: PgPool,
}

/// What a shop is opened with.
pub struct Opening {
    /// For the engine's own connections.
    pub options: sqlx::postgres::PgConnectOptions,
    /// The pools.
    pub pools: Pools,
    /// Who pays, cooks and tells.
    pub participants: Participants,
    /// Which of them are stand-ins.
    pub rehearsed: Rehearsed,
    /// The steps' policies.
    pub policies: saga::Policies,
    /// What workers pull.
    pub pull: Pull,
    /// The engine's limits.
    pub engine: EngineSettings,
}

/// Why the shop does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    /// The order makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The menu does not have it, or at another price.
    #[error(transparent)]
    Unpriced(#[from] Unpriced),
    /// No endpoint of this name is set up.
    #[error("no endpoint `{0}` is set up for notices")]
    EndpointUnknown(String),
    /// Not enough of an ingredient is left.
    #[error("there is not enough {0} left")]
    OutOfStock(String),
    /// The shop takes no orders.
    #[error("{0}")]
    ShopClosed(String),
    /// As many orders are open as the shop takes.
    #[error("as many orders are open as the shop takes")]
    AtCapacity,
    /// The key stands for another order.
    #[error("this key was used for another order")]
    KeyReused,
    /// The first request with this key is still being decided.
    #[error("the first request with this key is still being decided")]
    InProgress,
    /// This replica cannot take orders now.
    #[error("this replica cannot take orders at the moment")]
    NotPlacing,
    /// Nobody knows yet whether the order was placed: ask again with the same key.
    #[error("whether the order was placed is not known yet; repeat the request with the same key")]
    OutcomeUnknown,
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The order was placed later than that.
    #[error("the order had not been placed by then")]
    NotPlacedYet,
    /// The order's journal has no such line, or not yet.
    #[error("the order's journal ends with line {0}")]
    SeqBeyondEnd(i32),
    /// The pivot is behind, or the order has ended.
    #[error("it is too late to cancel: the order is {0}")]
    TooLate(String),
    /// The pickup code is another one.
    #[error("this is not the order's pickup code")]
    WrongCode,
    /// Not ready, or not to be collected at all.
    #[error("the order is {0}: there is nothing to collect")]
    NotCollectable(String),
    /// It has ended.
    #[error("the order has ended: it is {0}")]
    OrderClosed(String),
    /// It has received more signals than an order takes.
    #[error("the order has received as many signals as an order takes")]
    TooManySignals,
    /// The signal has a route of its own.
    #[error("the signal `{0}` has a route of its own")]
    SignalReserved(String),
    /// It does not wait for its time any more, or for some seconds only.
    #[error("the order has been begun, or is about to be: it cannot be moved any more")]
    AlreadyStarted,
    /// It was changed since it was read.
    #[error("the order was changed since it was read")]
    VersionChanged,
    /// The link was used, or nobody is asked any more.
    #[error("this was decided before, or its time is over")]
    AlreadyDecided,
    /// What is told of a parked step is not what it would have left.
    #[error("{0}")]
    SettlementUnfit(String),
    /// It was collected before.
    #[error("the order was collected before")]
    AlreadyCollected,
    /// It waits for nothing that could be retried.
    #[error("the order waits for nothing that could be retried")]
    NotWaiting,
    /// The stock would fall below zero.
    #[error("there is not that much of it")]
    StockTooLow,
    /// The task is another worker's by now, or back in its queue.
    #[error("the lease is over: the task is another worker's by now, or back in its queue")]
    LeaseLost,
    /// The task is not wanted any more.
    #[error("the task was withdrawn: its order does not want it any more")]
    TaskWithdrawn,
    /// The task has ended otherwise.
    #[error("the task has ended otherwise already")]
    TaskDone,
    /// What is to be a cron expression is none, or has no day that ever comes.
    #[error("the cron expression cannot be used: {0}")]
    CronInvalid(String),
    /// There is no time zone of this name.
    #[error("there is no time zone `{0}`")]
    TimeZoneUnknown(String),
    /// There are as many schedules as there may be.
    #[error("there are as many schedules as there may be; delete one")]
    TooManySchedules,
    /// A journal that does not add up.
    #[error("the order's journal cannot be read")]
    Journal(#[from] HistoryError),
    /// The database does not answer as it should.
    #[error("the database: {0}")]
    Unreachable(#[from] sqlx::Error),
}

impl Shop {
    /// Opens the shop: reads the menu, starts the engine. Refused when orders are open of versions that are not
    /// registered, unless the engine's settings allow it.
    pub async fn open(opening: Opening) -> Result<Arc<Self>, EngineError> {
        let Opening { options, pools, participants, rehearsed, policies, pull, engine } = opening;
        let menu = MenuCache::default();
        menu.refresh(&pools.read).await?;
        books::partitions::make(&pools.write).await;
        let notices_due = Arc::new(Notify::new());
        let engine = EngineBuilder::new(options, pools.drive, books::apply)
            .settings(engine)
            .definitions(saga::definitions(participants.clone(), policies, notices_due.clone()))
            .start()
            .await?;
        let (tasks, halt) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(keep_books(pools.write.clone(), halt.clone()));
        Ok(Arc::new(Self {
            engine,
            read: pools.read,
            write: pools.write,
            menu,
            participants,
            policies,
            pull,
            rehearsed,
            code_length: AtomicUsize::new(place::CODE_LENGTH_MIN),
            in_flight: Arc::default(),
            notices_due,
            schedules_changed: Notify::new(),
            tasks,
            halt,
            dry_runs: Semaphore::new(DRY_RUNS_AT_ONCE),
        }))
    }

    /// Stops driving orders; see [`Engine::stop`].
    pub async fn close(&self, patience: Duration) {
        self.engine.stop(patience).await;
        self.halt.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.read.close().await;
        self.write.close().await;
    }

    /// The pool for reads.
    pub fn read_pool(&self) -> &PgPool {
        &self.read
    }
}

/// Once a day: the partitions of the months ahead.
async fn keep_books(pool: PgPool, halt: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + UPKEEP_EVERY, UPKEEP_EVERY);
    loop {
        tokio::select! {
            () = halt.cancelled() => return,
            _ = ticks.tick() => {}
        }
        books::partitions::make(&pool).await;
    }
}
