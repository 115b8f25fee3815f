//! As much YAML as our own files use: mappings and lists by indentation, `[a, b]`, quotes, anchors and `<<`.
//! What it does not know it refuses, so that a file that passes is a plain one.

use std::collections::HashMap;

use serde_json::{Map, Value};

struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

struct Reader<'a> {
    lines: Vec<Line<'a>>,
    at: usize,
    anchors: HashMap<String, Value>,
}

/// Reads a document.
pub(crate) fn read(text: &str) -> Value {
    let lines = text.lines().enumerate().map(|(number, line)| {
        let line = without_comment(line).trim_end();
        let text = line.trim_start();
        assert!(!text.starts_with('\t'), "line {}: a tab", number + 1);
        Line { number: number + 1, indent: line.len() - text.len(), text }
    });
    let lines = lines.filter(|it| !it.text.is_empty()).collect();
    let mut reader = Reader { lines, at: 0, anchors: HashMap::new() };
    let value = reader.block(0);
    let left = reader.lines.get(reader.at).map(|it| it.number);
    assert_eq!(left, None, "a line that is indented by surprise");
    value
}

fn without_comment(line: &str) -> &str {
    let start = if line.trim_start().starts_with('#') { Some(0) } else { line.find(" #") };
    start.map_or(line, |it| &line[..it])
}

impl<'a> Reader<'a> {
    fn here(&self, indent: usize) -> Option<&Line<'a>> {
        self.lines.get(self.at).filter(|it| it.indent == indent)
    }

    /// The list or mapping that begins here.
    fn block(&mut self, indent: usize) -> Value {
        match self.here(indent) {
            Some(line) if line.text.starts_with("- ") => self.list(indent),
            Some(_) => self.mapping(indent),
            None => Value::Null,
        }
    }

    fn list(&mut self, indent: usize) -> Value {
        let mut list = Vec::new();
        while let Some(item) = self.here(indent).and_then(|it| it.text.strip_prefix("- ")) {
            self.at += 1;
            list.push(scalar(item));
        }
        Value::Array(list)
    }

    fn mapping(&mut self, indent: usize) -> Value {
        let (mut mapping, mut merged) = (Map::new(), Map::new());
        while let Some(line) = self.here(indent) {
            let (number, text) = (line.number, line.text);
            let split = text.split_once(':').filter(|it| it.1.is_empty() || it.1.starts_with(' '));
            let (key, rest) = split.unwrap_or_else(|| panic!("line {number}: no `key: value`"));
            let rest = rest.trim();
            self.at += 1;
            if let Some(anchor) = rest.strip_prefix('*') {
                let value = self.anchors.get(anchor).cloned();
                let value = value.unwrap_or_else(|| panic!("line {number}: no anchor {anchor}"));
                match (key, value) {
                    ("<<", Value::Object(more)) => merged.extend(more),
                    (key, value) => drop(mapping.insert(key.to_owned(), value)),
                }
                continue;
            }
            let anchor = rest.strip_prefix('&').map(str::to_owned);
            let value = if rest.is_empty() || anchor.is_some() {
                let inner = self.lines.get(self.at).map_or(0, |it| it.indent);
                if inner > indent { self.block(inner) } else { Value::Null }
            } else {
                scalar(rest)
            };
            if let Some(anchor) = anchor {
                self.anchors.insert(anchor, value.clone());
            }
            let twice = mapping.insert(key.to_owned(), value).is_some();
            assert!(!twice, "line {number}: {key} is said twice");
        }
        for (key, value) in merged {
            mapping.entry(key).or_insert(value);
        }
        Value::Object(mapping)
    }
}

/// A text, a truth value, or a list of texts on one line.
fn scalar(text: &str) -> Value {
    if let Some(list) = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        return list.split(',').map(|it| scalar(it.trim())).filter(|it| *it != "").collect();
    }
    assert!(!text.starts_with(['{', '|', '>']), "this form of YAML is not known here: {text}");
    let quoted = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    match text {
        "true" | "false" => Value::Bool(text == "true"),
        text => Value::String(quoted.unwrap_or(text).to_owned()),
    }
}

#[test]
fn our_yaml_is_read_as_it_is_meant() {
    let text =
        "# c\na: &x\n  b: \"1:2\" # c\n  l: [d, \"e\"]\nf:\n  <<: *x\n  b: true\n  g:\n    - h i\n";
    let value = serde_json::json!({
        "a": {"b": "1:2", "l": ["d", "e"]},
        "f": {"b": true, "g": ["h i"], "l": ["d", "e"]},
    });
    assert_eq!(read(text), value);
}
