//! Crema: an order service for coffee shops, driven by a durable saga orchestrator on PostgreSQL.
//!
//! Dependencies run `http → shop → saga`, never back; `tests/house.rs` checks it.

pub mod cli;
pub mod config;
pub mod http;
pub mod saga;
pub mod telemetry;
