//! A client that echoes, for test suites that are servers: it does what Autobahn's fuzzing server
//! asks of a client, by [`hybi::standalone::connect`] and nothing else.
//!
//! It reads the number of cases from `URL/getCaseCount`, echoes in `URL/runCase?case=N&agent=NAME` for
//! each until the server closes, and has the report written by `URL/updateReports?agent=NAME`.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use hybi::{
    handshake::ClientRequest,
    proto::{Deflate, Limits},
    socket::{BoxError, WebSocket},
    standalone::{ClientStream, Connector},
};
use tokio::time::timeout;

/// Echoes in every case of a test suite that is a server.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The suite's address, such as `ws://127.0.0.1:9001`.
    url: String,
    /// The name in the suite's report.
    #[arg(long, default_value = "hybi")]
    agent: String,
    /// Offer compression.
    #[arg(long)]
    deflate: bool,
    /// Let the compression of a message refer to those before it, as far as the server does.
    #[arg(long, requires = "deflate")]
    context_takeover: bool,
    /// The largest message that is taken, in bytes.
    #[arg(long)]
    max_message: Option<usize>,
    /// Seconds for one case.
    #[arg(long, default_value_t = 120.0)]
    case_timeout: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo-client: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), BoxError> {
    let mut limits = Limits::default();
    if let Some(bytes) = args.max_message {
        limits = limits.max_message(bytes);
    }
    let client = Client { args, connector: Connector::new().limits(limits) };

    let mut socket = client.open("getCaseCount").await?;
    let count = socket.recv().await?.ok_or("the server sent no number of cases")?;
    let count: u32 = count.as_text().ok_or("the number of cases is no text")?.trim().parse()?;
    let _ = socket.close().await;

    let agent = &args.agent;
    let patience = Duration::try_from_secs_f64(args.case_timeout)?;
    for case in 1..=count {
        let socket = client.open(&format!("runCase?case={case}&agent={agent}")).await?;
        if timeout(patience, echo(socket)).await.is_err() {
            return Err(format!("case {case} did not end in time").into());
        }
    }

    let mut socket = client.open(&format!("updateReports?agent={agent}")).await?;
    while let Ok(Some(_)) = socket.recv().await {}
    let _ = socket.close().await;
    println!("{count} cases");
    Ok(())
}

struct Client<'a> {
    args: &'a Args,
    connector: Connector,
}

impl Client<'_> {
    async fn open(&self, path: &str) -> Result<WebSocket<ClientStream>, BoxError> {
        let url = format!("{}/{path}", self.args.url.trim_end_matches('/'));
        let takeover = self.args.context_takeover;
        let deflate = self.args.deflate.then(|| {
            Deflate::new()
                .server_context_takeover(takeover)
                .client_context_takeover(takeover)
                .threshold(0)
        });
        let request = ClientRequest::new(&url)?.deflate(deflate);
        let (socket, _) = self.connector.connect(request).await?;
        Ok(socket)
    }
}

/// Echoes until the end, whichever it is: most cases are about breaking the protocol.
async fn echo(mut socket: WebSocket<ClientStream>) {
    while let Ok(Some(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
    let _ = socket.close().await;
}
