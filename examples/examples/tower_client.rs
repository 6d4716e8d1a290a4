//! A client of tower layers that keeps a connection: it sends the lines that it reads, prints the messages
//! that come, waits while the server is busy, and connects again when the connection is lost.
//!
//! ```text
//! cargo run -p examples --example tower_client -- ws://127.0.0.1:3001/echo [TOKEN]
//! ```
//!
//! The server of the example `echo_hyper` is one to try it with. A TOKEN goes out as a bearer's
//! `Authorization`. The program ends with its input, or when the server closes with 1000.

use std::{error::Error, io::Write, process::ExitCode, time::Duration};

use http::{Request, Response, StatusCode, header};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, BufReader, Lines},
    time::{Sleep, sleep},
};
use tower::{Service, ServiceBuilder, ServiceExt, retry};
use tower_http::auth::AddAuthorizationLayer;
use tower_websocket::{
    BoxError, CloseCode, CloseFrame, Message, WebSocket,
    client::{Backoff, ClientError, ClientOptions, Connector, WebSocketClient},
};

/// How often an attempt that meets a busy server is made again at once.
const BUSY_ATTEMPTS: u32 = 3;

/// The longest that a server may tell us to wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(url), token, None) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: tower_client URL [TOKEN]");
        return ExitCode::FAILURE;
    };
    let lines = BufReader::new(tokio::io::stdin()).lines();
    let client = client(token.as_deref());
    match run(client, Backoff::new(), &url, lines, std::io::stdout()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", explain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Everything between an attempt to open a socket and the network.
fn client(token: Option<&str>) -> impl Opens {
    let options = ClientOptions::new().timeout(Duration::from_secs(10));
    ServiceBuilder::new()
        // Above the client a layer sees attempts and sockets,
        .retry(WhileBusy { left: BUSY_ATTEMPTS })
        .layer_fn(move |http| WebSocketClient::new(http).options(options.clone()))
        // and below it HTTP.
        .option_layer(token.map(AddAuthorizationLayer::bearer))
        .service(Connector::tcp())
}

/// A service that opens sockets.
trait Opens:
    Service<Request<()>, Response = Response<WebSocket>, Error = ClientError, Future: Send> + Clone
{
}

impl<S> Opens for S where
    S: Service<Request<()>, Response = Response<WebSocket>, Error = ClientError, Future: Send>
        + Clone
{
}

async fn run(
    client: impl Opens,
    mut backoff: Backoff,
    url: &str,
    mut lines: Lines<impl AsyncBufRead + Unpin>,
    mut out: impl Write,
) -> Result<(), BoxError> {
    loop {
        let request = Request::get(url).body(())?;
        match client.clone().oneshot(request).await {
            Ok(response) => {
                backoff.reset();
                let mut socket = response.into_body();
                match talk(&mut socket, &mut lines, &mut out).await {
                    Ok(()) => return Ok(()),
                    // Our own input or output, which another connection does not mend.
                    Err(error) if error.is::<std::io::Error>() => return Err(error),
                    Err(error) => eprintln!("lost: {}", explain(&*error)),
                }
            }
            // What the server refuses or a program gets wrong, the next attempt does not mend.
            Err(error) if error.is_transient() => eprintln!("{}", explain(&error)),
            Err(error) => return Err(error.into()),
        }
        sleep(backoff.next_delay()).await;
    }
}

/// Talks until the input ends and all that was said is answered, the server closes, or the connection is
/// lost, which is the error.
async fn talk(
    socket: &mut WebSocket,
    lines: &mut Lines<impl AsyncBufRead + Unpin>,
    out: &mut impl Write,
) -> Result<(), BoxError> {
    let mut ended = false;
    loop {
        tokio::select! {
            message = socket.recv() => match message? {
                Some(Message::Text(text)) => writeln!(out, "{text}")?,
                Some(Message::Binary(bytes)) => writeln!(out, "({} bytes)", bytes.len())?,
                None => return match socket.peer_close().map(CloseFrame::status) {
                    Some(1000) => Ok(()),
                    code => Err(format!("the server closed with {}", code.unwrap_or(1006)).into()),
                },
            },
            line = lines.next_line(), if !ended => match line? {
                Some(line) => socket.send(line).await?,
                None => {
                    // What the server sends before its own Close still comes.
                    socket.start_close(CloseCode::NORMAL, "")?;
                    ended = true;
                }
            },
        }
    }
}

/// An error and what is behind it.
fn explain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// Makes an attempt again while the server says that it is busy, after as long as it asks for.
#[derive(Clone)]
struct WhileBusy {
    left: u32,
}

impl retry::Policy<Request<()>, Response<WebSocket>, ClientError> for WhileBusy {
    type Future = Sleep;

    fn retry(
        &mut self,
        _: &mut Request<()>,
        result: &mut Result<Response<WebSocket>, ClientError>,
    ) -> Option<Sleep> {
        let response = result.as_ref().err()?.response()?;
        if response.status() != StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(sleep(Duration::from_secs(seconds).min(MAX_RETRY_AFTER)))
    }

    fn clone_request(&mut self, request: &Request<()>) -> Option<Request<()>> {
        Some(request.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::IntoFuture,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use axum::Router;
    use tower_websocket::{
        WebSocketLayer, handler_fn,
        policy::{Accept, Attempt, Decision, Refuse, policy_fn},
    };

    use super::*;

    /// A server that is busy at first, asks for a token, closes its first socket at once, and echoes on
    /// the others. With it how many sockets it had.
    async fn server() -> (String, Arc<AtomicUsize>) {
        let (asked, served) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let sockets = Arc::clone(&served);
        let policy = policy_fn(move |attempt: Attempt| {
            if asked.fetch_add(1, Ordering::Relaxed) < 2 {
                let busy = Refuse::new(StatusCode::SERVICE_UNAVAILABLE);
                return Decision::Refuse(busy.header(header::RETRY_AFTER, "0".parse().unwrap()));
            }
            match attempt.headers().get(header::AUTHORIZATION) {
                Some(value) if value == "Bearer 31337" => Decision::Accept(Accept::new()),
                _ => Decision::Refuse(Refuse::new(StatusCode::UNAUTHORIZED)),
            }
        });
        let layer = WebSocketLayer::new(handler_fn(move |mut socket: WebSocket| {
            let first = served.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                if first {
                    socket.close_with(CloseCode::SERVICE_RESTART, "").await?;
                }
                while let Some(message) = socket.recv().await? {
                    socket.send(message).await?;
                }
                Ok(())
            }
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = Router::new().fallback_service(layer.policy(policy).into_service());
        tokio::spawn(axum::serve(listener, app).into_future());
        (format!("ws://{addr}/"), sockets)
    }

    fn at_once() -> Backoff {
        Backoff::new().max(Duration::ZERO)
    }

    #[tokio::test]
    async fn it_waits_comes_back_and_echoes() {
        let (url, sockets) = server().await;
        let (mut input, lines) = tokio::io::duplex(100);
        let lines = BufReader::new(lines).lines();
        let (mut printed, out) = std::io::pipe().unwrap();
        let running = tokio::spawn(async move {
            let client = client(Some("31337"));
            run(client, at_once(), &url, lines, out).await.map_err(|error| error.to_string())
        });
        // What is sent on the first socket may be lost with it.
        while sockets.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        tokio::io::AsyncWriteExt::write_all(&mut input, b"one\ntwo\n").await.unwrap();
        drop(input);
        assert_eq!(running.await.unwrap(), Ok(()));
        let mut text = String::new();
        std::io::Read::read_to_string(&mut printed, &mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[tokio::test]
    async fn it_ends_with_its_output() {
        let (url, sockets) = server().await;
        let (mut input, lines) = tokio::io::duplex(100);
        let lines = BufReader::new(lines).lines();
        let (read, out) = std::io::pipe().unwrap();
        drop(read);
        let running = tokio::spawn(async move {
            let ended = run(client(Some("31337")), at_once(), &url, lines, out).await;
            ended.map_err(|error| error.to_string())
        });
        while sockets.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        tokio::io::AsyncWriteExt::write_all(&mut input, b"one\n").await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
        assert!(ended.expect("an end").unwrap().is_err());
    }

    #[tokio::test]
    async fn it_gives_up_when_it_is_refused() {
        let (url, _) = server().await;
        let lines = BufReader::new(tokio::io::empty()).lines();
        let error = run(client(None), at_once(), &url, lines, Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("401"), "{error}");
    }
}
