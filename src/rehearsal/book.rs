//! What has become of each key.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use tokio::sync::{Mutex, MutexGuard};

/// So many that two of a thousand calls in flight seldom wait for one another.
const SHARDS: usize = 4_096;

/// One participant's keys, sharded. A shard stays locked while a key's first use is brought to disk,
/// so of many calls with one key one does the work and the others find it done.
pub(super) struct Book<E> {
    shards: Box<[Mutex<Shard<E>>]>,
    hasher: RandomState,
}

/// Keys and what has become of them.
pub(super) type Shard<E> = HashMap<Box<str>, E>;

impl<E> Default for Book<E> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new() }
    }
}

impl<E> Book<E> {
    /// The shard that holds `key`, or would.
    pub(super) async fn lock(&self, key: &str) -> MutexGuard<'_, Shard<E>> {
        self.shards[self.place(key)].lock().await
    }

    /// The same while nobody else holds the book.
    pub(super) fn open(&mut self, key: &str) -> &mut Shard<E> {
        let place = self.place(key);
        self.shards[place].get_mut()
    }

    fn place(&self, key: &str) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }
}
