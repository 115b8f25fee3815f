//! `crema work`: a barista for rehearsals, over the same API as any other worker. It makes whatever it is given, tells
//! how far it is, stops when the order does not want it any more, and gives back what it has in hand when it is stopped.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{ServerArgs, client::Client, error::CliError, show::clean};

/// How long a place waits before it asks again after a server that could not be asked.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long the server holds a place that there is no work for.
const HELD: &str = "25s";

/// The arguments of `crema work`.
#[derive(Debug, Args)]
pub struct WorkArgs {
    /// Which server to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// The queues to ask of
    #[arg(long, required = true, value_delimiter = ',', value_name = "QUEUE")]
    pub queue: Vec<String>,
    /// How many tasks to work on at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100), value_name = "N")]
    pub concurrency: u16,
    /// What this worker is called [default: the machine's name and the process's number]
    #[arg(long, value_name = "NAME")]
    pub worker: Option<String>,
    /// How long one task takes
    #[arg(long, default_value = "2s", value_name = "TIME")]
    pub takes: SignedDuration,
    /// How long the server may hear nothing of a task before it is another worker's
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1800), value_name = "SECONDS")]
    pub lease_seconds: u16,
}

/// A task in hand.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Task {
    token: String,
    queue: String,
    payload: Payload,
    attempt: i64,
    progress: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Payload {
    pickup_code: String,
    item: String,
    quantity: i64,
    rehearse: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tasks {
    tasks: Vec<Task>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Beat {
    cancel_requested: bool,
}

/// How work on a task came to its end.
enum End {
    Made,
    CannotBeMade,
    NotWanted,
    Stopped,
}

/// A worker and what its places share.
struct Barista {
    client: Client,
    queues: Vec<String>,
    name: String,
    takes: Duration,
    lease: Duration,
    stop: CancellationToken,
}

/// Runs `crema work` until SIGTERM or Ctrl-C.
///
/// # Errors
/// [`CliError`] when the server refuses to give out work.
pub async fn work(args: WorkArgs) -> Result<ExitCode, CliError> {
    let machine = nix::unistd::gethostname().ok().and_then(|it| it.into_string().ok());
    let unnamed =
        || format!("{}-{}", machine.unwrap_or_else(|| "crema".into()), std::process::id());
    let barista = Arc::new(Barista {
        client: Client::new(args.server.server)?,
        queues: args.queue,
        name: args.worker.unwrap_or_else(unnamed),
        takes: args.takes.unsigned_abs(),
        lease: Duration::from_secs(args.lease_seconds.into()),
        stop: CancellationToken::new(),
    });
    barista.say("asks for work", &barista.queues.join(", "))?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut places = JoinSet::new();
    for _ in 0..args.concurrency {
        places.spawn(barista.clone().take_place());
    }
    let mut result = Ok(());
    loop {
        tokio::select! {
            _ = terminated.recv() => barista.stop.cancel(),
            _ = tokio::signal::ctrl_c() => barista.stop.cancel(),
            ended = places.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => {
                    barista.stop.cancel();
                    result = Err(error);
                }
                Some(Err(_)) => barista.stop.cancel(),
            },
        }
    }
    barista.say("stopped", "")?;
    result.map(|()| ExitCode::SUCCESS)
}

impl Barista {
    /// Asks, works, asks again. A held request is simply left when it is time to stop: the server gives nothing to who
    /// has left.
    async fn take_place(self: Arc<Self>) -> Result<(), CliError> {
        while !self.stop.is_cancelled() {
            let asked = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                asked = self.ask() => asked,
            };
            match asked {
                Ok(tasks) => {
                    for task in tasks {
                        self.see_to(&task).await?;
                    }
                }
                Err(error) if error.may_pass() => sleep(ASK_AGAIN).await,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn ask(&self) -> Result<Vec<Task>, CliError> {
        let Some((queue, more)) = self.queues.split_first() else { return Ok(Vec::new()) };
        let lease = format!("{}s", self.lease.as_secs());
        let body =
            json!({ "worker": self.name, "queues": more, "max": 1, "wait": HELD, "lease": lease });
        let answer = self.client.post(&["v1", "queues", queue, "poll"], &[], &body, None).await?;
        Ok(self.client.read::<Tasks>(&answer)?.tasks)
    }

    async fn see_to(&self, task: &Task) -> Result<(), CliError> {
        let Payload { quantity, item, pickup_code, .. } = &task.payload;
        let what = format!(
            "{quantity} {item} for {pickup_code} ({}, attempt {})",
            task.queue, task.attempt
        );
        self.say("begins", &what)?;
        let end = match self.make(task).await {
            Ok(end) => end,
            Err(error) => return self.lost(&what, error),
        };
        let told = match end {
            End::Made => {
                self.tell(task, "complete", json!({ "result": { "by": self.name } })).await
            }
            End::CannotBeMade => {
                let body =
                    json!({ "code": "out_of_ingredients", "detail": "the rehearsal has run out" });
                self.tell(task, "fail", body).await
            }
            End::Stopped => self.tell(task, "release", json!({})).await,
            End::NotWanted => return self.say("leaves, for the order is cancelled:", &what),
        };
        match told {
            Err(error) => self.lost(&what, error),
            Ok(_) => self.say(
                match end {
                    End::Made => "has made",
                    End::CannotBeMade => "cannot make",
                    End::Stopped | End::NotWanted => "gives back",
                },
                &what,
            ),
        }
    }

    /// Works on a task, and tells how far it is three times a lease. It goes on from where another one left it.
    async fn make(&self, task: &Task) -> Result<End, CliError> {
        if task.payload.rehearse.as_deref() == Some("out_of_ingredients") {
            return Ok(End::CannotBeMade);
        }
        let before = task.progress.as_ref().and_then(|it| it.get("percent")?.as_f64());
        let done = before.unwrap_or(0.0).clamp(0.0, 100.0) / 100.0;
        let (began, left) = (Instant::now(), self.takes.mul_f64(1.0 - done));
        let beat_every = (self.lease / 3).min(Duration::from_millis(500)).min(left);
        loop {
            let share = began.elapsed().as_secs_f64() / self.takes.as_secs_f64().max(0.001);
            let percent = ((done + share) * 100.0).min(100.0).floor();
            let body = json!({ "progress": { "percent": percent } });
            let answer = self.tell(task, "heartbeat", body).await?;
            if self.client.read::<Beat>(&answer)?.cancel_requested {
                return Ok(End::NotWanted);
            }
            if began.elapsed() >= left {
                return Ok(End::Made);
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(End::Stopped),
                () = sleep_until((Instant::now() + beat_every).min(began + left)) => {}
            }
        }
    }

    /// Told again for as long as the server cannot be asked: a token tells the same thing once.
    async fn tell(&self, task: &Task, what: &str, body: Value) -> Result<Value, CliError> {
        let deadline = Instant::now() + self.lease;
        loop {
            match self.client.post(&["v1", "tasks", &task.token, what], &[], &body, None).await {
                Err(error) if error.may_pass() && Instant::now() < deadline => {
                    sleep(ASK_AGAIN).await;
                }
                told => return told,
            }
        }
    }

    /// A task that is another worker's by now, or not wanted: nothing of it is ours to settle.
    fn lost(&self, what: &str, error: CliError) -> Result<(), CliError> {
        match error {
            CliError::Refused { code, status: 409, .. } => {
                self.say("has lost", &format!("{what}: {code}"))
            }
            error if error.may_pass() => self.say("has lost", &format!("{what}: {error}")),
            error => Err(error),
        }
    }

    fn say(&self, what: &str, of: &str) -> Result<(), CliError> {
        writeln!(io::stdout().lock(), "{} {what} {}", clean(&self.name), clean(of))?;
        Ok(())
    }
}
