//! The room `postgres`: the private cluster, and the database as the program sees it.

mod database;
mod faults;
mod lifecycle;
mod service;
