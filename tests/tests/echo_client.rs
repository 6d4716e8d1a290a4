//! The echo client as it is run: what it asks of a test suite, and every option.

use std::process::Stdio;

use hybi::{
    proto::{Deflate, MessageKind},
    socket::WebSocket,
    standalone::{Acceptor, Incoming},
};
use tests::start::{listen, soon};
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
};

struct Suite {
    listener: TcpListener,
    /// The target of each request, and whether it offered compression.
    asked: Vec<(String, bool)>,
}

impl Suite {
    async fn next(&mut self) -> Incoming<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        let acceptor = Acceptor::new().deflate(Deflate::new());
        let incoming = acceptor.read(stream).await.unwrap();
        let target = incoming.request().uri.to_string();
        self.asked.push((target, incoming.get_deflate().is_some()));
        incoming
    }

    async fn open(&mut self) -> WebSocket<TcpStream> {
        self.next().await.accept().await.unwrap()
    }

    /// Tells the number of cases.
    async fn count(&mut self, count: &str) {
        let mut socket = self.open().await;
        socket.send(count).await.unwrap();
        // A client that makes nothing of it does not stay to close.
        let _ = socket.close().await;
    }
}

/// Runs the client with these options against what `script` does, and gives its exit code and what it
/// complained of.
async fn run(options: &[&str], script: impl AsyncFnOnce(&mut Suite)) -> (Suite, i32, String) {
    let (listener, addr) = listen().await;
    let mut suite = Suite { listener, asked: Vec::new() };
    let client = Command::new(env!("CARGO_BIN_EXE_echo-client"))
        .args(options)
        .arg(format!("ws://{addr}/"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("a built binary");
    let all = async { tokio::join!(script(&mut suite), client.wait_with_output()).1.unwrap() };
    let output = soon("the client's end", all).await;
    let said = String::from_utf8(output.stderr).unwrap();
    (suite, output.status.code().expect("no signal"), said)
}

fn targets(suite: &Suite) -> Vec<&str> {
    suite.asked.iter().map(|(target, _)| &**target).collect()
}

#[tokio::test]
async fn it_echoes_in_every_case_and_has_the_report_written() {
    let (suite, code, said) = run(&[], async |suite| {
        suite.count("2").await;

        let mut socket = suite.open().await;
        for text in ["", "hello"] {
            socket.send(text).await.unwrap();
            assert_eq!(socket.recv().await.unwrap().unwrap().as_text(), Some(text));
        }
        socket.send(vec![0, 255]).await.unwrap();
        assert!(socket.recv().await.unwrap().unwrap().as_text().is_none());
        socket.close().await.unwrap();

        // One that ends without a Close is as good as any other.
        suite.open().await.abort();
        suite.open().await.close().await.unwrap();
    })
    .await;
    assert_eq!((code, &*said), (0, ""));
    assert_eq!(
        targets(&suite),
        [
            "/getCaseCount",
            "/runCase?case=1&agent=hybi",
            "/runCase?case=2&agent=hybi",
            "/updateReports?agent=hybi",
        ]
    );
    assert!(suite.asked.iter().all(|(_, deflate)| !deflate));
}

#[tokio::test]
async fn options_name_the_agent_and_offer_compression() {
    let (suite, code, _) = run(&["--agent", "me", "--deflate"], async |suite| {
        suite.count("0").await;
        suite.open().await.close().await.unwrap();
    })
    .await;
    assert_eq!(code, 0);
    assert_eq!(targets(&suite), ["/getCaseCount", "/updateReports?agent=me"]);
    assert!(suite.asked.iter().all(|(_, deflate)| *deflate));
}

/// S-01: at the limit, and one past it.
#[tokio::test]
async fn max_message_is_the_longest_message() {
    for (options, limit) in [(&["--max-message", "100"][..], 100), (&[], 1 << 20)] {
        let (_, code, said) = run(options, async |suite| {
            suite.count("1").await;
            let mut socket = suite.open().await;
            socket.send(vec![7; limit]).await.unwrap();
            assert_eq!(socket.recv().await.unwrap().unwrap().len(), limit);
            // In two frames: the first is read whole before the second is one byte too many.
            let mut message = socket.start_message(MessageKind::Binary).await.unwrap();
            message.send_chunk(vec![7; limit]).await.unwrap();
            message.flush().await.unwrap();
            message.send_chunk(vec![7; 1]).await.unwrap();
            message.finish().await.unwrap();
            assert_eq!(socket.recv().await.unwrap(), None);
            assert_eq!(socket.peer_close().unwrap().status(), 1009);
            let _ = socket.close().await;
            suite.open().await.close().await.unwrap();
        })
        .await;
        assert_eq!(code, 0, "{said}");
    }
}

#[tokio::test]
async fn it_fails_when_there_is_no_suite_or_a_case_does_not_end() {
    let (_, code, said) = run(&[], async |suite| suite.count("many").await).await;
    assert!(code == 1 && said.contains("invalid digit"), "{said}");

    let (_, code, said) = run(&["--case-timeout", "0.1"], async |suite| {
        suite.count("1").await;
        let mut socket = suite.open().await;
        while let Ok(Some(_)) = socket.recv().await {}
    })
    .await;
    assert!(code == 1 && said.contains("case 1 did not end in time"), "{said}");
}
