//! Rust files as the rules read them: the code without comments and texts, and the texts by themselves.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A Rust file.
pub(crate) struct File {
    /// Below the repository, with slashes.
    pub path: String,
    /// As it stands.
    pub text: String,
    /// With comments and the insides of texts blanked; lines stay where they are.
    pub code: String,
    /// `code` without what is only compiled for tests.
    pub product: String,
    /// The texts in the product's code, each with its line, from 1.
    pub literals: Vec<(usize, String)>,
}

impl File {
    fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        Self::new(path, text)
    }

    pub(crate) fn new(path: String, text: String) -> Self {
        let (code, all) = blank(&text);
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        let product = if is_test { String::new() } else { without_tests(&code) };
        let lines: Vec<&str> = product.lines().collect();
        let has_code = |line: usize| lines.get(line - 1).is_some_and(|it| !it.trim().is_empty());
        let literals = all.into_iter().filter(|(line, _)| has_code(*line)).collect();
        Self { path, text, code, product, literals }
    }

    /// Whether it lies in one of these files or folders.
    pub(crate) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// The line, from 1, of a byte of the code.
    pub(crate) fn line(&self, at: usize) -> usize {
        line_of(&self.code, at)
    }

    /// Where the product's code says this, with its line; an identifier is found as a whole only.
    pub(crate) fn says(&self, needle: &str) -> Vec<usize> {
        find(&self.product, needle).into_iter().map(|at| line_of(&self.product, at)).collect()
    }
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder, sorted.
pub(crate) fn files(folder: &str) -> Vec<File> {
    let root = root();
    let mut files = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                files.push(File::read(&root, &path));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The files of the product.
pub(crate) fn product() -> Vec<File> {
    let files = files("src");
    assert!(files.len() > 50, "the product was not found");
    files
}

/// Fails with everything that was found.
pub(crate) fn none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}\n", found.join("\n  "));
}

/// Where `needle` stands in `code`; at its ends that are letters no further letter may follow.
pub(crate) fn find(code: &str, needle: &str) -> Vec<usize> {
    let is_word = |it: Option<char>| it.is_some_and(|it| it.is_alphanumeric() || it == '_');
    code.match_indices(needle)
        .map(|(at, _)| at)
        .filter(|at| {
            let (before, after) = (&code[..*at], &code[at + needle.len()..]);
            let goes_on_before =
                is_word(needle.chars().next()) && is_word(before.chars().next_back());
            let goes_on_after =
                is_word(needle.chars().next_back()) && is_word(after.chars().next());
            !goes_on_before && !goes_on_after
        })
        .collect()
}

pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The end of what the bracket at `open` opens, one past its partner.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_i32;
    for (at, c) in code[open..].char_indices() {
        depth += i32::from(matches!(c, '(' | '[' | '{')) - i32::from(matches!(c, ')' | ']' | '}'));
        if depth == 0 {
            return open + at + c.len_utf8();
        }
    }
    code.len()
}

/// Blanks comments and the insides of texts and characters; also returns the texts with their lines.
fn blank(text: &str) -> (String, Vec<(usize, String)>) {
    let (mut code, mut literals) = (String::with_capacity(text.len()), Vec::new());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let (length, literal) = token(rest, code.chars().next_back());
        let piece = &rest[..length];
        match literal {
            Token::Code => code.push_str(piece),
            Token::Comment => code.extend(piece.chars().map(blanked)),
            Token::Text { open, close } => {
                let inside = &piece[open..length - close];
                literals.push((line_of(text, at), inside.to_owned()));
                code.push_str(&piece[..open]);
                code.extend(inside.chars().map(blanked));
                code.push_str(&piece[length - close..]);
            }
        }
        at += length;
    }
    (code, literals)
}

fn blanked(c: char) -> char {
    if c == '\n' { c } else { ' ' }
}

enum Token {
    Code,
    Comment,
    Text { open: usize, close: usize },
}

/// The length and kind of what `rest` begins with.
fn token(rest: &str, before: Option<char>) -> (usize, Token) {
    let in_word = before.is_some_and(|it| it.is_alphanumeric() || it == '_');
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Token::Comment);
    }
    if rest.starts_with("/*") {
        return (comment(rest), Token::Comment);
    }
    let bare = rest.trim_start_matches(['b', 'c']);
    let prefix = rest.len() - bare.len();
    let hashes = bare.strip_prefix('r').map(|it| it.len() - it.trim_start_matches('#').len());
    if let Some(hashes) = hashes.filter(|_| !in_word && prefix < 2)
        && bare[1 + hashes..].starts_with('"')
    {
        let open = prefix + hashes + 2;
        let end = format!("\"{}", "#".repeat(hashes));
        let inside = rest[open..].find(&end).unwrap_or(rest.len() - open - end.len());
        return (open + inside + end.len(), Token::Text { open, close: end.len() });
    }
    if let Some(inside) = rest.strip_prefix('"') {
        return (1 + quoted(inside, '"'), Token::Text { open: 1, close: 1 });
    }
    let mut next = rest.chars().skip(1);
    if rest.starts_with('\'') && (next.next() == Some('\\') || next.next() == Some('\'')) {
        return (1 + quoted(&rest[1..], '\''), Token::Comment);
    }
    (rest.chars().next().map_or(1, char::len_utf8), Token::Code)
}

fn comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of a quoted text with its closing quote, after the opening one.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Blanks every item behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut product = code.to_owned();
    while let Some(at) = product.find(MARK) {
        let rest = &product[at..];
        let body = rest.find('{').unwrap_or(rest.len());
        let semicolon = rest.find(';').unwrap_or(rest.len());
        let end = if semicolon < body { at + semicolon + 1 } else { closing(&product, at + body) };
        let gone: String = product[at..end].chars().map(blanked).collect();
        product.replace_range(at..end, &gone);
    }
    product
}

#[test]
fn comments_texts_and_tests_are_told_from_code() {
    let text = "fn a<'b>(c: char) { d(\"e // \\\" f\", '\"', r#\"g\"h\"#); /* i /* j */ k */ } // l\n\
                #[cfg(test)]\nmod tests { fn m() { \"n\"; } }\nconst O: &str = \"p\";\n";
    let file = File::new("src/a.rs".to_owned(), text.to_owned());
    let words = |code: &str| {
        let words = code.split(|c: char| !c.is_alphanumeric()).filter(|it| it.len() == 1);
        words.map(str::to_owned).collect::<String>()
    };
    assert_eq!(words(&file.code), "abcdrmO");
    assert_eq!(words(&file.product), "abcdrO");
    assert_eq!(file.code.lines().count(), text.lines().count());
    let literals: Vec<&str> = file.literals.iter().map(|(_, it)| it.as_str()).collect();
    assert_eq!(literals, ["e // \\\" f", "g\"h", "p"]);
}
