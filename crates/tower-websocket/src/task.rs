//! The task of one socket: it waits for the upgrade, drives the session, and reports the end.

use std::{
    error::Error as StdError,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Extensions, Request};
use hybi::socket::{Config, Ended, Error, HandlerEnd, Session};
use pin_project_lite::pin_project;
use tracing::Span;

use crate::{
    BoxError, WebSocket,
    commit::Marker,
    handler::Handler,
    layer::Settings,
    sessions::SessionGuard,
    transport::Transport,
    upgrade::{Pending, UpgradeError},
};

/// A handler without its type.
pub(crate) trait AnyHandler: Send + Sync {
    /// A clone, to be driven to readiness and called.
    fn clone_handler(&self) -> Box<dyn ReadyHandler>;
}

/// A clone of the handler, for one socket.
pub(crate) trait ReadyHandler: Send {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>>;

    /// Serves the socket of an accepted handshake in a task of its own, so that nothing of the request's task stays
    /// with it. With a marker, the task begins once the answer in `response` is known to go out.
    fn start(self: Box<Self>, start: Start, marker: Option<Marker>, response: &mut Extensions);
}

/// Forgets the type of `handler`.
pub(crate) fn erase(handler: impl Handler) -> Arc<dyn AnyHandler> {
    Arc::new(Mutex::new(handler))
}

impl<H: Handler> AnyHandler for Mutex<H> {
    fn clone_handler(&self) -> Box<dyn ReadyHandler> {
        let handler = self.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // What the handler is called with comes later, so that there is one box for all of it.
        Box::new(Call { handler, request: Request::new(()) })
    }
}

impl<H: Handler> ReadyHandler for Call<H> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.handler.poll_ready(cx).map_err(Into::into)
    }

    fn start(mut self: Box<Self>, start: Start, marker: Option<Marker>, response: &mut Extensions) {
        let Start { request, upgrade, settings, config, guard, span } = start;
        self.request = request;
        let held = Held::new(guard, span);
        let waiting = Waiting { held, call: self, upgrade, settings, config, end: None };
        let task = Serve { state: State::Waiting(waiting) };
        match marker {
            Some(marker) => marker.defer(response, task),
            None => drop(tokio::spawn(task)),
        }
    }
}

/// An accepted handshake whose answer is on its way out.
pub(crate) struct Start {
    pub(crate) request: Request<()>,
    pub(crate) upgrade: Pending,
    pub(crate) settings: Arc<Settings>,
    pub(crate) config: Arc<Config>,
    pub(crate) guard: SessionGuard,
    pub(crate) span: Span,
}

/// The future of one socket. It is as large as the session and a little more, since it lasts as
/// long.
struct Serve<H: Handler> {
    state: State<H>,
}

enum State<H: Handler> {
    Waiting(Waiting<H>),
    Running(Running<H>),
    Ended,
}

/// Waits for the connection.
struct Waiting<H> {
    held: Held,
    call: Box<Call<H>>,
    upgrade: Pending,
    settings: Arc<Settings>,
    config: Arc<Config>,
    /// The end of the wait; only if there is one.
    end: Option<Pin<Box<dyn Future<Output = Option<UpgradeError>> + Send>>>,
}

struct Running<H: Handler> {
    held: Held,
    session: Session<Transport, Handling<H>>,
}

/// What lasts as long as the socket, beside the session.
enum Held {
    /// Nobody is interested in the span.
    Plain(SessionGuard),
    Traced(Box<(SessionGuard, Span)>),
}

impl<H: Handler> Future for Serve<H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut self.get_mut().state;
        if !matches!(state, State::Running(_)) {
            ready!(state.poll_start(cx));
        }
        if let State::Running(Running { held, session }) = state {
            let entered = held.span().map(Span::enter);
            let ended = ready!(Pin::new(session).poll(cx));
            drop(entered);
            mem::replace(state, State::Ended).report(&ended);
        }
        Poll::Ready(())
    }
}

impl<H: Handler> Drop for Serve<H> {
    fn drop(&mut self) {
        mem::replace(&mut self.state, State::Ended).end();
    }
}

impl<H: Handler> State<H> {
    /// Ready when it is running, or has ended without.
    #[inline(never)]
    fn poll_start(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Waiting(waiting) = self {
            let upgraded = ready!(waiting.poll(cx));
            match (upgraded, mem::replace(self, Self::Ended)) {
                (Some(upgraded), Self::Waiting(waiting)) => {
                    *self = Self::Running(waiting.start(upgraded));
                }
                (_, state) => state.end(),
            }
        }
        Poll::Ready(())
    }

    /// Drops everything, inside the span.
    fn end(self) {
        match self {
            Self::Waiting(Waiting { held, call, upgrade, .. }) => {
                held.in_span(|| drop((call, upgrade)));
            }
            Self::Running(Running { held, session }) => held.in_span(|| drop(session)),
            Self::Ended => {}
        }
    }

    /// Reports how the session ended, before it no longer counts.
    fn report(self, ended: &Ended) {
        if let Self::Running(Running { held, session }) = self {
            held.in_span(|| {
                drop(session);
                report(ended, held.span());
            });
        }
    }
}

impl<H: Handler> Waiting<H> {
    /// The transport, and what was read of it already; `None` if there will be none.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Transport, Bytes)>> {
        let Self { held, upgrade, settings, end, .. } = self;
        let guard = held.guard();
        if guard.is_aborted() {
            return Poll::Ready(None);
        }
        held.in_span(|| {
            let error = match upgrade.poll(cx) {
                Poll::Ready(Ok(upgraded)) => return Poll::Ready(Some(upgraded)),
                Poll::Ready(Err(error)) => error,
                Poll::Pending => {
                    let end = end.get_or_insert_with(|| {
                        Box::pin(end_of_wait(settings.upgrade_timeout, guard.aborted()))
                    });
                    match ready!(end.as_mut().poll(cx)) {
                        Some(error) => error,
                        None => return Poll::Ready(None),
                    }
                }
            };
            settings.upgrade_failed(&error);
            Poll::Ready(None)
        })
    }

    fn start(self, (transport, early): (Transport, Bytes)) -> Running<H> {
        let Self { held, call, config, settings, .. } = self;
        if settings.tcp_nodelay {
            transport.set_nodelay();
        }
        let session = Session::with_early_data(transport, &early, config, |socket| {
            Handling::Called { call: Some((call, socket)) }
        });
        // May be a slice of the buffer that the request was read into.
        drop(early);
        held.guard().started(session.control());
        Running { held, session }
    }
}

/// Until an upgrade has taken too long, or a drain has.
async fn end_of_wait(limit: Duration, aborted: impl Future) -> Option<UpgradeError> {
    let aborted = tokio::time::timeout(limit, aborted).await;
    aborted.is_err().then(UpgradeError::timed_out)
}

impl Held {
    fn new(guard: SessionGuard, span: Span) -> Self {
        if span.is_disabled() { Self::Plain(guard) } else { Self::Traced(Box::new((guard, span))) }
    }

    fn guard(&self) -> &SessionGuard {
        match self {
            Self::Plain(guard) => guard,
            Self::Traced(held) => &held.0,
        }
    }

    fn span(&self) -> Option<&Span> {
        match self {
            Self::Plain(_) => None,
            Self::Traced(held) => Some(&held.1),
        }
    }

    fn in_span<R>(&self, f: impl FnOnce() -> R) -> R {
        match self.span() {
            Some(span) => span.in_scope(f),
            None => f(),
        }
    }
}

/// What is needed to call the handler. It is in a box of its own, which is gone once the handler
/// was called.
struct Call<H> {
    handler: H,
    request: Request<()>,
}

pin_project! {
    /// The handler's part of the session.
    #[project = HandlingProj]
    enum Handling<H: Handler> {
        // Called in the session's first poll, which catches panics.
        Called { call: Option<(Box<Call<H>>, WebSocket)> },
        Serving { #[pin] future: H::Future },
    }
}

impl<H: Handler> Future for Handling<H> {
    type Output = Result<(), BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let HandlingProj::Called { call } = self.as_mut().project() {
            let (call, socket) = call.take().expect("a handler that panicked is not polled again");
            let Call { mut handler, request } = *call;
            let future = handler.call(request.map(|()| socket));
            drop(handler);
            self.set(Self::Serving { future });
        }
        match self.project() {
            HandlingProj::Serving { future } => future.poll(cx).map_err(Into::into),
            HandlingProj::Called { .. } => unreachable!("it was called"),
        }
    }
}

/// Puts the end of a session into its span and, where somebody should look at it, into an event.
fn report(ended: &Ended, span: Option<&Span>) {
    if let Some(span) = span {
        let stats = ended.stats();
        let code = ended.peer_close().map_or(1006, hybi::proto::CloseFrame::status);
        span.record("close_code", code)
            .record("messages_received", stats.messages_received)
            .record("bytes_received", stats.bytes_received)
            .record("messages_sent", stats.messages_sent)
            .record("bytes_sent", stats.bytes_sent);
    }
    report_handler(ended);
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

fn report_handler(ended: &Ended) {
    match ended.handler() {
        HandlerEnd::Returned => {}
        HandlerEnd::Dropped if ended.failure().is_some_and(Error::is_aborted) => {
            tracing::debug!("the WebSocket handler was dropped: the socket was aborted");
        }
        HandlerEnd::Dropped => tracing::debug!(
            "the WebSocket handler was dropped: it went on for too long after its socket had ended"
        ),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// It lasts as long as the socket, and tokio rounds what a task needs up to the next 128 bytes.
    #[test]
    fn a_task_is_a_session_and_sixteen_bytes() {
        fn sizes<H: Handler>(_: fn() -> H) -> (usize, usize) {
            (size_of::<Serve<H>>(), size_of::<Session<Transport, Handling<H>>>())
        }
        let (task, session) = sizes(|| crate::handler_fn(async |_: WebSocket| {}));
        assert!(task <= session + 16, "{task} bytes for a session of {session}");
    }
}
