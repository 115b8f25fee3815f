//! Who a process is, so that the next one on the same machine knows at once that it is gone.
//!
//! A replica that was killed leaves a lease that runs for seconds. Another process on the same machine (its
//! own restart, mostly) need not wait: it can look whether the process lives. Nothing depends on it being
//! right about the dead: the fence holds off one that is not.

use std::fs;

/// A process, told apart from all others that ever ran: the machine's boot, the PID namespace, the PID, and
/// when the process started (proc(5): field 22 of `stat`, in clock ticks since the boot).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    place: String,
    pid: u32,
    started: u64,
}

impl Identity {
    /// This process; `None` where there is no `/proc` to tell.
    pub(super) fn own() -> Option<Self> {
        let pid = std::process::id();
        Some(Self { place: place()?, pid, started: started(pid)? })
    }

    /// As a column holds it.
    pub(super) fn to_text(&self) -> String {
        format!("{}/{}/{}", self.place, self.pid, self.started)
    }

    /// Whether what a column holds is a process of this machine and PID namespace that has ended.
    pub(super) fn has_ended(text: &str) -> bool {
        let Some(other) = Self::from_text(text) else { return false };
        place().is_some_and(|it| it == other.place) && started(other.pid) != Some(other.started)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (rest, started) = text.rsplit_once('/')?;
        let (place, pid) = rest.rsplit_once('/')?;
        Some(Self {
            place: place.to_owned(),
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        })
    }
}

/// The machine's boot and the PID namespace: PIDs mean something only within both.
fn place() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.display()))
}

/// When a process started; `None` when there is none. A zombie counts as none: it does nothing any more.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; fields are counted from behind its last bracket.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_has_not_ended() {
        let own = Identity::own().expect("there is a /proc");
        assert!(!Identity::has_ended(&own.to_text()));
        assert_eq!(Identity::from_text(&own.to_text()), Some(own));
    }

    #[test]
    fn a_process_that_was_waited_for_has_ended_and_so_has_one_whose_pid_was_reused() {
        let own = Identity::own().expect("there is a /proc");
        let mut child = std::process::Command::new("true").spawn().expect("a child");
        child.wait().expect("its end");
        let dead = Identity { pid: child.id(), started: 1, ..own.clone() };
        assert!(Identity::has_ended(&dead.to_text()));
        let reused = Identity { started: own.started + 1, ..own };
        assert!(Identity::has_ended(&reused.to_text()));
    }

    #[test]
    fn nothing_is_said_of_processes_elsewhere() {
        let own = Identity::own().expect("there is a /proc");
        let elsewhere = Identity { place: "another boot/pid:[1]".to_owned(), started: 1, ..own };
        assert!(!Identity::has_ended(&elsewhere.to_text()));
        assert!(!Identity::has_ended("anything"));
    }
}
