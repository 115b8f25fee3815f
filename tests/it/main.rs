//! The integration tests, in one program. They prepare all they need: a PostgreSQL cluster of their own,
//! shared by all tests of the process, and a fresh database for each (`world`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod engine;
mod openapi;
mod shop;
mod world;
