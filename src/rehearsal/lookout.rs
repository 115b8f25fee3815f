//! Whether a rehearsal is played somewhere.

use std::time::Duration;

use reqwest::{Client, StatusCode, redirect};
use url::Url;

use super::RehearsalError;

/// A rehearsal is on the own machine, and answers at once or is in trouble.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is played there.
    Plays,
    /// It is not: nobody listens, or somebody else does.
    Gone,
    /// No answer. Perhaps its process is paused, or has too much to do.
    Silent,
}

/// Looks after rehearsals.
#[derive(Debug, Clone)]
pub struct Lookout {
    http: Client,
}

impl Lookout {
    /// # Errors
    /// [`RehearsalError::Lookout`] when the HTTP client cannot be built.
    pub fn new() -> Result<Self, RehearsalError> {
        let http = Client::builder().redirect(redirect::Policy::none()).timeout(PATIENCE);
        let http = http.pool_max_idle_per_host(0).no_proxy().build();
        Ok(Self { http: http.map_err(RehearsalError::Lookout)? })
    }

    /// Whether a rehearsal is played at this root.
    pub async fn look(&self, root: &Url) -> Presence {
        let Ok(url) = root.join("livez") else { return Presence::Gone };
        match self.http.get(url).send().await {
            Ok(answer) if answer.status() == StatusCode::OK => Presence::Plays,
            Ok(_) => Presence::Gone,
            Err(error) if error.is_connect() && !error.is_timeout() => Presence::Gone,
            Err(_) => Presence::Silent,
        }
    }
}
