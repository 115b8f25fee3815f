//! The ledger: one JSON line a deed, on disk before anybody is told of it.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    thread,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{RehearsalError, Role};

/// Most lines in one fdatasync; bounds the buffer, not the throughput.
const BATCH_LINES_MAX: usize = 4_096;
/// Most lines that wait for the writer; callers beyond that wait to be let in.
const QUEUE_LINES_MAX: usize = 16_384;

/// One deed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// From 1, without gaps.
    pub n: u64,
    /// When it was written.
    pub at: Timestamp,
    /// Who did it.
    pub participant: Role,
    /// What was done.
    pub kind: Kind,
    /// The idempotency key it was done for.
    pub key: String,
    /// The order; `None` for a notice that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Uuid>,
    /// Minor units: of a capture, a refund, or of what a void found captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// ISO 4217, where there is an amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// How long a ticket takes, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_ms: Option<u64>,
    /// Whether a call-off found it made already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<bool>,
    /// The status that a notice told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What a notice said to the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What a line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Money was taken.
    Captured,
    /// Money was refused.
    Declined,
    /// A capture's key was closed; `amount` is what had been captured.
    Voided,
    /// Money was returned.
    Refunded,
    /// A ticket was accepted.
    Ticket,
    /// A ticket was refused for want of ingredients.
    OutOfIngredients,
    /// A ticket was made.
    Prepared,
    /// A ticket's key was closed; `prepared` tells whether it had been made.
    CallOff,
    /// A notice was received.
    Notice,
}

impl Line {
    /// A deed still without number and time, which the writer gives.
    pub(super) fn new(
        participant: Role,
        kind: Kind,
        key: &str,
        order_id: impl Into<Option<Uuid>>,
    ) -> Self {
        Self {
            n: 0,
            at: Timestamp::UNIX_EPOCH,
            participant,
            kind,
            key: key.to_owned(),
            order_id: order_id.into(),
            amount: None,
            currency: None,
            takes_ms: None,
            prepared: None,
            status: None,
            text: None,
        }
    }
}

/// A line on its way, and who waits for it; `None` asks the writer to end.
type Append = Option<(Line, oneshot::Sender<Line>)>;

/// The way to the one writer.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    path: PathBuf,
    line: mpsc::Sender<Append>,
}

impl Ledger {
    /// Reads the ledger, showing every line to `restore` in order, cuts off what a crash left of an
    /// unacknowledged last one, and starts the writer. The receiver learns how the writer ended.
    pub(super) fn open(
        path: PathBuf,
        restore: impl FnMut(Line),
    ) -> Result<(Self, oneshot::Receiver<io::Result<()>>), RehearsalError> {
        let failed = |source| RehearsalError::File { path: path.clone(), source };
        let new = !path.exists();
        let mut options = OpenOptions::new();
        let file = options.create(true).read(true).append(true).open(&path).map_err(failed)?;
        if new && let Some(dir) = path.parent() {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        let (n, bytes) = load(&path, &file, restore)?;
        file.set_len(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        let (line, queue) = mpsc::channel(QUEUE_LINES_MAX);
        let (ended, end) = oneshot::channel();
        let writer = thread::Builder::new().name("rehearsal-ledger".to_owned());
        let run = move || drop(ended.send(write(file, n, queue)));
        writer.spawn(run).map_err(failed)?;
        Ok((Self { path, line }, end))
    }

    /// Returns the line, numbered and dated, once it is on disk. Dropping the future does not take
    /// the line back, so whoever must learn its number awaits this in a task of its own.
    pub(super) async fn append(&self, line: Line) -> Result<Line, RehearsalError> {
        let (written, done) = oneshot::channel();
        self.line.send(Some((line, written))).await.map_err(|_| RehearsalError::Closed)?;
        done.await.map_err(|_| RehearsalError::Closed)
    }

    /// Asks the writer to end after what it has been handed so far; whatever comes later is refused.
    pub(super) async fn close(&self) {
        // It fails only when the writer has ended.
        let _ = self.line.send(None).await;
    }

    /// Where the ledger lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Returns the last line's number and the length of all whole lines.
fn load(
    path: &Path,
    file: &File,
    mut restore: impl FnMut(Line),
) -> Result<(u64, u64), RehearsalError> {
    let mut reader = BufReader::new(file);
    let (mut n, mut bytes, mut text) = (0, 0, Vec::new());
    loop {
        text.clear();
        let read = reader.read_until(b'\n', &mut text);
        let read = read.map_err(|source| RehearsalError::File { path: path.to_owned(), source })?;
        if read == 0 || text.last() != Some(&b'\n') {
            return Ok((n, bytes));
        }
        match serde_json::from_slice::<Line>(&text) {
            Ok(line) => {
                n = line.n;
                bytes += read as u64;
                restore(line);
            }
            // A lost page at the very end is as torn as half a line: nobody was told of it.
            Err(_) if reader.fill_buf().is_ok_and(<[u8]>::is_empty) => return Ok((n, bytes)),
            Err(source) => {
                return Err(RehearsalError::Corrupt { path: path.to_owned(), line: n + 1, source });
            }
        }
    }
}

/// The group commit: whatever came while the disk was busy is one write and one fdatasync.
fn write(mut file: File, mut n: u64, mut queue: mpsc::Receiver<Append>) -> io::Result<()> {
    let (mut batch, mut text, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    let mut open = true;
    while open && queue.blocking_recv_many(&mut batch, BATCH_LINES_MAX) > 0 {
        for append in batch.drain(..) {
            let Some((mut line, written)) = append.filter(|_| open) else {
                open = false;
                continue;
            };
            n += 1;
            (line.n, line.at) = (n, Timestamp::now());
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
            waiting.push((line, written));
        }
        file.write_all(&text)?;
        file.sync_data()?;
        text.clear();
        for (line, written) in waiting.drain(..) {
            // Nobody waits where the task was dropped; the line stands all the same.
            let _ = written.send(line);
        }
    }
    Ok(())
}
