//! What an answer means: the outcome table of `docs/participants.md`.

use std::time::Duration;

use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use serde::Deserialize;

use crate::saga::step::StepError;

/// The longest wish for a pause that is honoured: a participant must not put an order to sleep.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// The longest text of a participant's own that goes into an error.
const DETAIL_CHARS_MAX: usize = 200;

/// What came back.
pub(super) struct Answer {
    /// The status line's code.
    pub(super) status: StatusCode,
    /// The participant's wish for the next attempt.
    pub(super) retry_after: Option<Duration>,
    /// The whole body.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The table of `docs/participants.md`. A refusal ends a step without compensation, so it must
    /// come from the participant itself: a 4xx that any gateway may say (400, 403, 404, …) refuses
    /// only with a `code`, and 401 and 407 never do, because they stand in front of the look-up by
    /// key that would have found an earlier attempt.
    pub(super) fn judge(self, name: &str) -> Result<Vec<u8>, StepError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let problem = Problem::read(&self.body);
        let code = match (self.status.as_u16(), problem.code) {
            (401 | 407 | 408 | 425 | 429, _) => None,
            (409, Some(code)) if code == "in_progress" => None,
            (402, None) => Some("declined".to_owned()),
            (410, None) => Some("gone".to_owned()),
            (422, None) => Some("unprocessable".to_owned()),
            (400..=499, code) => code,
            _ => None,
        };
        let mut detail = format!("answered {}", self.status.as_u16());
        if let Some(text) = problem.detail {
            detail.push_str(": ");
            detail.extend(text.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX));
        }
        match code {
            Some(code) => Err(StepError::refused(code, format!("{name} {detail}"))),
            None => Err(in_doubt(name, detail, self.retry_after)),
        }
    }
}

/// What a refusal says of itself.
#[derive(Default, Deserialize)]
struct Problem {
    code: Option<String>,
    detail: Option<String>,
}

impl Problem {
    /// Whatever is no problem document has no code; nor has one whose code is not a plain word.
    fn read(body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_default();
        problem.code = problem.code.filter(|code| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            (1..=64).contains(&code.len()) && code.bytes().all(plain)
        });
        problem
    }
}

/// `Retry-After` in seconds or as an HTTP date, at most an hour; a date gone by is no wait.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        until.duration_since(jiff::Timestamp::now()).try_into().unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// No answer that can be trusted.
pub(super) fn in_doubt(
    name: &str,
    detail: impl Into<String>,
    retry_after: Option<Duration>,
) -> StepError {
    StepError::InDoubt { detail: format!("{name}: {}", detail.into()), retry_after }
}
