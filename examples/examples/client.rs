//! Sends one message and prints the one that comes back.
//!
//! ```text
//! cargo run -p examples --example client -- wss://echo.example.com "to and fro"
//! ```
//!
//! Whatever the server does, the program ends within 10 seconds: with 0 when a message came back and
//! both sides have closed, else with 1 and a line that says what went wrong.

use std::{error::Error, fmt::Write, process::ExitCode, time::Duration};

use hybi::{
    proto::{Limits, Message},
    socket::{BoxError, Timeouts},
    standalone::{ConnectError, Connector},
};
use tokio::time::{Instant, timeout_at};

/// How long it takes at most until the message is back, and until the server has closed after it.
const ANSWER: Duration = Duration::from_secs(6);
const CLOSE: Duration = Duration::from_secs(2);

/// How long the server may take to end the connection then, and how long what it still sends is read.
const END: Duration = Duration::from_millis(500);

/// The longest message that is taken.
const MAX_MESSAGE: usize = 1024 * 1024;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(url), text, None) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: client URL [TEXT]");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let result = runtime.block_on(run(&url, &text.unwrap_or_else(|| "hello".to_owned())));
    // A name that is still being resolved is not waited for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", explain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(url: &str, text: &str) -> Result<(), BoxError> {
    let deadline = Instant::now() + ANSWER;
    let connector = Connector::new()
        .timeout(ANSWER)
        .refusal_timeout(Duration::from_secs(1))
        .limits(Limits::default().max_message(MAX_MESSAGE))
        .timeouts(Timeouts::default().close(CLOSE).server_end(END).linger(END));
    let (mut socket, _) = connector.connect(url).await?;

    let answer = timeout_at(deadline, async {
        socket.send(text).await?;
        socket.recv().await
    });
    match answer.await {
        Err(_) => return Err("the server did not send a message in time".into()),
        Ok(Err(error)) => return Err(error.into()),
        Ok(Ok(Some(Message::Text(text)))) => println!("{}", printable(&text)),
        Ok(Ok(Some(Message::Binary(bytes)))) => println!("{}", bytes.escape_ascii()),
        Ok(Ok(None)) => {
            let mut told = "the server closed without sending a message".to_owned();
            if let Some(close) = socket.peer_close() {
                write!(told, ": {} {}", close.status(), printable(close.reason()))?;
            }
            return Err(told.trim_end().into());
        }
    }
    socket.close().await?;
    Ok(())
}

/// The error with its causes, and what the server said to it.
fn explain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    let response = error.downcast_ref().and_then(ConnectError::response);
    if let Some(target) = response.and_then(|it| it.headers().get("location")) {
        let _ = write!(text, ", which is at {}", target.as_bytes().escape_ascii());
    } else if let Some(line) =
        response.and_then(|it| it.body().split(|&byte| byte == b'\n').find(|line| !line.is_empty()))
    {
        let line = String::from_utf8_lossy(&line[..line.len().min(200)]);
        let _ = write!(text, ": {}", printable(&line));
    }
    text
}

/// The text without what a terminal would obey.
fn printable(text: &str) -> String {
    let is_safe = |c: char| !c.is_control() || c == '\n' || c == '\t';
    let mut printable = String::new();
    for c in text.chars() {
        if is_safe(c) {
            printable.push(c);
        } else {
            printable.extend(c.escape_default());
        }
    }
    printable
}
