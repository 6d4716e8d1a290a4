//! An axum app that echoes over WebSocket, as a user would write one: the server that the
//! conformance suite and the benchmarks run against, and anyone who wants to try a client.
//!
//! `GET /plain` answers 200, `/nowhere` answers 404 to anything, every other path echoes.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::any};
use clap::{Parser, ValueEnum};
use tests::serve::{Server, ServerConfig};
use tower_websocket::{
    BoxError, CloseCode, Deflate, KeepAlive, Limits, Message, Sessions, Timeouts, WebSocket,
    WebSocketLayer,
    handler::{Handler, per_message},
    handler_fn,
    policy::{AllowHosts, AllowOrigins, BoxPolicy, Policy, Subprotocols},
};

/// Echoes text as text and binary as binary over WebSocket.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The port to listen on, on 127.0.0.1; 0 takes any free one. The first line printed ends with
    /// it.
    #[arg(long, default_value_t = 9001)]
    port: u16,
    /// Worker threads; 1 is a current-thread runtime.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// The largest message that is accepted, in bytes.
    #[arg(long)]
    max_message: Option<usize>,
    /// An origin whose pages may connect, such as `https://app.example.com` or
    /// `https://*.example.com`. Without any, pages of the same origin may.
    #[arg(long)]
    allow_origin: Vec<String>,
    /// A host that requests may be addressed to; without a port it matches any. Without any, every
    /// host may.
    #[arg(long)]
    allow_host: Vec<String>,
    /// A subprotocol that the server knows, the most preferred first.
    #[arg(long)]
    subprotocol: Vec<String>,
    /// Grant compression to clients that offer it, of every message that it makes shorter.
    #[arg(long)]
    deflate: bool,
    /// Let the compression of a message refer to those before it, if the client takes that. It costs
    /// memory for as long as the socket is open.
    #[arg(long, requires = "deflate")]
    context_takeover: bool,
    /// Seconds from accept to the answer of the handshake.
    #[arg(long, default_value_t = 10.0)]
    handshake_timeout: f64,
    /// Seconds that the peer's Close is waited for.
    #[arg(long, default_value_t = 5.0)]
    close_timeout: f64,
    /// Seconds from one ping of the server to the next, at most; 0 turns the keep-alive off.
    #[arg(long, default_value_t = 20.0)]
    ping_interval: f64,
    /// Seconds that a client may be silent after a ping.
    #[arg(long, default_value_t = 20.0)]
    ping_timeout: f64,
    /// Seconds that a socket may go without a message; 0 is for ever.
    #[arg(long, default_value_t = 0.0)]
    idle_timeout: f64,
    /// Whether one handler serves a connection, or a service each message.
    #[arg(long, value_enum, default_value_t = HandlerKind::Connection)]
    handler: HandlerKind,
    /// Obey text messages: `!close CODE REASON` starts that close, `!flood COUNT SIZE` sends COUNT
    /// binary messages of SIZE bytes.
    #[arg(long)]
    commands: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HandlerKind {
    Connection,
    Message,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .init();
    let args = Args::parse();
    let mut runtime = if args.threads <= 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let result = runtime
        .worker_threads(args.threads.max(1))
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(args)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), BoxError> {
    let sessions = Sessions::new();
    let app = match (args.handler, args.commands) {
        (HandlerKind::Connection, false) => app(&args, &sessions, handler_fn(echo))?,
        (HandlerKind::Connection, true) => app(&args, &sessions, handler_fn(obey))?,
        (HandlerKind::Message, false) => {
            let echo = per_message(tower::service_fn(async |message: Message| {
                Ok::<_, Infallible>(message)
            }));
            app(&args, &sessions, echo)?
        }
        (HandlerKind::Message, true) => {
            return Err("--commands needs --handler connection".into());
        }
    };

    let config = ServerConfig {
        handshake_timeout: Duration::try_from_secs_f64(args.handshake_timeout)?,
        ..ServerConfig::default()
    };
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let server = Server::bind(addr, app, config).await?;
    println!("listening on {}", server.local_addr());

    server.until(tests::serve::terminated()).await;
    sessions.drain(Duration::from_secs(8)).await;
    Ok(())
}

fn app(args: &Args, sessions: &Sessions, handler: impl Handler) -> Result<Router, BoxError> {
    let mut limits = Limits::default();
    if let Some(bytes) = args.max_message {
        limits = limits.max_message(bytes);
    }
    let seconds = |seconds| Duration::try_from_secs_f64(seconds);
    let unless_0 = |time: Duration| Some(time).filter(|time| !time.is_zero());
    let timeouts = Timeouts::default()
        .close(seconds(args.close_timeout)?)
        .idle(unless_0(seconds(args.idle_timeout)?));
    let ping_timeout = seconds(args.ping_timeout)?;
    let keep_alive = unless_0(seconds(args.ping_interval)?)
        .map(|interval| KeepAlive::default().interval(interval).timeout(ping_timeout));
    let mut layer = WebSocketLayer::new(handler)
        .limits(limits)
        .timeouts(timeouts)
        .keep_alive(keep_alive)
        .sessions(sessions.clone())
        .deflate(args.deflate.then(|| {
            Deflate::new()
                .server_context_takeover(args.context_takeover)
                .client_context_takeover(args.context_takeover)
                .threshold(0)
        }));
    if !args.allow_origin.is_empty() {
        layer = layer.origin(AllowOrigins::new(&args.allow_origin)?);
    }
    if let Some(policy) = policy(args)? {
        layer = layer.policy(policy);
    }
    Ok(Router::new()
        .route("/plain", any(async || "plain\n"))
        .route("/nowhere", any(async || StatusCode::NOT_FOUND))
        .fallback_service(layer.into_service()))
}

fn policy(args: &Args) -> Result<Option<BoxPolicy>, BoxError> {
    let mut policy: Option<BoxPolicy> = None;
    let mut add = |more: BoxPolicy| {
        policy = Some(match policy.take() {
            Some(policy) => policy.and(more).boxed(),
            None => more,
        });
    };
    if !args.allow_host.is_empty() {
        add(AllowHosts::new(&args.allow_host)?.boxed());
    }
    if !args.subprotocol.is_empty() {
        add(Subprotocols::new(&args.subprotocol)?.boxed());
    }
    Ok(policy)
}

async fn echo(mut socket: WebSocket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

async fn obey(mut socket: WebSocket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        let words: Vec<_> = message.as_text().unwrap_or("").splitn(3, ' ').collect();
        match words[..] {
            ["!close", code, ref reason @ ..] => {
                let code = CloseCode::new(code.parse()?)?;
                let reason = reason.first().copied().unwrap_or("");
                socket.close_with(code, reason).await?;
            }
            ["!flood", count, size] => {
                let payload = tower_websocket::Bytes::from(vec![0; size.parse()?]);
                for _ in 0..count.parse()? {
                    socket.send(payload.clone()).await?;
                }
            }
            _ => socket.send(message).await?,
        }
    }
    Ok(())
}
