//! Habits whose absence loses orders: owned tasks, owned connections, checked SQL, no panics.

use std::{fs, path::Path};

use crate::source::{closing, find, line_of, none, product, root};

/// Tasks without a `TaskTracker` or `JoinSet`, each with who waits for it or why nobody needs to.
const SPAWNS: [(&str, &str); 4] = [
    ("src/app", "the server and the rehearsal, both awaited; and whoever asks twice to stop"),
    ("src/http/admit.rs", "the request waits for it; when the client leaves, the work goes on"),
    ("src/rehearsal/reply.rs", "the answer waits for it; when the caller leaves, the deed is done"),
    ("src/rehearsal/payment.rs", "a late capture: it outlives its call on purpose"),
];

#[test]
fn every_task_has_an_owner() {
    let mut found = Vec::new();
    for file in product() {
        if SPAWNS.iter().any(|(place, _)| file.is_in(&[place])) {
            continue;
        }
        for needle in ["tokio::spawn", "task::spawn", "thread::spawn", "Handle::current"] {
            for at in find(&file.product, needle) {
                found.push(format!("{}:{}: {needle}", file.path, file.line(at)));
            }
        }
    }
    none("a task is spawned that nobody stops or waits for", &found);
}

#[test]
fn every_spawn_that_is_excused_is_still_there() {
    let files = product();
    let found: Vec<String> = SPAWNS
        .iter()
        .filter(|(place, _)| {
            let mut there = files.iter().filter(|it| it.is_in(&[place]));
            there.all(|it| it.says("tokio::spawn").is_empty())
        })
        .map(|(place, why)| format!("{place} ({why})"))
        .collect();
    none("the excuse is not needed any more", &found);
}

#[test]
fn no_statement_is_put_together_from_texts() {
    let mut found = Vec::new();
    for file in product() {
        for (at, _) in file.product.match_indices("sqlx::query") {
            let rest = &file.product[at..];
            let Some(open) = rest.find('(') else { continue };
            let call = &rest[..closing(rest, open)];
            if call.contains("format!") || call.contains("concat!") {
                found.push(format!("{}:{}", file.path, file.line(at)));
            }
        }
        for at in find(&file.product, "AssertSqlSafe") {
            found.push(format!("{}:{}: AssertSqlSafe", file.path, file.line(at)));
        }
    }
    none("a statement is put together at run time", &found);
}

/// A future that owns a connection loses acknowledged writes when it is dropped half way (ARCHITECTURE.md).
#[test]
fn the_counter_never_drops_a_database_future() {
    let mut found = Vec::new();
    for file in product().iter().filter(|it| it.is_in(&["src/http/"])) {
        for needle in ["timeout(", "timeout_at(", "select!"] {
            for at in find(&file.product, needle) {
                let rest = &file.product[at..];
                let Some(open) = rest.find(['(', '{']) else { continue };
                let inside = &rest[..closing(rest, open)];
                if ["sqlx", "pool", "shop."].iter().any(|it| inside.contains(it)) {
                    found.push(format!("{}:{}: {needle}", file.path, file.line(at)));
                }
            }
        }
    }
    none("hand the work to an owned task, and wait for that", &found);
}

#[test]
fn nothing_panics_on_purpose() {
    const NOT: [&str; 7] =
        [".unwrap()", ".expect(", ".unwrap_err()", "panic!", "todo!", "unimplemented!", "dbg!"];
    let mut found = Vec::new();
    for file in product() {
        for needle in NOT {
            for (at, _) in file.product.match_indices(needle) {
                found.push(format!("{}:{}: {needle}", file.path, line_of(&file.product, at)));
            }
        }
    }
    none("what can fail says how", &found);
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    // In halves, so that this file does not name them either.
    let not = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/", "user")];
    let mut found = Vec::new();
    look(&root(), &mut |path, text| {
        for (number, line) in text.lines().enumerate() {
            if not.iter().any(|it| line.contains(it)) {
                found.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    });
    none("a path of somebody's machine", &found);
}

/// Every text file of the repository that somebody wrote.
fn look(folder: &Path, see: &mut impl FnMut(&Path, &str)) {
    const NOT: [&str; 6] = [".git", ".sqlx", "target", "node_modules", "dist", "data"];
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if NOT.iter().any(|it| name == *it) || path.extension().is_some_and(|it| it == "log") {
            continue;
        }
        if path.is_dir() {
            look(&path, see);
        } else if let Ok(text) = fs::read_to_string(&path) {
            see(path.strip_prefix(root()).unwrap(), &text);
        }
    }
}
