//! What engines say: their log, their metrics, and the statements that they send.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tracing::level_filters::LevelFilter;

use crate::world::until;

/// What this thread's tasks log, and what they count. The runtime of these tests has no other thread.
pub(crate) struct Heard {
    log: Arc<Mutex<Vec<u8>>>,
    metrics: PrometheusHandle,
    _guards: (tracing::subscriber::DefaultGuard, metrics::LocalRecorderGuard<'static>),
}

#[derive(Clone)]
struct Pen(Arc<Mutex<Vec<u8>>>);

impl Write for Pen {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Heard {
    /// From now on, until it is dropped.
    pub(crate) fn listen() -> Self {
        let log = Arc::<Mutex<Vec<u8>>>::default();
        let pen = Pen(log.clone());
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::DEBUG)
            .with_ansi(false)
            .with_writer(move || pen.clone())
            .finish();
        let recorder: &'static PrometheusRecorder =
            Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        let guards = (
            tracing::subscriber::set_default(subscriber),
            metrics::set_default_local_recorder(recorder),
        );
        Self { log, metrics: recorder.handle(), _guards: guards }
    }

    /// The lines of the log with this.
    pub(crate) fn lines(&self, with: &str) -> Vec<String> {
        let log = String::from_utf8(self.log.lock().unwrap().clone()).unwrap();
        log.lines().filter(|it| it.contains(with)).map(str::to_owned).collect()
    }

    fn forget(&self) {
        self.log.lock().unwrap().clear();
    }

    fn says(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|it| it == line)
    }

    /// Waits until so many sagas are counted as left to another release.
    pub(crate) async fn counts(&self, unknown: usize) {
        let line = format!("crema_sagas_of_unknown_version {unknown}");
        until(&line, async || self.says(&line).then_some(())).await;
    }

    /// Waits until several looks in a row are all that goes to the database, the lease aside: whoever has something
    /// left to do, or does something in vain at every look, never comes to that.
    pub(crate) async fn rests(&self) {
        const IDLE: [&str; 3] = [
            "select (extract(epoch from clock_timestamp()",
            "with forgotten as",
            "BEGIN; ROLLBACK",
        ];
        self.forget();
        until("it rests", async || {
            let statements = self.lines("sqlx::query");
            if statements.iter().any(|line| !IDLE.iter().any(|it| line.contains(it))) {
                self.forget();
            }
            (self.lines(IDLE[0]).len() > 5).then_some(())
        })
        .await;
    }
}
