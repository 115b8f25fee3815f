//! The front door over raw TCP: what slow, broken, greedy and honest clients get. No database.

// Helpers of tests are tests too; clippy only knows the functions marked so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod door;
mod limits;
