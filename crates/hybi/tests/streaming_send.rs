//! Messages that are sent as they are made.

mod support;
#[path = "support/way.rs"]
mod way;

use std::{
    future::{pending, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use futures_util::{SinkExt, StreamExt, future::join_all, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hybi::{
    proto::{Bytes, CloseCode, Limits, Message, MessageKind},
    socket::{BoxError, Config, Error, MessageWriter, Session, WebSocket},
};
use support::{Peer, masked, settle};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::oneshot,
};

use way::{WAYS, poll_once};

type Socket = WebSocket<DuplexStream>;

/// A frame of the peer's view: first byte and length.
async fn expect(peer: &mut Peer, frames: &[(u8, &[u8])]) {
    for (first, payload) in frames {
        let seen = peer.recv().await;
        assert_eq!((seen.0, &seen.1[..]), (*first, *payload));
    }
}

/// small pieces are collected, a flush does not wait for more, and FIN is on the last frame only.
#[tokio::test]
async fn pieces_become_frames_as_they_are_flushed_and_finished() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 16);
        let user = way.run(io, Config::server(), |mut socket| async move {
            let mut message = socket.start_message(MessageKind::Text).await?;
            assert_eq!(message.kind(), MessageKind::Text);
            message.send_chunk("Hel").await?;
            message.send_chunk("").await?;
            message.send_chunk(&b"lo"[..]).await?;
            message.flush().await?;
            message.flush().await?;
            message.write_all(b", world").await?;
            message.finish().await?;
            socket.start_message(MessageKind::Binary).await?.finish().await?;
            let mut message = socket.start_message(MessageKind::Binary).await?;
            message.send_chunk(&b"x"[..]).await?;
            message.flush().await?;
            message.shutdown().await?;
            assert!(message.send_chunk("y").await.unwrap_err().is_closed());
            drop(message);
            socket.send("whole").await?;
            socket.flush().await?;
            Ok(())
        });
        expect(
            &mut peer,
            &[
                (0x01, b"Hello"),
                (0x80, b", world"),
                (0x82, b""),
                (0x02, b"x"),
                (0x80, b""),
                (0x81, b"whole"),
            ],
        )
        .await;
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// R-05, G-07: the length of the frames is the sender's to choose, within `max_send_frame`.
#[tokio::test]
async fn frames_have_the_length_that_was_asked_for() {
    const LEN: usize = 100_000;
    let table = [
        // max_send_frame, frame_size, by write_all, by send_chunk
        (usize::MAX, None, 16_384, LEN),
        (65_536, None, 16_384, 65_536),
        (10_000, None, 10_000, 10_000),
        (65_536, Some(30_000), 30_000, 30_000),
        (10_000, Some(30_000), 10_000, 10_000),
        (10_000, Some(7), 7, 7),
        (10_000, Some(0), 1, 1),
    ];
    for way in WAYS {
        for (max, size, written, sent) in table {
            for by_chunk in [false, true] {
                let frame = if by_chunk { sent } else { written };
                let len = LEN.min(frame.saturating_mul(1000));
                let (io, mut peer) = Peer::pair(1 << 16);
                let config = Config::server().limits(Limits::default().max_send_frame(max));
                let user = way.run(io, config, move |mut socket| async move {
                    let mut message = socket.start_message(MessageKind::Binary).await?;
                    if let Some(size) = size {
                        message = message.frame_size(size);
                    }
                    let payload: Vec<u8> = (0..len).map(|i| (i / 7) as u8).collect();
                    if by_chunk {
                        message.send_chunk(payload).await?;
                    } else {
                        message.write_all(&payload).await?;
                    }
                    message.finish().await?;
                    socket.flush().await?;
                    Ok(())
                });
                let (mut payload, mut frames) = (Vec::new(), Vec::new());
                while frames.last().is_none_or(|(first, _)| first & 0x80 == 0) {
                    let (first, piece) = peer.recv().await;
                    frames.push((first, piece.len()));
                    payload.extend(piece);
                }
                // What ends a chunk, and the message, is as long as it is.
                let ends = if by_chunk { 2 } else { 1 };
                if by_chunk {
                    assert_eq!(frames.len(), len.div_ceil(frame) + 1);
                }
                let full = &frames[..frames.len() - ends];
                assert!(full.iter().all(|(_, len)| *len == frame), "{frame} {frames:?}");
                assert!(payload.iter().enumerate().all(|(i, byte)| *byte == (i / 7) as u8));
                assert_eq!(payload.len(), len);
                drop(peer);
                user.await.unwrap().unwrap();
            }
        }
    }
}

/// G-07, K-02: while the message is under way.
#[tokio::test]
async fn pings_are_answered_and_messages_arrive_between_the_frames() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 12);
        let user = way.run(io, Config::server(), |mut socket| async move {
            let mut message = socket.start_message(MessageKind::Binary).await?;
            for _ in 0..100 {
                message.send_chunk(vec![1; 20_000]).await?;
            }
            message.finish().await?;
            assert_eq!(socket.recv().await?, Some("meanwhile".into()));
            Ok(())
        });
        assert_eq!(peer.recv().await.0, 0x02);
        peer.send_raw(&masked(0x89, b"ping")).await;
        peer.send_text("meanwhile").await;
        let mut before = 0;
        loop {
            match peer.recv().await {
                (0x00, _) => before += 1,
                (0x8a, pong) => break assert_eq!(pong, b"ping"),
                (first, _) => panic!("{first:#x}"),
            }
        }
        // What was in the queue and in the pipe.
        assert!(before < 10, "{before}");
        while peer.recv().await.0 == 0x00 {}
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// G-08: nothing that was sent is taken for a whole message.
#[tokio::test]
async fn a_message_that_is_dropped_unfinished_closes_with_1011() {
    for way in WAYS {
        for chunk in [10, 20_000] {
            let (io, mut peer) = Peer::pair(1 << 16);
            let user = way.run(io, Config::server(), move |mut socket| async move {
                let mut message = socket.start_message(MessageKind::Binary).await?;
                message.send_chunk(vec![1; chunk]).await?;
                message.flush().await?;
                message.send_chunk(&b"collected"[..]).await?;
                drop(message);
                assert!(socket.send("next").await.unwrap_err().is_closed());
                let refused = socket.start_message(MessageKind::Text).await;
                assert!(refused.unwrap_err().is_closed());
                assert_eq!(socket.recv().await?, None);
                Ok(())
            });
            expect(&mut peer, &[(0x02, &vec![1; chunk]), (0x88, b"\x03\xf3")]).await;
            peer.send_close(1011, "").await;
            assert!(peer.at_eof().await);
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// G-08: until then there is nothing to be taken for anything.
#[tokio::test]
async fn a_message_of_which_nothing_was_sent_can_be_dropped() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 16);
        let user = way.run(io, Config::server(), |mut socket| async move {
            drop(socket.start_message(MessageKind::Binary).await?);
            let mut message = socket.start_message(MessageKind::Text).await?;
            message.send_chunk("collected").await?;
            drop(message);
            socket.send("next").await?;
            socket.flush().await?;
            Ok(())
        });
        expect(&mut peer, &[(0x81, b"next")]).await;
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// G-08
#[tokio::test]
async fn a_message_can_be_given_up_with_a_code_of_ones_own() {
    for way in WAYS {
        for begun in [false, true] {
            let (io, mut peer) = Peer::pair(1 << 16);
            let user = way.run(io, Config::server(), move |mut socket| async move {
                let mut message = socket.start_message(MessageKind::Binary).await?;
                if begun {
                    message.send_chunk(&b"a"[..]).await?;
                    message.flush().await?;
                }
                message.abandon(CloseCode::new(4000)?, "no more")?;
                assert_eq!(socket.recv().await?, None);
                Ok(())
            });
            if begun {
                expect(&mut peer, &[(0x02, b"a")]).await;
            }
            expect(&mut peer, &[(0x88, b"\x0f\xa0no more")]).await;
            peer.send_close(4000, "").await;
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// G-08: what cannot be told to the peer is told by 1011.
#[tokio::test]
async fn a_reason_that_cannot_be_sent_is_an_error_and_closes_all_the_same() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let mut socket = WebSocket::new(io, Config::server());
    let mut message = socket.start_message(MessageKind::Binary).await.unwrap();
    message.send_chunk(&b"a"[..]).await.unwrap();
    message.flush().await.unwrap();
    let error = message.abandon(CloseCode::NORMAL, &"x".repeat(124)).unwrap_err();
    assert!(error.is_unsendable());
    assert!(poll_once(socket.recv()).is_pending());
    expect(&mut peer, &[(0x02, b"a"), (0x88, b"\x03\xf3")]).await;
}

/// G-06, G-08: a writer that never comes to its end is not ended by the next message.
#[tokio::test]
async fn nothing_follows_a_message_whose_writer_was_forgotten() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let mut socket = WebSocket::new(io, Config::server());
    let mut message = socket.start_message(MessageKind::Binary).await.unwrap();
    message.send_chunk(&b"a"[..]).await.unwrap();
    message.flush().await.unwrap();
    std::mem::forget(message);
    assert!(socket.send("next").await.unwrap_err().is_unsendable());
    assert!(socket.start_message(MessageKind::Text).await.unwrap_err().is_unsendable());
    assert!(poll_once(socket.close()).is_pending());
    expect(&mut peer, &[(0x02, b"a"), (0x88, b"\x03\xe8")]).await;
}

/// U-07
#[tokio::test]
async fn text_that_breaks_off_is_an_error_and_closes() {
    type Broken = (&'static [&'static [u8]], bool);
    let table: &[Broken] = &[
        // chunks, and whether it is seen before the end
        (&[b"ok \xe2\x82", b"\xac\xff"], true),
        (&[b"ok \xe2", b"no"], true),
        (&[b"ok \xe2\x82"], false),
        (&[b"ok \xe2\x82", b"\xac\xf0\x9f"], false),
    ];
    for way in WAYS {
        for &(chunks, early) in table {
            let (io, mut peer) = Peer::pair(1 << 16);
            let user = way.run(io, Config::server(), move |mut socket| async move {
                let mut message = socket.start_message(MessageKind::Text).await?;
                let (last, chunks) = chunks.split_last().unwrap();
                for chunk in chunks {
                    message.send_chunk(*chunk).await?;
                    message.flush().await?;
                }
                message.send_chunk(*last).await?;
                let flushed = message.flush().await;
                assert_eq!(flushed.as_ref().is_err_and(Error::is_unsendable), early);
                let finished = message.finish().await.unwrap_err();
                assert!(finished.is_unsendable() || (early && finished.is_closed()));
                assert_eq!(socket.recv().await?, None);
                Ok(())
            });
            loop {
                match peer.recv().await {
                    (0x01 | 0x00, _) => {}
                    seen => break assert_eq!(seen, (0x88, b"\x03\xf3".to_vec())),
                }
            }
            drop(peer);
            let _ = user.await.unwrap();
        }
    }
}

/// U-07: characters may be cut wherever chunks and frames are.
#[tokio::test]
async fn text_may_be_cut_anywhere() {
    let text = "aé€😀".repeat(50);
    for size in 1..12 {
        let (server, client) = tokio::io::duplex(64);
        let mut client = WebSocket::new(client, Config::client());
        let mut server = WebSocket::new(server, Config::server());
        let sending = async {
            let message = client.start_message(MessageKind::Text).await?;
            let mut message = message.frame_size(size);
            for chunk in text.as_bytes().chunks(7) {
                message.send_chunk(Bytes::copy_from_slice(chunk)).await?;
            }
            message.finish().await
        };
        let (sent, received) = tokio::join!(sending, server.recv());
        sent.unwrap();
        assert_eq!(received.unwrap().unwrap().as_text(), Some(&*text));
    }
}

/// G-09, S-01: a peer that does not read holds up who sends, and no more is queued than half the mark and
/// a frame.
#[tokio::test]
async fn a_writer_waits_while_the_queue_is_full() {
    for way in WAYS {
        for mark in [1000, 60_000] {
            let (io, mut peer) = Peer::pair(1000);
            let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
            let limits = Limits::default().output_mark(mark);
            let user = way.run(io, Config::server().limits(limits), move |mut socket| async move {
                let message = socket.start_message(MessageKind::Binary).await?;
                let mut message = message.frame_size(500);
                for _ in 0..1000 {
                    message.write_all(&[1; 500]).await?;
                    told.send(500)?;
                }
                message.finish().await?;
                socket.flush().await?;
                Ok(())
            });
            settle().await;
            let mut taken = 0;
            while let Ok(n) = hears.try_recv() {
                taken += n;
            }
            let bound = 1000 + mark / 2 + 500 + 500;
            assert!(taken > mark / 2 && taken <= bound, "{taken} for {mark}");
            let mut len = 0;
            loop {
                let (first, payload) = peer.recv().await;
                len += payload.len();
                if first & 0x80 != 0 {
                    break;
                }
            }
            assert_eq!(len, 500_000);
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// R-01, G-09: receiving goes on meanwhile, so that two ends that both stream through a small pipe finish.
#[tokio::test]
async fn two_ends_that_stream_at_each_other_finish() {
    async fn push_and_pull(socket: Socket) -> Result<usize, BoxError> {
        let (sender, mut receiver) = socket.split();
        let push = async {
            let mut message = sender.start_message(MessageKind::Binary).await?;
            for _ in 0..200 {
                message.send_chunk(vec![7; 5000]).await?;
            }
            message.finish().await?;
            Ok::<_, BoxError>(())
        };
        let pull = async {
            let mut message = receiver.next_message().await?.expect("a message");
            let mut len = 0;
            while let Some(chunk) = message.chunk().await? {
                len += chunk.len();
            }
            Ok::<_, BoxError>(len)
        };
        let (pushed, pulled) = tokio::join!(push, pull);
        pushed?;
        // The other end may not have everything yet.
        sender.flush().await?;
        pulled
    }
    let (a, b) = tokio::io::duplex(4096);
    let a = push_and_pull(WebSocket::new(a, Config::server()));
    let b = push_and_pull(WebSocket::new(b, Config::client()));
    let (a, b) = tokio::join!(a, b);
    assert_eq!((a.unwrap(), b.unwrap()), (1_000_000, 1_000_000));
}

/// L-18, G-07: the peer's Close is answered behind whole frames, within the time for that, and the writer
/// learns of it.
#[tokio::test(start_paused = true)]
async fn a_close_of_the_peer_ends_the_message_behind_a_whole_frame() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 10);
        let user = way.run(io, Config::server(), |mut socket| async move {
            let mut message = socket.start_message(MessageKind::Binary).await?;
            let error = loop {
                if let Err(error) = message.write_all(&[1; 1000]).await {
                    break error;
                }
            };
            let error = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
            assert!(error.is_some_and(Error::is_closed));
            drop(message);
            assert_eq!(socket.recv().await?, None);
            Ok(())
        });
        assert_eq!(peer.recv().await.0, 0x02);
        peer.send_close(1001, "").await;
        settle().await;
        tokio::time::advance(std::time::Duration::from_secs(5)).await;
        loop {
            match peer.recv().await {
                (0x00, _) => {}
                seen => break assert_eq!(seen, (0x88, b"\x03\xe9".to_vec())),
            }
        }
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// L-18: from another task, in the middle of the message.
#[tokio::test]
async fn our_own_close_goes_between_the_frames() {
    let (io, mut peer) = Peer::pair(1 << 10);
    let (sender, _receiver) = WebSocket::new(io, Config::server()).split();
    let mut message = sender.start_message(MessageKind::Binary).await.unwrap();
    message.send_chunk(vec![1; 17_000]).await.unwrap();
    settle().await;
    sender.start_close(CloseCode::GOING_AWAY, "").unwrap();
    assert!(message.send_chunk(vec![1; 17_000]).await.unwrap_err().is_closed());
    assert!(message.finish().await.unwrap_err().is_closed());
    expect(&mut peer, &[(0x02, &vec![1; 17_000]), (0x88, b"\x03\xe9")]).await;
}

/// F-10: dropped at each of its waits over a pipe of one byte, a chunk is sent whole or not at all.
#[tokio::test]
async fn a_chunk_that_is_dropped_half_way_is_sent_whole_or_not_at_all() {
    let (io, mut peer) = Peer::pair(1);
    let limits = Limits::default().output_mark(64);
    let mut socket = WebSocket::new(io, Config::server().limits(limits));
    let reading = tokio::spawn(async move {
        let mut payload = Vec::new();
        loop {
            let (first, piece) = peer.recv().await;
            payload.extend(piece);
            if first & 0x80 != 0 {
                return payload;
            }
        }
    });
    let message = socket.start_message(MessageKind::Binary).await.unwrap();
    let mut message = message.frame_size(10);
    let mut n = 0u8;
    for polls in (0..60).cycle().take(200) {
        let chunk = vec![n; 1 + usize::from(n) * 3 % 50];
        let mut sending = pin!(message.send_chunk(chunk));
        for _ in 0..polls {
            if poll_once(sending.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        n = n.wrapping_add(1);
    }
    message.finish().await.unwrap();
    let payload = reading.await.unwrap();
    let mut chunks = 0;
    let mut rest = &payload[..];
    while let Some(&n) = rest.first() {
        let (chunk, after) = rest.split_at(1 + usize::from(n) * 3 % 50);
        assert!(chunk.iter().all(|byte| *byte == n), "{n} is whole");
        assert!(after.first().is_none_or(|next| *next > n), "and there once");
        rest = after;
        chunks += 1;
    }
    assert!((100..200).contains(&chunks), "some of each: {chunks}");
}

/// whatever can be copied or is a body.
#[tokio::test]
async fn files_and_bodies_can_be_sent() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 16);
        let user = way.run(io, Config::server(), |mut socket| async move {
            let mut file = io::Cursor::new(vec![b'f'; 50_000]);
            let mut message = socket.start_message(MessageKind::Binary).await?;
            tokio::io::copy(&mut file, &mut message).await?;
            message.finish().await?;

            let body = Full::<Bytes>::from("body").map_err(BoxError::from).boxed();
            socket.start_message(MessageKind::Text).await?.send_body(body).await?;

            let frames = ["a", "b"].map(|data| Ok(http_body::Frame::data(Bytes::from(data))));
            let failing = StreamBody::new(stream::iter(
                frames.into_iter().chain([Err(io::Error::other("disk on fire"))]),
            ));
            let message = socket.start_message(MessageKind::Text).await?.frame_size(1);
            let error = message.send_body(failing).await.unwrap_err();
            assert!(error.is_body());
            let source = std::error::Error::source(&error).unwrap();
            assert_eq!(source.to_string(), "disk on fire");
            assert_eq!(socket.recv().await?, None);
            Ok(())
        });
        let mut file = Vec::new();
        loop {
            let (first, piece) = peer.recv().await;
            file.extend(piece);
            if first & 0x80 != 0 {
                break;
            }
        }
        assert_eq!(file, vec![b'f'; 50_000]);
        expect(&mut peer, &[(0x81, b"body"), (0x01, b"a"), (0x00, b"b"), (0x88, b"\x03\xf3")])
            .await;
        peer.send_close(1011, "").await;
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// a body that is made slowly is not kept back for a frame to be full.
#[tokio::test]
async fn what_a_body_gave_leaves_while_it_makes_more() {
    fn data(text: &'static str) -> Result<http_body::Frame<Bytes>, BoxError> {
        Ok(http_body::Frame::data(Bytes::from(text)))
    }
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 16);
        let (give, more) = oneshot::channel::<&str>();
        let user = way.run(io, Config::server(), |mut socket| async move {
            let first = stream::iter([data("first"), data(" and")]);
            let second = stream::once(async move { data(more.await?) });
            let body = StreamBody::new(first.chain(second).boxed());
            socket.start_message(MessageKind::Text).await?.send_body(body).await?;
            socket.flush().await?;
            Ok(())
        });
        expect(&mut peer, &[(0x01, b"first and")]).await;
        give.send(" more").unwrap();
        expect(&mut peer, &[(0x80, b" more")]).await;
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// what was collected before the length was asked for keeps to it, too.
#[tokio::test]
async fn a_shorter_length_holds_for_what_was_collected() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let mut socket = WebSocket::new(io, Config::server());
    let mut message = socket.start_message(MessageKind::Text).await.unwrap();
    message.send_chunk("abcdefg").await.unwrap();
    message.frame_size(3).finish().await.unwrap();
    expect(&mut peer, &[(0x01, b"abc"), (0x00, b"def"), (0x80, b"g")]).await;
}

// ===== halves =====

/// The messages of a peer's view, put together; pings left out.
async fn messages(peer: &mut Peer, count: usize) -> Vec<Vec<u8>> {
    let (mut all, mut open) = (Vec::new(), None);
    while all.len() < count {
        let (first, payload) = peer.recv().await;
        match first & 0x0f {
            0x0 => open.as_mut().expect("a message is open"),
            0x1 | 0x2 => {
                assert!(open.is_none(), "messages do not interleave");
                open.insert(Vec::new())
            }
            _ => continue,
        }
        .extend(payload);
        if first & 0x80 != 0 {
            all.extend(open.take());
        }
    }
    all
}

/// G-06: whoever streams, sends whole, or is a sink.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_many_senders_do_not_interleave() {
    for in_session in [false, true] {
        let (io, mut peer) = Peer::pair(1 << 12);
        let (handed, hears) = oneshot::channel();
        if in_session {
            tokio::spawn(Session::new(io, Config::server(), move |socket: Socket| async move {
                handed.send(socket.split()).map_err(drop).unwrap();
                pending().await
            }));
        } else {
            handed.send(WebSocket::new(io, Config::server()).split()).map_err(drop).unwrap();
        }
        let (sender, receiver) = hears.await.unwrap();
        let tasks = (0..12u8).map(|n| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    match n % 3 {
                        0 => {
                            let mut message = sender.start_message(MessageKind::Binary).await?;
                            for _ in 0..10 {
                                message.send_chunk(vec![n; 1000]).await?;
                                message.flush().await?;
                                tokio::task::yield_now().await;
                            }
                            message.finish().await?;
                        }
                        1 => sender.send(Message::from(vec![n; 10_000])).await?,
                        _ => SinkExt::send(&mut sender, Message::from(vec![n; 10_000])).await?,
                    }
                    sender.ping("").await?;
                }
                Ok::<_, BoxError>(())
            })
        });
        let tasks: Vec<_> = tasks.collect();
        // It stays: the last pings follow the last message.
        let seen = messages(&mut peer, 240);
        let (seen, done) = tokio::join!(seen, join_all(tasks));
        done.into_iter().for_each(|task| task.unwrap().unwrap());
        for message in seen {
            assert_eq!(message.len(), 10_000);
            assert!(message.iter().all(|byte| *byte == message[0]));
        }
        drop(receiver);
    }
}

/// G-06: who waits has its turn when the message is finished, given up before its beginning, or when the
/// socket is gone; a ping does not wait.
#[tokio::test]
async fn a_message_under_way_makes_other_messages_wait() {
    for finish in [false, true] {
        let (io, mut peer) = Peer::pair(1 << 16);
        let (sender, _receiver) = WebSocket::new(io, Config::server()).split();
        let mut message = sender.start_message(MessageKind::Binary).await.unwrap();
        if finish {
            message.send_chunk(&b"a"[..]).await.unwrap();
            message.flush().await.unwrap();
        }
        let mut sink = sender.clone();
        let mut ready = pin!(poll_fn(|cx| Pin::new(&mut sink).poll_ready_unpin(cx)));
        // A sink only learns of it once something is sent.
        assert_eq!(poll_once(ready.as_mut()).is_pending(), finish);
        let waiting = tokio::spawn({
            let sender = sender.clone();
            async move { sender.send("whole").await }
        });
        let streaming = tokio::spawn({
            let sender = sender.clone();
            async move { sender.start_message(MessageKind::Text).await?.finish().await }
        });
        sender.ping("p").await.unwrap();
        settle().await;
        if finish {
            expect(&mut peer, &[(0x02, b"a")]).await;
        }
        expect(&mut peer, &[(0x89, b"p")]).await;
        assert!(!waiting.is_finished() && !streaming.is_finished());
        if finish {
            message.finish().await.unwrap();
            expect(&mut peer, &[(0x80, b"")]).await;
            assert!(matches!(ready.await, Ok(())));
        } else {
            drop(message);
        }
        expect(&mut peer, &[(0x81, b"whole"), (0x81, b"")]).await;
        waiting.await.unwrap().unwrap();
        streaming.await.unwrap().unwrap();
    }
}

trait PollReady {
    fn poll_ready_unpin(self, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;
}

impl PollReady for Pin<&mut hybi::socket::Sender> {
    fn poll_ready_unpin(self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        futures_util::Sink::<Message>::poll_ready(self, cx)
    }
}

/// G-06: a sink that was found ready before a message began sends behind it.
#[tokio::test]
async fn what_a_sink_was_let_send_goes_behind_the_message_that_began() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let (sender, _receiver) = WebSocket::new(io, Config::server()).split();
    let mut sink = sender.clone();
    poll_fn(|cx| Pin::new(&mut sink).poll_ready_unpin(cx)).await.unwrap();
    let mut message = sender.start_message(MessageKind::Binary).await.unwrap();
    message.send_chunk(&b"a"[..]).await.unwrap();
    message.flush().await.unwrap();
    sink.start_send_unpin("behind".into()).unwrap();
    message.finish().await.unwrap();
    sender.send("last").await.unwrap();
    expect(&mut peer, &[(0x02, b"a"), (0x80, b""), (0x81, b"behind"), (0x81, b"last")]).await;
}

/// Nobody waits for a message that can never be finished.
#[tokio::test(start_paused = true)]
async fn who_waits_for_its_turn_learns_that_the_socket_is_gone() {
    let (io, peer) = Peer::pair(1 << 16);
    let (sender, _receiver) = WebSocket::new(io, Config::server()).split();
    let message = sender.start_message(MessageKind::Binary).await.unwrap();
    let waiting = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send("whole").await }
    });
    settle().await;
    drop(peer);
    assert!(waiting.await.unwrap().unwrap_err().is_closed());
    drop(message);
}

/// A writer of a half is its own: it needs neither the sender nor the receiver.
#[tokio::test]
async fn a_writer_outlives_its_sender() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let (sender, receiver) = WebSocket::new(io, Config::server()).split();
    let message: MessageWriter<hybi::socket::SenderTurn> =
        sender.start_message(MessageKind::Text).await.unwrap();
    drop((sender, receiver));
    tokio::spawn(async move {
        let mut message = message;
        message.send_chunk("still ").await?;
        message.flush().await?;
        message.send_chunk("here").await?;
        message.finish().await
    });
    expect(&mut peer, &[(0x01, b"still "), (0x80, b"here"), (0x88, b"\x03\xe8")]).await;
}

/// The figures of a socket count messages in parts as others.
#[tokio::test]
async fn messages_in_parts_are_counted() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let session =
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            let mut message = socket.start_message(MessageKind::Binary).await?;
            message.send_chunk(vec![1; 20_000]).await?;
            message.send_chunk(vec![1; 100]).await?;
            message.finish().await?;
            Ok(())
        }));
    while peer.recv().await.0 != 0x88 {}
    peer.send_close(1000, "").await;
    drop(peer);
    let stats = session.await.unwrap().stats();
    assert_eq!((stats.messages_sent, stats.bytes_sent), (1, 20_100));
}

#[tokio::test]
async fn what_was_collected_waits_for_more_however_long_the_peer_listens() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let mut socket = WebSocket::new(io, Config::server());
    let mut message = socket.start_message(MessageKind::Text).await.unwrap();
    message.send_chunk("collected").await.unwrap();
    assert!(poll_once(peer.io.read_u8()).is_pending());
    message.send_chunk(" at last").await.unwrap();
    message.finish().await.unwrap();
    expect(&mut peer, &[(0x81, b"collected at last")]).await;
}

#[test]
fn a_writer_can_be_sent_to_another_task() {
    fn is_send<T: Send + Sync + Unpin>() {}
    is_send::<MessageWriter<&mut WebSocket<DuplexStream>>>();
    is_send::<MessageWriter<hybi::socket::SenderTurn>>();
}
