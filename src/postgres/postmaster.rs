//! The server's process: is it there, is it ours, is it ready; and starting and stopping it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio_util::sync::CancellationToken;

use super::{
    error::{At, Error, Result},
    owner::Owner,
};

/// It only names the socket file: the server does not listen on TCP.
pub(super) const PORT: u16 = 5432;
/// `sun_path` holds 104 bytes on macOS and 108 on Linux, the closing zero included.
pub(super) const SOCKET_PATH_MAX_BYTES: usize = 100;

/// After a crash the server replays up to `max_wal_size` before it is ready; slow disks take minutes.
const START_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a fast shutdown, with its checkpoint, or the end of a dead server's children may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at what other processes do.
pub(super) const POLL: Duration = Duration::from_millis(5);
/// A server log longer than this is set aside at the next start; one older log is kept.
const LOG_MAX_BYTES: u64 = 10 * 1024 * 1024;

/// Where the parts of one cluster are.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) base: PathBuf,
    pub(super) data: PathBuf,
    pub(super) sockets: PathBuf,
    pub(super) log: PathBuf,
    pub(super) password: PathBuf,
}

impl Places {
    pub(super) fn new(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
            data: base.join("data"),
            sockets: base.join("run"),
            log: base.join("server.log"),
            password: base.join("password"),
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.sockets.join(format!(".s.PGSQL.{PORT}"))
    }

    /// The process id of the server of this data directory, if it lives: the one in `postmaster.pid`,
    /// unless that has died and the id now belongs to some other process.
    pub(super) fn running(&self) -> Option<i32> {
        let pid: i32 = self.lock_line(1)?.parse().ok()?;
        if pid <= 1 || kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
            return None;
        }
        // a server works in its data directory; a process that got a dead server's id does not
        match fs::read_link(format!("/proc/{pid}/cwd")) {
            Ok(cwd) => (cwd == self.data).then_some(pid),
            // another user's process (a server belongs to the owner of its data), or a zombie
            Err(_) if Path::new("/proc/self").exists() => None,
            Err(_) => Some(pid), // no /proc on this system: believe the file
        }
    }

    /// A line of `postmaster.pid`: 1 process id, 4 port, 5 socket folder, 8 state.
    fn lock_line(&self, number: usize) -> Option<String> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        text.lines().nth(number - 1).map(|line| line.trim().to_owned())
    }

    /// Fails when the running server is not one that was started from here, with this program's
    /// settings: it may be unsafe (`fsync` off), and it is not ours to stop.
    pub(super) fn must_be_ours(&self, pid: i32) -> Result<()> {
        let folder = self.lock_line(5).unwrap_or_default();
        let port = self.lock_line(4).unwrap_or_default();
        let why = if !self.password.exists() {
            format!("there is no {}", self.password.display())
        } else if Path::new(&folder) != self.sockets {
            format!("its socket folder is `{folder}`, not {}", self.sockets.display())
        } else if port != PORT.to_string() {
            format!("its port is {port}, not {PORT}")
        } else {
            return Ok(());
        };
        Err(Error::Foreign { data: self.data.clone(), pid, why })
    }

    /// Starts the server and waits until it is ready; one that does not get there, or not before `stop`, is
    /// ended. The caller holds `start.lock`.
    pub(super) fn start(
        &self,
        bin: &Path,
        owner: &Owner,
        settings: &[String],
        stop: &CancellationToken,
    ) -> Result<()> {
        self.clear_stale()?;
        let log = self.open_log()?;
        let program = bin.join("postgres");
        let mut command = owner.command(&program);
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.sockets);
        command.arg("-p").arg(PORT.to_string());
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        command.stdout(log.try_clone().at(&self.log)?).stderr(log);
        let mut child = command.spawn().at(&program)?;
        let pid = i32::try_from(child.id()).unwrap_or_default();
        let ready = self.wait_ready(pid, Some(&mut child), stop);
        if ready.is_err() {
            end(&mut child, &self.data)?;
        }
        // reaped when it ends, for a zombie looks alive to `kill(pid, 0)`
        let reaper = thread::Builder::new().name("postgres-reaper".to_owned());
        reaper.spawn(move || child.wait()).at(&program)?;
        ready
    }

    /// Waits until connections are accepted (line 8 of `postmaster.pid`), not beyond `stop`. `child` is given
    /// when the server is our own child process.
    pub(super) fn wait_ready(
        &self,
        pid: i32,
        mut child: Option<&mut Child>,
        stop: &CancellationToken,
    ) -> Result<()> {
        let (since, mut told) = (Instant::now(), 0);
        loop {
            let is_it = self.lock_line(1).is_some_and(|line| line == pid.to_string());
            if is_it && self.lock_line(8).as_deref() == Some("ready") {
                return Ok(());
            }
            let ended = match child.as_mut() {
                Some(child) => child.try_wait().at(&self.log)?.map(|status| status.to_string()),
                None => self.running().is_none().then(|| "it stopped".to_owned()),
            };
            let waited = since.elapsed();
            if let Some(why) = ended {
                return Err(self.not_started(why));
            }
            if stop.is_cancelled() {
                return Err(Error::Interrupted);
            }
            if waited > START_TIMEOUT {
                return Err(self.not_started(format!("not ready after {START_TIMEOUT:?}")));
            }
            if waited.as_secs() / 5 > told {
                told = waited.as_secs() / 5;
                tracing::info!(seconds = waited.as_secs(), "waiting for PostgreSQL to get ready");
            }
            thread::sleep(POLL);
        }
    }

    /// Tells the server to stop, breaking off sessions, and waits for its end.
    pub(super) fn stop(&self, pid: i32) -> Result<()> {
        match kill(Pid::from_raw(pid), Signal::SIGINT) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => return Err(e.into()).at(&self.data),
        }
        wait_while(|| self.running().filter(|now| *now == pid), &self.data)
    }

    /// After a crash: waits until no process of the dead server is left, then removes the lock files
    /// which the new one would take for live ones (the dead server's id may be a zombie, or reused).
    ///
    /// The wait matters: with `postmaster.pid` removed PostgreSQL no longer checks for old processes,
    /// and two servers on the same files destroy them. Without /proc we leave it all to PostgreSQL.
    fn clear_stale(&self) -> Result<()> {
        let (pid_file, socket) = (self.data.join("postmaster.pid"), self.socket());
        let socket_lock = socket.with_file_name(format!(".s.PGSQL.{PORT}.lock"));
        let found = pid_file.exists() || socket.exists() || socket_lock.exists();
        if !found || !Path::new("/proc/self/cwd").exists() {
            return Ok(());
        }
        wait_while(|| self.orphan(), &self.data)?;
        if UnixStream::connect(&socket).is_ok() {
            return Err(Error::Hidden { socket });
        }
        for file in [pid_file, socket_lock, socket] {
            match fs::remove_file(&file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).at(&file),
                _ => {}
            }
        }
        Ok(())
    }

    /// Any process named `postgres` that works in the data directory. (A zombie's cannot be read.)
    fn orphan(&self) -> Option<i32> {
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let works_there = fs::read_link(entry.path().join("cwd")).ok()? == self.data;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            (works_there && name.trim_end() == "postgres").then_some(pid)
        })
    }

    fn open_log(&self) -> Result<File> {
        if fs::metadata(&self.log).is_ok_and(|meta| meta.len() > LOG_MAX_BYTES) {
            fs::rename(&self.log, self.base.join("server.log.1")).at(&self.log)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600).open(&self.log).at(&self.log)
    }

    fn not_started(&self, why: String) -> Error {
        let tail = tail(&self.log).unwrap_or_default();
        Error::Start { why, log: self.log.clone(), tail }
    }
}

/// Ends a server that nobody has used yet, also one that has no `postmaster.pid` so far.
fn end(child: &mut Child, data: &Path) -> Result<()> {
    let pid = i32::try_from(child.id()).unwrap_or_default();
    let is_there = |child: &mut Child| child.try_wait().is_ok_and(|status| status.is_none());
    let since = Instant::now();
    while is_there(child) {
        // Told more than once: whoever is just being started may not be listening yet.
        let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        if since.elapsed() > STOP_TIMEOUT {
            return Err(Error::Stop { pid, data: data.to_owned(), waited: STOP_TIMEOUT });
        }
        thread::sleep(POLL);
    }
    Ok(())
}

fn tail(log: &Path) -> io::Result<String> {
    const BYTES: u64 = 2000;
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn wait_while(process: impl Fn() -> Option<i32>, data: &Path) -> Result<()> {
    let since = Instant::now();
    while let Some(pid) = process() {
        if since.elapsed() > STOP_TIMEOUT {
            return Err(Error::Stop { pid, data: data.to_owned(), waited: STOP_TIMEOUT });
        }
        thread::sleep(POLL);
    }
    Ok(())
}
