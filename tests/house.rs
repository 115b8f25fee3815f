//! The rules of the house, read off the source. They are the ones that no lint knows: who may know whom, what
//! is pure, where SQL stands, how long things may get. ARCHITECTURE.md says why each of them holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "house/deployment.rs"]
mod deployment;
#[path = "house/habits.rs"]
mod habits;
#[path = "house/rooms.rs"]
mod rooms;
#[path = "house/shape.rs"]
mod shape;
#[path = "house/source.rs"]
mod source;
#[path = "house/waiting.rs"]
mod waiting;
#[path = "house/yaml.rs"]
mod yaml;
