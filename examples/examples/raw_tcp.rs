//! An echo on a TCP listener, without any HTTP stack: the handshake, the check of who asks, a bound on
//! connections, and an end in due form.
//!
//! ```text
//! cargo run -p examples --example raw_tcp -- --port 3002
//! ```
//!
//! `ws://127.0.0.1:3002/` sends back what it receives. Everything else is told that this is a WebSocket
//! endpoint. Ctrl-C closes the sockets with 1001 and waits for them.

use std::{future::Future, net::Ipv4Addr, pin::pin, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, StatusCode, header};
use hybi::{
    handshake::Refusal,
    proto::{CloseCode, CloseFrame, CloseReason},
    socket::{BoxError, Ended, WebSocket},
    standalone::{AcceptError, Acceptor},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

/// How many connections there may be at once; more wait in the operating system's queue.
const CONNECTIONS: usize = 1000;

/// How long sockets may take to close at the end.
const PATIENCE: Duration = Duration::from_secs(8);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, parse_args()?)).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    serve(listener, CONNECTIONS, interrupted).await
}

/// Serves until `stop` resolves, then closes the sockets.
async fn serve(
    listener: TcpListener,
    connections: usize,
    stop: impl Future<Output = ()>,
) -> Result<(), BoxError> {
    let port = listener.local_addr()?.port();
    let access = Arc::new(Access::local(port));
    let acceptor = Acceptor::new();
    let slots = Arc::new(Semaphore::new(connections));
    let (stopper, stopped) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (access, acceptor) = (Arc::clone(&access), acceptor.clone());
                let stopped = stopped.clone();
                tokio::spawn(async move {
                    match serve_one(stream, &acceptor, &access, stopped).await {
                        Ok(ended) => tracing::info!(?ended, "a socket ended"),
                        Err(error) => tracing::info!(error = &error as &dyn std::error::Error),
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                // Most likely there are too many open files, and some will be closed.
                tracing::warn!(%error, "cannot accept");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    drop((listener, stopper));
    let all = u32::try_from(connections)?;
    if timeout(PATIENCE, slots.acquire_many(all)).await.is_err() {
        tracing::warn!("some sockets did not close in time");
    }
    Ok(())
}

/// Serves one connection from its handshake to its end. `stopped` changes when the server stops.
async fn serve_one(
    stream: TcpStream,
    acceptor: &Acceptor,
    access: &Access,
    mut stopped: watch::Receiver<()>,
) -> Result<Ended, AcceptError> {
    let _ = stream.set_nodelay(true);
    let incoming = tokio::select! {
        incoming = acceptor.read(stream) => incoming?,
        // Nobody waits for handshakes at the end; the client sees the connection go.
        _ = stopped.changed() => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into()),
    };
    if let Err(refusal) = access.check(&incoming.request().headers) {
        return Err(incoming.refuse(refusal).await);
    }

    let session = incoming.session(echo).await?;
    let control = session.control();
    let mut session = pin!(session);
    tokio::select! {
        ended = &mut session => return Ok(ended),
        _ = stopped.changed() => {}
    }
    control.close(CloseFrame::new(CloseCode::GOING_AWAY, CloseReason::default()));
    Ok(session.await)
}

async fn echo(mut socket: WebSocket<TcpStream>) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// Who may connect.
struct Access {
    /// The names that this server is reached by.
    hosts: Vec<String>,
    /// The pages that may connect to it.
    origins: Vec<String>,
}

impl Access {
    /// Pages and clients of this machine.
    fn local(port: u16) -> Self {
        let hosts: Vec<_> =
            ["localhost", "127.0.0.1"].iter().map(|host| format!("{host}:{port}")).collect();
        let origins = hosts.iter().map(|host| format!("http://{host}")).collect();
        Self { hosts, origins }
    }

    /// Checks `Host` against DNS rebinding, where a page reaches this machine by a name of its own,
    /// and `Origin` against pages of other sites. Programs that are no browser have no origin.
    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let all_in = |name: HeaderName, allowed: &[String]| {
            headers.get_all(name).iter().all(|line| allowed.iter().any(|it| line == it))
        };
        if !all_in(header::HOST, &self.hosts) {
            return Err(Refusal::new(StatusCode::FORBIDDEN).reason("not under this name"));
        }
        if !all_in(header::ORIGIN, &self.origins) {
            return Err(Refusal::new(StatusCode::FORBIDDEN).reason("not from this page"));
        }
        Ok(())
    }
}

fn parse_args() -> Result<u16, BoxError> {
    let usage = "usage: raw_tcp [--port PORT]";
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next(), args.next()) {
        (None, ..) => Ok(3002),
        (Some("--port"), Some(port), None) => Ok(port.parse().map_err(|_| usage)?),
        _ => Err(usage.into()),
    }
}

#[cfg(test)]
mod tests {
    use hybi::{handshake::ClientRequest, standalone::connect};
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn it_echoes_to_local_pages_and_closes_with_1001_at_the_end() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, 2, async {
            let _ = stopped.await;
        }));

        let request = ClientRequest::new(format!("ws://{address}/")).unwrap();
        let own = request.clone().origin(&format!("http://{address}")).unwrap();
        let (mut socket, _) = connect(own).await.unwrap();
        socket.send("hello").await.unwrap();
        assert_eq!(socket.recv().await.unwrap().unwrap().as_text(), Some("hello"));

        let other = request.clone().origin("https://evil.example").unwrap();
        let refused = connect(other).await.unwrap_err();
        assert_eq!(refused.status(), Some(StatusCode::FORBIDDEN));
        let rebound = TcpStream::connect(address).await.unwrap();
        let refused = hybi::standalone::connect_over(rebound, "ws://evil.example").await;
        assert_eq!(refused.unwrap_err().response().unwrap().body(), "not under this name\n");

        stop.send(()).unwrap();
        assert!(socket.recv().await.unwrap().is_none());
        assert_eq!(socket.peer_close().unwrap().status(), 1001);
        drop(socket);
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn more_connections_than_slots_wait() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = format!("ws://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, 1, std::future::pending()));

        let (mut first, _) = connect(&address).await.unwrap();
        let second = tokio::spawn(async move { connect(&address).await.unwrap() });
        for _ in 0..100 {
            first.send("busy").await.unwrap();
            first.recv().await.unwrap().unwrap();
        }
        assert!(!second.is_finished());
        first.close().await.unwrap();
        drop(second.await.unwrap());
    }
}
