//! Subprotocol names and the list a client offers (RFC 6455, sections 1.9 and 11.3.4).

use std::{convert::Infallible, error::Error, fmt};

use bytestring::ByteString;
use http::{HeaderMap, header};

use super::{HandshakeError, HandshakeLimits, list};

/// The name of a subprotocol: an HTTP token, compared byte for byte.
///
/// Cloning copies no text.
///
/// ```
/// use hybi::handshake::Subprotocol;
///
/// const CHAT: Subprotocol = Subprotocol::from_static("v2.chat.example.com");
/// assert_eq!(CHAT.as_str(), "v2.chat.example.com");
/// assert!(Subprotocol::new("no spaces").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subprotocol(ByteString);

impl Subprotocol {
    /// A name made at run time; the text is copied.
    ///
    /// # Errors
    ///
    /// When `name` is not an HTTP token (RFC 9110, section 5.6.2).
    pub fn new(name: &str) -> Result<Self, InvalidSubprotocol> {
        if list::is_token(name.as_bytes()) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidSubprotocol(()))
        }
    }

    /// A name known when the program is built. In a `const` a name that is no token fails the
    /// build.
    ///
    /// # Panics
    ///
    /// When `name` is not an HTTP token (RFC 9110, section 5.6.2).
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        assert!(list::is_token(name.as_bytes()), "a subprotocol's name is an HTTP token");
        Self(ByteString::from_static(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Subprotocol {
    type Error = InvalidSubprotocol;

    fn try_from(name: &str) -> Result<Self, InvalidSubprotocol> {
        Self::new(name)
    }
}

impl TryFrom<&String> for Subprotocol {
    type Error = InvalidSubprotocol;

    fn try_from(name: &String) -> Result<Self, InvalidSubprotocol> {
        Self::new(name)
    }
}

impl TryFrom<String> for Subprotocol {
    type Error = InvalidSubprotocol;

    fn try_from(name: String) -> Result<Self, InvalidSubprotocol> {
        if list::is_token(name.as_bytes()) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidSubprotocol(()))
        }
    }
}

impl From<&Self> for Subprotocol {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

impl fmt::Display for Subprotocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Subprotocol {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Subprotocol {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Subprotocol {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// A text that cannot name a subprotocol, because it is not an HTTP token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSubprotocol(());

impl fmt::Display for InvalidSubprotocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a subprotocol's name is an HTTP token: one or more letters, digits \
             and !#$%&'*+-.^_`|~",
        )
    }
}

impl Error for InvalidSubprotocol {}

/// For names that are valid by their type.
impl From<Infallible> for InvalidSubprotocol {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The names a client offers, in its order, without repeated ones.
pub(super) fn parse_offers(
    headers: &HeaderMap,
    limits: &HandshakeLimits,
) -> Result<Vec<Subprotocol>, HandshakeError> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    if lines.iter().map(|line| line.len()).sum::<usize>() > limits.field {
        return Err(HandshakeError::SubprotocolsTooLong);
    }

    let mut offers: Vec<Subprotocol> = Vec::new();
    let elements = lines.iter().flat_map(|line| list::elements(line.as_bytes()));
    for (index, element) in elements.enumerate() {
        // Counting repeated names too keeps the search for them below short.
        if index == limits.subprotocols {
            return Err(HandshakeError::TooManySubprotocols);
        }
        let offer = str::from_utf8(element)
            .ok()
            .and_then(|name| Subprotocol::new(name).ok())
            .ok_or(HandshakeError::InvalidSubprotocol)?;
        if !offers.contains(&offer) {
            offers.push(offer);
        }
    }

    if offers.is_empty() && list::is_any(lines) {
        return Err(HandshakeError::EmptySubprotocols);
    }
    Ok(offers)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn parse(lines: &[&str], limits: &HandshakeLimits) -> Result<Vec<Subprotocol>, HandshakeError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(line).unwrap());
        }
        parse_offers(&headers, limits)
    }

    /// N-03, N-06, H-05
    #[test]
    fn offers_keep_the_clients_order_and_the_first_of_repeated_names() {
        let table: [(&[&str], &[&str]); 11] = [
            (&[], &[]),
            (&[""], &[]),
            (&[" \t"], &[]),
            (&["", ""], &[]),
            (&["a"], &["a"]),
            (&["b, a"], &["b", "a"]),
            (&["a,,b"], &["a", "b"]),
            (&["a, b, a"], &["a", "b"]),
            (&["a", " , ", "b,c"], &["a", "b", "c"]),
            (&["Chat, chat"], &["Chat", "chat"]),
            (&["\ta\t,\t b "], &["a", "b"]),
        ];
        for (lines, expected) in table {
            let offers = parse(lines, &HandshakeLimits::new()).unwrap();
            assert_eq!(offers, expected, "{lines:?}");
        }
    }

    /// N-06
    #[test]
    fn a_name_that_is_no_token_and_a_list_of_nothing_are_refused() {
        let table: [(&[&str], HandshakeError); 7] = [
            (&["a b"], HandshakeError::InvalidSubprotocol),
            (&["a", "b/c"], HandshakeError::InvalidSubprotocol),
            (&["\"a\""], HandshakeError::InvalidSubprotocol),
            (&["a=1"], HandshakeError::InvalidSubprotocol),
            (&["a;q=1"], HandshakeError::InvalidSubprotocol),
            (&[" , ,"], HandshakeError::EmptySubprotocols),
            (&["", ","], HandshakeError::EmptySubprotocols),
        ];
        for (lines, expected) in table {
            assert_eq!(parse(lines, &HandshakeLimits::new()), Err(expected), "{lines:?}");
        }
    }

    /// X-10: at the bound, one past it, and at a second bound.
    #[test]
    fn the_number_of_offers_is_bounded() {
        for bound in [64, 3] {
            let limits = HandshakeLimits::new().max_subprotocols(bound);
            let names: Vec<_> = (0..=bound).map(|index| format!("p{index}")).collect();
            assert_eq!(parse(&[&names[..bound].join(",")], &limits).unwrap().len(), bound);
            assert_eq!(
                parse(&[&names.join(",")], &limits),
                Err(HandshakeError::TooManySubprotocols)
            );
            let repeated = vec!["a"; bound + 1];
            assert_eq!(parse(&repeated, &limits), Err(HandshakeError::TooManySubprotocols));
        }
        assert_eq!(HandshakeLimits::default(), HandshakeLimits::new().max_subprotocols(64));
    }

    /// X-10: the bytes of all lines count together.
    #[test]
    fn the_bytes_of_the_field_are_bounded() {
        for bound in [8 * 1024, 100] {
            let limits = HandshakeLimits::new().max_field(bound);
            let half = "a".repeat(bound / 2);
            let more = "b".repeat(bound / 2 + 1);
            assert!(parse(&[&half, &half], &limits).is_ok());
            assert_eq!(parse(&[&half, &more], &limits), Err(HandshakeError::SubprotocolsTooLong));
        }
        assert_eq!(HandshakeLimits::default(), HandshakeLimits::new().max_field(8 * 1024));
    }

    /// The case that makes a backtracking trim quadratic: whitespace that leads nowhere.
    #[test]
    fn long_runs_of_whitespace_cost_linear_time() {
        let limits = HandshakeLimits::new().max_field(usize::MAX);
        let line = format!("a{}b", " ".repeat(4 << 20));
        assert_eq!(parse(&[&line], &limits), Err(HandshakeError::InvalidSubprotocol));
    }

    #[test]
    fn names_are_checked_when_made() {
        assert_eq!(Subprotocol::new(""), Err(InvalidSubprotocol(())));
        assert_eq!(Subprotocol::new("a,b"), Err(InvalidSubprotocol(())));
        assert_eq!(Subprotocol::new("a\r\nb"), Err(InvalidSubprotocol(())));
        assert_eq!(Subprotocol::new("v1.a").unwrap(), "v1.a");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_yields_distinct_tokens(line in "[ -~\t]{0,60}") {
            if let Ok(offers) = parse(&[&line], &HandshakeLimits::new()) {
                for (index, offer) in offers.iter().enumerate() {
                    prop_assert!(list::is_token(offer.as_str().as_bytes()));
                    prop_assert!(!offers[..index].contains(offer));
                }
            }
        }
    }
}
