//! Card numbers: what must never be accepted, stored or logged.

/// Whether a text holds 13 to 19 digits, spaces and dashes aside, that pass the Luhn check
/// (ISO/IEC 7812-1, annex B). UUIDs do not count: one of some hundred random ones would.
pub(super) fn is_card_number(value: &str) -> bool {
    let bytes = value.as_bytes();
    let mut run: Vec<u32> = Vec::new();
    let mut at = 0;
    while at <= bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let follows_a_word = at > 0 && bytes.get(at - 1).is_some_and(u8::is_ascii_alphanumeric);
        if let (false, Some(length)) = (follows_a_word, uuid_length(rest)) {
            if is_number(&run) {
                return true;
            }
            run.clear();
            at += length;
            continue;
        }
        match rest.first() {
            Some(byte) if byte.is_ascii_digit() => run.push(u32::from(byte - b'0')),
            Some(b' ' | b'-') if !run.is_empty() => {}
            _ if is_number(&run) => return true,
            _ => run.clear(),
        }
        at += 1;
    }
    false
}

fn is_number(digits: &[u32]) -> bool {
    (13..=19).contains(&digits.len()) && luhn(digits)
}

/// The length of the UUID that a text starts with, written with dashes or without.
fn uuid_length(text: &[u8]) -> Option<usize> {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let fits = |length: usize, is_dash: &dyn Fn(usize) -> bool| {
        let uuid = text.get(..length)?;
        let is_over = !text.get(length).is_some_and(u8::is_ascii_alphanumeric);
        let matches = uuid.iter().enumerate().all(|(place, byte)| {
            if is_dash(place) { *byte == b'-' } else { byte.is_ascii_hexdigit() }
        });
        (is_over && matches).then_some(length)
    };
    fits(36, &|place| DASHES.contains(&place)).or_else(|| fits(32, &|_| false))
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_found_however_they_are_written() {
        for card in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "card:4111111111111111, please",
            "é4111111111111111é",
            "378282246310005",
            "1 4111111111111111 2, 4111111111111111",
        ] {
            assert!(is_card_number(card), "{card}");
        }
    }

    #[test]
    fn other_numbers_are_none() {
        for other in
            ["", "4111111111111112", "12345", "411111111111", "tok_4111", "٤١١١١١١١١١١١١١١١"]
        {
            assert!(!is_card_number(other), "{other}");
        }
    }

    #[test]
    fn a_uuid_is_no_card_number() {
        let digits = "41111111-1111-1111-a000-00000000000a";
        for uuid in
            [digits, &digits.replace('-', ""), &format!("cart_{digits}"), &format!("{digits}/1")]
        {
            assert!(!is_card_number(uuid), "{uuid}");
        }
        assert!(is_card_number(&format!("{digits} 4111111111111111")));
        assert!(is_card_number(&format!("4111111111111111 {digits}")));
        assert!((0..2_000).all(|_| !is_card_number(&uuid::Uuid::new_v4().to_string())));
    }
}
