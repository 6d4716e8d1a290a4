//! The example of a client as it is run, against servers that do what they should not: it says what
//! went wrong and ends within 10 seconds.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tests::{
    start::listen,
    tls::{Authority, self_signed},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::sleep,
};

/// The program, built in the profile of the tests unless it is there.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let this = std::env::current_exe().expect("a path");
        let profile = this.ancestors().nth(2).expect("target/PROFILE/deps/this");
        let mut build = std::process::Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--locked", "-p", "examples", "--example", "client"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        assert!(build.status().expect("cargo").success());
        profile.join("examples").join(format!("client{}", std::env::consts::EXE_SUFFIX))
    })
}

/// Runs it, and gives its exit code, what it printed, and what it complained of.
async fn run(args: &[&str], roots: Option<&Path>) -> (i32, String, String) {
    let mut command = Command::new(program());
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    // What the library that finds the system's certificates takes in their place.
    if let Some(roots) = roots {
        command.env("SSL_CERT_FILE", roots).env_remove("SSL_CERT_DIR");
    }
    let begin = Instant::now();
    let output = tokio::time::timeout(Duration::from_secs(20), command.output());
    let Output { status, stdout, stderr } = output.await.expect("an end").expect("a program");
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(10), "{args:?} took {took:?}");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("no signal"), text(stdout), text(stderr))
}

/// The server's end of a connection, of which the request was read.
struct Server<T>(T, String);

impl<T: AsyncRead + AsyncWrite + Unpin> Server<T> {
    async fn read(mut io: T) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.expect("a whole request"));
        }
        Self(io, String::from_utf8(head).expect("ASCII"))
    }

    /// An answer that accepts.
    fn accepting(&self) -> String {
        let lines = self.1.lines().filter_map(|line| line.split_once(": "));
        let key = lines.clone().find(|(name, _)| *name == "Sec-WebSocket-Key").expect("a key").1;
        let accept = hybi::handshake::accept_value(key.as_bytes());
        let accept = String::from_utf8(accept.to_vec()).expect("ASCII");
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The client may be gone, which is not what is tested.
        let _ = self.0.write_all(bytes.as_ref()).await;
        let _ = self.0.flush().await;
    }

    async fn accept(&mut self) {
        let answer = self.accepting();
        self.send(answer).await;
    }

    /// Reads until the client is gone.
    async fn wait(&mut self) {
        let mut bytes = [0; 4096];
        while matches!(self.0.read(&mut bytes).await, Ok(1..)) {}
    }
}

/// Runs the client against a server that does `script` with its one connection.
async fn against<F>(script: impl FnOnce(TcpStream) -> F) -> (i32, String, String)
where
    F: Future<Output = ()>,
{
    let (listener, addr) = listen().await;
    let url = format!("ws://{addr}/x");
    let args = [&*url];
    let client = run(&args, None);
    tokio::pin!(client);
    let server = async { script(listener.accept().await.expect("a connection").0).await };
    tokio::select! {
        biased;
        result = &mut client => result,
        () = server => client.await,
    }
}

/// The client fails, prints nothing, and says this in one line.
async fn fails<F>(says: &str, script: impl FnOnce(TcpStream) -> F)
where
    F: Future<Output = ()>,
{
    let (code, printed, said) = against(script).await;
    assert_eq!((code, &*printed), (1, ""), "{said}");
    assert!(said.contains(says), "{says:?} in {said:?}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
}

async fn drip(mut stream: Server<TcpStream>, byte: u8) {
    while stream.0.write_all(&[byte]).await.is_ok() {
        sleep(Duration::from_millis(100)).await;
    }
}

// ===== what should be =====

#[tokio::test]
async fn it_prints_what_comes_back() {
    for (args, text) in [(&[][..], "hello"), (&["to and \"fro\" \u{fc}"], "to and \"fro\" \u{fc}")]
    {
        let (listener, addr) = listen().await;
        let server = async {
            let stream = listener.accept().await.unwrap().0;
            let mut socket = hybi::standalone::accept(stream).await.unwrap();
            while let Some(message) = socket.recv().await.unwrap() {
                socket.send(message).await.unwrap();
            }
            assert_eq!(socket.peer_close().unwrap().status(), 1000);
            let _ = socket.close().await;
        };
        let url = format!("ws://{addr}");
        let args = [&[&*url], args].concat();
        let ((code, printed, said), ()) = tokio::join!(run(&args, None), server);
        assert_eq!((code, printed, &*said), (0, format!("{text}\n"), ""));
    }
}

/// S-09, C-12
#[tokio::test]
async fn it_speaks_tls_to_who_can_prove_it() {
    let authority = Authority::new();
    let roots = std::env::temp_dir().join(format!("client_example_{}.pem", std::process::id()));
    std::fs::write(&roots, authority.pem()).unwrap();
    for (tls, good) in [(authority.server("localhost"), true), (self_signed("localhost"), false)] {
        let (listener, addr) = listen().await;
        let server = async {
            let stream = listener.accept().await.unwrap().0;
            if let Ok(stream) = tls.accept(stream).await {
                let mut socket = hybi::standalone::accept(stream).await.unwrap();
                let message = socket.recv().await.unwrap().unwrap();
                socket.send(message).await.unwrap();
                assert!(socket.recv().await.unwrap().is_none());
                let _ = socket.close().await;
            }
        };
        let url = format!("wss://localhost:{}", addr.port());
        let args = [&*url, "secret"];
        let ((code, printed, said), ()) = tokio::join!(run(&args, Some(&roots)), server);
        if good {
            assert_eq!((code, &*printed), (0, "secret\n"), "{said}");
        } else {
            assert_eq!((code, &*printed), (1, ""));
            assert!(said.contains("no TLS") && said.contains("UnknownIssuer"), "{said}");
        }
    }
    std::fs::remove_file(&roots).unwrap();
}

#[tokio::test]
async fn it_prints_nothing_that_a_terminal_would_obey() {
    let (code, printed, _) = against(|stream| async {
        let mut server = Server::read(stream).await;
        server.accept().await;
        server.send(b"\x81\x05a\x1b[2J\x88\x02\x03\xe8").await;
        server.wait().await;
    })
    .await;
    assert_eq!((code, &*printed), (0, "a\\u{1b}[2J\n"));
}

// ===== before the handshake =====

#[tokio::test]
async fn it_says_what_is_wrong_with_its_arguments() {
    for (args, says) in [
        (&[][..], "usage"),
        (&["ws://a", "b", "c"], "usage"),
        (&["a.example"], "begins with ws://"),
        (&["ws://me@a.example"], "no user name"),
        (&["ws://name.invalid"], "could not be resolved"),
    ] {
        let (code, printed, said) = run(args, None).await;
        assert_eq!((code, &*printed), (1, ""));
        assert!(said.contains(says), "{said}");
    }
    let (listener, addr) = listen().await;
    drop(listener);
    let (code, _, said) = run(&[&format!("ws://{addr}")], None).await;
    assert!(code == 1 && said.contains("could not connect"), "{said}");
}

/// C-15
#[tokio::test]
async fn it_does_not_wait_for_a_server_that_does_not_answer() {
    fails("did not answer the handshake in time", |stream| async {
        Server::read(stream).await.wait().await;
    })
    .await;
}

/// C-15
#[tokio::test]
async fn it_does_not_wait_for_an_answer_that_drips() {
    fails("did not answer the handshake in time", |stream| async {
        let mut server = Server::read(stream).await;
        server.send("HTTP/1.1 101 Switching Protocols\r\nX: ").await;
        drip(server, b'x').await;
    })
    .await;
}

/// C-15
#[tokio::test]
async fn it_does_not_read_an_answer_without_end() {
    fails("the head is too long", |stream| async {
        let mut server = Server::read(stream).await;
        server.send("HTTP/1.1 101 Switching Protocols\r\nX: ").await;
        while server.0.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
}

/// C-06
#[tokio::test]
async fn it_does_not_read_interim_answers_without_end() {
    fails("interim answers without end", |stream| async {
        let mut server = Server::read(stream).await;
        while server.0.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {}
    })
    .await;
}

// ===== in the handshake =====

/// C-07
#[tokio::test]
async fn it_tells_how_the_server_refused() {
    fails("403 Forbidden: not \\u{1b}you", |stream| async {
        let mut server = Server::read(stream).await;
        server.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nnot \x1byou\nmore").await;
    })
    .await;
    // A body that drips is not waited for.
    fails("500", |stream| async {
        let mut server = Server::read(stream).await;
        server.send("HTTP/1.1 500 Oops\r\nContent-Length: 10000\r\n\r\n").await;
        drip(server, b'x').await;
    })
    .await;
}

/// C-08, C-09, C-10
#[tokio::test]
async fn it_does_not_believe_a_lie() {
    fails("does not match the key", |stream| async {
        let mut server = Server::read(stream).await;
        let lie = server.accepting().replace("Accept: ", "Accept: A");
        server.send(lie).await;
        server.send(b"\x81\x03lie").await;
        server.wait().await;
    })
    .await;
    fails("extension that was not offered", |stream| async {
        let mut server = Server::read(stream).await;
        let lie = server.accepting().replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: x\r\n\r\n");
        server.send(lie).await;
        server.wait().await;
    })
    .await;
    fails("no valid HTTP answer", |stream| async {
        let mut server = Server::read(stream).await;
        server.send(b"\x81\x05hello\r\n\r\n").await;
        server.wait().await;
    })
    .await;
    fails("without a whole answer", |stream| async { drop(Server::read(stream).await) }).await;
}

// ===== behind the handshake =====

#[tokio::test]
async fn it_does_not_wait_for_a_message_that_does_not_come() {
    fails("did not send a message in time", |stream| async {
        let mut server = Server::read(stream).await;
        server.accept().await;
        server.wait().await;
    })
    .await;
}

/// Neither pings nor the beginning of a message are one.
#[tokio::test]
async fn it_does_not_wait_for_a_message_that_drips() {
    fails("did not send a message in time", |stream| async {
        let mut server = Server::read(stream).await;
        server.accept().await;
        server.send(b"\x89\x00\x82\x7f\0\0\0\0\0\x0f\xff\xff").await;
        drip(server, b'x').await;
    })
    .await;
}

#[tokio::test]
async fn it_does_not_take_a_bomb() {
    for head in [&b"\x82\x7f\0\0\0\0\x40\0\0\0"[..], b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"] {
        fails("broke the WebSocket protocol", |stream| async move {
            let mut server = Server::read(stream).await;
            server.accept().await;
            server.send(head).await;
            while server.0.write_all(&[0; 4096]).await.is_ok() {}
        })
        .await;
    }
    // In pieces.
    fails("broke the WebSocket protocol", |stream| async move {
        let mut server = Server::read(stream).await;
        server.accept().await;
        server.send(b"\x02\x00").await;
        let piece = [&b"\x00\x7e\xff\xff"[..], &[0; 65_535]].concat();
        while server.0.write_all(&piece).await.is_ok() {}
    })
    .await;
}

#[tokio::test]
async fn it_does_not_take_a_frame_that_breaks_the_protocol() {
    for frame in [&b"\x81\x85\0\0\0\0hello"[..], b"\xc1\x01x", b"\x83\x00", b"\x81\x01\xff"] {
        fails("broke the WebSocket protocol", |stream| async move {
            let mut server = Server::read(stream).await;
            server.accept().await;
            server.send(frame).await;
            server.wait().await;
        })
        .await;
    }
}

#[tokio::test]
async fn it_tells_how_the_server_closed() {
    fails("closed without sending a message: 1013 later\\u{7}", |stream| async {
        let mut server = Server::read(stream).await;
        server.accept().await;
        server.send(b"\x88\x08\x03\xf5later\x07").await;
        server.wait().await;
    })
    .await;
    fails("ended the connection without a Close", |stream| async {
        let mut server = Server::read(stream).await;
        server.accept().await;
        // Without reading on it would be a reset.
        let _ = server.0.shutdown().await;
        server.wait().await;
    })
    .await;
}

/// L-11, L-12: the message came, but the connection does not end as it should.
#[tokio::test]
async fn it_does_not_wait_for_a_server_that_does_not_close() {
    let (code, printed, said) = against(|stream| async {
        let mut server = Server::read(stream).await;
        server.accept().await;
        server.send(b"\x81\x02hi").await;
        server.wait().await;
    })
    .await;
    assert_eq!((code, &*printed), (1, "hi\n"));
    assert!(said.contains("did not answer the Close in time"), "{said}");

    // It floods instead, with messages and with what is behind a Close.
    for close in [&b""[..], b"\x88\x02\x03\xe8"] {
        let (code, printed, _) = against(|stream| async move {
            let mut server = Server::read(stream).await;
            server.accept().await;
            server.send(b"\x81\x02hi").await;
            server.send(close).await;
            while server.0.write_all(&b"\x81\x02hi".repeat(100)).await.is_ok() {}
        })
        .await;
        assert_eq!((code, &*printed), (i32::from(close.is_empty()), "hi\n"));
    }

    // It closes, and keeps the connection.
    let (code, printed, said) = against(|stream| async {
        let mut server = Server::read(stream).await;
        server.accept().await;
        server.send(b"\x81\x02hi\x88\x02\x03\xe8").await;
        server.wait().await;
        sleep(Duration::from_secs(20)).await;
    })
    .await;
    assert_eq!((code, &*printed), (0, "hi\n"), "{said}");
}
