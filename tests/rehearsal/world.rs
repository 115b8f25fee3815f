//! A rehearsal on a ledger of its own, the clients that call it, and a server that says what it is told.

use std::{future::Future, path::PathBuf, time::Duration};

use crema::{
    rehearsal::{Kind, Line, RehearsalError, Role, serve},
    saga::step::StepError,
    shop::{
        kitchen::{Kitchen, TicketItem},
        participant::{Call, Limits, Participant},
        payments::Payments,
    },
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

/// Everything happens within this time, or never.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) root: Url,
    dir: TempDir,
    stop: CancellationToken,
    server: JoinHandle<Result<(), RehearsalError>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(TempDir::new().unwrap()).await
    }

    pub(crate) async fn on(dir: TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, dir.path().join("ledger"), stop.clone()));
        Self { root, dir, stop, server }
    }

    /// The ledger's file.
    pub(crate) fn ledger_path(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    /// Ends the server and hands back its ledger.
    pub(crate) async fn stop(self) -> TempDir {
        self.stop.cancel();
        timeout(DEADLINE, self.server).await.unwrap().unwrap().unwrap();
        self.dir
    }

    pub(crate) async fn restart(self) -> Self {
        Self::on(self.stop().await).await
    }

    pub(crate) fn payments(&self) -> Payments {
        Payments::new(participant(Role::Payment.address(&self.root), Limits::default()))
    }

    pub(crate) fn kitchen(&self) -> Kitchen {
        Kitchen::new(participant(Role::Kitchen.address(&self.root), Limits::default()))
    }

    pub(crate) async fn moods(&self, change: Value) -> Value {
        let url = self.root.join("moods").unwrap();
        let answer = reqwest::Client::new().put(url).json(&change).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    pub(crate) async fn lines(&self, order_id: Uuid) -> Vec<Line> {
        let url = self.root.join(&format!("ledger?order_id={order_id}")).unwrap();
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn kinds(&self, order_id: Uuid) -> Vec<Kind> {
        self.lines(order_id).await.iter().map(|line| line.kind).collect()
    }
}

pub(crate) fn participant(base: Url, limits: Limits) -> Participant {
    Participant::new("stand-in", watch::channel(Some(base)).1, limits).unwrap()
}

/// An order with the keys of its calls.
pub(crate) struct Order {
    pub(crate) id: Uuid,
    payment: String,
    refund: String,
    ticket: String,
}

impl Order {
    pub(crate) fn new() -> Self {
        let id = Uuid::now_v7();
        Self {
            id,
            payment: format!("{id}/payment"),
            refund: format!("{id}/refund"),
            ticket: format!("{id}/preparation/1"),
        }
    }

    pub(crate) fn payment<'a>(&'a self, rehearse: impl Into<Option<&'a str>>) -> Call<'a> {
        Call { key: &self.payment, order_id: self.id, rehearse: rehearse.into() }
    }

    pub(crate) fn refund<'a>(&'a self, rehearse: impl Into<Option<&'a str>>) -> Call<'a> {
        Call { key: &self.refund, order_id: self.id, rehearse: rehearse.into() }
    }

    pub(crate) fn ticket<'a>(&'a self, rehearse: impl Into<Option<&'a str>>) -> Call<'a> {
        Call { key: &self.ticket, order_id: self.id, rehearse: rehearse.into() }
    }
}

pub(crate) fn items() -> Vec<TicketItem> {
    vec![TicketItem { item: "latte".to_owned(), quantity: 1, note: None }]
}

/// Asks again and again until it is true.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_true: impl FnMut() -> F) {
    let poll = async {
        while !is_true().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, poll).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(result: Result<T, StepError>, expected: &str) {
    match result {
        Err(StepError::Refused { code, .. }) => assert_eq!(code, expected),
        other => panic!("{expected} expected, got {other:?}"),
    }
}

/// Returns the participant's wish for a pause.
#[track_caller]
pub(crate) fn assert_in_doubt<T: std::fmt::Debug>(
    result: Result<T, StepError>,
) -> Option<Duration> {
    match result {
        Err(StepError::InDoubt { retry_after, .. }) => retry_after,
        other => panic!("doubt expected, got {other:?}"),
    }
}

/// A server that reads one request a connection, says `answer`, and then closes, or says nothing more.
pub(crate) struct Scripted {
    pub(crate) url: Url,
    /// The requests, whole.
    pub(crate) requests: mpsc::UnboundedReceiver<String>,
    server: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Scripted {
    pub(crate) async fn new(answer: impl Into<Vec<u8>>, closes: bool) -> Self {
        let answer = answer.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let (seen, requests) = mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = seen.send(request(&mut stream).await);
                // The caller may have turned away in the midst of it.
                let _ = stream.write_all(&answer).await;
                if !closes {
                    held.push(stream);
                }
            }
        });
        Self { url, requests, server }
    }
}

/// Reads head and body.
async fn request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => text.push_str(std::str::from_utf8(&buffer[..read]).unwrap()),
            _ => return text,
        }
    }
}
