//! What one end wants of compression, and what both ends agreed on.

use super::compress::Compressor;
use super::inflate::Inflater;
use super::window::{MAX_BITS, MIN_BITS};
use crate::proto::event::Role;

/// What this end wants of permessage-deflate: how it negotiates and how it compresses (RFC 7692).
///
/// A builder by value:
///
/// ```
/// use hybi::proto::Deflate;
///
/// // Messages refer back to earlier ones, by up to 4 KiB.
/// let deflate = Deflate::new()
///     .server_context_takeover(true)
///     .client_context_takeover(true)
///     .server_max_window_bits(12)
///     .client_max_window_bits(12)
///     .threshold(64);
/// # assert_eq!(deflate.get_threshold(), 64);
/// ```
///
/// "Server" and "client" are the two ends of the connection, whichever of them this one is: a server's
/// `server_max_window_bits` limits what it sends, a client's what it receives.
///
/// # When to compress
///
/// Compression costs processor time at both ends and, with context takeover, memory for the life of each
/// connection. It pays for text and JSON of some length over slow or metered links.
///
/// A message that holds a secret beside text that somebody else chose gives the secret away by its length,
/// however it is encrypted (the attacks known as CRIME and BREACH; RFC 7692, section 8). With context
/// takeover the secret and the text need not even be in one message. Send such messages uncompressed, and
/// leave context takeover off where a connection carries both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Deflate {
    server_context_takeover: bool,
    client_context_takeover: bool,
    server_max_window_bits: u8,
    client_max_window_bits: u8,
    level: u32,
    threshold: usize,
}

impl Default for Deflate {
    fn default() -> Self {
        Self::new()
    }
}

impl Deflate {
    /// No context takeover at either end, windows of 15 bits, level 2, messages of 1 KiB and more.
    pub const fn new() -> Self {
        Self {
            server_context_takeover: false,
            client_context_takeover: false,
            server_max_window_bits: MAX_BITS,
            client_max_window_bits: MAX_BITS,
            level: 2,
            threshold: 1024,
        }
    }

    /// Whether the server's messages may refer back to earlier ones. Default: no.
    ///
    /// The peer can rule it out as well. It makes short messages that resemble each other much smaller,
    /// and costs memory for the life of the connection: see
    /// [`server_max_window_bits`](Self::server_max_window_bits).
    pub const fn server_context_takeover(mut self, takeover: bool) -> Self {
        self.server_context_takeover = takeover;
        self
    }

    /// Whether the client's messages may refer back to earlier ones. Default: no.
    ///
    /// As [`server_context_takeover`](Self::server_context_takeover) in the other direction.
    pub const fn client_context_takeover(mut self, takeover: bool) -> Self {
        self.client_context_takeover = takeover;
        self
    }

    /// How far back the server's messages may refer, as a power of two: 9 (512 bytes) to 15 (32 KiB).
    /// Default: 15. A value outside is taken as the nearer of the two.
    ///
    /// Smaller windows compress less and take less memory. With context takeover a connection holds it from
    /// its first compressed message on:
    ///
    /// | bits | window | the end that compresses | the end that inflates |
    /// |---|---|---|---|
    /// | 9 | 512 B | 245 KiB | 0.5 KiB |
    /// | 12 | 4 KiB | 259 KiB | 4 KiB |
    /// | 15 | 32 KiB | 371 KiB | 32 KiB |
    ///
    /// Without context takeover it holds nothing but while a message is under way; then some 90 KiB to
    /// inflate it, and as much as above to compress it.
    pub const fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server_max_window_bits = within_bits(bits);
        self
    }

    /// How far back the client's messages may refer, as a power of two: 9 (512 bytes) to 15 (32 KiB).
    /// Default: 15. A value outside is taken as the nearer of the two.
    ///
    /// As [`server_max_window_bits`](Self::server_max_window_bits) in the other direction. A server can
    /// ask for less than 15 only of a client whose offer says that it can do so (Chrome's does, Firefox's
    /// and Safari's do not); of others it accepts 15.
    pub const fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.client_max_window_bits = within_bits(bits);
        self
    }

    /// How hard this end tries to compress: 1 (fast) to 9 (small). Default: 2. A value outside is taken as
    /// the nearer of the two.
    pub const fn level(mut self, level: u32) -> Self {
        self.level = if level < 1 {
            1
        } else if level > 9 {
            9
        } else {
            level
        };
        self
    }

    /// The shortest message that is compressed, in bytes. Default: 1 KiB.
    ///
    /// A message that is sent in pieces is compressed whatever its length, which nobody knows at its
    /// beginning. An empty message never is.
    pub const fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// The value of [`server_context_takeover`](Self::server_context_takeover).
    #[must_use]
    pub const fn get_server_context_takeover(&self) -> bool {
        self.server_context_takeover
    }

    /// The value of [`client_context_takeover`](Self::client_context_takeover).
    #[must_use]
    pub const fn get_client_context_takeover(&self) -> bool {
        self.client_context_takeover
    }

    /// The value of [`server_max_window_bits`](Self::server_max_window_bits).
    #[must_use]
    pub const fn get_server_max_window_bits(&self) -> u8 {
        self.server_max_window_bits
    }

    /// The value of [`client_max_window_bits`](Self::client_max_window_bits).
    #[must_use]
    pub const fn get_client_max_window_bits(&self) -> u8 {
        self.client_max_window_bits
    }

    /// The value of [`level`](Self::level).
    #[must_use]
    pub const fn get_level(&self) -> u32 {
        self.level
    }

    /// The value of [`threshold`](Self::threshold).
    #[must_use]
    pub const fn get_threshold(&self) -> usize {
        self.threshold
    }
}

const fn within_bits(bits: u8) -> u8 {
    if bits < MIN_BITS {
        MIN_BITS
    } else if bits > MAX_BITS {
        MAX_BITS
    } else {
        bits
    }
}

/// The parameters of permessage-deflate that a handshake agreed on, and how this end compresses.
///
/// A server has them from [`Deflate::accept`], a client from [`Deflate::check`]. Their
/// [`Display`](std::fmt::Display) form is the server's answer as it stands in `Sec-WebSocket-Extensions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeflateParameters {
    pub(crate) server_no_context_takeover: bool,
    pub(crate) client_no_context_takeover: bool,
    /// `None` where the answer does not have the parameter, which is not the same as 15: an offer may
    /// oblige the server to answer it.
    pub(crate) server_max_window_bits: Option<u8>,
    pub(crate) client_max_window_bits: Option<u8>,
    pub(crate) level: u32,
    pub(crate) threshold: usize,
}

impl DeflateParameters {
    /// Whether the server's messages never refer back to earlier ones.
    #[must_use]
    pub fn server_no_context_takeover(&self) -> bool {
        self.server_no_context_takeover
    }

    /// Whether the client's messages never refer back to earlier ones.
    #[must_use]
    pub fn client_no_context_takeover(&self) -> bool {
        self.client_no_context_takeover
    }

    /// How far back the server's messages refer at most, as a power of two: 8 to 15.
    #[must_use]
    pub fn server_max_window_bits(&self) -> u8 {
        self.server_max_window_bits.unwrap_or(MAX_BITS)
    }

    /// How far back the client's messages refer at most, as a power of two: 8 to 15.
    #[must_use]
    pub fn client_max_window_bits(&self) -> u8 {
        self.client_max_window_bits.unwrap_or(MAX_BITS)
    }

    /// This end's [`Deflate::level`].
    #[must_use]
    pub fn level(&self) -> u32 {
        self.level
    }

    /// This end's [`Deflate::threshold`].
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// What compresses the messages that this end sends.
    pub(in crate::proto) fn compressor(&self, role: Role) -> Compressor {
        let (no_takeover, bits) = match role {
            Role::Server => (self.server_no_context_takeover, self.server_max_window_bits()),
            Role::Client => (self.client_no_context_takeover, self.client_max_window_bits()),
        };
        Compressor::new(!no_takeover, bits, self.level)
    }

    /// What inflates the messages that this end receives.
    pub(in crate::proto) fn inflater(&self, role: Role) -> Inflater {
        let (no_takeover, bits) = match role {
            Role::Server => (self.client_no_context_takeover, self.client_max_window_bits()),
            Role::Client => (self.server_no_context_takeover, self.server_max_window_bits()),
        };
        Inflater::new(!no_takeover, bits)
    }
}
