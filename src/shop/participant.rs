//! Calling other people's services: one bulkhead, every deadline, and one reading of their answers.
//!
//! `docs/participants.md` is the contract. A participant is not trusted: whatever is not an answer
//! the contract knows is *in doubt*, never a yes and never a no.

mod answer;

use std::{sync::Arc, time::Duration};

use answer::{Answer, in_doubt, retry_after};
use reqwest::{Method, RequestBuilder, header, redirect};
use serde::{Serialize, de::DeserializeOwned};
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
            Ok(answer) => answer?.judge(self.name),
            Err(_) => Err(self.doubt("the call took too long", None)),
        }
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Answer, StepError> {
        let mut response = match timeout(self.limits.first_byte_timeout, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.doubt(told(error), None)),
            Err(_) => return Err(self.doubt("no answer in time", None)),
        };
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
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

    /// A 2xx whose body is not what the contract says tells nothing.
    fn typed<A: DeserializeOwned>(&self, body: &[u8]) -> Result<A, StepError> {
        serde_json::from_slice(body)
            .map_err(|error| self.doubt(format!("the answer cannot be read: {error}"), None))
    }

    /// No answer that can be trusted; the error names the participant.
    pub(super) fn doubt(
        &self,
        detail: impl Into<String>,
        retry_after: Option<Duration>,
    ) -> StepError {
        in_doubt(self.name, detail, retry_after)
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
