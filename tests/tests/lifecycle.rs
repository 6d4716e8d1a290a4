//! How sockets end, over hyper and TCP, and what is left of them: nothing.

use std::{
    future::pending,
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tests::{
    client::Client,
    start::{app, echo, soon, start, until, until_empty},
    wire::masked,
};
use tokio::{
    io::AsyncWriteExt,
    sync::{Notify, mpsc},
};
use tower_websocket::{
    BoxError, Error, Message, Sessions, Timeouts, WebSocket, WebSocketLayer, handler_fn,
};

/// What a handler tells the test, through a channel that outlives it.
fn channel<T>() -> (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>) {
    mpsc::unbounded_channel()
}

/// Reads the server's Close, answers it, and sees the server end the connection.
async fn finish(mut client: Client, code: u16) {
    assert_eq!(soon("a Close", client.recv_close()).await, code);
    client.send_close(code, "").await;
    assert!(soon("the end", client.at_eof()).await);
}

/// L-15
#[tokio::test]
async fn a_handler_that_returns_closes_with_1000_and_one_that_fails_or_panics_with_1011() {
    let sessions = Sessions::new();
    let handler = handler_fn(|mut socket: WebSocket| async move {
        match socket.recv().await?.as_ref().and_then(Message::as_text) {
            Some("return") => Ok(()),
            Some("fail") => Err("a fault".into()),
            Some("panic") => panic!("a panic"),
            _ => Err(BoxError::from("unexpected")),
        }
    });
    let addr = start(app(handler, &sessions)).await;
    for (wish, code) in [("return", 1000), ("fail", 1011), ("panic", 1011), ("return", 1000)] {
        let mut client = Client::open(addr, "/").await;
        client.send_text(wish).await;
        finish(client, code).await;
        until_empty(&sessions).await;
    }
}

/// A panic in `Service::call`, before there is a future, is a handler's panic as well.
#[tokio::test]
async fn a_handler_that_panics_when_it_is_called_leaves_no_session_behind() {
    let sessions = Sessions::new();
    let service = tower::service_fn(|request: http::Request<WebSocket>| {
        assert_ne!(request.uri().path(), "/panic", "a panic in call");
        async move { echo(request.into_body()).await }
    });
    let addr = start(app(service, &sessions)).await;
    let mut client = Client::open(addr, "/panic").await;
    assert_eq!(soon("a Close", client.recv_close()).await, 1011);
    client.send_close(1011, "").await;
    assert!(soon("the end", client.at_eof()).await);
    until_empty(&sessions).await;

    let mut client = Client::open(addr, "/").await;
    client.send_text("still there").await;
    assert_eq!(client.recv_text().await, "still there");
}

/// L-17
#[tokio::test]
async fn a_socket_that_is_dropped_closes_at_once_while_the_handler_goes_on() {
    let sessions = Sessions::new();
    let release = Arc::new(Notify::new());
    let handler = handler_fn({
        let release = Arc::clone(&release);
        move |socket: WebSocket| async move {
            drop(socket);
            release.notified().await;
        }
    });
    let addr = start(app(handler, &sessions)).await;
    finish(Client::open(addr, "/").await, 1000).await;
    assert_eq!(sessions.len(), 1, "the handler has not returned");
    release.notify_one();
    until_empty(&sessions).await;
}

#[tokio::test]
async fn a_socket_in_a_task_of_its_own_lives_as_long_as_a_handler_that_joins_the_task() {
    let sessions = Sessions::new();
    let handler = handler_fn(|socket: WebSocket| async move {
        tokio::spawn(echo(socket)).await??;
        Ok(())
    });
    let addr = start(app(handler, &sessions)).await;
    let mut client = Client::open(addr, "/").await;
    client.send_text("one").await;
    assert_eq!(client.recv_text().await, "one");
    client.send_close(1000, "").await;
    assert_eq!(client.recv_close().await, 1000);
    assert!(client.at_eof().await);
    until_empty(&sessions).await;
}

#[tokio::test]
async fn a_socket_that_outlives_its_handler_is_closed_and_its_task_told() {
    let sessions = Sessions::new();
    let (told, mut received) = channel();
    let handler = handler_fn(move |mut socket: WebSocket| async move {
        tokio::spawn(async move {
            let last = socket.recv().await;
            let _ = told.send((last.map(|it| it.is_some()), socket.send("late").await.is_err()));
        });
    });
    let addr = start(app(handler, &sessions)).await;
    finish(Client::open(addr, "/").await, 1000).await;
    let (last, cannot_send) = soon("the task's end", received.recv()).await.unwrap();
    assert!(matches!(last, Ok(false)), "{last:?}");
    assert!(cannot_send);
    until_empty(&sessions).await;
}

#[tokio::test]
async fn a_detached_socket_goes_on_after_its_handler_and_still_counts() {
    let sessions = Sessions::new();
    let (returned, mut received) = channel();
    let handler = handler_fn(move |socket: WebSocket| async move {
        tokio::spawn(echo(socket.detach()));
        let _ = returned.send(());
    });
    let addr = start(app(handler, &sessions)).await;
    let mut client = Client::open(addr, "/").await;
    soon("the handler's end", received.recv()).await;
    for text in ["one", "two"] {
        client.send_text(text).await;
        assert_eq!(client.recv_text().await, text);
    }
    assert_eq!(sessions.len(), 1);
    client.send_close(1000, "").await;
    assert_eq!(client.recv_close().await, 1000);
    assert!(client.at_eof().await);
    until_empty(&sessions).await;
}

/// L-04, L-06, L-09
#[tokio::test]
async fn a_handler_learns_the_peers_code_and_reason() {
    let sessions = Sessions::new();
    let (told, mut received) = channel();
    let handler = handler_fn(move |mut socket: WebSocket| async move {
        let end = socket.recv().await?;
        assert_eq!(end, None);
        let close = socket.peer_close().map(|it| (it.status(), it.reason().to_owned()));
        let _ = told.send(close);
        Ok(())
    });
    let addr = start(app(handler, &sessions)).await;
    for (code, reason) in [(1000, ""), (1001, "leaving"), (3000, "ü"), (4999, "mine")] {
        let mut client = Client::open(addr, "/").await;
        client.send_close(code, reason).await;
        assert_eq!(client.recv_close().await, code);
        assert!(client.at_eof().await);
        assert_eq!(received.recv().await, Some(Some((code, reason.to_owned()))));
    }
    let mut client = Client::open(addr, "/").await;
    client.send_frame(0x88, b"").await;
    assert_eq!(client.recv_close().await, 1005);
    assert_eq!(received.recv().await, Some(Some((1005, String::new()))));
    until_empty(&sessions).await;
}

/// L-16
#[tokio::test]
async fn closing_and_closed_resolve_for_a_handler_that_does_not_receive() {
    let sessions = Sessions::new();
    let (told, mut received) = channel();
    let handler = handler_fn(move |socket: WebSocket| async move {
        let closed = socket.closed();
        let after = told.clone();
        tokio::spawn(async move {
            closed.await;
            let _ = after.send("closed");
        });
        socket.closing().await;
        let _ = told.send("closing");
    });
    let addr = start(app(handler, &sessions)).await;
    let mut client = Client::open(addr, "/").await;
    client.send_close(4000, "").await;
    assert_eq!(soon("closing", received.recv()).await, Some("closing"));
    assert_eq!(client.recv_close().await, 4000, "the peer's code, which came first");
    assert!(client.at_eof().await);
    assert_eq!(soon("closed", received.recv()).await, Some("closed"));
    until_empty(&sessions).await;
}

/// L-05
#[tokio::test]
async fn a_peer_that_is_gone_ends_recv_and_leaves_the_handler_to_finish() {
    let sessions = Sessions::new();
    let (told, mut received) = channel::<Result<Option<Message>, Error>>();
    let (done, mut finished) = channel();
    let handler = handler_fn(move |mut socket: WebSocket| async move {
        let _ = told.send(socket.recv().await);
        assert!(socket.peer_close().is_none());
        tokio::task::yield_now().await;
        let _ = done.send(());
    });
    let addr = start(app(handler, &sessions)).await;
    for reset in [true, false] {
        let client = Client::open(addr, "/").await;
        if reset {
            client.stream.set_zero_linger().unwrap();
        }
        drop(client);
        let error = soon("the end", received.recv()).await.unwrap().unwrap_err();
        assert!(error.is_disconnect() && !error.is_closed(), "{error:?}");
        soon("the handler's end", finished.recv()).await.unwrap();
        until_empty(&sessions).await;
    }
}

/// L-05
#[tokio::test]
async fn a_half_closed_peer_gets_its_answers_and_then_the_end() {
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    let mut client = Client::open(addr, "/").await;
    client.send_text("last words").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.recv_text().await, "last words");
    // The handler was told of a lost peer and failed, but there is nobody to tell about it.
    assert!(client.at_eof().await);
    until_empty(&sessions).await;
}

/// L-12
#[tokio::test]
async fn a_handler_that_never_receives_delays_the_answer_to_a_close_by_the_close_timeout_at_most() {
    let sessions = Sessions::new();
    let layer = WebSocketLayer::new(handler_fn(|socket: WebSocket| async move {
        pending::<()>().await;
        drop(socket);
    }))
    .timeouts(Timeouts::default().close(Duration::from_millis(50)))
    .sessions(sessions.clone());
    let addr = start(Router::new().fallback_service(layer.into_service())).await;
    let mut client = Client::open(addr, "/").await;
    client.send_close(1000, "").await;
    assert_eq!(soon("the answer", client.recv_close()).await, 1000);
    assert!(soon("the end", client.at_eof()).await);
    assert_eq!(sessions.len(), 1, "only a drain's deadline drops a handler");
    assert_eq!(sessions.drain(Duration::ZERO).await.aborted, 1);
}

#[tokio::test]
async fn many_clients_that_end_in_different_ways_leave_nothing() {
    const CLIENTS: usize = 200;
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::open(addr, "/").await);
    }
    assert_eq!(sessions.len(), CLIENTS);
    for (n, client) in clients.iter_mut().enumerate() {
        client.send_text(&n.to_string()).await;
    }
    for (n, mut client) in clients.into_iter().enumerate() {
        assert_eq!(client.recv_text().await, n.to_string());
        match n % 5 {
            0 => client.send_close(1000, "").await,
            1 => client.stream.set_zero_linger().unwrap(),
            2 => client.stream.shutdown().await.unwrap(),
            3 => client.send_raw(b"not a frame").await,
            _ => client.send_raw(&masked(0x81, &[b'x'; 100])[..50]).await,
        }
    }
    until_empty(&sessions).await;
    let mut client = Client::open(addr, "/").await;
    client.send_text("alive").await;
    assert_eq!(client.recv_text().await, "alive");
}

#[tokio::test]
async fn a_handler_with_a_thousand_futures_of_its_own_answers_each() {
    let sessions = Sessions::new();
    let handler = handler_fn(|mut socket: WebSocket| async move {
        let mut work = FuturesUnordered::new();
        let mut open = true;
        while open || !work.is_empty() {
            tokio::select! {
                message = socket.recv(), if open => match message? {
                    Some(message) => work.push(async move {
                        tokio::task::yield_now().await;
                        message
                    }),
                    None => open = false,
                },
                Some(message) = work.next(), if !work.is_empty() => {
                    if open {
                        socket.send(message).await?;
                    }
                }
            }
        }
        Ok(())
    });
    let addr = start(app(handler, &sessions)).await;
    let mut client = Client::open(addr, "/").await;
    let frames: Vec<u8> =
        (0..1000).flat_map(|n: u32| masked(0x81, n.to_string().as_bytes())).collect();
    client.send_raw(&frames).await;
    let mut answers = Vec::new();
    for _ in 0..1000 {
        answers.push(soon("an answer", client.recv_text()).await.parse::<u32>().unwrap());
    }
    answers.sort_unstable();
    assert!(answers.into_iter().eq(0..1000));
    client.send_close(1000, "").await;
    assert_eq!(client.recv_close().await, 1000);
    until_empty(&sessions).await;
}

/// A peer that writes as fast as it can from a thread of its own is served some reads between two
/// of another peer's, not all that it has. Counted in the flood's bytes, not in seconds.
#[tokio::test]
async fn a_flooding_client_does_not_starve_another() {
    let sessions = Sessions::new();
    let flooded = Arc::new(AtomicUsize::new(0));
    let handler = handler_fn({
        let flooded = Arc::clone(&flooded);
        |mut socket: WebSocket| async move {
            while let Some(message) = socket.recv().await? {
                if message.is_binary() {
                    flooded.fetch_add(message.len() + 6, Ordering::Relaxed);
                } else {
                    socket.send(message).await?;
                }
            }
            Ok(())
        }
    });
    let addr = start(app(handler, &sessions)).await;
    let flooder = Client::open(addr, "/").await.stream.into_std().unwrap();
    flooder.set_nonblocking(false).unwrap();
    let mut writer = flooder.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        let frames = masked(0x82, b"flood").repeat(6000);
        while writer.write_all(&frames).is_ok() {}
    });
    until("a flood", || flooded.load(Ordering::Relaxed) > 1 << 20).await;

    let mut victim = Client::open(addr, "/").await;
    let mut worst = 0;
    for n in 0..50 {
        let before = flooded.load(Ordering::Relaxed);
        victim.send_text(&n.to_string()).await;
        assert_eq!(soon("an answer", victim.recv_text()).await, n.to_string());
        worst = worst.max(flooded.load(Ordering::Relaxed) - before);
    }
    println!("the flood has at most {worst} bytes between a question and its answer");
    // A turn is one full read of 64 KiB, after which the others have theirs; two turns lie between.
    assert!(worst <= 4 << 16, "{worst} bytes");
    flooder.shutdown(std::net::Shutdown::Both).unwrap();
    thread.join().unwrap();
    assert!(matches!((&flooder).read(&mut [0]), Ok(0) | Err(_)));
    until("the flooder's end", || sessions.len() == 1).await;
}
