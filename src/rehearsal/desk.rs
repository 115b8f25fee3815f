//! What the three participants share: the ledger, the books restored from it, and the moods.

use std::{
    io,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{RehearsalError, Role, book::Book, kitchen, ledger::Ledger, moods::Moods, payment};

/// The state behind all routes.
pub(super) struct Desk {
    /// What was done.
    pub(super) ledger: Ledger,
    /// What has become of captures and refunds.
    pub(super) payments: Book<payment::Entry>,
    /// What has become of tickets.
    pub(super) tickets: Book<kitchen::Entry>,
    /// Which notices were received.
    pub(super) notices: Book<()>,
    /// Fires when the rehearsal ends, and with it every call that hangs.
    pub(super) stop: CancellationToken,
    moods: Mutex<Moods>,
    calls: [AtomicU64; 3],
}

impl Desk {
    /// Restores the books from the ledger. Blocks on the disk. The receiver learns how the ledger's
    /// writer ended.
    pub(super) fn open(
        path: PathBuf,
        stop: CancellationToken,
    ) -> Result<(Self, oneshot::Receiver<io::Result<()>>), RehearsalError> {
        let (mut payments, mut tickets, mut notices) =
            (Book::default(), Book::default(), Book::default());
        let (ledger, writer) = Ledger::open(path, |line| match line.participant {
            Role::Payment => payment::restore(payments.open(&line.key), line),
            Role::Kitchen => kitchen::restore(tickets.open(&line.key), line),
            Role::Notifier => drop(notices.open(&line.key).insert(line.key.into(), ())),
        })?;
        let (moods, calls) = (Mutex::default(), Default::default());
        Ok((Self { ledger, payments, tickets, notices, stop, moods, calls }, writer))
    }

    /// Everybody's mood now.
    pub(super) fn moods(&self) -> Moods {
        *self.moods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes everybody's mood; `None` from `change` changes nothing.
    pub(super) fn change(&self, change: impl FnOnce(Moods) -> Option<Moods>) -> Option<Moods> {
        let mut moods = self.moods.lock().unwrap_or_else(PoisonError::into_inner);
        *moods = change(*moods)?;
        Some(*moods)
    }

    /// Counts a call.
    pub(super) fn count(&self, role: Role) {
        self.calls[role as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often a participant was called since the rehearsal began to serve.
    pub(super) fn calls(&self, role: Role) -> u64 {
        self.calls[role as usize].load(Ordering::Relaxed)
    }
}
