//! What workers pull, as it can be said.

use std::collections::BTreeSet;

use super::{ConfigError, limits};

/// What workers pull from task queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KitchenPull {
    /// Nothing: all is handed to the kitchen.
    Nothing,
    /// The items of every station.
    All,
    /// The items of these stations.
    Stations(BTreeSet<String>),
}

impl KitchenPull {
    /// What was said; nothing if nothing was.
    pub(super) fn parse(said: Option<&str>) -> Result<Self, ConfigError> {
        let Some(said) = said else { return Ok(Self::Nothing) };
        let stations: BTreeSet<String> = said.split(',').map(|it| it.trim().to_owned()).collect();
        if stations.iter().eq(["all"]) {
            return Ok(Self::All);
        }
        let is_plain =
            |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"._-".contains(&it);
        let is_name = |it: &String| {
            (1..=limits::QUEUE_CHARS_MAX).contains(&it.len())
                && it.bytes().all(is_plain)
                && it != "all"
        };
        if stations.iter().all(is_name) {
            return Ok(Self::Stations(stations));
        }
        Err(ConfigError::KitchenPull)
    }
}
