//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455, section 9.1).
//!
//! ```text
//! list      = 1#extension                          ; comma list, over any number of lines
//! extension = token *( ";" token [ "=" value ] )
//! value     = token / quoted-string                ; what is in the quotes must be a token
//! ```
//!
//! Optional whitespace may stand around `,`, `;` and `=`. The parser goes over a line once and
//! never back.

use std::fmt;

use http::{HeaderMap, header};

use super::{HandshakeError, HandshakeLimits, list};

/// One extension as a client offers it, or as a server answers it: a name and its parameters.
///
/// Several offers may have one name: they are alternatives in the client's order of preference.
/// Names are compared byte for byte. [`Display`](fmt::Display) writes the offer as it stands in the
/// field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionOffer {
    name: Box<str>,
    parameters: Vec<ExtensionParameter>,
}

impl ExtensionOffer {
    /// The extension's name, such as `permessage-deflate`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parameters in their order; one name may appear more than once.
    #[must_use]
    pub fn parameters(&self) -> &[ExtensionParameter] {
        &self.parameters
    }
}

impl fmt::Display for ExtensionOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for parameter in &self.parameters {
            write!(f, "; {parameter}")?;
        }
        Ok(())
    }
}

/// A parameter of an [`ExtensionOffer`]: a name, and a value or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionParameter {
    name: Box<str>,
    value: Option<Box<str>>,
}

impl ExtensionParameter {
    #[cfg(feature = "deflate")]
    pub(super) fn new(name: &str, value: Option<String>) -> Self {
        Self { name: name.into(), value: value.map(Into::into) }
    }

    /// The parameter's name, such as `client_max_window_bits`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value without quotes and escapes: a token. `None` when only the name was given.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

impl fmt::Display for ExtensionParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.value {
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}

/// An offer of our own, made of tokens.
#[cfg(feature = "deflate")]
pub(super) fn offer(
    name: &str,
    parameters: impl Iterator<Item = ExtensionParameter>,
) -> ExtensionOffer {
    ExtensionOffer { name: name.into(), parameters: parameters.collect() }
}

/// The extensions a client offers, or a server answers, in their order.
pub(super) fn parse_offers(
    headers: &HeaderMap,
    limits: &HandshakeLimits,
) -> Result<Vec<ExtensionOffer>, HandshakeError> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS);
    if lines.iter().map(|line| line.len()).sum::<usize>() > limits.field {
        return Err(HandshakeError::ExtensionsTooLong);
    }

    let mut offers = Vec::new();
    // Line by line is the same as all lines joined by commas: no element of a valid list holds a
    // comma, because the content of quotes must be a token.
    for line in lines {
        let mut rest = Cursor(line.as_bytes());
        loop {
            rest.skip_whitespace();
            if rest.0.is_empty() {
                break;
            }
            if rest.eat(b',') {
                continue;
            }
            if offers.len() == limits.extensions {
                return Err(HandshakeError::TooManyExtensions);
            }
            offers.push(parse_offer(&mut rest, limits.extension_parameters)?);
            if !rest.0.is_empty() && !rest.eat(b',') {
                return Err(HandshakeError::MalformedExtensions);
            }
        }
    }

    if offers.is_empty() && list::is_any(headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS)) {
        return Err(HandshakeError::MalformedExtensions);
    }
    Ok(offers)
}

/// One extension and the whitespace behind it.
fn parse_offer(
    rest: &mut Cursor<'_>,
    max_parameters: usize,
) -> Result<ExtensionOffer, HandshakeError> {
    let name = rest.token()?;
    let mut parameters = Vec::new();
    rest.skip_whitespace();
    while rest.eat(b';') {
        if parameters.len() == max_parameters {
            return Err(HandshakeError::TooManyExtensionParameters);
        }
        rest.skip_whitespace();
        let name = rest.token()?;
        rest.skip_whitespace();
        let value = if rest.eat(b'=') {
            rest.skip_whitespace();
            let value = if rest.eat(b'"') { rest.quoted()? } else { rest.token()? };
            rest.skip_whitespace();
            Some(value)
        } else {
            None
        };
        parameters.push(ExtensionParameter { name, value });
    }
    Ok(ExtensionOffer { name, parameters })
}

/// What is left of a line.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn skip_whitespace(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        match self.0 {
            [first, rest @ ..] if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// The token here.
    fn token(&mut self) -> Result<Box<str>, HandshakeError> {
        let end =
            self.0.iter().position(|&byte| !list::is_token_char(byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        match str::from_utf8(token) {
            Ok(token) if !token.is_empty() => Ok(token.into()),
            _ => Err(HandshakeError::MalformedExtensions),
        }
    }

    /// The content of a quoted string whose opening quote is behind us. It ends at the first byte
    /// that cannot be part of a token, so an unclosed quote costs no more than its length.
    fn quoted(&mut self) -> Result<Box<str>, HandshakeError> {
        let mut content = String::new();
        loop {
            let (byte, rest) = match self.0 {
                [b'"', rest @ ..] if !content.is_empty() => {
                    self.0 = rest;
                    return Ok(content.into());
                }
                [b'\\', byte, rest @ ..] | [byte, rest @ ..] => (*byte, rest),
                [] => return Err(HandshakeError::MalformedExtensions),
            };
            if !list::is_token_char(byte) {
                return Err(HandshakeError::MalformedExtensions);
            }
            content.push(char::from(byte));
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn parse_with(
        lines: &[&str],
        limits: &HandshakeLimits,
    ) -> Result<Vec<ExtensionOffer>, HandshakeError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                header::SEC_WEBSOCKET_EXTENSIONS,
                HeaderValue::from_bytes(line.as_bytes()).unwrap(),
            );
        }
        parse_offers(&headers, limits)
    }

    fn parse(lines: &[&str]) -> Result<Vec<ExtensionOffer>, HandshakeError> {
        parse_with(lines, &HandshakeLimits::new())
    }

    fn printed(offers: &[ExtensionOffer]) -> Vec<String> {
        offers.iter().map(ToString::to_string).collect()
    }

    /// X-01, X-02, X-03, H-05
    #[test]
    fn offers_are_read_in_order_from_all_lines() {
        let table: [(&[&str], &[&str]); 15] = [
            (&[], &[]),
            (&["foo"], &["foo"]),
            (&["foo, bar; baz=2"], &["foo", "bar; baz=2"]),
            (&["foo", "bar; baz=2"], &["foo", "bar; baz=2"]),
            (&["foo; a; b=1 , foo"], &["foo; a; b=1", "foo"]),
            (&[" foo\t;\ta =\t1 ; b "], &["foo; a=1; b"]),
            (&[",, foo ,,bar,"], &["foo", "bar"]),
            (&["foo", ""], &["foo"]),
            (&[""], &[]),
            (&[" \t", ""], &[]),
            (&["foo; x=\"10\""], &["foo; x=10"]),
            (&["foo; x=\"1\\0\""], &["foo; x=10"]),
            (&["foo; x = \"10\" , bar"], &["foo; x=10", "bar"]),
            (&["foo;a;a"], &["foo; a; a"]),
            (
                &["permessage-deflate; client_max_window_bits"],
                &["permessage-deflate; client_max_window_bits"],
            ),
        ];
        for (lines, expected) in table {
            assert_eq!(printed(&parse(lines).unwrap()), expected, "{lines:?}");
        }
    }

    /// X-01, X-02: and a name that is special to some other program is a name like any other.
    #[test]
    fn a_parameter_tells_no_value_from_a_value() {
        let offers = parse(&["constructor; __proto__; x=\"10\""]).unwrap();
        assert_eq!(offers[0].name(), "constructor");
        let parameters: Vec<_> =
            offers[0].parameters().iter().map(|p| (p.name(), p.value())).collect();
        assert_eq!(parameters, [("__proto__", None), ("x", Some("10"))]);
    }

    /// X-01, X-02
    #[test]
    fn what_the_grammar_does_not_know_is_malformed() {
        let table: [&[&str]; 23] = [
            &[" , "],
            &["foo;"],
            &["foo;;"],
            &["foo;;a"],
            &["foo; a; "],
            &["foo;,bar"],
            &["=x"],
            &[";a"],
            &["foo=1"],
            &["foo; =1"],
            &["foo; a="],
            &["foo; a==1"],
            &["foo; a=\"\""],
            &["foo; a=\"b c\""],
            &["foo; a=\"b,c\""],
            &["foo; a=\"b;c\""],
            &["foo; a=\"b"],
            &["foo; a=\"b\\"],
            &["foo; a=\"b\\\"\""],
            &["foo; a=\"b\"c"],
            &["foo bar"],
            &["foo; a=\"b", "c\""],
            &["foo; a=\u{e9}"],
        ];
        for lines in table {
            assert_eq!(parse(lines), Err(HandshakeError::MalformedExtensions), "{lines:?}");
        }
    }

    /// X-10: at each bound, one past it, and at a second bound.
    #[test]
    fn offers_parameters_and_bytes_are_bounded() {
        for bound in [16, 2] {
            let limits = HandshakeLimits::new().max_extensions(bound);
            assert_eq!(parse_with(&vec!["foo"; bound], &limits).unwrap().len(), bound);
            assert_eq!(
                parse_with(&[&vec!["foo"; bound + 1].join(",")], &limits),
                Err(HandshakeError::TooManyExtensions)
            );

            let limits = HandshakeLimits::new().max_extension_parameters(bound);
            let full = format!("foo{}", ";a".repeat(bound));
            assert_eq!(parse_with(&[&full, &full], &limits).unwrap().len(), 2);
            assert_eq!(
                parse_with(&[&format!("{full};a")], &limits),
                Err(HandshakeError::TooManyExtensionParameters)
            );
        }
        for bound in [8 * 1024, 100] {
            let limits = HandshakeLimits::new().max_field(bound);
            let half = "a".repeat(bound / 2);
            let more = "b".repeat(bound / 2 + 1);
            assert!(parse_with(&[&half, &half], &limits).is_ok());
            assert_eq!(
                parse_with(&[&half, &more], &limits),
                Err(HandshakeError::ExtensionsTooLong)
            );
        }
        let defaults = HandshakeLimits::new().max_extensions(16).max_extension_parameters(16);
        assert_eq!(HandshakeLimits::default(), defaults);
    }

    /// X-10: the inputs that make backtracking parsers explode.
    #[test]
    fn hostile_fields_cost_linear_time() {
        let limits = HandshakeLimits::new().max_field(usize::MAX);
        let table = [
            format!("foo; a=\"{}", "b".repeat(4 << 20)),
            format!("foo; a=\"{}", "\\\\".repeat(2 << 20)),
            format!("foo{}bar", " ".repeat(4 << 20)),
            format!("foo; a={}", "\" ".repeat(2 << 20)),
        ];
        for line in table {
            assert_eq!(parse_with(&[&line], &limits), Err(HandshakeError::MalformedExtensions));
        }
        assert_eq!(
            parse_with(&[&"foo,".repeat(1 << 20)], &limits),
            Err(HandshakeError::TooManyExtensions)
        );
    }

    fn token() -> impl Strategy<Value = Box<str>> {
        "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,8}".prop_map(Into::into)
    }

    fn offer() -> impl Strategy<Value = ExtensionOffer> {
        let parameter = (token(), option::of(token()))
            .prop_map(|(name, value)| ExtensionParameter { name, value });
        (token(), vec(parameter, 0..4))
            .prop_map(|(name, parameters)| ExtensionOffer { name, parameters })
    }

    proptest! {
        /// X-01
        #[test]
        fn printing_and_parsing_round_trip(offers in vec(offer(), 1..5), lines: bool) {
            let printed = printed(&offers);
            let fields = if lines { printed } else { vec![printed.join(", ")] };
            let fields: Vec<_> = fields.iter().map(String::as_str).collect();
            prop_assert_eq!(parse(&fields), Ok(offers));
        }

        /// X-02: a quoted value, each character escaped or not, is the token it holds.
        #[test]
        fn quoting_changes_nothing(value in token(), escapes: u8) {
            let mut quoted = String::new();
            for (index, character) in value.chars().enumerate() {
                if escapes >> index & 1 == 1 {
                    quoted.push('\\');
                }
                quoted.push(character);
            }
            let parsed = parse(&[&format!("foo; a=\"{quoted}\"")]).unwrap();
            prop_assert_eq!(parsed[0].parameters()[0].value(), Some(&*value));
        }

        /// X-01
        #[test]
        fn parsing_never_panics(
            noise in "[ -~\t\u{80}-\u{ff}]{0,60}",
            close in "[a,;=\"\\\\ ]{0,30}",
        ) {
            let _ = parse(&[&noise, &close]);
        }
    }
}
