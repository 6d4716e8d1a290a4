//! One attempt: the request that goes to the HTTP client, and what is made of its answer.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use bytes::{Buf, BufMut, BytesMut};
use http::{Method, Request, Response, Version, header};
use http_body::Body;
use hybi::{
    handshake::{Address, AnswerError, ClientHandshake, Opening, RequestError},
    proto::CloseCode,
};
use hyper::ext::Protocol;
use tokio::time::Sleep;

use super::{ClientError, ClientOptions, error::Kind};
use crate::{BoxError, WebSocket, upgrade};

/// What has to be remembered of a request until its answer comes.
pub(super) struct Attempt {
    handshake: ClientHandshake,
    options: ClientOptions,
}

impl Attempt {
    /// Makes the HTTP request for the WebSocket that `request` asks for.
    pub(super) fn new(
        request: Request<()>,
        defaults: &ClientOptions,
    ) -> Result<(Request<()>, Self), ClientError> {
        let (mut parts, ()) = request.into_parts();
        if parts.method != Method::GET {
            return Err(Kind::Method.into());
        }
        let mut options =
            parts.extensions.remove::<ClientOptions>().unwrap_or_else(|| defaults.clone());

        let address = Address::try_from(&parts.uri).map_err(RequestError::Address)?;
        let mut asks = options.request.clone().address(address);
        let mut last = None;
        for (name, value) in parts.headers {
            // A name stands with the first of its values only.
            last = name.or(last);
            let name = last.clone().expect("the first name is there");
            asks = asks.header(name, value)?;
        }

        let http2 = matches!(parts.version, Version::HTTP_2 | Version::HTTP_3);
        options.extended_connect |= http2;
        let (mut head, handshake) = if options.extended_connect {
            parts.extensions.insert(Protocol::from_static("websocket"));
            let (mut head, handshake) = asks.extended_connect();
            if http2 {
                *head.version_mut() = parts.version;
            }
            (head, handshake)
        } else {
            let (mut head, handshake) = asks.upgrade()?;
            // HTTP clients find the server by the URI, send its path, and set `Host` by it, which a layer
            // that follows redirects changes.
            head.headers_mut().remove(header::HOST);
            *head.uri_mut() = asks.get_address().to_http_uri();
            (head, handshake)
        };
        *head.extensions_mut() = parts.extensions;
        Ok((head, Self { handshake, options }))
    }
}

/// Waits for the answer, judges it, and waits for the connection.
pub(super) async fn run<F, R, E>(
    attempt: Attempt,
    answer: F,
) -> Result<Response<WebSocket>, ClientError>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
    E: Into<BoxError>,
{
    let Attempt { handshake, options } = attempt;
    let mut deadline = pin!(tokio::time::sleep(options.timeout));
    let answer = before(deadline.as_mut(), answer).await.ok_or(Kind::TimedOut)?;
    let answer = answer.map_err(|error| Kind::Http(error.into()))?;
    // Each way is known to its versions of HTTP alone. Who answers a CONNECT of HTTP/1.1 with 200 has
    // opened a tunnel to somewhere, and no WebSocket.
    let opening = handshake.opening();
    if (opening == Opening::ExtendedConnect) != (answer.version() > Version::HTTP_11) {
        return Err(Kind::Unsupported(opening).into());
    }

    let agreement = match handshake.verify(&answer) {
        Ok(agreement) => agreement,
        Err(error) if error.status().is_some() => {
            let (mut parts, body) = answer.into_parts();
            upgrade::forget(&mut parts.extensions);
            let mut start = BytesMut::new();
            let reading = read_start(body, options.max_refusal, &mut start);
            let reading = tokio::time::timeout(options.refusal_timeout, reading);
            // However it ends, what has arrived is what there is to tell.
            let _ = before(deadline.as_mut(), reading).await;
            return Err(Kind::Refused(Response::from_parts(parts, start.freeze())).into());
        }
        Err(error) => return Err(Kind::Answer(error).into()),
    };

    let (mut parts, _) = answer.into_parts();
    let upgrade = upgrade::take(&mut parts.extensions).map_err(Kind::Upgrade)?;
    let upgraded = before(deadline.as_mut(), upgrade.wait()).await.ok_or(Kind::TimedOut)?;
    let (transport, early) = upgraded.map_err(Kind::Upgrade)?;
    let config = agreement.configure(options.config);
    let mut socket = WebSocket::with_early_data(transport, &early, config);
    if let Some(name) = agreement.missing_extension() {
        let close = socket.close_with(CloseCode::MANDATORY_EXTENSION, name);
        let _ = before(deadline.as_mut(), close).await;
        return Err(Kind::Answer(AnswerError::MissingExtension).into());
    }
    Ok(Response::from_parts(parts, socket))
}

/// What `future` resolves to, unless `deadline` comes first.
async fn before<F: Future>(mut deadline: Pin<&mut Sleep>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => deadline.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Copies the first `max` bytes of a body, as they arrive.
async fn read_start<R: Body>(body: R, max: usize, start: &mut BytesMut) {
    let mut body = pin!(body);
    while start.len() < max {
        let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else { return };
        if let Ok(data) = frame.into_data() {
            start.put(data.take(max - start.len()));
        }
    }
}
