//! A chat: a page and its WebSocket on one port.
//!
//! ```text
//! cargo run --release -p examples --example chat
//! ```
//!
//! Open <http://127.0.0.1:3000> in several tabs. `--port` takes another port (0 any free one),
//! `--host` another address to listen on, by which browsers then have to call it; `RUST_LOG=debug`
//! tells more.
//!
//! What an app on the open internet needs is here, and commented where it is: who may connect, what
//! a client may cost, what happens to a slow one, and how the server stops.

mod protocol;
mod room;
mod serve;

use std::{
    io::stderr,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::{
    Router,
    http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    response::IntoResponse,
    routing::get,
};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep_until, timeout},
};
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;
use tower_websocket::{
    BoxError, CloseCode, Limits, Message, Sessions, WebSocket, WebSocketLayer, commit::CommitLayer,
    handler_fn, policy::AllowHosts,
};
use tracing_subscriber::EnvFilter;

use crate::{
    protocol::{Rejected, Request},
    room::{Member, Rooms},
};

/// How many sockets there may be. Beyond it handshakes are answered with 503.
const MAX_SOCKETS: usize = 1000;

/// The longest message that is received, in bytes. Beyond it the socket is closed with 1009.
const MAX_MESSAGE: usize = 16 * 1024;

/// How long a socket has to say who it is.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a client is listened to, so that a flood does not fill the queues of the others. What it
/// sends beyond that waits in its own queue.
const PACE: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_writer(stderr).with_env_filter(filter).init();

    let addr = parse_args(std::env::args().skip(1))?;
    let listener = TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let sessions = Sessions::new();
    let app = app(addr, sessions.clone())?;
    serve::serve(listener, app, sessions, serve::terminated()).await;
    Ok(())
}

fn app(addr: SocketAddr, sessions: Sessions) -> Result<Router, BoxError> {
    let rooms = Rooms::default();
    let handler = ServiceBuilder::new()
        // The handler's future is the socket, so that this limits sockets.
        .concurrency_limit(MAX_SOCKETS)
        .service(handler_fn(move |socket| talk(socket, rooms)));

    // By default only the page that this server served may connect. That alone would admit the page of another
    // site whose name was made to resolve to this machine (DNS rebinding), hence the list of hosts.
    let hosts = match addr.ip() {
        ip if ip.is_unspecified() || ip.is_loopback() => AllowHosts::loopback(),
        IpAddr::V4(ip) => AllowHosts::new([ip.to_string()])?,
        IpAddr::V6(ip) => AllowHosts::new([format!("[{ip}]")])?,
    };

    let chat = WebSocketLayer::new(handler)
        .policy(hosts)
        .limits(Limits::default().max_message(MAX_MESSAGE))
        .sessions(sessions);

    Ok(Router::new()
        .route("/", get(async || asset("text/html", include_str!("page/index.html"))))
        .route("/style.css", get(async || asset("text/css", include_str!("page/style.css"))))
        .route("/app.js", get(async || asset("text/javascript", include_str!("page/app.js"))))
        .route_service("/chat", chat.into_service())
        .layer(TraceLayer::new_for_http())
        // Outermost: should a layer in between replace the answer to an accepted handshake, then the
        // socket is not served.
        .layer(CommitLayer::new()))
}

/// Serves one socket. When this returns, the socket is closed.
async fn talk(mut socket: WebSocket, rooms: Rooms) -> Result<(), BoxError> {
    let Ok(first) = timeout(JOIN_TIMEOUT, socket.recv()).await else {
        socket.start_close(CloseCode::POLICY_VIOLATION, "nobody joined in time")?;
        return Ok(());
    };
    let Some(first) = first? else { return Ok(()) };
    let mut member = match join(&first, &rooms) {
        Ok(member) => member,
        Err(rejected) => {
            socket.send(rejected.encode()).await?;
            return Ok(());
        }
    };

    let mut turn = Instant::now();
    loop {
        tokio::select! {
            received = async { sleep_until(turn).await; socket.recv().await } => {
                let Some(message) = received? else { return Ok(()) };
                turn = Instant::now() + PACE;
                if let Err(rejected) = say(&message, &member) {
                    socket.send(rejected.encode()).await?;
                }
            }
            event = member.next() => {
                let Some(event) = event else {
                    socket.start_close(CloseCode::TRY_AGAIN_LATER, "too slow to keep up")?;
                    return Ok(());
                };
                // A client that takes nothing makes `send` wait, until its queue is full.
                tokio::select! {
                    sent = socket.send(event) => sent?,
                    () = member.evicted() => {}
                }
            }
        }
    }
}

fn join(message: &Message, rooms: &Rooms) -> Result<Member, Rejected> {
    match Request::parse(message)? {
        Request::Join { name, room } => rooms.join(&name, &room),
        Request::Say { .. } => Err(Rejected::Malformed("`say` before `join`".into())),
    }
}

fn say(message: &Message, member: &Member) -> Result<(), Rejected> {
    match Request::parse(message)? {
        Request::Say { text } => member.say(&text),
        Request::Join { .. } => Err(Rejected::Malformed("a second `join`".into())),
    }
}

/// A file of the page, which runs no script and talks to no server but its own.
fn asset(content_type: &'static str, content: &'static str) -> impl IntoResponse {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                  connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [
        (CONTENT_TYPE, format!("{content_type}; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy.to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, content)
}

fn parse_args(mut args: impl Iterator<Item = String>) -> Result<SocketAddr, BoxError> {
    let usage = "usage: chat [--host IP] [--port PORT]";
    let mut addr = SocketAddr::from(([127, 0, 0, 1], 3000));
    while let Some(option) = args.next() {
        let value = args.next().ok_or(usage)?;
        match option.as_str() {
            "--host" => addr.set_ip(value.parse().map_err(|_| usage)?),
            "--port" => addr.set_port(value.parse().map_err(|_| usage)?),
            _ => return Err(usage.into()),
        }
    }
    Ok(addr)
}
