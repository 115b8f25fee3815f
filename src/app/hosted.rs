//! One rehearsal for all replicas on one database.
//!
//! Its address is in the database. A replica follows it for as long as a rehearsal answers there; when none
//! does it plays one from its own data folder, and claims the address by a guarded update, so that of several
//! that try one wins. With one folder for all of them the ledger goes on as it was; from a folder of its own a
//! replica begins a ledger of its own.

use std::{path::PathBuf, time::Duration};

use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    rehearsal::{Lookout, Presence, Role, Stage},
    shop::rehearse,
};

/// How often a replica looks whether the rehearsal is still played: so long there may be none.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it looks while it knows of none: orders wait for it.
const LOOK_SOON: Duration = Duration::from_millis(250);
/// How often it reads the address, though the one it knows answers.
const ADDRESS_EVERY: Duration = Duration::from_secs(5);
/// Looks in a row without an answer after which a rehearsal counts as gone. A second ledger is worse than some
/// seconds without one, and whoever is only paused comes back.
const SILENT_LOOKS_MAX: u32 = 5;

/// The stand-ins, in the order of the channels.
pub(super) const ROLES: [Role; 3] = [Role::Payment, Role::Kitchen, Role::Notifier];

/// A replica's part in the rehearsal that it shares with the others.
pub(super) struct Hosted {
    pub(super) pool: PgPool,
    /// Where a rehearsal of our own keeps its ledger.
    pub(super) dir: PathBuf,
    /// Who calls the stand-ins is told where they are.
    pub(super) known: [watch::Sender<Option<Url>>; 3],
    pub(super) halt: CancellationToken,
}

impl Hosted {
    /// Follows the rehearsal, or plays it, until `halt`.
    pub(super) async fn attend(self) {
        let lookout = match Lookout::new() {
            Ok(lookout) => lookout,
            Err(error) => return tracing::error!(%error, "there will be no rehearsal here"),
        };
        // The address that answered last, and when it was read.
        let mut at: Option<(String, Instant)> = None;
        let mut silent = 0;
        while !self.halt.is_cancelled() {
            let read = match at.take().filter(|(_, read)| read.elapsed() < ADDRESS_EVERY) {
                Some((address, read)) => Ok((Some(address), read)),
                None => rehearse::address(&self.pool).await.map(|it| (it, Instant::now())),
            };
            match read {
                Err(error) => tracing::debug!(%error, "the rehearsal's address is asked for again"),
                Ok((seen, read)) => {
                    let url = seen.as_deref().and_then(|it| it.parse::<Url>().ok());
                    let presence = match &url {
                        Some(url) => lookout.look(url).await,
                        None => Presence::Gone,
                    };
                    silent = if presence == Presence::Silent { silent + 1 } else { 0 };
                    if presence == Presence::Plays {
                        self.tell(url);
                        at = seen.map(|it| (it, read));
                    } else if presence == Presence::Gone || silent >= SILENT_LOOKS_MAX {
                        self.host(seen.as_deref()).await;
                    }
                }
            }
            let is_known = self.known.iter().all(|it| it.borrow().is_some());
            let pause = if is_known { LOOK_EVERY } else { LOOK_SOON };
            tokio::select! {
                () = self.halt.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Plays the rehearsal here, unless another process has the folder or another replica claims the address
    /// first. Returns when it is over.
    async fn host(&self, seen: Option<&str>) {
        let stop = self.halt.child_token();
        let stage = match Stage::set(&self.dir, &stop).await {
            Ok(Some(stage)) => stage,
            Ok(None) => return,
            Err(error) => return self.failed(&error).await,
        };
        let url = stage.url().clone();
        match rehearse::claim_address(&self.pool, seen, &url).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::debug!(%error, "the rehearsal's address is not claimed"),
        }
        tracing::info!(%url, folder = %self.dir.display(), "the rehearsal is played here");
        let mut playing = tokio::spawn(stage.play());
        self.tell(Some(url.clone()));
        let ended = loop {
            tokio::select! {
                ended = &mut playing => break ended,
                () = sleep(ADDRESS_EVERY) => {}
            }
            if let Ok(Some(other)) = rehearse::address(&self.pool).await
                && other != url.as_str()
            {
                tracing::warn!(
                    here = %url, there = other,
                    "another replica has taken the rehearsal over; replicas on several machines need \
                     one of its own (--rehearsal-url)"
                );
                stop.cancel();
                break playing.await;
            }
        };
        if let Ok(Err(error)) = ended {
            self.failed(&error).await;
        }
    }

    /// Says why it cannot be played here, and leaves time for somebody to do something about it.
    async fn failed(&self, error: &(dyn std::error::Error + Sync)) {
        tracing::error!(%error, "the rehearsal cannot be played here");
        self.halt.run_until_cancelled(sleep(ADDRESS_EVERY)).await;
    }

    fn tell(&self, root: Option<Url>) {
        for (role, known) in ROLES.iter().zip(&self.known) {
            let address = root.as_ref().map(|it| role.address(it));
            known.send_if_modified(|it| {
                let moved = *it != address;
                *it = address;
                moved
            });
        }
    }
}
