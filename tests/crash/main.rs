//! The crash suite: the real binary, killed, paused and cut off at random while orders are in flight, and an
//! audit of what is left (`audit`). Run it longer with
//! `CREMA_CRASH_ORDERS=5000 CREMA_CRASH_ROUNDS=20 CREMA_CRASH_SEED=7 cargo test --test crash`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audit;
mod customers;
mod kill;
mod moods;
mod operator;
mod outage;
mod params;
mod pause;
mod proxy;
mod scene;
mod service;
mod wire;
#[allow(dead_code, reason = "the fixtures of the integration tests; not all are needed here")]
#[path = "../it/world/mod.rs"]
mod world;
