//! The built binary as a process, or several on one database.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{DEADLINE, api::Api};

/// The binary, without a word from the tester's own surroundings.
pub(crate) fn crema() -> Command {
    // CI copies the program to where an ordinary user can reach it.
    let program = std::env::var_os("CREMA_TEST_PROGRAM");
    let mut command = Command::new(program.unwrap_or(env!("CARGO_BIN_EXE_crema").into()));
    let ours = |name: &str| name.starts_with("CREMA_") || name.starts_with("PG");
    for (name, _) in std::env::vars() {
        if ours(&name) || name == "DATABASE_URL" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a binary that is expected to end by itself.
pub(crate) fn run_to_end(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let guard = Guard::of(&child);
    let (ended, end) = channel();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = |mut pipe: Box<dyn std::io::Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes).unwrap_or_default()
        })
    };
    let (stdout, stderr) = (read(Box::new(stdout)), read(Box::new(stderr)));
    let waiting = thread::spawn(move || ended.send(child.wait().unwrap()));
    let status = end.recv_timeout(DEADLINE).unwrap_or_else(|_| {
        kill(pid, Signal::SIGKILL).unwrap();
        end.recv().unwrap()
    });
    waiting.join().unwrap().unwrap();
    drop(guard);
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// A process that kills another, should this one end without having done so.
struct Guard {
    shell: Child,
}

impl Guard {
    fn of(child: &Child) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "cat > /dev/null; kill -KILL \"$0\" 2> /dev/null"]);
        command.arg(child.id().to_string()).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self { shell: command.spawn().expect("there is a shell") }
    }
}

impl Drop for Guard {
    /// The guard first, so that it never kills whoever has the number next.
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// A replica. Killed when dropped.
pub(crate) struct Replica {
    pub(crate) base: String,
    log: PathBuf,
    child: Child,
    guard: Option<Guard>,
    /// What it says, until it is open.
    lines: Mutex<Receiver<String>>,
}

impl Replica {
    /// Starts a replica and waits until it says where it is.
    pub(crate) fn start(database_url: &str, dir: &Path, more: &[&str]) -> Self {
        let url = format!("--database-url={database_url}");
        Self::begin(dir, &[&[url.as_str()], more].concat()).open()
    }

    /// Begins to start a replica; without a database's URL it uses a private one.
    pub(crate) fn begin(dir: &Path, more: &[&str]) -> Self {
        let log = dir.join(format!("{}.log", uuid::Uuid::now_v7().simple()));
        let mut command = crema();
        command.args(["serve", "--listen=127.0.0.1:0", "--log-format=json"]);
        command.arg("--data-dir").arg(dir).args(more);
        if !more.iter().any(|it| it.starts_with("--rehearsal")) {
            command.arg("--rehearsal");
        }
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let guard = Some(Guard::of(&child));
        let (line, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for it in stdout.lines().map_while(Result::ok) {
                // Nobody listens after the address; the pipe is emptied all the same.
                let _ = line.send(it);
            }
        });
        Self { base: String::new(), log, child, guard, lines: Mutex::new(lines) }
    }

    /// Waits until it says where it is.
    pub(crate) fn open(mut self) -> Self {
        loop {
            match self.lines.get_mut().unwrap().recv_timeout(DEADLINE) {
                Ok(it) => match it.strip_prefix("Crema is open on ") {
                    Some(rest) => {
                        self.base = rest.split_whitespace().next().unwrap().to_owned();
                        return self;
                    }
                    None => continue,
                },
                Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {
                    panic!("it did not open: {}", self.log());
                }
            }
        }
    }

    /// A client of this replica.
    pub(crate) fn api(&self) -> Api {
        Api::new(&self.base)
    }

    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Ends it the hard way.
    pub(crate) fn sigkill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
        self.guard = None;
    }

    /// Asks it to end.
    pub(crate) fn sigterm(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        super::eventually("the replica ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        self.guard = None;
        status.unwrap()
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("the last of {}:\n{}", self.base, tail.join("\n"));
        }
        self.guard = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
