//! The task of one socket: it waits for the upgrade, drives the session, and reports the end.

use std::{error::Error as StdError, future::Future, sync::Arc};

use http::Request;
use hybi::socket::{Config, Ended, Error, HandlerEnd, Session};

use crate::{
    BoxError,
    handler::Handler,
    layer::Settings,
    sessions::SessionGuard,
    transport::Transport,
    upgrade::{Pending, UpgradeError},
};

/// An accepted handshake whose answer is on its way out.
pub(crate) struct Start<H> {
    /// Ready to be called.
    pub(crate) handler: H,
    pub(crate) request: Request<()>,
    pub(crate) upgrade: Pending,
    pub(crate) settings: Arc<Settings>,
    pub(crate) config: Arc<Config>,
    pub(crate) guard: SessionGuard,
}

impl<H: Handler> Start<H> {
    /// Serves the socket. What is only needed to begin is in a box of its own, so that it does not
    /// cost as long as the socket lives.
    pub(crate) fn run(self) -> impl Future<Output = ()> + Send {
        let begin = Box::pin(self.begin());
        async move {
            let Some((session, _guard)) = begin.await else { return };
            report(&session.await);
        }
    }

    /// Waits for the connection.
    async fn begin(
        self,
    ) -> Option<(Session<Transport, impl Future<Output = Result<(), BoxError>>>, SessionGuard)>
    {
        let Self { handler, request, upgrade, settings, config, guard } = self;
        let upgraded = tokio::time::timeout(settings.upgrade_timeout, upgrade.wait());
        let upgraded = guard.unless_aborted(upgraded).await?;
        let (transport, early) = match upgraded.unwrap_or_else(|_| Err(UpgradeError::timed_out())) {
            Ok(upgraded) => upgraded,
            Err(error) => {
                settings.upgrade_failed(&error);
                return None;
            }
        };
        drop(settings);
        let session = Session::with_early_data(transport, &early, config, |socket| {
            // Called in the session's first poll, which catches panics. The box is gone then.
            let call = Box::new((handler, request.map(|()| socket)));
            async move {
                let (mut handler, request) = *call;
                let served = handler.call(request);
                drop(handler);
                served.await.map_err(Into::into)
            }
        });
        // May be a slice of the buffer that the request was read into.
        drop(early);
        guard.started(&session.control());
        Some((session, guard))
    }
}

/// Puts the end of a session into its span and, where somebody should look at it, into an event.
fn report(ended: &Ended) {
    let stats = ended.stats();
    let code = ended.peer_close().map_or(1006, hybi::proto::CloseFrame::status);
    tracing::Span::current()
        .record("close_code", code)
        .record("messages_received", stats.messages_received)
        .record("bytes_received", stats.bytes_received)
        .record("messages_sent", stats.messages_sent)
        .record("bytes_sent", stats.bytes_sent);
    match ended.handler() {
        HandlerEnd::Returned => {}
        HandlerEnd::Dropped => tracing::debug!("the WebSocket handler was aborted"),
        HandlerEnd::Failed(error) if is_about_the_peer(&**error) => {
            tracing::debug!(
                error = &**error as &dyn StdError,
                "the WebSocket handler has lost its peer"
            );
        }
        HandlerEnd::Failed(error) => {
            tracing::error!(error = &**error as &dyn StdError, "the WebSocket handler failed");
        }
        HandlerEnd::Panicked(panic) => {
            let message = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            tracing::error!(panic = message, "the WebSocket handler panicked");
        }
    }
    if let Some(failure) = ended.failure() {
        tracing::debug!(
            error = failure as &dyn StdError,
            cause = failure.source(),
            "the WebSocket ended without a closing handshake"
        );
    } else {
        tracing::debug!("the WebSocket was closed");
    }
}

/// The error, or one below it, only says that the peer is gone or misbehaved: no fault of the
/// handler's.
fn is_about_the_peer(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            return error.is_closed() || error.is_disconnect() || error.violation().is_some();
        }
        next = error.source();
    }
    false
}
