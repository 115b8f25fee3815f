//! A receiver of notices that answers when, and what, the test says.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::DEADLINE;

/// A secret that notices to it are signed with.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A notice on its way: whoever sent it waits for the answer.
pub(crate) struct Delivery {
    pub(crate) message_id: String,
    pub(crate) body: Value,
    answer: oneshot::Sender<StatusCode>,
}

impl Delivery {
    pub(crate) fn answer(self, status: u16) {
        // Whoever sent it may have given up.
        let _ = self.answer.send(StatusCode::from_u16(status).unwrap());
    }

    /// Whether whoever sent it has gone.
    pub(crate) fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }
}

/// A receiver of notices. It ends when dropped.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    server: JoinHandle<()>,
}

impl Endpoint {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (told, deliveries) = mpsc::unbounded_channel();
        let router = Router::new().route("/messages", post(receive)).with_state(told);
        let serving = async move { axum::serve(listener, router).await.unwrap() };
        Self { url, deliveries, server: tokio::spawn(serving) }
    }

    /// What a replica is told so that its notices go here.
    pub(crate) fn flags(&self) -> [String; 2] {
        [format!("--notifier-url={}", self.url), format!("--notifier-secret={SECRET}")]
    }

    /// What a replica is told so that orders may name it.
    pub(crate) fn named(&self, name: &str) -> [String; 2] {
        [format!("--notify-endpoint={name}={}", self.url), format!("--notifier-secret={SECRET}")]
    }

    /// The next notice that arrives.
    pub(crate) async fn next(&mut self) -> Delivery {
        timeout(DEADLINE, self.deliveries.recv()).await.expect("a notice arrives").unwrap()
    }

    /// Whether another notice has arrived.
    pub(crate) fn has_more(&self) -> bool {
        !self.deliveries.is_empty()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(
    State(told): State<mpsc::UnboundedSender<Delivery>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let (answer, answered) = oneshot::channel();
    let message_id = headers["webhook-id"].to_str().unwrap().to_owned();
    let body = serde_json::from_slice(&body).unwrap();
    let _ = told.send(Delivery { message_id, body, answer });
    answered.await.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
