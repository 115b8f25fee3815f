//! A migrated database to connect to: from a URL, or from a private PostgreSQL cluster which this
//! program creates, starts, shares with its other processes and stops by itself.
//!
//! [`Database`] is what the rest of the program sees. [`Cluster`] is the private server: one folder is
//! one cluster, any number of processes of this program may use it at once, and the last one out stops
//! it. A process that is killed leaves the server running; the next one adopts it. The server keeps its
//! promises (`fsync`, `full_page_writes`, `synchronous_commit`, data checksums) and listens on a Unix
//! socket in a private folder only.

mod binaries;
mod cluster;
mod database;
mod durability;
mod error;
mod initdb;
mod locks;
mod owner;
mod postmaster;
mod target;

pub use cluster::{Cluster, ClusterConfig, How, SETTINGS, supervise};
pub use database::{Database, PoolSpec, Source};
pub use durability::Durability;
pub use error::{Error, Result};
