//! The shipped binary as processes: a server on a run's database, and the participants it rehearses with.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use secrecy::ExposeSecret;

use super::{meter, world::Arena};

/// A process of the binary that says where it listens. Killed when dropped.
pub(crate) struct Process {
    pub(crate) base: String,
    child: Child,
}

impl Process {
    /// The participants, with their ledger in `folder`.
    pub(crate) fn rehearsal(folder: &Path) -> Result<Self> {
        let mut command = crema();
        command.args(["rehearse", "--listen=127.0.0.1:0", "--data-dir"]).arg(folder);
        Self::start(&mut command, "The rehearsal plays at ")
    }

    /// A replica on the arena's database.
    pub(crate) fn server(arena: &Arena, folder: &Path, rehearsal: &Self) -> Result<Self> {
        let mut command = crema();
        command.args(["serve", "--listen=127.0.0.1:0", "--log-format=json", "--data-dir"]);
        command.arg(folder).arg("--rehearsal-url").arg(&rehearsal.base);
        command.env("DATABASE_URL", arena.url.expose_secret()).env("RUST_LOG", "warn");
        Self::start(&mut command, "Crema is open on ")
    }

    fn start(command: &mut Command, greeting: &str) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("it has no output")?;
        let mut process = Self { base: String::new(), child };
        let mut lines = BufReader::new(stdout).lines();
        while process.base.is_empty() {
            let line = lines.next().context("it ended before it listened")??;
            let rest = line.strip_prefix(greeting).unwrap_or_default();
            rest.split_whitespace().next().unwrap_or_default().clone_into(&mut process.base);
        }
        // What it says later must find a reader.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(process)
    }

    /// Processor time so far.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        meter::cpu_s(&self.child.id().to_string())
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{} ended with {status}", self.base);
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without effect on one that was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, without a word from the tester's own surroundings.
fn crema() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crema"));
    for (name, _) in std::env::vars_os() {
        let is_ours = name.to_str().is_some_and(|it| it.starts_with("CREMA_"));
        if is_ours || name == "DATABASE_URL" {
            command.env_remove(name);
        }
    }
    command
}
