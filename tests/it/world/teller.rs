//! A receiver of notices that counts how many it has in hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use tokio::{net::TcpListener, task::JoinHandle};

/// A secret that notices to it are signed with.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What it has in hand, and had.
#[derive(Default)]
struct Hand {
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

/// A notice in hand; let go when answered, and when whoever sent it has gone.
struct Held(Arc<Hand>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The receiver. It ends when dropped.
pub(crate) struct Teller {
    url: String,
    hand: Arc<Hand>,
    server: JoinHandle<()>,
}

impl Teller {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let hand = Arc::new(Hand::default());
        let router = Router::new().route("/messages", post(receive)).with_state(hand.clone());
        let serving = async move { axum::serve(listener, router).await.unwrap() };
        Self { url, hand, server: tokio::spawn(serving) }
    }

    /// What a replica is told so that its notices go here.
    pub(crate) fn flags(&self) -> [String; 2] {
        [format!("--notifier-url={}", self.url), format!("--notifier-secret={SECRET}")]
    }

    /// The most it ever had in hand at once.
    pub(crate) fn most(&self) -> usize {
        self.hand.most.load(Ordering::SeqCst)
    }

    /// How many it was given.
    pub(crate) fn all(&self) -> usize {
        self.hand.all.load(Ordering::SeqCst)
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(hand): State<Arc<Hand>>) -> StatusCode {
    let now = hand.now.fetch_add(1, Ordering::SeqCst) + 1;
    let _held = Held(hand.clone());
    hand.most.fetch_max(now, Ordering::SeqCst);
    hand.all.fetch_add(1, Ordering::SeqCst);
    // As long as telling somebody takes: calls overlap then.
    tokio::time::sleep(Duration::from_millis(30)).await;
    StatusCode::OK
}
