//! What the process tells about itself: log lines on stderr, and the metrics of `/metrics`.

use std::io::IsTerminal;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, util::TryInitError};

use crate::config::{LogFormat, limits::METRICS_UPKEEP_INTERVAL};

/// The names of all metrics. [`Metrics::install`] describes each.
pub mod names {
    /// Requests answered, by `method`, `route` and `status`.
    pub const HTTP_REQUESTS: &str = "crema_http_requests_total";
    /// Seconds from a request's head to its answer's, by `route`.
    pub const HTTP_REQUEST_SECONDS: &str = "crema_http_request_seconds";
    /// Journal lines committed, by `kind`.
    pub const TRANSITIONS: &str = "crema_transitions_total";
    /// Seconds from a step's first attempt to its end, by `step`.
    pub const STEP_SECONDS: &str = "crema_step_seconds";
    /// Attempts, by `step` and `outcome`.
    pub const ATTEMPTS: &str = "crema_attempts_total";
    /// Attempts that were not the first, by `step`.
    pub const RETRIES: &str = "crema_retries_total";
    /// Compensations done, by `step`.
    pub const COMPENSATIONS: &str = "crema_compensations_total";
    /// Open orders that need a person.
    pub const ORDERS_PARKED: &str = "crema_orders_parked";
    /// Open orders in the memory of this replica.
    pub const SAGAS_LIVE: &str = "crema_sagas_live";
    /// Open orders of this replica that it cannot drive: of a version, or with journal lines, of another release.
    pub const SAGAS_OF_UNKNOWN_VERSION: &str = "crema_sagas_of_unknown_version";
    /// Open orders that nobody drove, found by the sweep.
    pub const SAGAS_STRANDED: &str = "crema_sagas_stranded_total";
    /// Seconds since the oldest order that should have been woken was due.
    pub const OLDEST_DUE_AGE_SECONDS: &str = "crema_oldest_due_age_seconds";
    /// Transitions a journal batch held, by `lane`.
    pub const JOURNAL_BATCH_SIZE: &str = "crema_journal_batch_size";
    /// Seconds a journal batch took to commit, by `lane`.
    pub const JOURNAL_COMMIT_SECONDS: &str = "crema_journal_commit_seconds";
    /// Seconds waited for a database connection, by `pool`.
    pub const POOL_WAIT_SECONDS: &str = "crema_pool_wait_seconds";
    /// Buckets this replica owns.
    pub const BUCKETS_OWNED: &str = "crema_buckets_owned";
    /// Ticks of schedules that are over, by `outcome`.
    pub const SCHEDULE_TICKS: &str = "crema_schedule_ticks_total";
    /// How a participant's circuit stands, by `participant`: 0 closed, 1 half open, 2 open.
    pub const BREAKER_STATE: &str = "crema_breaker_state";
    /// Orders of this replica that wait until they may call, by `participant`.
    pub const PARTICIPANT_WAITING: &str = "crema_participant_waiting";
    /// Calls that had to wait, by `participant`.
    pub const PARTICIPANT_WAITS: &str = "crema_participant_waits_total";
    /// Leases this replica lost.
    pub const LEASE_LOST: &str = "crema_lease_lost_total";
    /// Whether a queue has work that nobody asks for, by `queue`.
    pub const QUEUE_UNSERVED: &str = "crema_queue_unserved";
    /// Open tasks, by `queue` and `state`.
    pub const QUEUE_DEPTH: &str = "crema_queue_depth";
    /// Seconds since the oldest task that waits for a worker was made, by `queue`.
    pub const QUEUE_OLDEST_AGE_SECONDS: &str = "crema_queue_oldest_age_seconds";
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter of log lines cannot be read.
    #[error("CREMA_LOG: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody else already takes the log lines.
    #[error("log lines are already taken by another subscriber: {0}")]
    Logs(#[from] TryInitError),
    /// The recorder of metrics cannot be set up.
    #[error("metrics: {0}")]
    Metrics(#[from] BuildError),
}

/// Sends log lines to stderr: for people on a terminal, JSON otherwise, or as `format` says. What is
/// logged follows `CREMA_LOG`, then `RUST_LOG`, in tracing's syntax.
///
/// # Errors
/// [`TelemetryError`] when the filter is malformed or a subscriber is already set.
pub fn init_logs(format: LogFormat) -> Result<(), TelemetryError> {
    let said = |name| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    let filter = said("CREMA_LOG").or_else(|| said("RUST_LOG"));
    let filter = EnvFilter::try_new(filter.as_deref().unwrap_or("info,sqlx=warn"))?;
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal && std::env::var_os("NO_COLOR").is_none());
    let human = format == LogFormat::Human || (format == LogFormat::Auto && terminal);
    let subscriber: Box<dyn tracing::Subscriber + Send + Sync> = if human {
        Box::new(lines.with_target(false).finish())
    } else {
        Box::new(lines.json().flatten_event(true).with_current_span(true).finish())
    };
    use tracing_subscriber::util::SubscriberInitExt;
    subscriber.try_init()?;
    Ok(())
}

/// The recorder of everything that is counted and measured.
#[derive(Debug, Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Makes the process-wide recorder. Once a process.
    ///
    /// # Errors
    /// [`TelemetryError::Metrics`] when there is one already.
    pub fn install() -> Result<Self, TelemetryError> {
        let handle = builder()?.install_recorder()?;
        describe();
        Ok(Self { handle })
    }

    /// A recorder that nothing is sent to, for routers under test: the process-wide one can be
    /// made only once.
    ///
    /// # Errors
    /// [`TelemetryError::Metrics`] when the buckets are malformed.
    pub fn detached() -> Result<Self, TelemetryError> {
        Ok(Self { handle: builder()?.build_recorder().handle() })
    }

    /// Everything in Prometheus's text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds samples until `stop`; without it histograms grow for as long as nobody scrapes.
    pub async fn upkeep(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(METRICS_UPKEEP_INTERVAL);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.handle.run_upkeep();
        }
    }
}

/// From a tenth of what a commit on a good disk takes to what a customer no longer waits for.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    100.0,
];
/// Steps take as long as people and machines do, up to the quarter of an hour a kitchen has.
const STEP_SECONDS: [f64; 12] =
    [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 180.0, 450.0, 900.0, 3600.0];
/// Batches hold from 1 to 4,096 transitions.
const BATCH: [f64; 13] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets(&SECONDS)?
        .set_buckets_for_metric(full(names::STEP_SECONDS), &STEP_SECONDS)?
        .set_buckets_for_metric(full(names::JOURNAL_BATCH_SIZE), &BATCH)
}

fn describe() {
    use names::*;
    describe_counter!(HTTP_REQUESTS, "Requests answered.");
    describe_histogram!(HTTP_REQUEST_SECONDS, Unit::Seconds, "From a request to its answer.");
    describe_counter!(TRANSITIONS, "Journal lines committed.");
    describe_histogram!(STEP_SECONDS, Unit::Seconds, "From a step's first attempt to its end.");
    describe_counter!(ATTEMPTS, "Attempts of steps and compensations.");
    describe_counter!(RETRIES, "Attempts that were not the first.");
    describe_counter!(COMPENSATIONS, "Compensations done.");
    describe_gauge!(ORDERS_PARKED, "Open orders that need a person.");
    describe_gauge!(SAGAS_LIVE, "Open orders in the memory of this replica.");
    describe_gauge!(SAGAS_OF_UNKNOWN_VERSION, "Open orders here that another release must drive.");
    describe_counter!(SAGAS_STRANDED, "Open orders that nobody drove, found by the sweep.");
    describe_gauge!(OLDEST_DUE_AGE_SECONDS, Unit::Seconds, "How overdue the oldest order is.");
    describe_histogram!(JOURNAL_BATCH_SIZE, Unit::Count, "Transitions in a journal batch.");
    describe_histogram!(JOURNAL_COMMIT_SECONDS, Unit::Seconds, "How long a batch took to commit.");
    describe_histogram!(POOL_WAIT_SECONDS, Unit::Seconds, "Waiting for a database connection.");
    describe_gauge!(BUCKETS_OWNED, "Buckets this replica owns.");
    describe_counter!(SCHEDULE_TICKS, "Ticks of schedules that are over.");
    describe_gauge!(BREAKER_STATE, "A participant's circuit: 0 closed, 1 half open, 2 open.");
    describe_gauge!(PARTICIPANT_WAITING, "Orders that wait until they may call a participant.");
    describe_counter!(PARTICIPANT_WAITS, "Calls of a participant that had to wait.");
    describe_counter!(LEASE_LOST, "Leases this replica lost.");
    describe_gauge!(QUEUE_UNSERVED, "Whether a queue has work that nobody asks for.");
    describe_gauge!(QUEUE_DEPTH, "Open tasks of a queue.");
    describe_gauge!(QUEUE_OLDEST_AGE_SECONDS, Unit::Seconds, "Age of the oldest waiting task.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_and_steps_have_buckets_of_their_own() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::histogram!(names::JOURNAL_BATCH_SIZE, "lane" => "own").record(3.0);
            metrics::histogram!(names::STEP_SECONDS, "step" => "payment").record(600.0);
            metrics::counter!(names::LEASE_LOST).increment(1);
        });
        let text = Metrics { handle }.render();
        for line in [
            "# HELP crema_journal_batch_size Transitions in a journal batch.",
            "crema_journal_batch_size_bucket{lane=\"own\",le=\"4\"} 1",
            "crema_step_seconds_bucket{step=\"payment\",le=\"900\"} 1",
            "crema_lease_lost_total 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
