//! How a socket behaves: its role, its limits and its timeouts.

use std::time::Duration;

use bytestring::ByteString;

#[cfg(feature = "deflate")]
use crate::proto::DeflateParameters;
use crate::proto::{Limits, Role};

/// The role, limits and timeouts of one socket.
///
/// ```
/// use hybi::socket::{Config, Timeouts};
/// use hybi::proto::Limits;
/// use std::time::Duration;
///
/// let config = Config::server()
///     .limits(Limits::default().max_message(64 * 1024))
///     .timeouts(Timeouts::default().close(Duration::from_secs(2)));
/// assert_eq!(config.get_timeouts().get_close(), Duration::from_secs(2));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Config {
    pub(crate) role: Role,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) subprotocol: Option<ByteString>,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<DeflateParameters>,
}

impl Config {
    /// The server's end: frames from the peer must be masked, ours are not (RFC 6455 section 5.1).
    pub fn server() -> Self {
        Self::new(Role::Server)
    }

    /// The client's end: our frames are masked, the peer's must not be (RFC 6455 section 5.1).
    #[cfg(feature = "client")]
    pub fn client() -> Self {
        Self::new(Role::Client)
    }

    fn new(role: Role) -> Self {
        Self {
            role,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            subprotocol: None,
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// Replaces the size limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Replaces the timeouts.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The subprotocol that the handshake agreed on, for [`WebSocket::subprotocol`].
    ///
    /// [`WebSocket::subprotocol`]: super::WebSocket::subprotocol
    pub fn subprotocol(mut self, subprotocol: Option<ByteString>) -> Self {
        self.subprotocol = subprotocol;
        self
    }

    /// What the handshake agreed on about compression, if anything. Default: nothing.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    pub fn deflate(mut self, agreed: Option<DeflateParameters>) -> Self {
        self.deflate = agreed;
        self
    }

    /// What the handshake agreed on about compression, if anything.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    #[must_use]
    pub fn get_deflate(&self) -> Option<&DeflateParameters> {
        self.deflate.as_ref()
    }

    /// The subprotocol that the handshake agreed on.
    #[must_use]
    pub fn get_subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// The role of this end.
    #[must_use]
    pub fn get_role(&self) -> Role {
        self.role
    }

    /// The size limits.
    #[must_use]
    pub fn get_limits(&self) -> &Limits {
        &self.limits
    }

    /// The timeouts.
    pub fn get_timeouts(&self) -> &Timeouts {
        &self.timeouts
    }
}

macro_rules! timeouts {
    ($($(#[$doc:meta])* $name:ident / $getter:ident = $default:expr;)*) => {
        /// How long a socket waits, for each thing that it waits for.
        ///
        /// Traffic extends none of them, save that [`write_stall`](Self::write_stall) begins anew with
        /// each byte that is written, and [`progress`](Self::progress) with each that is read. All are
        /// measured with tokio's clock.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[must_use]
        pub struct Timeouts {
            $(pub(crate) $name: Duration,)*
        }

        impl Default for Timeouts {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Timeouts {
            $(
                $(#[$doc])*
                pub fn $name(mut self, timeout: Duration) -> Self {
                    self.$name = timeout;
                    self
                }

                #[doc = concat!("The value of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
                #[must_use]
                pub fn $getter(&self) -> Duration {
                    self.$name
                }
            )*
        }
    };
}

timeouts! {
    /// From our Close to the peer's. Beyond it the transport is dropped and the close counts as
    /// abnormal (1006). Also how long a peer's Close or violation waits for a handler that has not
    /// come back to receive the messages before it. Default 5 s. (RFC 6455 section 7.1.1)
    close / get_close = Duration::from_secs(5);

    /// How long the Close that answers a violation may take to be written. Default 1 s.
    /// (RFC 6455 section 7.1.7)
    violation_flush / get_violation_flush = Duration::from_secs(1);

    /// How long the transport is read on, and what arrives discarded, after the last byte was
    /// written, so that our Close is not lost to a reset. Default 1 s. (RFC 6455 section 7.1.1)
    linger / get_linger = Duration::from_secs(1);

    /// How long a client waits for the server to end the transport once both Closes are done.
    /// Default 2 s. (RFC 6455 section 7.1.1)
    server_end / get_server_end = Duration::from_secs(2);

    /// How long a write may make no progress at all. Beyond it the transport is dropped.
    /// Default 30 s.
    write_stall / get_write_stall = Duration::from_secs(30);

    /// From the first byte of a message to its last, unless it is taken in parts. Beyond it the
    /// connection fails with 1008. The time does not count in which nothing is read, because the
    /// read-ahead is full or no operation of the socket is polled. Default 60 s.
    assembly / get_assembly = Duration::from_secs(60);

    /// How long a message that is taken in parts ([`WebSocket::next_message`]) may bring nothing.
    /// Beyond it the connection fails with 1008. The time does not count in which nothing is read,
    /// because a part was not taken yet. Default 60 s.
    ///
    /// [`WebSocket::next_message`]: super::WebSocket::next_message
    progress / get_progress = Duration::from_secs(60);
}
