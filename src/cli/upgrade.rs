//! `crema upgrade --check`, as people read it.

use std::{
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    CliError,
    show::{clean, json, table},
};

/// The exit code when something would change: not 1, which says that the question could not be answered.
const WOULD_CHANGE: u8 = 3;
/// Orders shown to people; programs get all of them.
const SHOWN: usize = 50;

#[derive(Debug, Deserialize)]
struct Report {
    open: u64,
    versions: Vec<VersionOpen>,
    affected: Vec<Affected>,
}

#[derive(Debug, Deserialize)]
struct VersionOpen {
    definition: String,
    version: i32,
    newest: Option<i32>,
    open: u64,
    affected: u64,
}

#[derive(Debug, Deserialize)]
struct Affected {
    id: String,
    definition: String,
    version: i32,
    newest: Option<i32>,
    changes: Vec<Change>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
enum Change {
    VersionMissing,
    LineBroken { version: i32, seq: i32, error: String },
    InputBroken { version: i32, error: String },
    StepAtHand { pinned: String, newest: String },
    StepsToCome { pinned: Vec<String>, newest: Vec<String> },
}

/// Prints what would become of the open orders; 0 when that is what becomes of them anyway, else 3.
///
/// # Errors
/// [`CliError`] when it cannot be printed.
pub fn upgrade(report: Value, as_json: bool) -> Result<ExitCode, CliError> {
    let found: Report = serde_json::from_value(report.clone()).map_err(io::Error::from)?;
    match as_json {
        true => json(&report)?,
        false => show(&found)?,
    }
    let code = if found.affected.is_empty() { 0 } else { WOULD_CHANGE };
    Ok(ExitCode::from(code))
}

fn show(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let newest = |it: Option<i32>| it.map_or("none".to_owned(), |it| it.to_string());
    if report.open > 0 {
        let mut versions = table(&["saga", "version", "newest here", "open", "would change"]);
        for it in &report.versions {
            let (open, affected) = (it.open.to_string(), it.affected.to_string());
            let (version, newest) = (it.version.to_string(), newest(it.newest));
            versions.add_row([clean(&it.definition), version, newest, open, affected]);
        }
        writeln!(out, "{versions}")?;
    }
    if report.affected.is_empty() {
        return writeln!(out, "{} open; nothing would change", report.open);
    }
    let mut rows = table(&["order", "pinned to", "newest here", "what would change"]);
    for it in report.affected.iter().take(SHOWN) {
        let pinned = format!("{} {}", clean(&it.definition), it.version);
        let changes: Vec<String> = it.changes.iter().map(words).collect();
        rows.add_row([clean(&it.id), pinned, newest(it.newest), clean_lines(&changes)]);
    }
    writeln!(out, "{rows}")?;
    match report.affected.len().checked_sub(SHOWN) {
        Some(more @ 1..) => writeln!(out, "… and {more} more; --json names all of them"),
        _ => Ok(()),
    }
}

fn clean_lines(lines: &[String]) -> String {
    lines.iter().map(|it| clean(it)).collect::<Vec<_>>().join("\n")
}

fn words(change: &Change) -> String {
    match change {
        Change::VersionMissing => "this program does not have its version".to_owned(),
        Change::LineBroken { version, seq, error } => {
            format!("version {version} cannot read line {seq}: {error}")
        }
        Change::InputBroken { version, error } => {
            format!("version {version} cannot read what it began with: {error}")
        }
        Change::StepAtHand { pinned, newest } => format!("now: {newest}, not {pinned}"),
        Change::StepsToCome { pinned, newest } => {
            let mut text = format!("then: {}", list(newest));
            let _ = write!(text, ", not {}", list(pinned));
            text
        }
    }
}

fn list(route: &[String]) -> String {
    if route.is_empty() { "nothing".to_owned() } else { route.join(" → ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_change_has_words() {
        let of = |change: Value| words(&serde_json::from_value(change).unwrap());
        let at_hand = json!({"what": "step_at_hand", "pinned": "execute b", "newest": "execute d"});
        assert_eq!(of(at_hand), "now: execute d, not execute b");
        let to_come =
            json!({"what": "steps_to_come", "pinned": ["close"], "newest": ["a", "close"]});
        assert_eq!(of(to_come), "then: a → close, not close");
        assert_eq!(
            of(json!({"what": "version_missing"})),
            "this program does not have its version"
        );
        let broken = json!({"what": "line_broken", "version": 2, "seq": 3, "kind": "step_done",
                            "error": "no such step"});
        assert_eq!(of(broken), "version 2 cannot read line 3: no such step");
        let input = json!({"what": "input_broken", "version": 2, "error": "no"});
        assert_eq!(of(input), "version 2 cannot read what it began with: no");
    }
}
