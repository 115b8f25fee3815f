//! The files by which the processes that share a private cluster take turns.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
};

use tokio_util::sync::CancellationToken;

use super::{
    error::{At, Error, Result},
    owner::Owner,
    postmaster::POLL,
};

/// Waits for its turn to create, start or stop; not beyond `stop`.
pub(super) fn lock_for_start(base: &Path, owner: &Owner, stop: &CancellationToken) -> Result<File> {
    let file = lock_file(base, "start.lock", owner)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if stop.is_cancelled() => return Err(Error::Interrupted),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(e).at(&base.join("start.lock")),
        }
        if !told {
            told = true;
            tracing::info!(
                "another process is starting or stopping the private PostgreSQL: waiting for it"
            );
        }
        thread::sleep(POLL);
    }
}

/// Opens a lock file, which is made if need be.
pub(super) fn lock_file(base: &Path, name: &str, owner: &Owner) -> Result<File> {
    let path = base.join(name);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let file = options.open(&path).at(&path)?;
    owner.own(&path)?;
    Ok(file)
}
