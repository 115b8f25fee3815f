//! Being asked to stop.

use std::time::Duration;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// What a start gets that is under way when the stop comes: it is cut off then.
const DRAIN_START: Duration = Duration::from_secs(2);

/// From now on SIGTERM and Ctrl-C are requests to stop: the first one cancels the token. Whoever asks twice does
/// not want to wait.
pub(super) fn asked_to_stop() -> std::io::Result<CancellationToken> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked = CancellationToken::new();
    let told = asked.clone();
    tokio::spawn(async move {
        either(&mut term, &mut interrupt).await;
        told.cancel();
        either(&mut term, &mut interrupt).await;
        std::process::exit(130);
    });
    Ok(asked)
}

async fn either(term: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// What is being started; none when it is asked to stop before, and does not get there soon. What is cut off
/// then has acknowledged nothing to anybody, so its connections may be left as they are.
pub(super) async fn unless_stopped<T>(
    mut starting: JoinHandle<anyhow::Result<T>>,
    asked: &CancellationToken,
) -> anyhow::Result<Option<T>> {
    tokio::select! {
        started = &mut starting => return started?.map(Some),
        () = asked.cancelled() => {}
    }
    match tokio::time::timeout(DRAIN_START, &mut starting).await {
        Ok(started) => started?.map(Some),
        Err(_) => {
            starting.abort();
            tracing::warn!("stopped before the shop was open");
            Ok(None)
        }
    }
}
