//! How a handshake is judged: its form, its origin, the policy, the handler's readiness; then the answer.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header::RETRY_AFTER,
    request::Parts,
};
use hybi::{
    handshake::{Refusal, ServerHandshake},
    socket::Config,
};
use hyper::ext::Protocol;

use crate::{
    agreed::Agreed,
    commit::Marker,
    future::Verdict,
    layer::{Settings, WebSocketLayer},
    policy::{Accept, Attempt, Decision, PeerAddr, Policy},
    sessions::SessionGuard,
    task::{ReadyHandler, Start},
    upgrade::{self, Pending, UpgradeError},
    within::within,
};

/// Judges the handshake of which `parts` is the head, and has an accepted one served.
pub(crate) fn judge(
    layer: WebSocketLayer,
    parts: Parts,
) -> impl Future<Output = Verdict> + Send + 'static {
    let version = parts.version;
    // Now, so that the future, which is boxed, has no room for the whole head.
    let asked = Asked::read(parts, &layer.settings);
    async move {
        let result = match asked {
            Ok(asked) => asked.judge(&layer.settings).await,
            Err(refusal) => {
                tracing::debug!(%refusal, "malformed WebSocket handshake");
                Err(refusal)
            }
        };
        result.unwrap_or_else(|refusal| Verdict::Answer(refusal.into_response(version)))
    }
}

/// A handshake in due form.
struct Asked {
    attempt: Attempt,
    upgrade: Result<Pending, UpgradeError>,
    /// What the layers outside say of the peer's address.
    outer_addr: Option<PeerAddr>,
}

impl Asked {
    fn read(mut parts: Parts, settings: &Settings) -> Result<Self, Refusal> {
        let protocol = parts.extensions.get::<Protocol>().map(Protocol::as_str);
        let handshake = ServerHandshake::parse(&parts, protocol, &settings.handshake_limits)?;
        // Taken before anyone can clone the extensions: two waiting clones of hyper's handle panic.
        let upgrade = upgrade::take(&mut parts.extensions);
        let outer_addr = parts.extensions.get::<PeerAddr>().copied();
        if let Some(find) = &settings.peer_addr
            && let Some(addr) = find(&parts.extensions)
        {
            parts.extensions.insert(PeerAddr(addr));
        }
        Ok(Self { attempt: Attempt::new(parts, handshake), upgrade, outer_addr })
    }

    async fn judge(self, settings: &Arc<Settings>) -> Result<Verdict, Refusal> {
        let shutting_down = "the server is shutting down";
        // Before the policy is asked, which may take a ticket for it.
        if settings.sessions.is_draining() {
            return Err(unavailable(settings, shutting_down));
        }
        // First, so that a policy does nothing for a page that may not ask.
        settings.check_origin(&self.attempt).map_err(|refuse| {
            let refusal = Refusal::from(refuse);
            tracing::debug!(%refusal, "WebSocket handshake refused because of its origin");
            refusal
        })?;
        let accept = match ask_policy(&self.attempt, settings).await? {
            Some(accept) => accept,
            None => return Ok(self.pass()),
        };
        let Self { attempt, upgrade, .. } = self;
        let agreed = Agreed::new(attempt.handshake(), settings, &accept);
        let response = response(attempt.handshake(), &accept, &agreed)?;
        let upgrade = upgrade.map_err(|error| {
            settings.upgrade_failed(&error);
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR).reason(error.to_string())
        })?;
        let Some(handler) = ready_handler(settings).await else {
            let reason = "no more WebSockets can be served at the moment";
            return Err(unavailable(settings, reason));
        };
        // Last of all, so that only what is accepted counts.
        let Some(guard) = settings.sessions.enter() else {
            return Err(unavailable(settings, shutting_down));
        };
        let accepted = Accepted { attempt, accept, agreed, upgrade, handler, guard, response };
        Ok(accepted.start(settings))
    }

    /// Gives the request back as it was, for the inner service.
    fn pass(self) -> Verdict {
        let Self { attempt, upgrade, outer_addr } = self;
        let mut parts = attempt.into_parts();
        // What was put in for the policy goes out again.
        match outer_addr {
            Some(addr) => drop(parts.extensions.insert(addr)),
            None => drop(parts.extensions.remove::<PeerAddr>()),
        }
        if let Ok(upgrade) = upgrade {
            upgrade::put_back(upgrade, &mut parts.extensions);
        }
        Verdict::Pass(Box::new(parts))
    }
}

/// Asks the policy, if there is one. `None` where the inner service has the request.
async fn ask_policy(attempt: &Attempt, settings: &Settings) -> Result<Option<Accept>, Refusal> {
    let Some(policy) = &settings.policy else { return Ok(Some(Accept::new())) };
    match within(settings.policy_timeout, policy.decide(attempt)).await {
        None => {
            tracing::warn!("the policy took too long to judge a WebSocket handshake");
            Err(unavailable(settings, "the handshake could not be judged in time"))
        }
        Some(Decision::Pass) => Ok(None),
        Some(Decision::Refuse(refusal)) => {
            let refusal = Refusal::from(refusal);
            tracing::debug!(%refusal, "WebSocket handshake refused by the policy");
            Err(refusal)
        }
        Some(Decision::Accept(accept)) => Ok(Some(accept)),
    }
}

/// A handshake that opens a WebSocket.
struct Accepted {
    attempt: Attempt,
    accept: Accept,
    agreed: Agreed,
    upgrade: Pending,
    handler: Box<dyn ReadyHandler>,
    guard: SessionGuard,
    response: Response<Bytes>,
}

impl Accepted {
    /// Starts the task that serves the socket.
    fn start(self, settings: &Arc<Settings>) -> Verdict {
        let Self { mut attempt, accept, agreed, upgrade, handler, guard, mut response } = self;
        let span = tracing::info_span!(
            parent: None,
            "websocket",
            version = ?attempt.version(),
            subprotocol = accept.get_subprotocol(),
            compression = tracing::field::Empty,
            close_code = tracing::field::Empty,
            messages_received = tracing::field::Empty,
            bytes_received = tracing::field::Empty,
            messages_sent = tracing::field::Empty,
            bytes_sent = tracing::field::Empty,
        );
        if !span.is_disabled() {
            span.follows_from(tracing::Span::current());
            agreed.record(&span);
        }
        let mut extensions = attempt.take_extensions();
        let marker = Marker::take(&mut extensions);
        let start = Start {
            request: handler_request(&attempt, extensions, settings),
            upgrade,
            settings: Arc::clone(settings),
            config: config(settings, &accept, agreed),
            guard,
            span,
        };
        handler.start(start, marker, response.extensions_mut());
        Verdict::Answer(response)
    }
}

/// The answer that accepts.
fn response(
    handshake: &ServerHandshake,
    accept: &Accept,
    agreed: &Agreed,
) -> Result<Response<Bytes>, Refusal> {
    let mut response = match agreed.accept(handshake, accept.get_subprotocol()) {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "the policy chose a subprotocol that was not offered");
            return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR).reason(error.to_string()));
        }
    };
    for (name, value) in accept.get_headers() {
        response.headers_mut().append(name, value.clone());
    }
    Ok(response.map(|()| Bytes::new()))
}

/// A clone of the handler that is ready to be called, unless it takes too long.
async fn ready_handler(settings: &Settings) -> Option<Box<dyn ReadyHandler>> {
    let mut handler = settings.handler.clone_handler();
    let result = match poll_fn(|cx| Poll::Ready(handler.poll_ready(cx))).await {
        Poll::Ready(result) => result,
        Poll::Pending => {
            let _waiting = settings.enter_waiting()?;
            let ready = poll_fn(|cx| handler.poll_ready(cx));
            within(settings.readiness_timeout, ready).await?
        }
    };
    match result {
        Ok(()) => Some(handler),
        Err(error) => {
            let error = &*error as &dyn std::error::Error;
            tracing::error!(error, "the WebSocket handler is not ready");
            None
        }
    }
}

fn unavailable(settings: &Settings, reason: &'static str) -> Refusal {
    let retry_after = settings.retry_after;
    let seconds = retry_after.as_secs().saturating_add((retry_after.subsec_nanos() > 0).into());
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE)
        .reason(reason)
        .header(RETRY_AFTER, HeaderValue::from(seconds))
}

fn config(settings: &Settings, accept: &Accept, agreed: Agreed) -> Arc<Config> {
    if accept.get_limits().is_none() && accept.get_subprotocol().is_none() && agreed.is_plain() {
        return Arc::clone(&settings.config);
    }
    let mut config = agreed.configure(Config::clone(&settings.config));
    if let Some(limits) = accept.get_limits() {
        let limits = config.get_limits().tightest(limits);
        config = config.limits(limits);
    }
    settings.other_configs.share(config.subprotocol(accept.get_subprotocol().map(Into::into)))
}

/// The head for the handler. Everything is copied, since any part of the original keeps the buffer
/// that it was read into alive; only the extensions are as the outer layers left them.
fn handler_request(
    attempt: &Attempt,
    mut extensions: Extensions,
    settings: &Settings,
) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = attempt.method().clone();
    *request.version_mut() = attempt.version();
    *request.uri_mut() = copy_uri(attempt.uri());
    *request.headers_mut() = copy_headers(attempt.headers(), settings);
    upgrade::forget(&mut extensions);
    *request.extensions_mut() = extensions;
    request
}

fn copy_uri(uri: &Uri) -> Uri {
    let text = match uri.path_and_query() {
        // What most of HTTP/1.1 is, without the detour of formatting.
        Some(path) if uri.authority().is_none() && path.as_str().starts_with('/') => {
            path.as_str().to_owned()
        }
        _ => uri.to_string(),
    };
    Uri::from_maybe_shared(Bytes::from(text)).unwrap_or_default()
}

fn copy_headers(headers: &HeaderMap, settings: &Settings) -> HeaderMap {
    let mut copy = HeaderMap::with_capacity(settings.copied_headers.len());
    for name in &settings.copied_headers {
        for value in headers.get_all(name) {
            if let Ok(mut owned) = HeaderValue::from_bytes(value.as_bytes()) {
                owned.set_sensitive(value.is_sensitive());
                copy.append(name, owned);
            }
        }
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_uri_is_the_same() {
        for text in ["/", "/chat", "/a/b?c=d&e", "/?", "*", "http://h", "https://h:1/a?b"] {
            let uri: Uri = text.parse().unwrap();
            assert_eq!(copy_uri(&uri), uri, "{text}");
            assert_eq!(copy_uri(&uri).to_string(), uri.to_string());
        }
    }
}
