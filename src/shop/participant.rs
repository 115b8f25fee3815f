//! Calling other people's services: one bulkhead, every deadline, and one reading of their answers.
//!
//! `docs/participants.md` is the contract. A participant is not trusted: whatever is not an answer
//! the contract knows is *in doubt*, never a yes and never a no.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder, Response, StatusCode, header, redirect};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use url::Url;
use uuid::Uuid;

use crate::saga::step::StepError;

/// The header that names the call for ever.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that carries an order's rehearsal mood; real participants ignore it.
const REHEARSE: &str = "crema-rehearse";
/// The longest wish for a pause that is honoured: a participant must not put an order to sleep.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// The longest text of a participant's own that goes into an error.
const DETAIL_CHARS_MAX: usize = 200;

/// Why a participant's client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ParticipantError {
    /// The HTTP client could not be set up (no TLS roots on this machine, say).
    #[error("the HTTP client for {name} cannot be built: {source}")]
    Client {
        /// Which participant.
        name: &'static str,
        /// What reqwest says.
        source: reqwest::Error,
    },
    /// A webhook secret is missing, or is not `whsec_` and base64. The secret itself is not told.
    #[error("a webhook secret must be `whsec_` followed by base64 of at least 24 bytes")]
    WebhookSecret,
}

/// How much of us one participant may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Calls in flight at once. The others wait for their turn, and that is part of their attempt,
    /// so that a slow participant holds back its own callers and nobody else.
    pub in_flight_max: usize,
    /// Time for the connection to stand.
    pub connect_timeout: Duration,
    /// Time from the first attempt to connect to the last byte of the answer's head.
    pub first_byte_timeout: Duration,
    /// Time for the whole call, the wait for its turn included.
    pub total_timeout: Duration,
    /// Longest body that is read; a longer one makes the answer unreadable.
    pub answer_bytes_max: usize,
}

impl Default for Limits {
    /// A local service connects in far less than 2 s and answers in far less than 10 s; 30 s is the
    /// payment step's attempt; the contract's answers are below 1 KiB.
    fn default() -> Self {
        Self {
            in_flight_max: 256,
            connect_timeout: Duration::from_secs(2),
            first_byte_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(30),
            answer_bytes_max: 64 * 1024,
        }
    }
}

/// What every call tells its participant.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The idempotency key, 1 to 255 printable ASCII characters.
    pub key: &'a str,
    /// The order it is about.
    pub order_id: Uuid,
    /// The order's rehearsal mood for what is called, if any.
    pub rehearse: Option<&'a str>,
}

/// One participant: where it is, and how much of us it may take. Clones share the bulkhead.
#[derive(Debug, Clone)]
pub struct Participant {
    name: &'static str,
    http: reqwest::Client,
    base: watch::Receiver<Option<Url>>,
    permits: Arc<Semaphore>,
    limits: Limits,
}

impl Participant {
    /// A client for the participant whose routes lie below the newest URL of `base`; the address may
    /// change while we run (a rehearsal moves when its host dies). No redirect is followed and no
    /// proxy is taken from the environment: money goes where the operator said.
    ///
    /// # Errors
    /// [`ParticipantError::Client`] when TLS cannot be set up.
    pub fn new(
        name: &'static str,
        base: watch::Receiver<Option<Url>>,
        limits: Limits,
    ) -> Result<Self, ParticipantError> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("crema/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect_timeout)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|source| ParticipantError::Client { name, source })?;
        let permits = Arc::new(Semaphore::new(limits.in_flight_max));
        Ok(Self { name, http, base, permits, limits })
    }

    /// `POST route` with a JSON body, and the contract's answer to it.
    pub(super) async fn post<A: DeserializeOwned>(
        &self,
        route: &str,
        call: Call<'_>,
        body: &impl Serialize,
    ) -> Result<A, StepError> {
        let request = self.request(Method::POST, self.endpoint(route)?, call).json(body);
        self.typed(&self.settled(request).await?)
    }

    /// `GET route?key=…`: what became of a key; `None` when the participant has never seen it.
    pub(super) async fn find<A: DeserializeOwned>(
        &self,
        route: &str,
        call: Call<'_>,
    ) -> Result<Option<A>, StepError> {
        let mut url = self.endpoint(route)?;
        url.query_pairs_mut().append_pair("key", call.key);
        match self.settled(self.request(Method::GET, url, call)).await {
            Ok(body) => self.typed(&body).map(Some),
            Err(StepError::Refused { code, .. }) if code == "unknown_key" => Ok(None),
            // That a look-up is refused does not say that the deed was.
            Err(error @ StepError::Refused { .. }) => Err(self.doubt(error.to_string(), None)),
            Err(error) => Err(error),
        }
    }

    /// `POST route` with a body and headers of one's own; any 2xx will do.
    pub(super) async fn deliver(
        &self,
        route: &str,
        call: Call<'_>,
        headers: header::HeaderMap,
        body: String,
    ) -> Result<(), StepError> {
        let request = self.request(Method::POST, self.endpoint(route)?, call);
        let request = request.header(header::CONTENT_TYPE, "application/json").headers(headers);
        self.settled(request.body(body)).await.map(|_| ())
    }

    fn endpoint(&self, route: &str) -> Result<Url, StepError> {
        let Some(mut url) = self.base.borrow().clone() else {
            return Err(self.doubt("its address is not known yet", None));
        };
        match url.path_segments_mut() {
            Ok(mut path) => drop(path.pop_if_empty().push(route)),
            Err(()) => return Err(self.doubt("its address cannot have a path", None)),
        }
        Ok(url)
    }

    fn request(&self, method: Method, url: Url, call: Call<'_>) -> RequestBuilder {
        let request = self.http.request(method, url).header(IDEMPOTENCY_KEY, call.key);
        match call.rehearse {
            Some(mood) => request.header(REHEARSE, mood),
            None => request,
        }
    }

    /// Sends, reads and judges: the body of a 2xx, or why there is none to go by.
    async fn settled(&self, request: RequestBuilder) -> Result<Vec<u8>, StepError> {
        let answer = timeout(self.limits.total_timeout, async {
            let _permit =
                self.permits.acquire().await.map_err(|e| self.doubt(e.to_string(), None))?;
            self.exchange(request).await
        });
        match answer.await {
            Ok(answer) => self.judge(answer?),
            Err(_) => Err(self.doubt("the call took too long", None)),
        }
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Answer, StepError> {
        let mut response = match timeout(self.limits.first_byte_timeout, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.doubt(told(error), None)),
            Err(_) => return Err(self.doubt("no answer in time", None)),
        };
        let (status, retry_after) = (response.status(), retry_after(&response));
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= self.limits.answer_bytes_max => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => return Err(self.doubt("the answer is too large", retry_after)),
                Ok(None) => return Ok(Answer { status, retry_after, body }),
                Err(error) => return Err(self.doubt(told(error), retry_after)),
            }
        }
    }

    /// The table of `docs/participants.md`. A refusal ends a step without compensation, so it must
    /// come from the participant itself: a 4xx that any gateway may say (400, 403, 404, …) refuses
    /// only with a `code`, and 401 and 407 never do, because they stand in front of the look-up by
    /// key that would have found an earlier attempt.
    fn judge(&self, answer: Answer) -> Result<Vec<u8>, StepError> {
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let problem = Problem::read(&answer.body);
        let code = match (answer.status.as_u16(), problem.code) {
            (401 | 407 | 408 | 425 | 429, _) => None,
            (409, Some(code)) if code == "in_progress" => None,
            (402, None) => Some("declined".to_owned()),
            (410, None) => Some("gone".to_owned()),
            (422, None) => Some("unprocessable".to_owned()),
            (400..=499, code) => code,
            _ => None,
        };
        let mut detail = format!("answered {}", answer.status.as_u16());
        if let Some(text) = problem.detail {
            detail.push_str(": ");
            detail.extend(text.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX));
        }
        match code {
            Some(code) => Err(StepError::refused(code, format!("{} {detail}", self.name))),
            None => Err(self.doubt(detail, answer.retry_after)),
        }
    }

    /// A 2xx whose body is not what the contract says tells nothing.
    fn typed<A: DeserializeOwned>(&self, body: &[u8]) -> Result<A, StepError> {
        serde_json::from_slice(body)
            .map_err(|error| self.doubt(format!("the answer cannot be read: {error}"), None))
    }

    /// An error that names the participant.
    pub(super) fn doubt(
        &self,
        detail: impl Into<String>,
        retry_after: Option<Duration>,
    ) -> StepError {
        StepError::InDoubt { detail: format!("{}: {}", self.name, detail.into()), retry_after }
    }
}

struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Vec<u8>,
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

/// The whole chain of causes, without the URL: it may hold credentials.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// `Retry-After` in seconds or as an HTTP date, at most an hour; a date gone by is no wait.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        until.duration_since(jiff::Timestamp::now()).try_into().unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}
