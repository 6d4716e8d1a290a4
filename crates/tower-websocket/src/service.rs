//! The service: which requests pass and which are judged.

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    mem,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hybi::handshake::{RequestKind, classify, upgrade_required};
use hyper::ext::Protocol;
use tower_service::Service;

use crate::{body::ResponseBody, future::ResponseFuture, judge::judge, layer::WebSocketLayer};

/// An HTTP service with WebSockets on it. See [`WebSocketLayer`].
#[derive(Clone)]
pub struct WebSocketService<S> {
    inner: S,
    layer: WebSocketLayer,
}

impl<S> WebSocketService<S> {
    pub(crate) fn new(inner: S, layer: WebSocketLayer) -> Self {
        Self { inner, layer }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, mutably.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, without the WebSockets.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for WebSocketService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    /// Ready when the inner service is. The handler's readiness is a matter of each handshake.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
        let kind = classify(request.method(), request.version(), request.headers(), protocol);
        match kind {
            RequestKind::Other => ResponseFuture::pass(self.inner.call(request)),
            RequestKind::Handshake(_) => {
                let (parts, body) = request.into_parts();
                // The service that was driven to readiness goes along: a policy may pass the
                // request on.
                let clone = self.inner.clone();
                let inner = mem::replace(&mut self.inner, clone);
                ResponseFuture::judge(judge(self.layer.clone(), parts), inner, body)
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for WebSocketService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketService")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}

/// The inner service where there is nothing but WebSockets: it answers 426 (upgrade required).
///
/// The body names the mistake where the request looks like a handshake that a proxy has broken.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct UpgradeRequired {
    _private: (),
}

impl UpgradeRequired {
    /// Makes the service.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<B> Service<Request<B>> for UpgradeRequired {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, _) = request.into_parts();
        let response = upgrade_required(&parts).into_response(parts.version);
        ready(Ok(response.map(Full::new)))
    }
}
