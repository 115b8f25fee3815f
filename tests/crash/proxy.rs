//! A proxy on loopback in front of Postgres's Unix socket. It reads the frontend's messages, so that it can
//! cut a connection exactly before a commit reaches the server, or exactly after the server has done it and
//! before anybody hears of it, and hold everything at a batch's fence.

use std::{
    collections::HashSet,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rand::{Rng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};
use url::Url;

/// Of so many commits one is cut off, before or after.
const CUT_ONE_OF: u32 = 5;

struct Plan {
    chance: StdRng,
    cuts_left: usize,
    hold_next: bool,
}

struct Shared {
    socket: PathBuf,
    plan: Mutex<Plan>,
    held: watch::Sender<bool>,
    before: AtomicUsize,
    after: AtomicUsize,
}

/// The proxy; it ends with its test.
pub(crate) struct Proxy {
    url: String,
    shared: Arc<Shared>,
}

/// What is done with messages that have come in whole.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Pass,
    CutBefore,
    CutAfter,
}

impl Proxy {
    /// In front of the server that this URL names.
    pub(crate) async fn open(url: &str, chance: StdRng) -> Self {
        let mut url = Url::parse(url).unwrap();
        let host = url.query_pairs().find(|(name, _)| name == "host").unwrap().1.into_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_query(Some("sslmode=disable"));
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let shared = Arc::new(Shared {
            socket: PathBuf::from(host).join(".s.PGSQL.5432"),
            plan: Mutex::new(Plan { chance, cuts_left: 0, hold_next: false }),
            held: watch::Sender::new(false),
            before: AtomicUsize::new(0),
            after: AtomicUsize::new(0),
        });
        let of_connections = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = of_connections.clone();
                // How a connection ends is what the test is about, and shows elsewhere.
                tokio::spawn(async move { drop(Connection::run(&shared, client).await) });
            }
        });
        Self { url: url.to_string(), shared }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Cuts this many connections, each at some commit.
    pub(crate) fn cut_at_commits(&self, count: usize) {
        self.shared.plan.lock().unwrap().cuts_left = count;
    }

    /// Cuts so far, before and after commits.
    pub(crate) fn cuts(&self) -> (usize, usize) {
        (self.shared.before.load(Ordering::Relaxed), self.shared.after.load(Ordering::Relaxed))
    }

    /// Holds everything, both ways and on all connections, once a transaction is about to lock its fence.
    pub(crate) fn hold_at_the_next_fence(&self) {
        self.shared.plan.lock().unwrap().hold_next = true;
    }

    pub(crate) fn is_holding(&self) -> bool {
        *self.shared.held.borrow()
    }

    /// Passes on what was held.
    pub(crate) fn let_go(&self) {
        self.shared.plan.lock().unwrap().hold_next = false;
        self.shared.held.send_replace(false);
    }
}

/// Bytes of one direction, taken apart into messages.
#[derive(Default)]
struct Messages {
    bytes: Vec<u8>,
}

impl Messages {
    /// The next whole message; the first of a connection has no type.
    fn next(&mut self, is_first: bool) -> Option<(u8, Vec<u8>)> {
        let head = usize::from(!is_first);
        let length = self.bytes.get(head..head + 4)?;
        let length = head + u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if self.bytes.len() < length {
            return None;
        }
        let message: Vec<u8> = self.bytes.drain(..length).collect();
        Some((if is_first { 0 } else { message[0] }, message))
    }
}

struct Connection<'a> {
    shared: &'a Shared,
    /// Prepared statements that write a batch, and those that only lock its fence.
    batches: HashSet<Vec<u8>>,
    fences: HashSet<Vec<u8>>,
    is_batch: bool,
    is_fence: bool,
}

impl Connection<'_> {
    async fn run(shared: &Shared, mut client: TcpStream) -> io::Result<()> {
        let mut server = UnixStream::connect(&shared.socket).await?;
        let mut connection = Connection {
            shared,
            batches: HashSet::new(),
            fences: HashSet::new(),
            is_batch: false,
            is_fence: false,
        };
        let (mut asked, mut answered) = (Messages::default(), Messages::default());
        let (mut group, mut is_first, mut cut_after) = (Vec::new(), true, false);
        let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                read = client.read(&mut from_client), if !cut_after => {
                    let read = read?;
                    if read == 0 {
                        return Ok(());
                    }
                    asked.bytes.extend_from_slice(&from_client[..read]);
                    while let Some((kind, message)) = asked.next(is_first) {
                        is_first = false;
                        let fate = connection.judge(kind, &message);
                        group.extend_from_slice(&message);
                        shared.wait_while_held().await;
                        if fate == Fate::CutBefore {
                            return Ok(());
                        }
                        cut_after |= fate == Fate::CutAfter;
                        server.write_all(&group).await?;
                        group.clear();
                    }
                }
                read = server.read(&mut from_server) => {
                    let read = read?;
                    if read == 0 {
                        return Ok(());
                    }
                    shared.wait_while_held().await;
                    if cut_after {
                        // Ready for query: it is done, and nobody is told.
                        answered.bytes.extend_from_slice(&from_server[..read]);
                        while let Some((kind, _)) = answered.next(false) {
                            if kind == b'Z' {
                                return Ok(());
                            }
                        }
                    } else {
                        client.write_all(&from_server[..read]).await?;
                    }
                }
            }
        }
    }

    /// What becomes of a message. Statements are told apart when they are parsed, and known by name after.
    fn judge(&mut self, kind: u8, message: &[u8]) -> Fate {
        let body = &message[message.len().min(5)..];
        let has = |text: &[u8]| body.windows(text.len()).any(|it| it == text);
        match kind {
            b'P' => {
                let name = body.split(|it| *it == 0).next().unwrap_or_default().to_vec();
                if has(b"insert into journal") {
                    self.batches.insert(name);
                } else if has(b"for share of b") {
                    self.fences.insert(name);
                }
            }
            b'B' => {
                let name = body.split(|it| *it == 0).nth(1).unwrap_or_default();
                self.is_batch = self.batches.contains(name);
                self.is_fence = self.fences.contains(name);
                if self.is_fence {
                    self.shared.hold_if_planned();
                }
            }
            b'Q' if has(b"COMMIT") => return self.shared.fate(),
            b'S' if std::mem::take(&mut self.is_batch) => return self.shared.fate(),
            _ => {}
        }
        Fate::Pass
    }
}

impl Shared {
    fn fate(&self) -> Fate {
        let mut plan = self.plan.lock().unwrap();
        if plan.cuts_left == 0 || plan.chance.random_range(0..CUT_ONE_OF) != 0 {
            return Fate::Pass;
        }
        plan.cuts_left -= 1;
        let (fate, count) = if plan.chance.random_bool(0.5) {
            (Fate::CutBefore, &self.before)
        } else {
            (Fate::CutAfter, &self.after)
        };
        count.fetch_add(1, Ordering::Relaxed);
        fate
    }

    fn hold_if_planned(&self) {
        if std::mem::take(&mut self.plan.lock().unwrap().hold_next) {
            self.held.send_replace(true);
        }
    }

    async fn wait_while_held(&self) {
        let mut held = self.held.subscribe();
        // It fails only when the proxy is gone.
        let _ = held.wait_for(|it| !it).await;
    }
}
