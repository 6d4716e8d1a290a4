//! How much a handshake may say.

/// Bounds on the fields of a handshake; a request beyond one is refused with 400, and an answer beyond
/// one fails.
///
/// They bound work and memory per handshake. The size of the head as a whole is the HTTP server's
/// to limit.
///
/// | bound | default |
/// |---|---|
/// | bytes of one `Sec-WebSocket-*` field, all its lines together | 8 KiB |
/// | subprotocols | 64 |
/// | extension offers | 16 |
/// | parameters of one extension offer | 16 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    pub(super) field: usize,
    pub(super) subprotocols: usize,
    pub(super) extensions: usize,
    pub(super) extension_parameters: usize,
}

impl HandshakeLimits {
    /// The default bounds.
    #[must_use]
    pub const fn new() -> Self {
        Self { field: 8 * 1024, subprotocols: 64, extensions: 16, extension_parameters: 16 }
    }

    /// The most bytes that all lines of one `Sec-WebSocket-*` field may have together.
    /// Default: 8 KiB.
    #[must_use]
    pub const fn max_field(mut self, bytes: usize) -> Self {
        self.field = bytes;
        self
    }

    /// The most subprotocols a client may offer, repeated ones included. Default: 64.
    #[must_use]
    pub const fn max_subprotocols(mut self, count: usize) -> Self {
        self.subprotocols = count;
        self
    }

    /// The most extensions a client may offer, or a server answer. Default: 16.
    #[must_use]
    pub const fn max_extensions(mut self, count: usize) -> Self {
        self.extensions = count;
        self
    }

    /// The most parameters one extension may have. Default: 16.
    #[must_use]
    pub const fn max_extension_parameters(mut self, count: usize) -> Self {
        self.extension_parameters = count;
        self
    }
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self::new()
    }
}
