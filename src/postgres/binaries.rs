//! Finding the programs of a PostgreSQL server on this machine.

use std::{
    cmp::Reverse,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::error::{Error, Result};

/// Where systems put one folder per version, and where in it the programs are.
const PLACES: [(&str, &str); 8] = [
    ("/usr/lib/postgresql", "bin"), // Debian, Ubuntu
    ("/usr", "bin"),                // Red Hat: /usr/pgsql-17/bin
    ("/usr/local/opt", "bin"),      // Homebrew on Intel
    ("/opt/homebrew/opt", "bin"),   // Homebrew on Apple silicon
    ("/home/linuxbrew/.linuxbrew/opt", "bin"),
    ("/Library/PostgreSQL", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "bin"),
    ("/usr/libexec", ""), // Alpine: /usr/libexec/postgresql17
];

/// The folder with `postgres` and `initdb`: the given one only, else the first on PATH, else the newest
/// in the usual places. `made_by` is the major version which an existing cluster in `data` needs.
pub(super) fn find(given: Option<&Path>, made_by: Option<&str>, data: &Path) -> Result<PathBuf> {
    let folders = given.map_or_else(candidates, |folder| vec![folder.to_owned()]);
    let mut other = None;
    for folder in &folders {
        let Some(found) = major(folder) else { continue };
        match made_by {
            Some(wanted) if wanted != found => other = other.or(Some((folder.clone(), found))),
            _ => return Ok(folder.clone()),
        }
    }
    match (made_by, other) {
        (Some(made_by), Some((bin, found))) => {
            let (data, made_by) = (data.to_owned(), made_by.to_owned());
            Err(Error::OtherVersion { data, made_by, bin, found })
        }
        _ => {
            let searched: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
            Err(Error::NoBinaries { searched: searched.join(":") })
        }
    }
}

fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH");
    let mut folders: Vec<PathBuf> = path.iter().flat_map(std::env::split_paths).collect();
    for (parent, tail) in PLACES {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries
            .map(|entry| entry.path().join(tail))
            .filter(|folder| folder.join("postgres").exists())
            .collect();
        found.sort_by_cached_key(|folder| {
            Reverse(major(folder).and_then(|m| m.parse::<u32>().ok()))
        });
        if found.is_empty() {
            folders.push(Path::new(parent).join("*").join(tail)); // only to be named in an error
        }
        folders.extend(found);
    }
    folders
}

/// The major version of the programs in the folder, if they are complete and run. `postgres --version`
/// prints `postgres (PostgreSQL) 15.18 (Debian …)`.
fn major(folder: &Path) -> Option<String> {
    let (postgres, initdb) = (folder.join("postgres"), folder.join("initdb"));
    if !postgres.exists() || !initdb.exists() {
        return None;
    }
    let output = Command::new(postgres).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().nth(2)?;
    Some(version.split(|c: char| !c.is_ascii_digit()).next()?.to_owned())
}
