//! Requests that only wait are dropped with their clients: their handlers must own no database future.

use std::collections::{BTreeSet, HashMap};

use crate::source::{File, closing, find, none, product};

/// Functions of the counter by name: where each stands, and its body without what it hands to owned tasks.
fn functions(files: &[&File]) -> HashMap<String, Vec<(String, String)>> {
    let mut functions: HashMap<String, Vec<(String, String)>> = HashMap::new();
    for file in files {
        for at in find(&file.product, "fn ") {
            let head = &file.product[at + 3..];
            let name: String =
                head.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(open) = head.find('{') else { continue };
            let mut body = head[open..closing(head, open)].to_owned();
            // `Counter::spawned` spawns what it is given.
            for spawn in [find(&body, "spawn"), find(&body, "spawned")].concat() {
                let Some(open) = body[spawn..].find('(').map(|it| spawn + it) else { continue };
                let end = closing(&body, open);
                body.replace_range(open + 1..end - 1, &" ".repeat(end - open - 2));
            }
            let place = format!("{}:{}", file.path, file.line(at));
            functions.entry(name).or_default().push((place, body));
        }
    }
    functions
}

/// The handlers at these routes, by what is described of them: of `GET`, and of the `POST` on which workers are held.
fn handlers(files: &[&File], routes: &[String]) -> Vec<String> {
    let mut handlers = Vec::new();
    for file in files {
        let described =
            ["#[utoipa::path(get", "#[utoipa::path(post"].map(|it| find(&file.product, it));
        for at in described.concat() {
            let end = closing(&file.product, at + 1);
            let lines = file.line(at)..=file.line(end);
            let is_it =
                |(line, text): &(usize, String)| lines.contains(line) && routes.contains(text);
            if file.literals.iter().any(is_it) {
                let rest = &file.product[end..];
                let name = &rest[rest.find("fn ").unwrap() + 3..];
                handlers.push(name[..name.find('(').unwrap()].to_owned());
            }
        }
    }
    handlers
}

/// Where a body waits for the shop, or for a pool, by itself.
fn asks_the_database(body: &str) -> bool {
    find(body, "shop").into_iter().chain(find(body, "pool")).any(|at| {
        let rest = &body[at..];
        let end = rest.find([';', '?']).unwrap_or(rest.len());
        rest[..end].contains(".await")
    })
}

#[test]
fn who_only_waits_owns_no_database_future() {
    let files = product();
    let counter: Vec<&File> = files.iter().filter(|it| it.is_in(&["src/http/"])).collect();
    let admit = counter.iter().find(|it| it.path == "src/http/admit.rs").unwrap();
    let routes: Vec<String> =
        admit.literals.iter().map(|it| it.1.clone()).filter(|it| it.starts_with("/v1/")).collect();
    let (functions, mut next) = (functions(&counter), handlers(&counter, &routes));
    assert_eq!(next.len(), routes.len(), "each of {routes:?} has a handler: {next:?}");
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(name) = next.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        for (place, body) in &functions[&name] {
            if asks_the_database(body) {
                found.push(format!("{place}: {name}"));
            }
            // Whoever can reach the shop is given the counter, or is a method of it.
            let calls = |it: &&String| {
                let forms =
                    [format!("{it}(&counter"), format!("{it}(counter"), format!("counter.{it}(")];
                forms.iter().any(|form| !find(body, form).is_empty())
            };
            next.extend(functions.keys().filter(calls).cloned());
        }
    }
    none(
        "it is dropped when its client leaves: hand the work to a task of `counter.tasks`",
        &found,
    );
}
