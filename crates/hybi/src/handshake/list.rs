//! Comma lists and tokens, the two shapes that handshake fields are made of (RFC 9110, sections
//! 5.3, 5.6.1 and 5.6.2).

use http::{HeaderMap, HeaderName, HeaderValue};

/// Whether the list field `name` has an element that is `token`, ignoring ASCII case.
///
/// All lines of the field count as one list; an element matches whole or not at all.
pub(super) fn lists_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|line| line_lists_token(line, token))
}

/// Whether one line of a list field has an element that is `token`, ignoring ASCII case.
pub(super) fn line_lists_token(line: &HeaderValue, token: &str) -> bool {
    let (line, token) = (line.as_bytes(), token.as_bytes());
    // Nearly always it is the only one, and written like this.
    line == token || elements(line).any(|element| element.eq_ignore_ascii_case(token))
}

/// Whether there is anything in any of these lines but whitespace. Some clients send a field that is empty, and mean
/// none.
pub(super) fn is_any<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> bool {
    lines.into_iter().any(|line| !trim(line.as_bytes()).is_empty())
}

/// The elements of one line of a list without quoted strings: trimmed, empty ones skipped.
pub(super) fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// `bytes` without the optional whitespace (space and tab) around them.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b' ' | b'\t', inner @ ..] | [inner @ .., b' ' | b'\t'] = rest {
        rest = inner;
    }
    rest
}

/// Whether `bytes` is a token: one or more token characters.
pub(super) const fn is_token(bytes: &[u8]) -> bool {
    // A loop, because iterators are not available in a `const fn`.
    let mut index = 0;
    while index < bytes.len() {
        if !is_token_char(bytes[index]) {
            return false;
        }
        index += 1;
    }
    !bytes.is_empty()
}

/// Whether `byte` may stand in a token.
pub(super) const fn is_token_char(byte: u8) -> bool {
    const TOKEN: [bool; 256] = alphanumeric_or(b"!#$%&'*+-.^_`|~");
    TOKEN[byte as usize]
}

/// For each byte, whether it is an ASCII letter or digit, or one of `others`.
pub(super) const fn alphanumeric_or(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};
    use proptest::prelude::*;

    use super::*;

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    /// H-03, H-05
    #[test]
    fn upgrade_lists_websocket_as_a_whole_element() {
        let table: [(&[&str], bool); 16] = [
            (&["websocket"], true),
            (&["WebSocket"], true),
            (&["WEBSOCKET"], true),
            (&["h2c, websocket"], true),
            (&["h2c", "websocket"], true),
            (&[" , ,websocket\t, "], true),
            (&["websocket,"], true),
            (&["", "websocket"], true),
            (&["websocket/13"], false),
            (&["websockets"], false),
            (&["web socket"], false),
            (&["not-websocket"], false),
            (&["\"websocket\""], false),
            (&["websocket;q=1"], false),
            (&[""], false),
            (&[], false),
        ];
        for (lines, expected) in table {
            let found =
                lists_token(&headers(&header::UPGRADE, lines), &header::UPGRADE, "websocket");
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    /// H-04, H-05
    #[test]
    fn connection_lists_upgrade_on_any_line_and_never_as_a_substring() {
        let table: [(&[&str], bool); 9] = [
            (&["Upgrade"], true),
            (&["keep-alive, Upgrade"], true),
            (&["keep-alive", "Upgrade"], true),
            (&["UPGRADE ,keep-alive"], true),
            (&["not-upgrade"], false),
            (&["upgrade-insecure"], false),
            (&["upgrade keep-alive"], false),
            (&["keep-alive"], false),
            (&[], false),
        ];
        for (lines, expected) in table {
            let found =
                lists_token(&headers(&header::CONNECTION, lines), &header::CONNECTION, "upgrade");
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    /// no letter outside ASCII folds onto one inside.
    #[test]
    fn case_folding_is_ascii_only() {
        let mut map = HeaderMap::new();
        // U+212A KELVIN SIGN lowercases to `k`.
        let kelvin = HeaderValue::from_bytes("websoc\u{212a}et".as_bytes()).unwrap();
        map.insert(header::UPGRADE, kelvin);
        assert!(!lists_token(&map, &header::UPGRADE, "websocket"));
    }

    #[test]
    fn tokens_have_no_separators_and_are_not_empty() {
        for good in ["a", "v2.chat.example.com", "!#$%&'*+-.^_`|~09azAZ"] {
            assert!(is_token(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "", " ", "a b", "a,b", "a;b", "a=b", "a/b", "\"a\"", "(a)", "a\t", "a\0", "\u{e9}",
            "a@b", "[a]",
        ] {
            assert!(!is_token(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn trim_takes_spaces_and_tabs_from_both_ends_only() {
        assert_eq!(trim(b" \ta b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b"\na"), b"\na");
    }

    proptest! {
        /// H-05: how a list is spread over lines does not matter.
        #[test]
        fn splitting_a_list_over_lines_changes_nothing(
            parts in proptest::collection::vec("[ a-c]{0,3}", 0..6),
        ) {
            let joined = parts.join(",");
            let one: Vec<_> = elements(joined.as_bytes()).collect();
            let many: Vec<_> = parts.iter().flat_map(|part| elements(part.as_bytes())).collect();
            prop_assert_eq!(one, many);
        }
    }
}
