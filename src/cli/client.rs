//! The server's HTTP API, as far as the client needs it.

use std::error::Error;

use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::{
    error::CliError,
    show::clean,
    sse::{Event, Parser},
};
use crate::config::limits::{CLIENT_CONNECT_TIMEOUT, CLIENT_READ_TIMEOUT};

/// A server.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    pub(super) fn new(base: Url) -> Result<Self, CliError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CLIENT_CONNECT_TIMEOUT)
            .read_timeout(CLIENT_READ_TIMEOUT)
            .build();
        match http {
            Ok(http) if matches!(base.scheme(), "http" | "https") => Ok(Self { http, base }),
            Ok(_) => Err(unreachable(&base, "it is no http:// or https:// URL".to_owned())),
            Err(error) => Err(unreachable(&base, innermost(&error))),
        }
    }

    pub(super) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, CliError> {
        self.json(self.http.get(self.url_with(path, query))).await
    }

    pub(super) async fn post(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: &Value,
        key: Option<&str>,
    ) -> Result<Value, CliError> {
        let request = self.http.post(self.url_with(path, query)).json(body);
        self.json(match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        })
        .await
    }

    pub(super) async fn put(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        self.json(self.http.put(self.url(path)).json(body)).await
    }

    pub(super) async fn delete(&self, path: &[&str]) -> Result<(), CliError> {
        self.send(self.http.delete(self.url(path))).await.map(|_| ())
    }

    /// The events of an order, from after `last_event` on.
    pub(super) async fn events(
        &self,
        order: &str,
        last_event: Option<&str>,
    ) -> Result<Events<'_>, CliError> {
        let request = self.http.get(self.url(&["v1", "orders", order, "events"]));
        let request = request.header("accept", "text/event-stream");
        let response = self
            .send(match last_event {
                Some(id) => request.header("last-event-id", id),
                None => request,
            })
            .await?;
        Ok(Events { client: self, response, parser: Parser::default() })
    }

    /// An answer as what the client knows of it.
    pub(super) fn read<T: DeserializeOwned>(&self, value: &Value) -> Result<T, CliError> {
        T::deserialize(value).map_err(|error| self.garbled(&error))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Every http URL can have a path; only `mailto:` and its like have no segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn url_with(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let response = self.send(request).await?;
        let text = response.text().await.map_err(|e| unreachable(&self.base, innermost(&e)))?;
        serde_json::from_str(&text).map_err(|error| self.garbled(&error))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request.send().await.map_err(|e| unreachable(&self.base, innermost(&e)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let member = |name: &str| problem.get(name).and_then(Value::as_str).map(clean);
        let title = || member("title").unwrap_or_else(|| "The server answered".to_owned());
        Err(CliError::Refused {
            detail: member("detail").filter(|detail| !detail.is_empty()).unwrap_or_else(title),
            code: member("code").unwrap_or_else(|| status.to_string()),
            status: status.as_u16(),
        })
    }

    pub(super) fn unreachable(&self, reason: &str) -> CliError {
        CliError::Unreachable { server: self.base.to_string(), reason: reason.to_owned() }
    }

    /// An older server takes a dry run for a wish.
    pub(super) fn did_it(&self, order: &str) -> CliError {
        let reason = format!("it knows no dry runs and did what it was asked, to order {order}");
        CliError::Garbled { server: self.base.to_string(), reason: clean(&reason) }
    }

    fn garbled(&self, reason: &dyn Error) -> CliError {
        CliError::Garbled { server: self.base.to_string(), reason: clean(&reason.to_string()) }
    }
}

/// An open stream of events.
pub(super) struct Events<'a> {
    client: &'a Client,
    response: Response,
    parser: Parser,
}

impl Events<'_> {
    /// The next event, or none when the stream has ended.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, CliError> {
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(Some(event));
            }
            let chunk = self.response.chunk().await;
            match chunk.map_err(|error| unreachable(&self.client.base, innermost(&error)))? {
                Some(bytes) => self.parser.feed(&bytes).map_err(|e| self.client.garbled(&e))?,
                None => return Ok(None),
            }
        }
    }
}

fn unreachable(server: &Url, reason: String) -> CliError {
    CliError::Unreachable { server: server.to_string(), reason }
}

/// reqwest wraps the reason three times; only the last says anything.
fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    clean(&error.to_string())
}
