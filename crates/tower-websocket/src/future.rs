//! The response to a request that passes, or is judged.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::body::ResponseBody;

/// What becomes of a handshake.
pub(crate) enum Verdict {
    /// The inner service has the request.
    Pass(Box<Parts>),
    Answer(Response<Bytes>),
}

type Judgement = Pin<Box<dyn Future<Output = Verdict> + Send>>;

pin_project! {
    /// The future of [`WebSocketService`](crate::WebSocketService).
    ///
    /// The inner service's future is in it as it is; only the judgement of a handshake is boxed.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, S::Future, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, B> {
        Inner { #[pin] future: F },
        Judge { judgement: Judgement, rest: Option<(S, B)> },
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(crate) fn pass(future: S::Future) -> Self {
        Self { state: State::Inner { future } }
    }

    /// `inner` is ready, for the case that the request passes with its `body`.
    pub(crate) fn judge(
        judgement: impl Future<Output = Verdict> + Send + 'static,
        inner: S,
        body: B,
    ) -> Self {
        Self { state: State::Judge { judgement: Box::pin(judgement), rest: Some((inner, body)) } }
    }
}

impl<S, B, ResBody> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Inner { future } => {
                    return future.poll(cx).map_ok(|response| response.map(ResponseBody::inner));
                }
                StateProj::Judge { judgement, rest } => match ready!(judgement.as_mut().poll(cx)) {
                    Verdict::Answer(response) => {
                        return Poll::Ready(Ok(response.map(ResponseBody::from)));
                    }
                    Verdict::Pass(parts) => {
                        let (mut inner, body) = rest.take().expect("polled after completion");
                        let future = inner.call(Request::from_parts(*parts, body));
                        this.state.set(State::Inner { future });
                    }
                },
            }
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
