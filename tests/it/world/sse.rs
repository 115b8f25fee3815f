//! Server-sent events, one at a time.

use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

use super::{DEADLINE, api::Api};

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

/// A stream of them.
pub(crate) struct Stream {
    response: Response,
    buffer: String,
}

impl Stream {
    /// Opens a stream, where another one ended if its last id is known.
    pub(crate) async fn open(api: &Api, path: &str, after: Option<&str>) -> Self {
        let mut request = api.http.get(api.url(path));
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, buffer: String::new() }
    }

    /// The next event; `None` at the stream's end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let event = parse(block);
                self.buffer = rest.to_owned();
                match event {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let chunk = timeout(DEADLINE, self.response.chunk()).await.expect("an event in time");
            // A stream whose server is killed is cut; that is its end too.
            let chunk = chunk.ok().flatten()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// All events up to the stream's end.
    pub(crate) async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// A block of lines; `None` for a heartbeat.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| {
        block.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().to_owned()))
    };
    let data = serde_json::from_str(&field("data:")?).unwrap();
    Some(Event { id: field("id:")?, kind: field("event:")?, data })
}
