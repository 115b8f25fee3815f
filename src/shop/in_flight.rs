//! Which idempotency keys are being decided on this replica right now.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// A customer and one of its keys.
type Key = (String, String);

/// The keys being decided. Nothing is stored: a key leaves when its request is decided, or gone.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    keys: Mutex<HashMap<Key, watch::Receiver<()>>>,
}

/// A request's turn with its key, until dropped.
#[derive(Debug)]
pub(super) struct Turn {
    key: Key,
    all: Arc<InFlight>,
    _decided: watch::Sender<()>,
}

impl InFlight {
    fn keys(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<()>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What closes when the request with this key is decided, if one is under way.
    pub(super) fn of_another(&self, key: &Key) -> Option<watch::Receiver<()>> {
        self.keys().get(key).cloned()
    }

    /// The turn with this key; or, when another request has it, what closes when that one is decided.
    pub(super) fn enter(self: &Arc<Self>, key: &Key) -> Result<Turn, watch::Receiver<()>> {
        let mut keys = self.keys();
        if let Some(other) = keys.get(key) {
            return Err(other.clone());
        }
        let (decided, receiver) = watch::channel(());
        keys.insert(key.clone(), receiver);
        Ok(Turn { key: key.clone(), all: self.clone(), _decided: decided })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.all.keys().remove(&self.key);
    }
}
