//! What is deployed says only what the program understands, and is closed where it should be.

use std::{collections::BTreeSet, fs};

use clap::{CommandFactory, Parser};
use crema::cli::{Cli, Command};
use serde_json::Value;

use crate::{source::root, yaml};

fn file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn compose() -> Value {
    yaml::read(&file("docker-compose.yml"))
}

/// A service's texts under a key, whether it is a list or one text.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}

/// Reads a command line as the program would.
fn understood(words: &[&str]) -> Command {
    let line: Vec<&str> = ["crema"].into_iter().chain(words.iter().copied()).collect();
    let cli = Cli::try_parse_from(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
    cli.command.unwrap_or_else(|| panic!("{line:?} says no command"))
}

/// The variables that the program reads.
fn variables() -> BTreeSet<String> {
    let mut commands = vec![Cli::command()];
    let mut names = BTreeSet::from(["CREMA_LOG".to_owned()]);
    while let Some(command) = commands.pop() {
        let said = command.get_arguments().filter_map(|it| it.get_env());
        names.extend(said.map(|it| it.to_str().unwrap().to_owned()));
        commands.extend(command.get_subcommands().cloned());
    }
    names
}

#[test]
fn the_containers_are_a_database_a_rehearsal_and_two_replicas() {
    let compose = compose();
    let services: Vec<&String> = compose["services"].as_object().unwrap().keys().collect();
    assert_eq!(services, ["db", "rehearsal", "crema-1", "crema-2"]);
    for service in ["crema-1", "crema-2"] {
        let mut other = compose["services"][service].clone();
        other["ports"] = compose["services"]["crema-1"]["ports"].clone();
        assert_eq!(other, compose["services"]["crema-1"], "replicas differ in their ports only");
    }
    for (volume, service) in [("db", "db"), ("rehearsal", "rehearsal")] {
        assert!(compose["volumes"].get(volume).is_some());
        let mounted = texts(&compose["services"][service]["volumes"]);
        assert!(mounted.iter().any(|it| it.starts_with(&format!("{volume}:/"))), "{mounted:?}");
    }
}

#[test]
fn the_containers_are_told_only_what_the_program_understands() {
    let (compose, known) = (compose(), variables());
    for service in ["rehearsal", "crema-1", "crema-2"] {
        let said = &compose["services"][service];
        match understood(&texts(&said["command"])) {
            Command::Rehearse(args) => assert!(service == "rehearsal" && args.data_dir.is_some()),
            Command::Serve(args) => {
                let s = args.settings;
                assert!(service != "rehearsal" && s.insecure == Some(true));
                assert_eq!(s.rehearsal_url.as_deref(), Some("http://rehearsal:9090"));
            }
            other => panic!("{service} runs {other:?}"),
        }
        let health = texts(&said["healthcheck"]["test"]);
        assert_eq!(health[..2], ["CMD", "crema"]);
        assert!(matches!(understood(&health[2..]), Command::Health(_)));
        for name in said["environment"].as_object().into_iter().flat_map(|it| it.keys()) {
            assert!(known.contains(name), "{service}: nobody reads {name}");
        }
    }
    let url = texts(&compose["services"]["crema-1"]["environment"]["DATABASE_URL"]);
    assert!(url[0].starts_with("postgres://") && url[0].contains("@db:5432/"), "{url:?}");
}

#[test]
fn the_containers_are_closed_and_come_back() {
    for (name, service) in compose()["services"].as_object().unwrap() {
        let says = |key: &str| texts(&service[key]).join(" ");
        assert_eq!(says("security_opt"), "no-new-privileges:true", "{name}");
        assert_eq!(says("restart"), "unless-stopped", "{name}");
        assert_eq!(service["read_only"], true, "{name}");
        assert!(service["healthcheck"]["test"].is_array(), "{name}");
        for port in texts(&service["ports"]) {
            assert!(name.starts_with("crema-") && port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
        let image = says("image");
        assert!(image.contains(':') && !image.ends_with(":latest"), "{name}: {image}");
        for (on, how) in service["depends_on"].as_object().into_iter().flatten() {
            assert_eq!(how["condition"], "service_healthy", "{name} waits for {on}");
        }
        if name != "db" {
            assert_eq!(service["init"], true, "{name}");
            assert_eq!(says("cap_drop"), "ALL", "{name}");
            assert_eq!(says("stop_grace_period"), "15s", "{name}");
        }
    }
}

#[test]
fn the_image_builds_offline_and_runs_as_nobody_special() {
    let text = file("deploy/Dockerfile");
    assert!(text.contains("SQLX_OFFLINE=true cargo build --release --locked"));
    let last = text.rsplit("\nFROM ").next().unwrap();
    let user = last.lines().find_map(|it| it.strip_prefix("USER ")).expect("a USER");
    assert!(user.split(':').next().unwrap().parse::<u32>().is_ok_and(|it| it > 0), "{user}");
    assert!(!text.contains(":latest"));
    let known = variables();
    for variable in text.lines().filter_map(|it| it.strip_prefix("ENV ")) {
        let name = variable.split('=').next().unwrap();
        assert!(known.contains(name), "nobody reads {name}");
    }
    let toolchain = file("Cargo.toml");
    let version = toolchain.lines().find_map(|it| it.strip_prefix("rust-version = ")).unwrap();
    assert!(text.contains(&format!("FROM rust:{}-bookworm", version.trim_matches('"'))));
    let ignored = file(".dockerignore");
    for path in ["target", ".git"] {
        assert!(ignored.lines().any(|it| it == path), "{path} would be sent to the builder");
    }
}

/// Where cargo looks for the files of the targets that a manifest names: its `path`, or one of two places.
fn target_files(manifest: &toml::Table) -> Vec<(String, Vec<String>)> {
    let kinds =
        [("bin", "src/bin"), ("bench", "benches"), ("test", "tests"), ("example", "examples")];
    let mut files = Vec::new();
    for (kind, folder) in kinds {
        for target in manifest.get(kind).and_then(|it| it.as_array()).into_iter().flatten() {
            let name = target["name"].as_str().unwrap();
            let places = match target.get("path").and_then(|it| it.as_str()) {
                Some(path) => vec![path.to_owned()],
                None => vec![format!("{folder}/{name}.rs"), format!("{folder}/{name}/main.rs")],
            };
            files.push((format!("[[{kind}]] {name}"), places));
        }
    }
    files
}

#[test]
fn the_images_layer_of_dependencies_has_a_file_for_every_target() {
    let text = file("deploy/Dockerfile").replace("\\\n", " ");
    let layer = text.lines().find(|it| it.contains("cargo fetch")).expect("a layer that fetches");
    let commands: Vec<&str> =
        layer.strip_prefix("RUN ").unwrap().split("&&").map(str::trim).collect();
    let fetch = commands.iter().position(|it| it.starts_with("cargo fetch")).unwrap();
    let made = |program: &str| -> Vec<&str> {
        let before = commands[..fetch].iter().filter_map(|it| it.strip_prefix(program));
        before.flat_map(str::split_whitespace).filter(|it| !it.starts_with('-')).collect()
    };
    let (folders, stubs) = (made("mkdir "), made("touch "));
    let manifest: toml::Table = file("Cargo.toml").parse().unwrap();
    let targets = target_files(&manifest);
    assert!(targets.len() >= 2, "a program and a benchmark at least: {targets:?}");
    for (target, places) in targets {
        let stub = places.iter().find(|it| stubs.contains(&it.as_str()));
        let stub = stub.unwrap_or_else(|| panic!("{target} has no file in the layer: {stubs:?}"));
        assert!(root().join(stub).exists(), "{target} stands elsewhere");
        let folder = stub.rsplit_once('/').unwrap().0;
        assert!(folders.contains(&folder), "nobody makes {folder}");
    }
    assert!(stubs.contains(&"src/lib.rs"));
}

#[test]
fn the_unit_starts_what_exists_and_locks_it_in() {
    let unit = file("deploy/crema.service");
    let said = |key: &str| -> Vec<&str> {
        let lines = unit.lines().filter_map(|it| it.strip_prefix(key)?.strip_prefix('='));
        lines.collect()
    };
    let start: Vec<&str> = said("ExecStart")[0].split_whitespace().collect();
    assert!(start[0].ends_with("/crema"), "{start:?}");
    assert!(matches!(understood(&start[1..]), Command::Serve(_)));
    let known = variables();
    for variable in said("Environment") {
        let name = variable.split('=').next().unwrap();
        assert!(known.contains(name), "nobody reads {name}");
    }
    for (key, value) in [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("CapabilityBoundingSet", ""),
        ("RestartPreventExitStatus", "78"),
        ("StateDirectory", "crema"),
        ("User", "crema"),
    ] {
        assert_eq!(said(key), [value], "{key}");
    }
}

#[test]
fn the_manual_lists_every_setting_and_every_metric() {
    let manual = file("docs/operations.md");
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    for argument in serve.get_arguments().filter(|it| it.get_id() != "help") {
        let flag = argument.get_long().unwrap();
        let variable = argument.get_env().and_then(|it| it.to_str()).unwrap();
        let row = format!("| `--{flag}` | `{variable}` |");
        assert!(manual.contains(&row), "docs/operations.md lacks {row}");
    }
    let rows = manual.lines().filter(|it| it.starts_with("| `--")).count();
    assert_eq!(rows, serve.get_arguments().count(), "it lists a setting that does not exist");
    let telemetry = file("src/telemetry.rs");
    let names =
        telemetry.lines().filter_map(|it| it.split_once(": &str = \"crema_")?.1.split_once('"'));
    let names: Vec<String> = names.map(|(name, _)| format!("| `crema_{name}` |")).collect();
    assert!(names.len() > 10);
    for row in names {
        assert!(manual.contains(&row), "docs/operations.md lacks {row}");
    }
}
