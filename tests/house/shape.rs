//! How long things get, and what they are called.

use std::fs;

use crate::source::{File, closing, files, find, line_of, none, product, root};

/// Lines of a file: what one can keep in mind at once.
const FILE_LINES_MAX: usize = 300;
/// Lines of an example: a saga that needs more says that the engine asks for too much.
const EXAMPLE_LINES_MAX: usize = 149;
/// Lines of a function: what one can see at once.
const FUNCTION_LINES_MAX: usize = 70;

fn everything() -> Vec<File> {
    ["src", "tests", "benches", "examples"].into_iter().flat_map(files).collect()
}

#[test]
fn no_file_is_longer_than_300_lines() {
    let long = |file: &File| file.text.lines().count() > FILE_LINES_MAX;
    let found: Vec<String> = everything()
        .iter()
        .filter(|it| long(it))
        .map(|it| format!("{}: {} lines", it.path, it.text.lines().count()))
        .collect();
    none("a file is too long", &found);
}

#[test]
fn an_example_is_a_saga_in_less_than_150_lines_and_knows_no_coffee() {
    let examples = files("examples");
    assert!(!examples.is_empty(), "a saga that is no order of coffee");
    let mut found = Vec::new();
    for file in &examples {
        let lines = file.text.lines().count();
        if lines > EXAMPLE_LINES_MAX {
            found.push(format!("{}: {lines} lines", file.path));
        }
        for room in ["shop", "http", "rehearsal", "app", "config"] {
            let lines = file.says(room).into_iter();
            found.extend(lines.map(|line| format!("{}:{line}: {room}", file.path)));
        }
    }
    none("an example stands on the engine alone", &found);
}

#[test]
fn no_function_is_longer_than_70_lines() {
    let mut found = Vec::new();
    for file in everything() {
        for (name, line, length) in functions(&file) {
            if length > FUNCTION_LINES_MAX {
                found.push(format!("{}:{line}: {name} has {length} lines", file.path));
            }
        }
    }
    none("a function is too long", &found);
}

/// Name, first line and number of lines of each function that has a body.
fn functions(file: &File) -> Vec<(String, usize, usize)> {
    let code = &file.code;
    let mut functions = Vec::new();
    for at in find(code, "fn ") {
        let head = &code[at + 3..];
        let Some(end) = head.find(|c: char| !c.is_alphanumeric() && c != '_') else { continue };
        let Some(body) = body(head).map(|it| at + 3 + it) else { continue };
        let (first, last) = (file.line(at), line_of(code, closing(code, body)));
        if end > 0 {
            functions.push((head[..end].to_owned(), first, last - first + 1));
        }
    }
    functions
}

/// Where the body of a function begins; none when it is only declared.
fn body(head: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c) in head.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[test]
fn functions_are_measured_from_their_heads_to_their_last_braces() {
    let text = "trait A {\n fn a();\n fn b(c: [u8; 2])\n where\n  u8: Copy,\n {\n  d(\"{\")\n }\n}\n\
                type E = fn(u8) -> u8;\n";
    let file = File::new("src/a.rs".to_owned(), text.to_owned());
    assert_eq!(functions(&file), [("b".to_owned(), 3, 6)]);
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let found: Vec<String> = everything()
        .into_iter()
        .filter(|it| !it.text.starts_with("//! "))
        .map(|it| it.path)
        .collect();
    none("a file does not begin with `//!`", &found);
}

#[test]
fn nothing_is_called_after_a_layer() {
    const SUFFIXES: [&str; 8] =
        ["Store", "Repository", "Service", "Manager", "Helper", "Util", "Utils", "Factory"];
    const FILES: [&str; 8] =
        ["utils", "util", "helpers", "common", "models", "services", "repositories", "misc"];
    let mut found = Vec::new();
    for file in product() {
        let names = file.path.strip_suffix(".rs").unwrap().split('/');
        found.extend(names.filter(|it| FILES.contains(it)).map(|_| file.path.clone()));
        for keyword in ["struct ", "enum ", "trait ", "type "] {
            for at in find(&file.product, keyword) {
                let name = file.product[at + keyword.len()..].split(|c: char| !c.is_alphanumeric());
                let name = name.into_iter().next().unwrap_or_default();
                // `Service` alone is what the service routes are given, not a layer.
                if name != "Service" && SUFFIXES.iter().any(|it| name.ends_with(it)) {
                    found.push(format!("{}:{}: {name}", file.path, file.line(at)));
                }
            }
        }
    }
    none("a name tells of a layer, not of what it does", &found);
}

#[test]
fn step_is_the_one_public_trait() {
    let mut traits = Vec::new();
    for file in product() {
        for at in find(&file.product, "pub trait ") {
            let rest = &file.product[at + "pub trait ".len()..];
            traits.push(rest.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned());
        }
    }
    assert_eq!(traits, ["Step"], "no trait without two real implementers");
}

#[test]
fn the_schema_uses_nothing_that_only_one_postgres_has() {
    const NOT: [&str; 7] = [
        "create trigger",
        "create sequence",
        "serial",
        "bigserial",
        "nextval",
        "pg_advisory_lock",
        "serializable",
    ];
    let mut found = Vec::new();
    let mut look = |place: String, sql: &str| {
        let sql = sql.to_lowercase();
        let uses = NOT.iter().filter(|it| !find(&sql, it).is_empty());
        found.extend(uses.map(|it| format!("{place}: {it}")));
    };
    for entry in fs::read_dir(root().join("migrations")).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap();
        let sql: Vec<&str> = text.lines().map(|it| it.split("--").next().unwrap()).collect();
        look(entry.file_name().into_string().unwrap(), &sql.join("\n"));
    }
    for file in product().iter().filter(|it| it.is_in(&["src/saga/", "src/shop/"])) {
        for (line, text) in &file.literals {
            look(format!("{}:{line}", file.path), text);
        }
    }
    none("values are made by the application, and locks end with their transaction", &found);
}
