//! Why a connection ends: close codes, reasons, and the Close frame that carries them.

use std::fmt;

use bytestring::ByteString;

/// A close code that may appear on the wire: 1000 to 1003, 1007 to 1014, and 3000 to 4999
/// (RFC 6455 section 7.4 and the IANA registry).
///
/// The codes that only report what happened locally (1005 "no status", 1006 "abnormal", 1015 "TLS
/// failed") and those nobody assigned cannot be made.
///
/// ```
/// use hybi::proto::CloseCode;
///
/// assert_eq!(CloseCode::new(1000), Ok(CloseCode::NORMAL));
/// assert!(CloseCode::new(1006).is_err());
/// assert_eq!(CloseCode::new(4401)?.as_u16(), 4401);
/// # Ok::<(), hybi::proto::InvalidCloseCode>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server shuts down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data this endpoint does not take, e.g. binary where only text is understood.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1007: data that does not fit its kind, e.g. text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: a message that breaks the endpoint's policy; also the general refusal.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message too big to process.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: the client misses an extension in the server's answer. Sent only by clients.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the endpoint ran into a condition it did not expect.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts; the client may come back after a random delay.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the service is overloaded; the client should come back later or elsewhere.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid answer from the server behind it.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// The code of this number.
    ///
    /// # Errors
    ///
    /// [`InvalidCloseCode`] if it may not appear on the wire.
    pub const fn new(code: u16) -> Result<Self, InvalidCloseCode> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Self(code)),
            _ => Err(InvalidCloseCode(code)),
        }
    }

    /// The number.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = InvalidCloseCode;

    fn try_from(code: u16) -> Result<Self, InvalidCloseCode> {
        Self::new(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

/// A number that is no close code an endpoint may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCloseCode(u16);

impl fmt::Display for InvalidCloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "close code {} may not appear on the wire", self.0)
    }
}

impl std::error::Error for InvalidCloseCode {}

/// The reason in a Close frame: at most [`CloseReason::MAX_LEN`] bytes of UTF-8
/// (RFC 6455 section 5.5.1).
///
/// A received reason is the peer's text. [`Display`](fmt::Display) and [`Debug`] escape control
/// characters, so that it cannot forge a line in a log; [`as_str`](Self::as_str) gives it as it came.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct CloseReason(ByteString);

impl CloseReason {
    /// The longest reason in bytes: the payload of a control frame, less the code.
    pub const MAX_LEN: usize = 123;

    /// A reason.
    ///
    /// # Errors
    ///
    /// [`ReasonTooLong`] past [`MAX_LEN`](Self::MAX_LEN) bytes.
    pub fn new(reason: impl Into<ByteString>) -> Result<Self, ReasonTooLong> {
        let reason = reason.into();
        if reason.len() > Self::MAX_LEN { Err(ReasonTooLong) } else { Ok(Self(reason)) }
    }

    /// The text as it is on the wire, unescaped.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for c in self.as_str().chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// A close reason of more than [`CloseReason::MAX_LEN`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonTooLong;

impl fmt::Display for ReasonTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a close reason holds at most {} bytes", CloseReason::MAX_LEN)
    }
}

impl std::error::Error for ReasonTooLong {}

/// The content of a Close frame: a code and a reason, or nothing at all (RFC 6455 section 5.5.1).
///
/// The default is an empty frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CloseFrame {
    code: Option<CloseCode>,
    reason: CloseReason,
}

impl CloseFrame {
    /// A Close with a code and a reason, which may be empty ([`CloseReason::default`]).
    #[must_use]
    pub fn new(code: CloseCode, reason: CloseReason) -> Self {
        Self { code: Some(code), reason }
    }

    /// A Close without a code, and so without a reason.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The code, or `None` of an empty frame.
    #[must_use]
    pub fn code(&self) -> Option<CloseCode> {
        self.code
    }

    /// The reason; empty if there is none. When received it is the peer's text: write
    /// [`close_reason`](Self::close_reason) to logs, which escapes it.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.reason.as_str()
    }

    /// The reason as the type that escapes control characters when formatted.
    #[must_use]
    pub fn close_reason(&self) -> &CloseReason {
        &self.reason
    }

    /// The code as it is reported: that of the frame, 1005 of an empty one (RFC 6455 section 7.1.5).
    #[must_use]
    pub fn status(&self) -> u16 {
        self.code.map_or(1005, CloseCode::as_u16)
    }
}

impl From<CloseCode> for CloseFrame {
    fn from(code: CloseCode) -> Self {
        Self::new(code, CloseReason::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L-15
    #[test]
    fn every_name_of_a_code_stands_for_its_number() {
        let table = [
            (CloseCode::NORMAL, 1000),
            (CloseCode::GOING_AWAY, 1001),
            (CloseCode::PROTOCOL_ERROR, 1002),
            (CloseCode::UNSUPPORTED_DATA, 1003),
            (CloseCode::INVALID_DATA, 1007),
            (CloseCode::POLICY_VIOLATION, 1008),
            (CloseCode::TOO_BIG, 1009),
            (CloseCode::MANDATORY_EXTENSION, 1010),
            (CloseCode::INTERNAL_ERROR, 1011),
            (CloseCode::SERVICE_RESTART, 1012),
            (CloseCode::TRY_AGAIN_LATER, 1013),
            (CloseCode::BAD_GATEWAY, 1014),
        ];
        for (code, number) in table {
            assert_eq!(code.as_u16(), number);
        }
    }

    /// L-02, L-03
    #[test]
    fn exactly_the_codes_of_the_registry_and_of_applications_exist() {
        let assigned = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
        for number in 0..=u16::MAX {
            let expected = assigned.contains(&number) || (3000..5000).contains(&number);
            match CloseCode::new(number) {
                Ok(code) => assert!(expected && u16::from(code) == number, "{number}"),
                Err(error) => {
                    assert!(!expected, "{number}");
                    assert!(error.to_string().contains(&number.to_string()));
                }
            }
        }
    }

    /// L-01
    #[test]
    fn a_reason_holds_123_bytes_and_no_more() {
        assert_eq!(CloseReason::new("x".repeat(123)).unwrap().as_str().len(), 123);
        assert_eq!(CloseReason::new("x".repeat(124)), Err(ReasonTooLong));
        assert_eq!(CloseReason::new("é".repeat(62)), Err(ReasonTooLong), "bytes, not characters");
    }

    /// S-11
    #[test]
    fn a_reason_cannot_break_a_log_line() {
        let reason = CloseReason::new("a\r\nb\u{1b}[2J\u{85}é").unwrap();
        assert_eq!(reason.to_string(), "a\\r\\nb\\u{1b}[2J\\u{85}é");
        assert!(!format!("{:?}", CloseFrame::new(CloseCode::NORMAL, reason)).contains('\n'));
    }

    /// L-04
    #[test]
    fn an_empty_close_reports_1005() {
        assert_eq!(CloseFrame::empty().status(), 1005);
        assert_eq!(CloseFrame::empty().code(), None);
        assert_eq!(CloseFrame::from(CloseCode::GOING_AWAY).status(), 1001);
    }
}
