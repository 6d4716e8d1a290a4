//! How a handshake is judged: its form, the policy, the handler's readiness; then the answer.

use std::{
    future::poll_fn,
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header::RETRY_AFTER, request::Parts,
};
use hybi::{
    handshake::{Refusal, ServerHandshake},
    socket::Config,
};
use hyper::ext::Protocol;

use crate::{
    BoxError,
    agreed::Agreed,
    commit::Marker,
    future::Verdict,
    handler::Handler,
    layer::{Settings, WebSocketLayer},
    policy::{Accept, Attempt, Decision, PeerAddr, Policy},
    task::Start,
    upgrade,
};

/// Judges the handshake of which `parts` is the head, and has an accepted one served.
pub(crate) async fn judge<H: Handler, P: Policy>(
    layer: WebSocketLayer<H, P>,
    mut parts: Parts,
) -> Verdict {
    let settings = &*layer.settings;
    let version = parts.version;
    let refuse = |refusal: Refusal| Verdict::Answer(refusal.into_response(version));

    let protocol = parts.extensions.get::<Protocol>().cloned();
    let protocol = protocol.as_ref().map(Protocol::as_str);
    let handshake = match ServerHandshake::parse(&parts, protocol, &settings.handshake_limits) {
        Ok(handshake) => handshake,
        Err(refusal) => {
            tracing::debug!(%refusal, "malformed WebSocket handshake");
            return refuse(refusal);
        }
    };
    // Taken before anyone can clone the extensions: two waiting clones of hyper's handle panic.
    let upgrade = upgrade::take(&mut parts.extensions);
    let outer_addr = parts.extensions.get::<PeerAddr>().copied();
    if let Some(find) = &settings.peer_addr
        && let Some(addr) = find(&parts.extensions)
    {
        parts.extensions.insert(PeerAddr(addr));
    }

    let attempt = Attempt::new(parts, handshake);
    let decision =
        tokio::time::timeout(settings.policy_timeout, layer.policy.decide(&attempt)).await;
    let accept = match decision {
        Err(_) => {
            tracing::warn!("the policy took too long to judge a WebSocket handshake");
            return refuse(unavailable(settings, "the handshake could not be judged in time"));
        }
        Ok(Decision::Pass) => {
            let (mut parts, _) = attempt.into_parts();
            // What was put in for the policy goes out again.
            match outer_addr {
                Some(addr) => drop(parts.extensions.insert(addr)),
                None => drop(parts.extensions.remove::<PeerAddr>()),
            }
            if let Ok(upgrade) = upgrade {
                upgrade::put_back(upgrade, &mut parts.extensions);
            }
            return Verdict::Pass(Box::new(parts));
        }
        Ok(Decision::Refuse(refusal)) => {
            let refusal = Refusal::from(refusal);
            tracing::debug!(%refusal, "WebSocket handshake refused by the policy");
            return refuse(refusal);
        }
        Ok(Decision::Accept(accept)) => accept,
    };
    let (mut parts, handshake) = attempt.into_parts();
    let marker = Marker::take(&mut parts.extensions);

    let agreed = Agreed::new(&handshake, settings, &accept);
    let mut response = match response(&handshake, &accept, &agreed) {
        Ok(response) => response,
        Err(refusal) => return refuse(refusal),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(error) => {
            settings.upgrade_failed(&error);
            return refuse(
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR).reason(error.to_string()),
            );
        }
    };
    let shutting_down = "the server is shutting down";
    if settings.sessions.is_draining() {
        return refuse(unavailable(settings, shutting_down));
    }
    let Some(handler) = ready_handler(&layer).await else {
        return refuse(unavailable(settings, "no more WebSockets can be served at the moment"));
    };
    // Last of all, so that only what is accepted counts.
    let Some(guard) = settings.sessions.enter() else {
        return refuse(unavailable(settings, shutting_down));
    };

    let span = tracing::info_span!(
        parent: None,
        "websocket",
        version = ?version,
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
    let start = Start {
        handler,
        request: handler_request(parts, settings),
        upgrade,
        settings: Arc::clone(&layer.settings),
        config: config(settings, &accept, agreed),
        guard,
        span,
    };
    let task = start.run();
    match marker {
        Some(marker) => marker.defer(response.extensions_mut(), task),
        // A task of its own, so that nothing of this request's stays with the socket.
        None => drop(tokio::spawn(task)),
    }
    Verdict::Answer(response)
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
async fn ready_handler<H: Handler, P>(layer: &WebSocketLayer<H, P>) -> Option<H> {
    let mut handler = layer.clone_handler();
    let settings = &layer.settings;
    let mut poll_ready = |cx: &mut Context<'_>| handler.poll_ready(cx).map_err(Into::into);
    let result: Result<(), BoxError> = match poll_fn(|cx| Poll::Ready(poll_ready(cx))).await {
        Poll::Ready(result) => result,
        Poll::Pending => {
            let _waiting = settings.enter_waiting()?;
            let ready = poll_fn(poll_ready);
            tokio::time::timeout(settings.readiness_timeout, ready).await.ok()?
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
    let seconds = settings.retry_after.as_secs();
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
    Arc::new(config.subprotocol(accept.get_subprotocol().map(Into::into)))
}

/// The head for the handler. Everything is copied, since any part of the original keeps the buffer
/// that it was read into alive; only the extensions are as the outer layers left them.
fn handler_request(mut parts: Parts, settings: &Settings) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = parts.version;
    *request.uri_mut() = copy_uri(&parts.uri);
    *request.headers_mut() = copy_headers(&parts.headers, settings);
    upgrade::forget(&mut parts.extensions);
    *request.extensions_mut() = mem::take(&mut parts.extensions);
    request
}

fn copy_uri(uri: &Uri) -> Uri {
    uri.to_string().parse().unwrap_or_default()
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
