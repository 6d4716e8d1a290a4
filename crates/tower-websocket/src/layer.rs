//! The layer and its settings.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Extensions, HeaderName};
#[cfg(feature = "deflate")]
use hybi::proto::Deflate;
use hybi::{
    handshake::HandshakeLimits,
    proto::Limits,
    socket::{Config, KeepAlive, Timeouts},
};
use tower_layer::Layer;

use crate::{
    configs::Configs,
    handler::Handler,
    policy::{Attempt, BoxPolicy, Origin, OriginCheck, Policy, Refuse, SameOrigin},
    service::{UpgradeRequired, WebSocketService},
    sessions::Sessions,
    task::AnyHandler,
    upgrade::UpgradeError,
};

/// Puts WebSockets onto an HTTP service.
///
/// Requests that are not WebSocket handshakes go to the inner service, untouched. The layer judges a
/// handshake in two steps: the check of its [origin](Self::origin), which is [same origin](SameOrigin) by
/// default, and the [policy](Self::policy), if there is one. The connection of an accepted handshake goes to
/// the *handler*, a [service](crate::handler) of sockets.
///
/// See the [crate's documentation](crate) for an example.
///
/// # What counts as a handshake
///
/// | request | the layer |
/// |---|---|
/// | `GET`, HTTP/1.1, `Upgrade` lists `websocket` | judges it |
/// | the same, but `Connection` does not list `upgrade` | answers 400 and names the likely proxy mistake |
/// | `CONNECT` with `:protocol` `websocket` (RFC 8441) | judges it |
/// | everything else | passes it to the inner service |
///
/// # What the layers around it see
///
/// A response with status 101, or 200 for `CONNECT`. A layer that replaces it does not keep the
/// handler from running, unless a [`CommitLayer`](crate::commit::CommitLayer) is outermost.
///
/// # Cost
///
/// A request that passes costs a look at its method, and at two header fields if that is `GET`. A
/// clone of the layer, or of its service, is a reference count beside the inner service's clone. The types of
/// handler, check and policy are erased when they are set: a policy costs an allocation for each handshake.
#[derive(Clone)]
#[must_use]
pub struct WebSocketLayer {
    pub(crate) settings: Arc<Settings>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) handler: Arc<dyn AnyHandler>,
    origin: Arc<dyn OriginCheck>,
    require_origin: bool,
    pub(crate) policy: Option<BoxPolicy>,
    pub(crate) config: Arc<Config>,
    /// Those of sockets for which that is changed.
    pub(crate) other_configs: Configs,
    pub(crate) handshake_limits: HandshakeLimits,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<Deflate>,
    pub(crate) sessions: Sessions,
    pub(crate) policy_timeout: Duration,
    pub(crate) readiness_timeout: Duration,
    pub(crate) upgrade_timeout: Duration,
    pub(crate) retry_after: Duration,
    pub(crate) max_waiting: usize,
    /// How many handshakes wait for a handler that is not ready.
    pub(crate) waiting: Arc<AtomicUsize>,
    pub(crate) copied_headers: Vec<HeaderName>,
    pub(crate) tcp_nodelay: bool,
    pub(crate) peer_addr: Option<PeerAddrFn>,
    pub(crate) on_upgrade_error: Option<UpgradeErrorFn>,
}

pub(crate) type UpgradeErrorFn = Arc<dyn Fn(&UpgradeError) + Send + Sync>;

type PeerAddrFn = Arc<dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync>;

impl WebSocketLayer {
    /// A layer that lets pages of the same origin, and clients that are not browsers, reach `handler`.
    pub fn new(handler: impl Handler) -> Self {
        Self {
            settings: Arc::new(Settings {
                handler: crate::task::erase(handler),
                origin: Arc::new(SameOrigin::new()),
                require_origin: false,
                policy: None,
                config: Arc::new(Config::server()),
                other_configs: Configs::default(),
                handshake_limits: HandshakeLimits::default(),
                #[cfg(feature = "deflate")]
                deflate: None,
                sessions: Sessions::new(),
                policy_timeout: Duration::from_secs(5),
                readiness_timeout: Duration::from_millis(100),
                upgrade_timeout: Duration::from_secs(10),
                retry_after: Duration::from_secs(5),
                max_waiting: 1024,
                waiting: Arc::default(),
                copied_headers: Vec::new(),
                tcp_nodelay: true,
                peer_addr: None,
                on_upgrade_error: None,
            }),
        }
    }

    /// Replaces the check of the page that makes a handshake (RFC 6455, section 10.2). Default: [`SameOrigin`].
    ///
    /// The layer checks the origin first, whatever the [policy](Self::policy) is, and answers a page that may not
    /// open a WebSocket with 403. Only [`DangerouslyAnyOrigin`](crate::policy::DangerouslyAnyOrigin) turns the
    /// check off.
    ///
    /// ```
    /// use tower_websocket::{WebSocketLayer, handler_fn, policy::AllowOrigins};
    ///
    /// let origins = AllowOrigins::new(["https://app.example.com"])?;
    /// let layer = WebSocketLayer::new(handler_fn(|_| async {})).origin(origins);
    /// # let _ = layer;
    /// # Ok::<(), tower_websocket::policy::InvalidOriginPattern>(())
    /// ```
    pub fn origin(self, check: impl OriginCheck) -> Self {
        self.set(|settings| settings.origin = Arc::new(check))
    }

    /// Whether the layer answers a handshake without an `Origin` field with 403. Default: false.
    ///
    /// Every browser sends the field. Other clients prove themselves in another way (RFC 6455, section 10.1).
    pub fn require_origin(self, required: bool) -> Self {
        self.set(|settings| settings.require_origin = required)
    }

    /// Sets the policy, which decides about each handshake whose [origin](Self::origin) is accepted. Default:
    /// none, which accepts all of them.
    ///
    /// A second call replaces the policy of the first. [`Policy::and`] joins two.
    pub fn policy(self, policy: impl Policy) -> Self {
        self.set(|settings| settings.policy = Some(policy.boxed()))
    }

    /// Replaces the limits of each socket. A policy can tighten them for one.
    pub fn limits(self, limits: Limits) -> Self {
        self.config(|config| config.limits(limits))
    }

    /// Replaces the timeouts of each socket.
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        self.config(|config| config.timeouts(timeouts))
    }

    /// Replaces the keep-alive of each socket: the pings by which the session finds out that a peer has
    /// vanished. `None` turns it off. Default: [`KeepAlive::default`], a ping every 20 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_websocket::{KeepAlive, WebSocketLayer, handler_fn};
    ///
    /// let keep_alive = KeepAlive::default().interval(Duration::from_secs(45));
    /// let layer = WebSocketLayer::new(handler_fn(|_| async {})).keep_alive(keep_alive);
    /// # let _ = layer.keep_alive(None);
    /// ```
    pub fn keep_alive(self, keep_alive: impl Into<Option<KeepAlive>>) -> Self {
        self.config(|config| config.keep_alive(keep_alive))
    }

    /// Compresses messages (permessage-deflate, RFC 7692) on the sockets of clients that offer it. Default: none.
    ///
    /// A policy can grant or refuse it for one socket: [`Accept::deflate`](crate::policy::Accept::deflate),
    /// [`Accept::without_deflate`](crate::policy::Accept::without_deflate). Read
    /// [what it costs](crate::guide::security#compression) before, and which messages are to be
    /// [left uncompressed](hybi::socket::WebSocket::send_uncompressed).
    ///
    /// ```
    /// use tower_websocket::{Deflate, WebSocketLayer, handler_fn};
    ///
    /// let layer = WebSocketLayer::new(handler_fn(|_| async {})).deflate(Deflate::new());
    /// # let _ = layer;
    /// ```
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    pub fn deflate(self, deflate: impl Into<Option<Deflate>>) -> Self {
        self.set(|settings| settings.deflate = deflate.into())
    }

    /// Replaces the limits on the fields of a handshake.
    pub fn handshake_limits(self, limits: HandshakeLimits) -> Self {
        self.set(|settings| settings.handshake_limits = limits)
    }

    /// Adds the sockets to `sessions`, which counts and drains them. Several layers may share one.
    pub fn sessions(self, sessions: Sessions) -> Self {
        self.set(|settings| settings.sessions = sessions)
    }

    /// How long the policy may take to decide. Beyond it the handshake is answered with 503.
    /// Default 5 s.
    pub fn policy_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.policy_timeout = timeout)
    }

    /// How long an accepted handshake waits for the handler to be ready. Beyond it the handshake is
    /// answered with 503 and `Retry-After`. Default 100 ms.
    pub fn readiness_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.readiness_timeout = timeout)
    }

    /// How many handshakes may wait for the handler at once. Beyond it they are answered with 503
    /// and `Retry-After` at once. Default 1024.
    pub fn max_waiting(self, handshakes: usize) -> Self {
        self.set(|settings| settings.max_waiting = handshakes)
    }

    /// How long the response may take to go out and the connection to be handed over. Beyond it the
    /// handler is not called. Default 10 s.
    pub fn upgrade_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.upgrade_timeout = timeout)
    }

    /// The `Retry-After` of the 503 answers. Part of a second counts as a whole one. Default 5 s.
    pub fn retry_after(self, delay: Duration) -> Self {
        self.set(|settings| settings.retry_after = delay)
    }

    /// Whether the layer sets `TCP_NODELAY` on a socket's TCP stream, so that a small message does not wait for the
    /// acknowledgement of the one before. Default: true.
    ///
    /// The layer knows the stream where hyper, hyper-util or axum serve HTTP/1.1 on a plain TCP stream. Over TLS and
    /// HTTP/2 the option belongs where connections are accepted.
    pub fn tcp_nodelay(self, nodelay: bool) -> Self {
        self.set(|settings| settings.tcp_nodelay = nodelay)
    }

    /// Which header fields of the handshake the handler's request has. Default: none.
    ///
    /// They are copied: a header value that is kept would pin the 16 KiB buffer that it was read
    /// into for the life of the socket.
    pub fn copy_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let mut unique = Vec::new();
        for name in names {
            if !unique.contains(&name) {
                unique.push(name);
            }
        }
        self.set(|settings| settings.copied_headers = unique)
    }

    /// Where the peer's address is found among a request's extensions, for policies and handlers
    /// that ask for [`PeerAddr`](crate::policy::PeerAddr). Default: a `PeerAddr` that is there.
    ///
    /// With axum:
    ///
    /// ```
    /// # use std::net::SocketAddr;
    /// # use tower_websocket::{WebSocketLayer, handler::handler_fn};
    /// use axum::extract::ConnectInfo;
    ///
    /// # let layer = WebSocketLayer::new(handler_fn(|_| async {}));
    /// let layer = layer.peer_addr(|extensions| {
    ///     extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
    /// });
    /// # let _ = layer;
    /// ```
    pub fn peer_addr<F>(self, find: F) -> Self
    where
        F: Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    {
        self.set(|settings| settings.peer_addr = Some(Arc::new(find)))
    }

    /// Calls `f` when a handshake that was accepted does not become a connection: the server
    /// supports no upgrades, or the response was not written in time. The event is logged, too.
    pub fn on_upgrade_error<F>(self, f: F) -> Self
    where
        F: Fn(&UpgradeError) + Send + Sync + 'static,
    {
        self.set(|settings| settings.on_upgrade_error = Some(Arc::new(f)))
    }

    /// The WebSocket service on its own, for a route that serves nothing else: requests that are no
    /// handshakes are answered with 426.
    pub fn into_service(self) -> WebSocketService<UpgradeRequired> {
        self.layer(UpgradeRequired::new())
    }

    fn config(self, change: impl FnOnce(Config) -> Config) -> Self {
        self.set(|settings| {
            let config = Config::clone(&settings.config);
            settings.config = Arc::new(change(config));
        })
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl Settings {
    pub(crate) fn upgrade_failed(&self, error: &UpgradeError) {
        let cause = std::error::Error::source(error);
        let what = "an accepted WebSocket handshake did not become a connection";
        if error.is_missing() || error.is_taken() {
            // How the server was built, or what is around the layer.
            tracing::error!(%error, cause, "{what}");
        } else {
            tracing::debug!(%error, cause, "{what}");
        }
        if let Some(f) = &self.on_upgrade_error {
            f(error);
        }
    }

    /// Checks the page that makes a handshake.
    pub(crate) fn check_origin(&self, attempt: &Attempt) -> Result<(), Refuse> {
        match attempt.origin() {
            Origin::Absent if self.require_origin => {
                Err(Refuse::forbidden("the Origin field is missing"))
            }
            Origin::Absent => Ok(()),
            _ => self.origin.check(attempt),
        }
    }

    /// Takes a place among the handshakes that wait for the handler, if there is one.
    pub(crate) fn enter_waiting(&self) -> Option<Waiting> {
        let waiting = Waiting(Arc::clone(&self.waiting));
        (waiting.0.fetch_add(1, Ordering::Relaxed) < self.max_waiting).then_some(waiting)
    }
}

pub(crate) struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S> Layer<S> for WebSocketLayer {
    type Service = WebSocketService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WebSocketService::new(inner, self.clone())
    }
}

impl fmt::Debug for WebSocketLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketLayer")
            .field("config", &self.settings.config)
            .field("sessions", &self.settings.sessions)
            .finish_non_exhaustive()
    }
}
