//! The engine.
pub mod event;
pub mod step;
