//! The echo server as it is run: every option, and its end.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tests::{client::Client, h2::Connection, start::soon, wire::close_body};
use tokio::io::AsyncWriteExt;

/// A running server, killed when dropped.
struct Server {
    child: Child,
    addr: SocketAddr,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_echo-server"))
            .args(["--port", "0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a built binary");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let addr = line.trim().rsplit(' ').next().and_then(|addr| addr.parse().ok());
        Self { child, addr: addr.unwrap_or_else(|| panic!("no address: {line:?}")), stdout }
    }

    /// Asks it to end, as an init system does.
    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    }

    async fn ended(&mut self) -> ExitStatus {
        soon("the server's end", async {
            loop {
                if let Some(status) = self.child.try_wait().expect("a child") {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn echoes(addr: SocketAddr, path: &str) {
    let mut client = Client::open(addr, path).await;
    client.send_text("text").await;
    assert_eq!(client.recv_text().await, "text");
    client.send_frame(0x82, b"\0\xff").await;
    assert_eq!(client.recv().await, (0x82, b"\0\xff".to_vec()));
    client.send_close(1000, "").await;
    assert_eq!(client.recv_close().await, 1000);
}

async fn status(addr: SocketAddr, fields: &[(&str, &str)]) -> u16 {
    Client::connect(addr).await.handshake("/", fields).await.status
}

#[tokio::test]
async fn it_prints_its_port_and_echoes_at_every_path_but_two() {
    let server = Server::start(&[]);
    echoes(server.addr, "/").await;
    echoes(server.addr, "/any/path?and=query").await;
    let mut client = Client::connect(server.addr).await;
    let plain = client.get("/plain", &[]).await;
    assert_eq!((plain.status, &*plain.body), (200, "plain\n"));
    assert_eq!(client.get("/nowhere", &[]).await.status, 404);
    assert_eq!(client.handshake("/nowhere", &[]).await.status, 404);
    assert_eq!(client.get("/else", &[]).await.status, 426);

    let connection = Connection::connect(server.addr).await;
    let mut stream = connection.open("/").await;
    stream.send_frame(0x81, b"over HTTP/2").await;
    assert_eq!(stream.recv().await, (0x81, b"over HTTP/2".to_vec()));
    let request = connection.handshake("/nowhere");
    assert_eq!(connection.send(request).await.unwrap().0.status(), 404);
}

#[tokio::test]
async fn threads_and_the_handler_of_messages_change_nothing_to_see() {
    for options in [&["--threads", "2"][..], &["--handler", "message"], &["--threads", "0"]] {
        let server = Server::start(options);
        let (first, second) = (echoes(server.addr, "/"), echoes(server.addr, "/"));
        tokio::join!(first, second);
    }
}

/// S-01: at the limit, and one past it.
#[tokio::test]
async fn max_message_is_the_longest_message() {
    for (options, limit) in [(&["--max-message", "100"][..], 100), (&[], 1 << 20)] {
        let server = Server::start(options);
        let mut client = Client::open(server.addr, "/").await;
        client.send_frame(0x82, &vec![7; limit]).await;
        let mut len = 0;
        while len < limit {
            len += client.recv().await.1.len();
        }
        client.send_frame(0x82, &vec![7; limit + 1]).await;
        assert_eq!(client.recv_close().await, 1009);
    }
}

/// O-03, S-02, S-03
#[tokio::test]
async fn origins_and_hosts_are_those_of_the_options() {
    let server = Server::start(&[]);
    let own = format!("http://{}", server.addr);
    assert_eq!(status(server.addr, &[("Origin", &own)]).await, 101);
    assert_eq!(status(server.addr, &[("Origin", "https://app.example.com")]).await, 403);

    let server = Server::start(&[
        "--allow-origin",
        "https://app.example.com",
        "--allow-origin",
        "https://*.example.org",
    ]);
    for (origin, expected) in [
        ("https://app.example.com", 101),
        ("https://a.example.org", 101),
        ("https://example.org", 403),
        ("http://app.example.com", 403),
        ("https://app.example.com.evil.example", 403),
        ("null", 403),
    ] {
        assert_eq!(status(server.addr, &[("Origin", origin)]).await, expected, "{origin}");
    }

    let server = Server::start(&["--allow-host", "localhost"]);
    assert_ne!(status(server.addr, &[]).await, 101, "127.0.0.1 is not localhost");
    let server = Server::start(&["--allow-host", "127.0.0.1"]);
    assert_eq!(status(server.addr, &[]).await, 101);
}

/// N-04
#[tokio::test]
async fn the_first_subprotocol_of_the_options_that_was_offered_is_chosen() {
    let server = Server::start(&["--subprotocol", "v2", "--subprotocol", "v1"]);
    for (offer, chosen) in [("v1, v2", Some("v2")), ("v1", Some("v1")), ("v3", None)] {
        let mut client = Client::connect(server.addr).await;
        let response = client.handshake("/", &[("Sec-WebSocket-Protocol", offer)]).await;
        assert_eq!((response.status, response.field("sec-websocket-protocol")), (101, chosen));
    }
}

/// S-07: a client that says nothing, one that drips, and one whose head never ends.
#[tokio::test]
async fn the_handshake_timeout_cuts_the_silent_and_the_slow() {
    let server = Server::start(&["--handshake-timeout", "0.3"]);
    let begin = Instant::now();
    let mut silent = Client::connect(server.addr).await;
    let mut half = Client::connect(server.addr).await;
    half.send_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n").await;
    let mut preface = Client::connect(server.addr).await;
    preface.send_raw(b"PRI * HTTP/2.0\r\n").await;
    let mut dripping = Client::connect(server.addr).await;
    dripping.send_raw(b"GET / HTTP/1.1\r\nX: ").await;
    let mut drops = tokio::time::interval(Duration::from_millis(10));
    soon("the end of the one that drips", async {
        // An answer may come before the end.
        while !matches!(dripping.stream.try_read(&mut [0; 512]), Ok(0)) {
            drops.tick().await;
            if dripping.stream.write_all(b"a\r\nX: ").await.is_err() {
                break;
            }
        }
    })
    .await;
    for client in [&mut silent, &mut half, &mut preface] {
        let _ = soon("an answer or the end", client.try_response()).await;
        assert!(soon("the end", client.at_eof()).await);
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(250), "{took:?}");
    echoes(server.addr, "/").await;
}

/// A socket that is open is not subject to the handshake's timeout.
#[tokio::test]
async fn an_open_socket_outlives_the_handshake_timeout() {
    let server = Server::start(&["--handshake-timeout", "0.2"]);
    let mut open = Client::open(server.addr, "/").await;
    let mut silent = Client::connect(server.addr).await;
    assert!(soon("the silent one's end", silent.at_eof()).await);
    open.send_text("still here").await;
    assert_eq!(open.recv_text().await, "still here");
}

/// L-12
#[tokio::test]
async fn the_close_timeout_cuts_who_does_not_answer() {
    let server = Server::start(&["--commands", "--close-timeout", "0.2"]);
    let mut client = Client::open(server.addr, "/").await;
    client.send_text("!close 1000").await;
    assert_eq!(client.recv_close().await, 1000);
    let begin = Instant::now();
    assert!(soon("the end", client.at_eof()).await);
    assert!(begin.elapsed() >= Duration::from_millis(150));
    assert!(begin.elapsed() < Duration::from_secs(4), "not the default of 5 s");
}

/// K-06
#[tokio::test]
async fn the_ping_options_find_clients_that_have_vanished() {
    let server = Server::start(&["--ping-interval", "0.2", "--ping-timeout", "0.3"]);
    let mut silent = Client::open(server.addr, "/").await;
    let mut answers = Client::open(server.addr, "/").await;
    let begin = Instant::now();
    assert_eq!(soon("a ping", silent.try_recv_any()).await.unwrap().0, 0x89);
    assert!(begin.elapsed() >= Duration::from_millis(100));
    // This one answers meanwhile, and so lives on.
    let quiet = tokio::time::timeout(Duration::from_secs(1), answers.recv());
    let (at_eof, quiet) = tokio::join!(soon("the end", silent.at_eof()), quiet);
    assert!(at_eof && quiet.is_err());
    assert!(begin.elapsed() < Duration::from_secs(15), "not the defaults");
    answers.send_text("still here").await;
    assert_eq!(answers.recv_text().await, "still here");

    let server = Server::start(&["--ping-interval", "0", "--ping-timeout", "0.01"]);
    let mut client = Client::open(server.addr, "/").await;
    let quiet = tokio::time::timeout(Duration::from_millis(300), client.try_recv_any());
    assert!(quiet.await.is_err(), "no ping");
    client.send_text("still here").await;
    assert_eq!(client.recv_text().await, "still here");
}

#[tokio::test]
async fn the_idle_timeout_closes_sockets_without_messages() {
    let server = Server::start(&["--idle-timeout", "0.2"]);
    let mut client = Client::open(server.addr, "/").await;
    let begin = Instant::now();
    assert_eq!(soon("a Close", client.recv_close()).await, 1000);
    assert!(begin.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn commands_close_and_flood_and_are_text_without_the_option() {
    let server = Server::start(&["--commands"]);
    let mut client = Client::open(server.addr, "/").await;
    client.send_text("!flood 3 70000").await;
    let mut received = 0;
    let mut messages = 0;
    while messages < 3 {
        let (first, payload) = client.recv().await;
        received += payload.len();
        messages += usize::from(first & 0x80 != 0);
    }
    assert_eq!(received, 210_000);
    client.send_text("not a command").await;
    assert_eq!(client.recv_text().await, "not a command");
    client.send_text("!close 4321 with a reason").await;
    assert_eq!(client.recv().await, (0x88, close_body(4321, "with a reason")));

    let server = Server::start(&[]);
    let mut client = Client::open(server.addr, "/").await;
    client.send_text("!close 1000").await;
    assert_eq!(client.recv_text().await, "!close 1000");
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    for options in [
        &["--allow-origin", "not an origin"][..],
        &["--handshake-timeout", "-1"],
        &["--ping-interval", "-1"],
        &["--commands", "--handler", "message"],
        &["--subprotocol", "not a token"],
        &["--nonsense"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_echo-server"))
            .args(["--port", "0"])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(!child.wait().unwrap().success(), "{options:?}");
        assert!(!told.is_empty() && !told.contains("panicked"), "{options:?}: {told}");
    }
}

/// L-15: everyone is told, and who does not answer does not hold it up.
#[tokio::test]
async fn a_sigterm_ends_it_within_ten_seconds_whatever_its_peers_do() {
    let mut server = Server::start(&["--commands"]);
    let mut answering = Client::open(server.addr, "/").await;
    let mut silent = Client::open(server.addr, "/").await;
    let mut unread = Client::open(server.addr, "/").await;
    unread.send_text("!flood 1000000 65536").await;
    assert_eq!(unread.recv().await.0 & 0x0f, 2);
    let connection = Connection::connect(server.addr).await;
    let mut stream = connection.open("/").await;
    let mut idle = Client::connect(server.addr).await;
    assert_eq!(idle.get("/plain", &[]).await.status, 200);
    let _half = {
        let mut half = Client::connect(server.addr).await;
        half.send_raw(b"GET / HT").await;
        half
    };

    let begin = Instant::now();
    server.terminate();
    assert_eq!(soon("a Close", answering.recv_close()).await, 1001);
    answering.send_close(1001, "").await;
    assert!(soon("the end", answering.at_eof()).await);
    assert_eq!(soon("a Close", silent.recv_close()).await, 1001);
    assert_eq!(soon("a Close", stream.recv_close()).await, 1001);
    assert!(soon("the end", idle.at_eof()).await);
    let status = server.ended().await;
    assert!(status.success(), "{status:?}");
    let took = begin.elapsed();
    println!("it took {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let mut rest = String::new();
    server.stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "it prints nothing but its address");
}

#[tokio::test]
async fn a_sigterm_ends_it_at_once_when_all_peers_answer() {
    let mut server = Server::start(&[]);
    let mut client = Client::open(server.addr, "/").await;
    let begin = Instant::now();
    server.terminate();
    assert_eq!(soon("a Close", client.recv_close()).await, 1001);
    client.send_close(1001, "").await;
    assert!(server.ended().await.success());
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}
