//! Server-sent events, as far as a client of ours needs them: ids, and when an event is complete.

use crate::config::limits::CLIENT_EVENT_BYTES_MAX;

/// One event. What it says is left out, because the client reads the order instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// What to resume after.
    pub(super) id: Option<String>,
}

/// The server sends a line that no event can have.
#[derive(Debug, thiserror::Error)]
#[error("a line of the event stream is longer than {CLIENT_EVENT_BYTES_MAX} bytes")]
pub(super) struct TooLong;

/// Takes a stream apart, however its bytes are cut.
#[derive(Debug, Default)]
pub(super) struct Parser {
    bytes: Vec<u8>,
    id: Option<String>,
    has_data: bool,
}

impl Parser {
    /// Takes more bytes; afterwards [`next`](Self::next) gives the events they complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > CLIENT_EVENT_BYTES_MAX && !self.bytes.contains(&b'\n') {
            return Err(TooLong);
        }
        Ok(())
    }

    /// The next complete event.
    pub(super) fn next(&mut self) -> Option<Event> {
        while let Some(end) = self.bytes.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                // An empty line ends an event; a comment, which has no name, is a heartbeat.
                "" if line.is_empty() && std::mem::take(&mut self.has_data) => {
                    return Some(Event { id: self.id.clone() });
                }
                "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
                "data" => self.has_data = true,
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(pieces: &[&[u8]]) -> Vec<Option<String>> {
        let mut parser = Parser::default();
        let mut ids = Vec::new();
        for piece in pieces {
            parser.feed(piece).unwrap();
            ids.extend(std::iter::from_fn(|| parser.next()).map(|event| event.id));
        }
        ids
    }

    #[test]
    fn events_are_found_however_they_are_cut() {
        let whole = ": hi\n\nid: 1\ndata: {}\n\nevent: x\r\nid:2\r\ndata: {\r\ndata: }\r\n\r\ndata\n\nid: 9\n";
        let want = [Some("1"), Some("2"), Some("2")].map(|id| id.map(str::to_owned));
        assert_eq!(ids(&[whole.as_bytes()]), want);
        assert_eq!(ids(&whole.as_bytes().chunks(1).collect::<Vec<_>>()), want);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = Parser::default();
        assert!(parser.feed(&vec![b'x'; CLIENT_EVENT_BYTES_MAX + 1]).is_err());
    }
}
