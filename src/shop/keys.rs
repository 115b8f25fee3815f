//! Which idempotency keys are being decided in this process.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

type Key = (String, String);

/// The keys of requests under way. It only decides how long a repeat waits; what a key stands for, the
/// database decides.
#[derive(Debug, Clone, Default)]
pub(super) struct KeysInFlight {
    keys: Arc<Mutex<HashSet<Key>>>,
}

/// The first request with its key; until it is dropped, the others are repeats.
#[derive(Debug)]
pub(super) struct First {
    all: KeysInFlight,
    key: Key,
}

impl KeysInFlight {
    /// Enters a customer's key; `None` when a request with it is under way.
    pub(super) fn enter(&self, customer_id: &str, key: &str) -> Option<First> {
        let key = (customer_id.to_owned(), key.to_owned());
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.clone()).then(|| First { all: self.clone(), key })
    }
}

impl Drop for First {
    fn drop(&mut self) {
        self.all.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
