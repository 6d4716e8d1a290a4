//! How a socket behaves: its role, its limits, its timeouts and its keep-alive.

use std::{sync::Arc, time::Duration};

use bytestring::ByteString;

#[cfg(feature = "deflate")]
use crate::proto::DeflateParameters;
use crate::proto::{Limits, Role};

/// The role, limits, timeouts and keep-alive of one socket.
///
/// ```
/// use hybi::socket::{Config, Timeouts};
/// use hybi::proto::Limits;
/// use std::{sync::Arc, time::Duration};
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
    pub(crate) limits: Arc<Limits>,
    pub(crate) timeouts: Timeouts,
    pub(crate) keep_alive: Option<KeepAlive>,
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
            limits: Arc::default(),
            timeouts: Timeouts::default(),
            keep_alive: Some(KeepAlive::default()),
            subprotocol: None,
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// Replaces the size limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Arc::new(limits);
        self
    }

    /// Replaces the timeouts.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Replaces the keep-alive. `None` turns it off: then this end sends no ping by itself, and only a write
    /// that stalls finds a peer that vanished. Default: [`KeepAlive::default`].
    pub fn keep_alive(mut self, keep_alive: impl Into<Option<KeepAlive>>) -> Self {
        self.keep_alive = keep_alive.into();
        self
    }

    /// The keep-alive, unless it is off.
    #[must_use]
    pub fn get_keep_alive(&self) -> Option<&KeepAlive> {
        self.keep_alive.as_ref()
    }

    /// The subprotocol that the handshake agreed on, for [`WebSocket::subprotocol`].
    ///
    /// [`WebSocket::subprotocol`]: super::WebSocket::subprotocol
    pub fn subprotocol(mut self, subprotocol: Option<ByteString>) -> Self {
        self.subprotocol = subprotocol;
        self
    }

    /// The compression that the handshake agreed on. Default: none.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    pub fn deflate(mut self, agreed: Option<DeflateParameters>) -> Self {
        self.deflate = agreed;
        self
    }

    /// The compression that the handshake agreed on, if any.
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

/// How this end finds out that its peer has vanished: it sends pings and expects to hear from the peer.
///
/// Any byte that arrives counts as a sign of life, not only the pong. While this end does not read, because
/// its user does not receive and the [read-ahead](crate::proto::Limits::read_ahead) is full, no ping is sent
/// and no answer is expected. A peer that is silent is dropped, and the close counts as abnormal (1006).
/// (RFC 6455 section 5.5.2)
///
/// A socket made by [`WebSocket::new`](super::WebSocket::new) sends pings only while one of its operations
/// is polled.
///
/// ```
/// use hybi::socket::{Config, KeepAlive};
/// use std::{sync::Arc, time::Duration};
///
/// let keep_alive = KeepAlive::default().interval(Duration::from_secs(45));
/// let config = Config::server().keep_alive(keep_alive);
/// assert_eq!(config.get_keep_alive().unwrap().get_timeout(), Duration::from_secs(20));
/// # let _ = config.keep_alive(None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct KeepAlive {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { interval: Duration::from_secs(20), timeout: Duration::from_secs(20) }
    }
}

impl KeepAlive {
    /// Without time between them there would be no end of pings.
    const SHORTEST: Duration = Duration::from_millis(1);

    /// The longest time from one ping to the next. Each pause is drawn anew between three quarters of this
    /// and the whole, so that sockets that were opened together do not ping together. Default 20 s.
    ///
    /// Proxies and NAT gateways forget a silent connection after 30 s to some minutes; an interval below that
    /// keeps the connection open. At least 1 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Self::SHORTEST);
        self
    }

    /// How long the peer may be silent after a ping. Default 20 s, at least 1 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Self::SHORTEST);
        self
    }

    /// The value of [`interval`](Self::interval).
    #[must_use]
    pub fn get_interval(&self) -> Duration {
        self.interval
    }

    /// The value of [`timeout`](Self::timeout).
    #[must_use]
    pub fn get_timeout(&self) -> Duration {
        self.timeout
    }
}

macro_rules! timeouts {
    ($($(#[$doc:meta])* $name:ident($argument:ty) / $getter:ident: $type:ty = $default:expr;)*) => {
        /// How long a socket waits, for each thing that it waits for.
        ///
        /// All are measured with tokio's clock. `None` turns those off that can be.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[must_use]
        pub struct Timeouts {
            $(pub(crate) $name: $type,)*
        }

        impl Default for Timeouts {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Timeouts {
            $(
                $(#[$doc])*
                pub fn $name(mut self, $name: $argument) -> Self {
                    self.$name = $name.into();
                    self
                }

                #[doc = concat!("The value of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
                #[must_use]
                pub fn $getter(&self) -> $type {
                    self.$name
                }
            )*
        }
    };
}

timeouts! {
    /// How long the peer's Close may take to come once ours is written. Beyond it the transport is dropped
    /// and the close counts as abnormal (1006). Until ours is written, only
    /// [`write_stall`](Self::write_stall) holds. Also how long a peer's Close or violation waits for a
    /// handler that has not come back to receive the messages before it. Default 5 s. (RFC 6455 section
    /// 7.1.1)
    close(Duration) / get_close: Duration = Duration::from_secs(5);

    /// How long the Close that answers a violation may take to be written. Default 1 s.
    /// (RFC 6455 section 7.1.7)
    violation_flush(Duration) / get_violation_flush: Duration = Duration::from_secs(1);

    /// How long the transport is read on, and what arrives discarded, after the last byte was
    /// written, so that our Close is not lost to a reset. Default 1 s. (RFC 6455 section 7.1.1)
    linger(Duration) / get_linger: Duration = Duration::from_secs(1);

    /// How long a client waits for the server to end the transport once both Closes are done.
    /// Default 2 s. (RFC 6455 section 7.1.1)
    server_end(Duration) / get_server_end: Duration = Duration::from_secs(2);

    /// How long a write may make no progress at all. Beyond it the transport is dropped. Each byte that
    /// is written begins the time anew. Default 30 s.
    write_stall(Duration) / get_write_stall: Duration = Duration::from_secs(30);

    /// How long a message that has begun to arrive, whole or in parts, may bring nothing. Beyond it the
    /// connection fails with 1008, up to a quarter of this later. The time does not count in which nothing
    /// is read, because the read-ahead is full, a part was not taken yet, or no operation of the socket is
    /// polled. Default 60 s.
    silence(Duration) / get_silence: Duration = Duration::from_secs(60);

    /// How many bytes a second a message that has begun must bring at least, on average over 10 s. The first
    /// 20 s of a message are free of it. Below it the connection fails with 1008. As for
    /// [`silence`](Self::silence), only time counts in which this end reads. 0 turns it off. Default 1,024.
    min_rate(usize) / get_min_rate: usize = 1024;

    /// How long a message may take from its first byte to its last, whole or in parts, however fast it
    /// arrives. Beyond it the connection fails with 1008. As for [`silence`](Self::silence), only time counts
    /// in which this end reads. Default: off.
    max_message(impl Into<Option<Duration>>) / get_max_message: Option<Duration> = None;

    /// How long a handler may go on once its socket is over: the peer's Close was answered, or the transport
    /// is gone. Beyond it a [`Session`](super::Session) drops the handler's future. A handler whose socket
    /// was [detached](super::WebSocket::detach) is left alone. Default 10 s.
    handler_grace(impl Into<Option<Duration>>) / get_handler_grace: Option<Duration> = Some(Duration::from_secs(10));

    /// How long a socket may go without a message in either direction; pings do not count. Beyond it the
    /// socket is closed with 1000, up to a quarter of this later. Default: off.
    idle(impl Into<Option<Duration>>) / get_idle: Option<Duration> = None;

    /// How long a socket lives at most. Beyond it the socket is closed with 1001. Default: off.
    max_lifetime(impl Into<Option<Duration>>) / get_max_lifetime: Option<Duration> = None;
}
