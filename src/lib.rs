//! Crema: an order service for coffee shops, driven by a durable saga orchestrator on PostgreSQL.
//!
//! Dependencies run `http → shop → saga`, never back; `tests/house.rs` checks it. The modules stand in
//! reading order: the program, then the counter, the coffee and the engine, then what they stand on.

pub mod app;
pub mod cli;
pub mod config;
pub mod http;
pub mod postgres;
pub mod rehearsal;
pub mod saga;
pub mod shop;
pub mod telemetry;
