//! A server with a few handlers, and a client that says exactly what it is told to.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{any, get, post},
};
use crema::{
    config::HttpLimits,
    http::{
        self,
        extract::{Body, Path},
        service::{self, Readiness, Service},
    },
    telemetry::Metrics,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// One generous limit for everything that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Limits small enough that a test sees them, with the others out of the way.
pub(crate) fn limits() -> HttpLimits {
    let long = Duration::from_secs(600);
    HttpLimits {
        head_timeout: long,
        idle_timeout: long,
        body_timeout: long,
        write_timeout: long,
        drain_timeout: long,
        ..HttpLimits::default()
    }
}

pub(crate) fn soon() -> Duration {
    Duration::from_millis(50)
}

/// A door with a few handlers behind it.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    serving: JoinHandle<()>,
    pub(crate) readiness: watch::Sender<Readiness>,
    /// Tells that a request for `/gate` has come in.
    pub(crate) entered: Arc<Notify>,
    /// Lets a request for `/gate` go.
    pub(crate) released: Arc<Notify>,
}

impl Door {
    pub(crate) async fn open(limits: HttpLimits) -> Self {
        let (entered, released) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let gate = {
            let (entered, released) = (entered.clone(), released.clone());
            async move || {
                entered.notify_one();
                released.notified().await;
                "through"
            }
        };
        let (readiness, ready) = watch::channel(Readiness::NotReady("It starts.".into()));
        let service = Service {
            readiness: ready,
            metrics: Metrics::detached().unwrap(),
            openapi_yaml: http::openapi_yaml().unwrap().into(),
        };
        let (service, _) = service::routes().with_state(service).split_for_parts();
        let router = Router::new()
            .route("/gate", any(gate.clone()))
            .route("/gate/events", any(gate.clone()))
            .route("/v1/orders/{id}", any(gate.clone()))
            .route("/v1/orders/{id}/events", any(gate))
            .route("/hello", get(async || "hello"))
            .route("/hello/{id}", get(async |Path(id): Path<u64>| id.to_string()))
            .route("/large", get(async || "x".repeat(100_000)))
            .route("/endless", get(endless))
            .route("/echo", post(async |Body(value): Body<Value>| axum::Json(value)))
            .route("/panic", get(async || -> String { panic!("on purpose") }))
            .merge(service);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = http::with_layers(router, &limits);
        let serving = tokio::spawn(http::serve::serve(listener, router, limits, stop.clone()));
        Self { address, stop, serving, readiness, entered, released }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// One request on a connection of its own, and everything that comes back.
    pub(crate) async fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(request).await;
        client.answer().await
    }

    pub(crate) async fn closes(self) {
        self.stop.cancel();
        timeout(DEADLINE, self.serving).await.expect("serving ends").unwrap();
    }
}

async fn endless() -> axum::body::Body {
    let chunk = || Ok::<_, std::convert::Infallible>(vec![0_u8; 65_536]);
    axum::body::Body::from_stream(tokio_stream::iter(std::iter::repeat_with(chunk)))
}

pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Everything until the server closes; a reset counts as the end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = timeout(DEADLINE, self.0.read_to_end(&mut all)).await.expect("the server closes");
        all
    }

    /// One answer whose length is said.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut all = Vec::new();
        timeout(DEADLINE, async {
            loop {
                if let Some(answer) = Answer::parse(&all) {
                    return answer;
                }
                let read = self.0.read_buf(&mut all).await.unwrap();
                let so_far = String::from_utf8_lossy(&all);
                assert!(read > 0, "closed after {so_far:?}");
            }
        })
        .await
        .expect("an answer")
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let status = head.split(' ').nth(1)?.parse().unwrap();
        let mut answer = Self { status, head, body: bytes[end..].to_vec() };
        let length = answer.header("content-length").map_or(0, |n| n.parse().unwrap());
        answer.body.truncate(length);
        (answer.body.len() == length).then_some(answer)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of a problem, after a look at what every problem has.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{problem}");
        assert!(problem["instance"].is_string(), "{problem}");
        problem["code"].as_str().unwrap().to_owned()
    }
}

pub(crate) const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
pub(crate) const GATE: &str = "GET /gate HTTP/1.1\r\nHost: a\r\n\r\n";
