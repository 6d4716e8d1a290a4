//! How a request becomes a byte stream. Nothing else in this crate touches `hyper::upgrade`.

use std::{
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

#[cfg(feature = "client")]
use std::future::poll_fn;

use bytes::Bytes;
use http::Extensions;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::net::TcpStream;

use crate::{
    BoxError,
    transport::{Io, Transport},
};

/// The byte stream that a request's connection turns into once the handshake was answered.
///
/// hyper puts its own into a request; this one is for everybody else: a server that is not hyper,
/// or a test that calls a service without one, inserts an `Upgrade` into the request's extensions.
/// It goes before hyper's.
///
/// It can be taken once, however often it was cloned.
///
/// ```
/// use tower_websocket::upgrade::Upgrade;
///
/// let (server, client) = tokio::io::duplex(1024);
/// let mut request = http::Request::get("/chat").body(()).unwrap();
/// request.extensions_mut().insert(Upgrade::from_io(server));
/// # let _ = client;
/// ```
#[derive(Clone)]
pub struct Upgrade {
    pending: Arc<Mutex<Option<Pending>>>,
}

pub(crate) enum Pending {
    Hyper(OnUpgrade),
    Later(Pin<Box<dyn Future<Output = Result<Transport, BoxError>> + Send>>),
}

impl Upgrade {
    /// An upgrade that is done: `io` is the stream behind the handshake's head.
    #[must_use]
    pub fn from_io(io: impl Io) -> Self {
        Self::from_pending(Pending::Later(Box::pin(ready(Ok(Transport::boxed(io))))))
    }

    /// An upgrade to whatever `io` resolves to, which it may do after the response went out.
    pub fn new<F, T, E>(io: F) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Io,
        E: Into<BoxError>,
    {
        Self::from_pending(Pending::Later(Box::pin(async {
            io.await.map(Transport::boxed).map_err(Into::into)
        })))
    }

    fn from_pending(pending: Pending) -> Self {
        Self { pending: Arc::new(Mutex::new(Some(pending))) }
    }

    fn take(&self) -> Option<Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").finish_non_exhaustive()
    }
}

/// Why an accepted request did not become a byte stream.
#[derive(Debug)]
pub struct UpgradeError {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Missing,
    /// hyper's connection is driven without upgrades.
    NotServed,
    Taken,
    TimedOut,
    Failed(BoxError),
}

impl UpgradeError {
    /// The server offers no upgrade for this request: it was built without upgrades, or the request did not
    /// come from a server at all.
    ///
    /// An HTTP/1.1 server of hyper needs `with_upgrades()` on each connection, one of hyper-util's automatic builder
    /// `serve_connection_with_upgrades` instead of `serve_connection`.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.kind, Kind::Missing | Kind::NotServed)
    }

    /// Somebody else has taken the [`Upgrade`] already.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(self.kind, Kind::Taken)
    }

    /// The response was not written in time, or was replaced on its way out.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, Kind::TimedOut)
    }

    pub(crate) fn timed_out() -> Self {
        Self { kind: Kind::TimedOut }
    }

    fn of_hyper(error: hyper::Error) -> Self {
        // The one mistake of a server's author that hyper reports here.
        if error.is_user() { Self { kind: Kind::NotServed } } else { Self::failed(error) }
    }

    fn failed(error: impl Into<BoxError>) -> Self {
        Self { kind: Kind::Failed(error.into()) }
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Missing => "the server does not support upgrades on this connection",
            Kind::NotServed => {
                "the server drops upgraded connections: call `with_upgrades()` on hyper's connection, \
                 or `serve_connection_with_upgrades` on hyper-util's builder"
            }
            Kind::Taken => "the upgrade of this request was taken already",
            Kind::TimedOut => "the upgrade did not happen in time",
            Kind::Failed(_) => "the upgrade failed",
        })
    }
}

impl std::error::Error for UpgradeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::Failed(error) => Some(&**error),
            _ => None,
        }
    }
}

/// Takes the upgrade out of a request's extensions, so that nobody who clones them holds a second
/// handle.
pub(crate) fn take(extensions: &mut Extensions) -> Result<Pending, UpgradeError> {
    if let Some(upgrade) = extensions.remove::<Upgrade>() {
        return upgrade.take().ok_or(UpgradeError { kind: Kind::Taken });
    }
    match extensions.remove::<OnUpgrade>() {
        Some(upgrade) => Ok(Pending::Hyper(upgrade)),
        None => Err(UpgradeError { kind: Kind::Missing }),
    }
}

/// Forgets hyper's upgrade, which may be there beside one that goes before it, and would keep the
/// connection for as long as the extensions live.
pub(crate) fn forget(extensions: &mut Extensions) {
    extensions.remove::<OnUpgrade>();
}

/// Puts an upgrade back into the extensions of a request that is passed on.
pub(crate) fn put_back(pending: Pending, extensions: &mut Extensions) {
    match pending {
        Pending::Hyper(upgrade) => {
            extensions.insert(upgrade);
        }
        other => {
            extensions.insert(Upgrade::from_pending(other));
        }
    }
}

impl Pending {
    /// See [`poll`](Self::poll).
    #[cfg(feature = "client")]
    pub(crate) async fn wait(mut self) -> Result<(Transport, Bytes), UpgradeError> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Waits until the response went out. The bytes were read already, behind the request's head.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Transport, Bytes), UpgradeError>> {
        match self {
            Self::Hyper(upgrade) => {
                Pin::new(upgrade).poll(cx).map_ok(transport).map_err(UpgradeError::of_hyper)
            }
            Self::Later(transport) => {
                let transport = transport.as_mut().poll(cx);
                transport.map_ok(|it| (it, Bytes::new())).map_err(UpgradeError::failed)
            }
        }
    }
}

/// The TCP stream, if hyper-util's automatic or hyper's own HTTP/1 connection runs on one.
fn transport(upgraded: Upgraded) -> (Transport, Bytes) {
    let upgraded = match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => return (Transport::tcp(parts.io.into_inner()), parts.read_buf),
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => (Transport::tcp(parts.io.into_inner()), parts.read_buf),
        Err(upgraded) => (Transport::upgraded(upgraded), Bytes::new()),
    }
}
