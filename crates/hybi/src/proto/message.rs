//! A whole text or binary message, as the application exchanges it.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

/// A whole data message (RFC 6455 section 5.6).
///
/// Both kinds are reference-counted: a clone is cheap and shares the payload, so one message can be sent
/// to many connections without copying it for each.
///
/// Text is UTF-8 by its type; received text has been validated. Nothing is normalised: a byte order mark
/// and U+0000 are kept.
///
/// The [`Debug`] form shows the kind and the length and never the payload, which is what a log may hold.
///
/// ```
/// use hybi::proto::Message;
///
/// let message = Message::from("hello");
/// assert_eq!(message.as_text(), Some("hello"));
/// assert_eq!(format!("{message:?}"), "Text(5 bytes)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// Text (opcode 1).
    Text(ByteString),
    /// Bytes of any content (opcode 2).
    Binary(Bytes),
}

/// The two kinds of message (RFC 6455 section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Text (opcode 1).
    Text,
    /// Bytes of any content (opcode 2).
    Binary,
}

impl Message {
    /// A text message.
    #[must_use]
    pub fn text(text: impl Into<ByteString>) -> Self {
        Self::Text(text.into())
    }

    /// A binary message.
    #[must_use]
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::Binary(bytes.into())
    }

    /// Which kind this is.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        if self.is_text() { MessageKind::Text } else { MessageKind::Binary }
    }

    /// Whether this is text.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Whether this is binary.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        matches!(self, Self::Binary(_))
    }

    /// The payload's length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty. An empty message is a message all the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text, or `None` of a binary message.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The payload's bytes, of either kind.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The payload's bytes, of either kind, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The text, without a copy.
    ///
    /// # Errors
    ///
    /// Gives the message back if it is binary.
    pub fn into_text(self) -> Result<ByteString, Self> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Binary(_) => Err(self),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_text() { "Text" } else { "Binary" };
        write!(f, "{kind}({} bytes)", self.len())
    }
}

impl From<&str> for Message {
    /// Copies the text.
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<ByteString> for Message {
    fn from(text: ByteString) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<&[u8]> for Message {
    /// Copies the bytes.
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    /// Copies the bytes.
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-07
    #[test]
    fn text_and_binary_of_the_same_bytes_differ() {
        assert_ne!(Message::from("abc"), Message::from(b"abc"));
        assert_eq!(Message::from("abc").as_bytes(), Message::from(b"abc").as_bytes());
    }

    /// R-06, U-07: bytes are binary, whatever they hold, and become text only by a check.
    #[test]
    fn text_is_utf8_by_its_type() {
        for bytes in [&b"valid"[..], b"\xff", b"\xed\xa0\x80"] {
            let message = Message::from(bytes);
            assert!(message.is_binary() && Message::from(bytes.to_vec()).is_binary());
            let text = ByteString::try_from(message.into_bytes());
            assert_eq!(text.ok().map(Message::Text).is_some(), bytes == b"valid");
        }
    }

    /// S-11
    #[test]
    fn the_debug_form_shows_no_payload() {
        assert_eq!(format!("{:?}", Message::from("secret")), "Text(6 bytes)");
        assert_eq!(format!("{:?}", Message::from(vec![0; 300])), "Binary(300 bytes)");
    }

    #[test]
    fn conversions_keep_the_kind_and_the_bytes() {
        assert_eq!(Message::text("é").into_text().unwrap(), "é");
        assert_eq!(Message::from(String::from("é")).len(), 2);
        assert!(Message::binary(vec![]).is_empty());
        let binary = Message::from(b"ab");
        assert!(binary.is_binary() && !binary.is_text());
        assert_eq!(binary.as_text(), None);
        assert_eq!(binary.clone().into_text(), Err(binary.clone()));
        assert_eq!(binary.into_bytes(), Bytes::from_static(b"ab"));
    }
}
