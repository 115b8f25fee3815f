//! What a replica believes to own, for everybody in the engine who has to know at once.

use std::sync::{
    Mutex, PoisonError, RwLock,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};

use tokio::time::Instant;
use uuid::Uuid;

use crate::saga::journal::Fence;

/// Buckets in all; fixed for life, for ids carry theirs.
pub const BUCKETS: usize = 256;

/// A replica places this many sagas in a row into one bucket before it turns to the next: a batch then
/// touches few buckets, and its fence is short. (With 32 a batch of 500 locked some 40 rows, and two
/// writers at once the same ones.)
const PLACINGS_A_BUCKET: usize = 256;

/// Former selves that are remembered. Buckets of one that is forgotten come back as a dead replica's.
const FORMER_BOOTS_MAX: usize = 16;

/// What we believe to own. An epoch of 0 means: not ours.
#[derive(Debug)]
pub struct Ownership {
    /// Who we were since the process started, and last who we are.
    boots: RwLock<Vec<Uuid>>,
    epochs: [AtomicI64; BUCKETS],
    placing: RwLock<Vec<u8>>,
    turn: AtomicUsize,
    renewed: Mutex<Instant>,
}

impl Ownership {
    pub(in crate::saga) fn new() -> Self {
        Self {
            boots: RwLock::new(vec![Uuid::now_v7()]),
            epochs: std::array::from_fn(|_| AtomicI64::new(0)),
            placing: RwLock::new(Vec::new()),
            turn: AtomicUsize::new(0),
            renewed: Mutex::new(Instant::now()),
        }
    }

    pub(in crate::saga) fn boot_id(&self) -> Uuid {
        current(&self.boots.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who this process was before it lost its lease, the last few times.
    pub(in crate::saga) fn former_boots(&self) -> Vec<Uuid> {
        let boots = self.boots.read().unwrap_or_else(PoisonError::into_inner);
        boots.split_last().map_or_else(Vec::new, |(_, former)| former.to_vec())
    }

    /// The epoch of a bucket of ours.
    pub(in crate::saga) fn epoch(&self, bucket: u8) -> Option<i64> {
        let epoch = self.epochs.get(usize::from(bucket))?.load(Ordering::Acquire);
        (epoch > 0).then_some(epoch)
    }

    /// All buckets of ours, in order.
    pub(in crate::saga) fn buckets(&self) -> Vec<i16> {
        (0..=u8::MAX).filter(|it| self.epoch(*it).is_some()).map(i16::from).collect()
    }

    /// All buckets of ours with their epochs, in order.
    pub(in crate::saga) fn fence(&self) -> Fence {
        let ours = (0..=u8::MAX).filter_map(|it| Some((i16::from(it), self.epoch(it)?)));
        let (buckets, epochs) = ours.unzip();
        Fence { buckets, epochs }
    }

    /// The bucket for the next saga; `None` when no bucket is ours.
    pub(in crate::saga) fn next_bucket(&self) -> Option<u8> {
        let placing = self.placing.read().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) / PLACINGS_A_BUCKET;
        // One that was lost since stays in the list until the next tick.
        let (left, right) = placing.split_at(turn % placing.len().max(1));
        right.iter().chain(left).copied().find(|it| self.epoch(*it).is_some())
    }

    /// Takes over what the table says of these buckets; what it did not say is ours is not. False, and
    /// nothing changed, when it was asked about a replica that we no longer are.
    pub(in crate::saga) fn raised(
        &self,
        boot_id: Uuid,
        buckets: &[i16],
        held: &[(i16, i64)],
    ) -> bool {
        let boots = self.boots.read().unwrap_or_else(PoisonError::into_inner);
        if current(&boots) != boot_id {
            return false;
        }
        for bucket in buckets.iter().filter(|it| !held.iter().any(|(held, _)| held == *it)) {
            self.forget(*bucket);
        }
        for (bucket, epoch) in held {
            if let Some(slot) = self.slot(*bucket) {
                // Epochs only rise: what another writer has learnt meanwhile is newer.
                slot.fetch_max(*epoch, Ordering::AcqRel);
            }
        }
        true
    }

    /// Forgets buckets that we give away.
    pub(in crate::saga) fn give_up(&self, buckets: &[i16]) {
        for bucket in buckets {
            self.forget(*bucket);
        }
    }

    fn forget(&self, bucket: i16) {
        if let Some(slot) = self.slot(bucket) {
            slot.store(0, Ordering::Release);
        }
    }

    fn slot(&self, bucket: i16) -> Option<&AtomicI64> {
        self.epochs.get(usize::try_from(bucket).ok()?)
    }

    /// Opens all buckets of ours for new sagas, but these.
    pub(in crate::saga) fn place_in_all_but(&self, not: &[i16]) {
        let ours = self.buckets().into_iter().filter(|it| !not.contains(it));
        let placing = ours.filter_map(|it| u8::try_from(it).ok()).collect();
        *self.placing.write().unwrap_or_else(PoisonError::into_inner) = placing;
    }

    /// Stops placing new sagas anywhere.
    pub(in crate::saga) fn stop_placing(&self) {
        self.placing.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether new sagas can be placed. A bucket that was lost since the last tick does not count.
    pub(in crate::saga) fn is_placing(&self) -> bool {
        let placing = self.placing.read().unwrap_or_else(PoisonError::into_inner);
        placing.iter().any(|it| self.epoch(*it).is_some())
    }

    pub(super) fn renewed_at(&self) -> Instant {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_renewed(&self, at: Instant) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Forgets everything; the next registration is a new replica's.
    pub(super) fn forget_all(&self) {
        let mut boots = self.boots.write().unwrap_or_else(PoisonError::into_inner);
        if boots.len() > FORMER_BOOTS_MAX {
            boots.remove(0);
        }
        boots.push(Uuid::now_v7());
        self.stop_placing();
        for epoch in &self.epochs {
            epoch.store(0, Ordering::Release);
        }
    }
}

fn current(boots: &[Uuid]) -> Uuid {
    boots.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_learns_that_nothing_is_left_does_not_say_that_it_places() {
        let ownership = Ownership::new();
        assert!(!ownership.is_placing());
        let (boot_id, buckets) = (ownership.boot_id(), [3, 4]);
        assert!(ownership.raised(boot_id, &buckets, &[(3, 1), (4, 1)]));
        ownership.place_in_all_but(&[]);
        assert!(ownership.is_placing());
        // As a writer that the fence held off learns it, before the tick does.
        ownership.raised(boot_id, &buckets, &[(4, 2)]);
        assert!(ownership.is_placing() && ownership.next_bucket() == Some(4));
        ownership.raised(boot_id, &buckets, &[]);
        assert_eq!((ownership.is_placing(), ownership.next_bucket()), (false, None));
    }
}
