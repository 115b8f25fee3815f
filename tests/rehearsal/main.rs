//! The participants' clients and the rehearsal's servers against each other and against worse.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod hostile;
mod keys;
mod moods;
mod notices;
mod world;
