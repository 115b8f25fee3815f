//! The real binary as a child process that is killed, paused and started again.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::{Child as Watch, Command as Plain, Stdio},
    sync::OnceLock,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::Url;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use crate::world::DEADLINE;

/// Seconds of a lease here: the shortest there is, for most of a test is waiting for one to run out.
pub(crate) const LEASE_SECONDS: u32 = 2;

/// Where a service is found while it lives.
pub(crate) type Door = watch::Receiver<Option<Url>>;

/// One replica: a place in the row, with a process in it or not.
pub(crate) struct Service {
    name: String,
    data_dir: PathBuf,
    database_url: Option<String>,
    child: Option<Child>,
    address: watch::Sender<Option<Url>>,
    watchdog: Watch,
}

impl Service {
    /// A replica that keeps its things in `data_dir`; without a URL the database too.
    pub(crate) fn new(name: &str, data_dir: &Path, database_url: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            data_dir: data_dir.to_owned(),
            database_url: database_url.map(str::to_owned),
            child: None,
            address: watch::Sender::new(None),
            watchdog: watchdog(),
        }
    }

    pub(crate) fn door(&self) -> Door {
        self.address.subscribe()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Starts a process, and returns when it takes requests (which is before it owns a bucket).
    pub(crate) async fn start(&mut self) {
        let mut command = Command::new(binary());
        command.args(["serve", "--listen=127.0.0.1:0", "--rehearsal", "--log-format=human"]);
        command.arg(format!("--lease-seconds={LEASE_SECONDS}"));
        command.arg(format!("--replica-name={}", self.name));
        command.arg("--data-dir").arg(&self.data_dir).env_remove("DATABASE_URL");
        if let Some(url) = &self.database_url {
            command.env("DATABASE_URL", url);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(self.log()).kill_on_drop(true);
        let mut child = command.spawn().expect("the binary runs");
        self.tell_watchdog(&format!("{}", child.id().unwrap()));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let announced = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, rest)) = line.split_once("Crema is open on ") {
                    return Url::parse(rest.split_whitespace().next().unwrap()).unwrap();
                }
            }
            panic!("{} ended before it was open\n{}", self.name, self.tail());
        };
        let url = timeout(DEADLINE, announced).await.expect("the service opens in time");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.child = Some(child);
        self.address.send_replace(Some(url));
    }

    /// SIGKILL, and the end of the process.
    pub(crate) async fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        child.start_kill().expect("it lives");
        self.address.send_replace(None);
        child.wait().await.unwrap();
        self.tell_watchdog("");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(Child::id).expect("it lives");
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    fn log_path(&self) -> PathBuf {
        self.data_dir.join(format!("{}.log", self.name))
    }

    fn log(&self) -> File {
        OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap()
    }

    fn tail(&self) -> String {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let told = |it: &&str| it.contains("WARN") || it.contains("ERROR") || it.contains("error");
        let lines: Vec<&str> = text.lines().filter(told).collect();
        format!("{}: {}", self.name, lines[lines.len().saturating_sub(30)..].join("\n"))
    }

    fn tell_watchdog(&mut self, pid: &str) {
        let _ = writeln!(self.watchdog.stdin.as_mut().unwrap(), "{pid}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// The binary as it was when the tests began, whatever is built meanwhile: the file is kept open, and run by
/// its descriptor where the system can.
fn binary() -> &'static Path {
    static BINARY: OnceLock<(File, PathBuf)> = OnceLock::new();
    let (_, path) = BINARY.get_or_init(|| {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_crema"));
        let file = File::open(&built).expect("the binary is built");
        let opened = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let path = if Path::new(&opened).exists() { opened.into() } else { built };
        (file, path)
    });
    path
}

/// A process that waits for the end of this one (or of the [`Service`]) and then kills the child that it was
/// told of last, if that is still one.
fn watchdog() -> Watch {
    const SCRIPT: &str =
        r#"while read line; do pid=$line; done; [ -z "$pid" ] || kill -KILL "$pid""#;
    let mut command = Plain::new("sh");
    command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().expect("there is a shell")
}
