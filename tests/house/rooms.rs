//! Who may know whom, what is pure, and where SQL, HTTP in and HTTP out stand.

use std::fs;

use crate::source::{File, closing, find, line_of, none, product, root};

/// The rooms, and which other rooms each may name.
const MAY_KNOW: [(&str, &[&str]); 7] = [
    ("saga", &[]),
    ("shop", &["saga", "config"]),
    ("http", &["shop", "saga", "config", "telemetry"]),
    ("rehearsal", &["config"]),
    ("postgres", &["config"]),
    ("telemetry", &["config"]),
    ("config", &[]),
];

/// What is decided without looking at a clock, a database or a network.
const PURE: [&str; 11] = [
    "src/saga/event.rs",
    "src/saga/decide.rs",
    "src/saga/line.rs",
    "src/saga/fold.rs",
    "src/saga/upgrade.rs",
    "src/saga/limits/breaker.rs",
    "src/saga/limits/share.rs",
    "src/shop/order.rs",
    "src/shop/calendar.rs",
    "src/shop/schedule.rs",
    "src/shop/schedule/look.rs",
];

/// Where the shop calls its participants.
const PARTICIPANTS: [&str; 4] =
    ["src/shop/participant", "src/shop/payments.rs", "src/shop/kitchen.rs", "src/shop/notices.rs"];

fn room_of(file: &File) -> &str {
    let below = file.path.strip_prefix("src/").unwrap();
    below.split(['/', '.']).next().unwrap()
}

/// The first names of the paths behind `crate::`, with their lines: `crate::{a::b, c}` has a and c.
fn named_rooms(file: &File) -> Vec<(usize, String)> {
    let code = &file.product;
    let word = |text: &str| {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    let mut rooms = Vec::new();
    for at in find(code, "crate::") {
        let (line, after) = (line_of(code, at), at + "crate::".len());
        if !code[after..].starts_with('{') {
            rooms.push((line, word(&code[after..])));
            continue;
        }
        let (mut depth, mut first) = (0, true);
        for (offset, c) in code[after..closing(code, after)].char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 1 && first && (c.is_alphanumeric() || c == '_') {
                rooms.push((line, word(&code[after + offset..])));
            }
            first = depth == 1 && (c == ',' || c == '{' || (first && c.is_whitespace()));
        }
    }
    rooms
}

#[test]
fn rooms_are_found_in_every_form_of_path() {
    let text = "use crate::{saga::{Cx, step::a}, shop,\n http::b};\nfn c() { crate::cli::d() }\n";
    let file = File::new("src/a.rs".to_owned(), text.to_owned());
    let rooms: Vec<String> = named_rooms(&file).into_iter().map(|it| it.1).collect();
    assert_eq!(rooms, ["saga", "shop", "http", "cli"]);
}

#[test]
fn dependencies_run_from_the_counter_to_the_coffee_to_the_engine_and_never_back() {
    let mut found = Vec::new();
    for file in product() {
        let room = room_of(&file).to_owned();
        let Some((_, may)) = MAY_KNOW.iter().find(|(it, _)| *it == room) else { continue };
        for (line, named) in named_rooms(&file) {
            if named != room && !may.contains(&named.as_str()) {
                found.push(format!("{}:{line}: {room} knows {named}", file.path));
            }
        }
    }
    none("a room knows what it must not", &found);
}

#[test]
fn no_room_is_left_by_way_of_super() {
    let mut found = Vec::new();
    for file in product().iter().filter(|it| it.path.matches('/').count() > 1) {
        // In src/saga/mod.rs one step up leaves the room; a file or folder deeper has one step more.
        let depth = file.path.matches('/').count() - usize::from(file.path.ends_with("/mod.rs"));
        for line in file.says(&"super::".repeat(depth)) {
            found.push(format!("{}:{line}", file.path));
        }
    }
    none("this path leads out of its room: name it by `crate::`", &found);
}

#[test]
fn the_engine_knows_no_coffee() {
    const WORDS: [&str; 12] = [
        "order", "orders", "coffee", "payment", "payments", "kitchen", "customer", "menu",
        "barista", "stock", "refund", "pickup",
    ];
    let mut found = Vec::new();
    for file in product().iter().filter(|it| it.is_in(&["src/saga/"])) {
        for library in ["axum", "reqwest", "hyper", "tower", "tower_http", "utoipa"] {
            let lines = file.says(library).into_iter();
            found.extend(lines.map(|line| format!("{}:{line}: {library}", file.path)));
        }
        for (number, line) in file.product.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric()).map(str::to_ascii_lowercase);
            // `new_order_id` has the word, and so has `NewOrder`; the atomics' `Ordering` has not.
            let humps = line.split(|c: char| !c.is_alphanumeric()).flat_map(humps);
            for word in words.chain(humps).filter(|it| WORDS.contains(&it.as_str())) {
                found.push(format!("{}:{}: {word}", file.path, number + 1));
            }
        }
    }
    none("the engine speaks of coffee", &found);
}

/// The words of a name in camel case.
fn humps(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for c in name.chars() {
        match words.last_mut() {
            Some(word) if !c.is_uppercase() => word.push(c),
            _ => words.push(c.to_lowercase().to_string()),
        }
    }
    words
}

#[test]
fn the_engine_reads_and_writes_none_of_the_shops_tables() {
    let shop = fs::read_to_string(root().join("migrations/0002_shop.sql")).unwrap();
    let tables: Vec<&str> = shop
        .lines()
        .filter_map(|line| line.strip_prefix("create table ")?.split_whitespace().next())
        .collect();
    assert!(tables.contains(&"orders") && tables.contains(&"stock"), "{tables:?}");
    let mut found = Vec::new();
    for file in product().iter().filter(|it| it.is_in(&["src/saga/journal/"])) {
        for (line, text) in &file.literals {
            for table in tables.iter().filter(|it| !find(text, it).is_empty()) {
                found.push(format!("{}:{line}: {table}", file.path));
            }
        }
    }
    none("the engine's SQL names a table of the shop", &found);
}

#[test]
fn what_decides_has_no_clock_no_await_and_no_chance() {
    const IMPURE: [&str; 12] = [
        ".await",
        "async",
        "Instant",
        "SystemTime",
        "Timestamp::now",
        "Zoned::now",
        "now_v7",
        "new_v4",
        "rand",
        "sqlx",
        "tokio",
        "std::env",
    ];
    let files = product();
    let mut found = Vec::new();
    for path in PURE {
        let file = files.iter().find(|it| it.path == path);
        let file = file.unwrap_or_else(|| panic!("{path} is gone: say here what is pure now"));
        for needle in IMPURE {
            let lines = file.says(needle).into_iter();
            found.extend(lines.map(|line| format!("{path}:{line}: {needle}")));
        }
    }
    none("what decides must follow from its arguments alone", &found);
}

#[test]
fn sql_stands_in_one_place_a_room() {
    const PLACES: [&str; 3] = ["src/saga/journal/", "src/shop/books/", "src/postgres/"];
    let mut found = Vec::new();
    for file in product().iter().filter(|it| !it.is_in(&PLACES)) {
        for needle in ["query!", "query_as!", "query_scalar!", "raw_sql", "QueryBuilder"] {
            let lines = file.says(needle).into_iter();
            found.extend(lines.map(|line| format!("{}:{line}: {needle}", file.path)));
        }
        for at in file.product.match_indices("sqlx::query").map(|(at, _)| at) {
            found.push(format!("{}:{}: sqlx::query", file.path, line_of(&file.product, at)));
        }
    }
    none("SQL outside the journal, the books and the Postgres room", &found);
}

#[test]
fn each_library_is_known_where_it_belongs_only() {
    // Replicas look whether the rehearsal they share is still played.
    let lookout = ["src/cli/", "src/rehearsal/lookout.rs", "src/rehearsal/mod.rs"];
    let participants: Vec<&str> = PARTICIPANTS.into_iter().chain(lookout).collect();
    let rules: [(&str, &[&str]); 5] = [
        ("reqwest", &participants),
        ("axum", &["src/http/", "src/rehearsal/"]),
        // The shop's views describe themselves; routes are described at the counter only.
        ("utoipa", &["src/http/", "src/shop/"]),
        ("clap", &["src/cli", "src/config", "src/main.rs"]),
        ("sqlx", &["src/saga/", "src/shop/", "src/postgres", "src/app"]),
    ];
    let mut found = Vec::new();
    for file in product() {
        for (library, _) in rules.iter().filter(|(_, places)| !file.is_in(places)) {
            let lines = file.says(library).into_iter();
            found.extend(lines.map(|line| format!("{}:{line}: {library}", file.path)));
        }
    }
    none("a library is used where it must not be", &found);
}

#[test]
fn the_client_knows_the_server_by_its_api_only() {
    let mut found = Vec::new();
    for file in product().iter().filter(|it| it.is_in(&["src/cli/"])) {
        for (line, room) in named_rooms(file) {
            if !["cli", "config"].contains(&room.as_str()) {
                found.push(format!("{}:{line}: {room}", file.path));
            }
        }
    }
    none("the client looks behind the counter", &found);
}
