//! Playing the rehearsal from a folder that several processes may have.

use std::{
    fs::{File, TryLockError, create_dir_all},
    path::Path,
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::{RehearsalError, serve::Opened};

/// A rehearsal that is ready to be played: the folder is ours, its ledger has been read, its port is taken.
/// Dropping it gives all of that up.
pub struct Stage {
    lock: File,
    opened: Opened,
    listener: TcpListener,
    name: String,
    url: Url,
}

impl Stage {
    /// Sets the stage in the directory `dir`; none while another process has it. Whoever holds
    /// `rehearsal.lock` may play with the ledger `rehearsal.jsonl`, on a free loopback port. The system
    /// frees the lock of a process that dies, so the next one takes over with the same keys and tombstones.
    ///
    /// # Errors
    /// When a file of `dir` cannot be used, the ledger is corrupt, or no port is free.
    pub async fn set(dir: &Path, stop: &CancellationToken) -> Result<Option<Self>, RehearsalError> {
        let path = dir.join("rehearsal.lock");
        let failed = |source| RehearsalError::File { path: path.clone(), source };
        create_dir_all(dir).map_err(failed)?;
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let opened = Opened::new(dir.join("rehearsal.jsonl"), stop).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(RehearsalError::Listen)?;
        let address = listener.local_addr().map_err(RehearsalError::Listen)?;
        // Ports are used again: whoever has this one next does not answer to this name.
        let name = Uuid::new_v4().simple().to_string();
        let url = Url::parse(&format!("http://{address}/{name}/"));
        let url = url.map_err(|error| RehearsalError::Listen(std::io::Error::other(error)))?;
        Ok(Some(Self { lock, opened, listener, name, url }))
    }

    /// Its root, with a slash at the end. Connections are taken already, and answered once it is played.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Plays until the stop that it was set with.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn play(self) -> Result<(), RehearsalError> {
        let Self { lock, opened, listener, name, url: _ } = self;
        // The lock is held until the ledger is closed.
        let ended = opened.run(listener, &format!("/{name}")).await;
        drop(lock);
        ended
    }
}
