//! One rehearsal for all replicas of one machine.

use std::{
    fs::{File, TryLockError, create_dir_all},
    path::PathBuf,
    time::Duration,
};

use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{RehearsalError, serve::Opened};

/// How often the lock is tried: so long there may be no participants after their host died.
const LOCK_POLL: Duration = Duration::from_secs(1);

/// Serves the rehearsal of the directory `dir` while nobody else does, until `stop`. Whoever holds
/// `rehearsal.lock` serves on a free loopback port with the ledger `rehearsal.jsonl`, and tells its
/// root URL to `publish` once connections are taken. The system frees the lock of a process that
/// dies, so the next one takes over with the same keys and tombstones. `publish` must not block.
///
/// # Errors
/// When a file of `dir` cannot be used, the ledger is corrupt, or no port is free.
pub async fn host(
    dir: PathBuf,
    stop: CancellationToken,
    publish: impl Fn(Url),
) -> Result<(), RehearsalError> {
    let path = dir.join("rehearsal.lock");
    let failed = |source| RehearsalError::File { path: path.clone(), source };
    create_dir_all(&dir).map_err(failed)?;
    let lock = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = lock.map_err(failed)?;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) => tokio::select! {
                () = sleep(LOCK_POLL) => {}
                () = stop.cancelled() => return Ok(()),
            },
        }
    }
    let opened = Opened::new(dir.join("rehearsal.jsonl"), &stop).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(RehearsalError::Listen)?;
    let address = listener.local_addr().map_err(RehearsalError::Listen)?;
    if let Ok(url) = Url::parse(&format!("http://{address}/")) {
        publish(url);
    }
    // The lock is held until the ledger is closed.
    let ended = opened.run(listener).await;
    drop(lock);
    ended
}
