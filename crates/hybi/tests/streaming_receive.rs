//! Messages that are read as they arrive.

mod support;
#[path = "support/way.rs"]
mod way;

use std::{future::pending, task::Poll, time::Duration};

use futures_util::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hybi::{
    proto::{Limits, Message, Violation},
    socket::{BoxError, Config, Error, HandlerEnd, Session, Timeouts, WebSocket},
};
use support::{Peer, header, masked, settle};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::oneshot,
    time::{Instant, advance},
};

use way::{WAYS, Way, poll_once};

type Socket = WebSocket<DuplexStream>;

async fn read_all(socket: &mut Socket) -> Result<Option<Vec<u8>>, Error> {
    let Some(mut message) = socket.next_message().await? else { return Ok(None) };
    let mut all = Vec::new();
    while let Some(chunk) = message.chunk().await? {
        assert!(!chunk.is_empty());
        all.extend_from_slice(&chunk);
    }
    assert_eq!(message.chunk().await?, None, "the end stays");
    Ok(Some(all))
}

/// the message is there with its header, and each piece as it comes.
#[tokio::test]
async fn a_message_is_read_while_it_arrives() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 16);
        let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let user = way.run(io, Config::server(), move |mut socket| async move {
            let mut message = socket.next_message().await?.expect("a message");
            assert!(message.is_text());
            told.send(None)?;
            while let Some(chunk) = message.chunk().await? {
                told.send(Some(String::from_utf8(chunk.to_vec())?))?;
            }
            Ok(())
        });
        let frame = masked(0x01, "ab€".as_bytes());
        peer.send_raw(&frame[..6]).await;
        assert_eq!(hears.recv().await, Some(None), "{way:?}");
        peer.send_raw(&frame[6..9]).await;
        assert_eq!(hears.recv().await, Some(Some("ab".into())));
        let mut rest = masked(0x80, "\u{20ac}d".as_bytes());
        peer.send_raw(&frame[9..]).await;
        assert_eq!(hears.recv().await, Some(Some("€".into())), "whole characters");
        rest.truncate(rest.len() - 1);
        peer.send_raw(&rest).await;
        assert_eq!(hears.recv().await, Some(Some("€".into())));
        peer.send_raw(&masked(0x80, "\u{20ac}d".as_bytes())[9..]).await;
        assert_eq!(hears.recv().await, Some(Some("d".into())));
        assert_eq!(hears.recv().await, None);
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// R-05, G-04, G-05: with limits for whole messages that are far below.
#[tokio::test]
async fn a_message_may_be_longer_than_any_limit_on_messages() {
    for way in WAYS {
        for frame in [1, 1000, 30_000] {
            let (io, mut peer) = Peer::pair(1 << 12);
            let limits = Limits::default().max_message(10).max_frame(30_000).max_fragments(2);
            let user = way.run(io, Config::server().limits(limits), |mut socket| async move {
                let all = read_all(&mut socket).await?.expect("a message");
                assert!(all.iter().enumerate().all(|(i, byte)| *byte == (i / 3) as u8));
                assert_eq!(all.len(), 30_000);
                assert_eq!(socket.recv().await?, Some("next".into()));
                Ok(())
            });
            let payload: Vec<u8> = (0..30_000).map(|i| (i / 3) as u8).collect();
            let mut first = 0x02;
            for piece in payload.chunks(frame) {
                peer.send_raw(&masked(first, piece)).await;
                first = 0;
            }
            peer.send_raw(&masked(0x80, b"")).await;
            peer.send_text("next").await;
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// frames are held to their limit all the same.
#[tokio::test]
async fn a_frame_past_the_limit_on_frames_fails_the_reader() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 16);
        let config = Config::server().limits(Limits::default().max_frame(1000));
        let user = way.run(io, config, |mut socket| async move {
            let error = read_all(&mut socket).await.unwrap_err();
            let violation = Violation::FrameTooBig { announced: 1001, limit: 1000 };
            assert_eq!(error.violation(), Some(violation));
            assert_eq!(socket.recv().await?, None);
            Ok(())
        });
        peer.send_raw(&masked(0x02, &[0; 1000])).await;
        peer.send_raw(&masked(0x00, &[0; 1001])).await;
        let (first, body) = peer.recv().await;
        assert_eq!((first, &body[..2]), (0x88, &1009u16.to_be_bytes()[..]));
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// `recv` and `next_message` take turns as they like; messages that were read ahead whole are read in
/// one chunk, empty ones in none.
#[tokio::test]
async fn whole_messages_and_read_ones_can_be_mixed() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 16);
        let (go, gone) = oneshot::channel();
        let user = way.run(io, Config::server(), |mut socket| async move {
            gone.await?;
            assert_eq!(read_all(&mut socket).await?.as_deref(), Some(&b"one"[..]));
            assert_eq!(socket.recv().await?, Some("two".into()));
            assert_eq!(read_all(&mut socket).await?.as_deref(), Some(&b""[..]));
            assert_eq!(socket.recv().await?, Some("long".repeat(5000).into()));
            assert_eq!(read_all(&mut socket).await?.map(|all| all.len()), Some(20_000));
            assert_eq!(read_all(&mut socket).await?, None);
            assert_eq!(socket.peer_close().map(|close| close.status()), Some(1000));
            Ok(())
        });
        for text in ["one", "two", "", &"long".repeat(5000), &"long".repeat(5000)] {
            peer.send_text(text).await;
        }
        peer.send_close(1000, "").await;
        settle().await;
        go.send(()).unwrap();
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// G-09: nobody has asked for it, so no more than the read-ahead is taken; who then asks for it in parts
/// gets all of it, from the first byte on, although it is longer than a whole message may be.
#[tokio::test]
async fn a_message_that_nobody_asked_for_waits_after_the_read_ahead() {
    for read_ahead in [1000, 40_000] {
        let (io, mut peer) = Peer::pair(1000);
        let (go, gone) = oneshot::channel();
        let limits = Limits::default().max_message(100_000).read_ahead(read_ahead);
        let config = Config::server().limits(limits);
        let user = Way::Session.run(io, config, |mut socket| async move {
            gone.await?;
            assert_eq!(read_all(&mut socket).await?.map(|all| all.len()), Some(1_000_000));
            Ok(())
        });
        let mut sent = 0;
        let frame = masked(0x00, &[7; 500]);
        peer.send_raw(&masked(0x02, &[7; 500])).await;
        // One read is taken beyond it.
        for _ in 1..2000 {
            match tokio::time::timeout(Duration::ZERO, peer.io.write_all(&frame)).await {
                Ok(result) => result.unwrap(),
                Err(_) => break,
            }
            settle().await;
            sent += 500;
        }
        assert!(sent + 1000 > read_ahead && sent < read_ahead + 4000, "{sent} of {read_ahead}");
        go.send(()).unwrap();
        // The frame that was cut off at an unknown place is sent by a peer that knows it.
        drop(peer);
        assert!(user.await.unwrap().is_err());
    }
}

/// G-09: and who asks for it whole is held to the limit.
#[tokio::test]
async fn a_message_that_waited_is_judged_when_it_is_asked_for() {
    for in_parts in [false, true] {
        for way in WAYS {
            let (io, mut peer) = Peer::pair(1 << 16);
            let limits = Limits::default().max_message(100).max_frame(1000).read_ahead(1000);
            let (go, gone) = oneshot::channel();
            let user = way.run(io, Config::server().limits(limits), move |mut socket| async move {
                gone.await?;
                if in_parts {
                    assert_eq!(read_all(&mut socket).await?, Some(vec![1; 101]));
                } else {
                    let violation = socket.recv().await.unwrap_err().violation();
                    assert_eq!(violation, Some(Violation::MessageTooBig { limit: 100 }));
                }
                Ok(())
            });
            peer.send_raw(&masked(0x02, &[1; 60])).await;
            peer.send_raw(&masked(0x80, &[1; 41])).await;
            settle().await;
            go.send(()).unwrap();
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// what is left is skipped, however much it is.
#[tokio::test]
async fn a_reader_that_is_dropped_skips_the_rest_of_its_message() {
    for way in WAYS {
        for forget in [false, true] {
            let (io, mut peer) = Peer::pair(1 << 12);
            let limits = Limits::default().max_message(1000).max_frame(60_000);
            let user = way.run(io, Config::server().limits(limits), move |mut socket| async move {
                for _ in 0..2 {
                    let mut message = socket.next_message().await?.expect("a message");
                    assert!(message.chunk().await?.is_some());
                    if forget {
                        std::mem::forget(message);
                    } else {
                        drop(message);
                    }
                    assert_eq!(socket.recv().await?, Some("next".into()));
                    drop(socket.next_message().await?);
                    assert_eq!(read_all(&mut socket).await?, Some(b"after".to_vec()));
                }
                assert_eq!(socket.recv().await?, None);
                Ok(())
            });
            for _ in 0..2 {
                peer.send_raw(&masked(0x02, &[7; 60_000])).await;
                peer.send_raw(&masked(0x00, &[7; 60_000])).await;
                peer.send_raw(&masked(0x80, b"")).await;
                peer.send_text("next").await;
                peer.send_text("skipped").await;
                peer.send_text("after").await;
            }
            peer.send_close(1000, "").await;
            assert_eq!(peer.recv().await.0, 0x88);
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// The session skips by itself, so that what is behind the message is seen.
#[tokio::test]
async fn a_message_is_skipped_while_the_handler_is_busy() {
    let (io, mut peer) = Peer::pair(1 << 12);
    let _user = Way::Session.run(io, Config::server(), |mut socket| async move {
        drop(socket.next_message().await?);
        pending().await
    });
    let mut first = 0x02;
    for _ in 0..10 {
        peer.send_raw(&masked(first, &[7; 60_000])).await;
        first = 0x00;
        peer.send_raw(&masked(0x89, b"p")).await;
        assert_eq!(peer.recv().await, (0x8a, b"p".to_vec()));
    }
}

/// F-07, U-02: polled once and dropped after each byte, and first the one way to receive, then the other.
#[tokio::test]
async fn reading_dropped_at_every_byte_loses_nothing() {
    let mut bytes = masked(0x01, "héllo €".as_bytes());
    bytes.extend(masked(0x89, b"ping"));
    bytes.extend(masked(0x80, "😀".as_bytes()));
    for way in WAYS {
        for changes_at in 0..bytes.len() {
            let (io, mut peer) = Peer::pair(1 << 16);
            let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
            let user = way.run(io, Config::server(), move |mut socket| async move {
                for _ in 0..changes_at {
                    hears.recv().await.expect("a byte");
                    assert!(poll_once(socket.recv()).is_pending());
                }
                // Without a whole header nothing has begun.
                for _ in changes_at..5 {
                    hears.recv().await.expect("a byte");
                    assert!(poll_once(socket.next_message()).is_pending());
                }
                let mut text = Vec::new();
                let mut message = socket.next_message().await?.expect("a message");
                loop {
                    match poll_once(message.chunk()) {
                        Poll::Ready(Ok(Some(chunk))) => text.extend_from_slice(&chunk),
                        Poll::Ready(end) => break assert_eq!(end?, None),
                        Poll::Pending => {
                            let _ = hears.recv().await;
                            tokio::task::yield_now().await;
                        }
                    }
                }
                assert_eq!(String::from_utf8(text)?, "héllo €😀");
                Ok(())
            });
            for byte in &bytes {
                peer.send_raw(&[*byte]).await;
                let _ = told.send(());
                tokio::task::yield_now().await;
            }
            drop(told);
            assert_eq!(peer.recv().await, (0x8a, b"ping".to_vec()));
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// a message of which the reading was given up before it began is there for `recv`.
#[tokio::test]
async fn waiting_for_a_message_to_begin_takes_nothing_of_it() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 16);
        let (told, hears) = oneshot::channel();
        let user = way.run(io, Config::server(), move |mut socket| async move {
            assert!(poll_once(socket.next_message()).is_pending());
            hears.await?;
            assert_eq!(socket.recv().await?, Some("hello".into()));
            Ok(())
        });
        settle().await;
        peer.send_raw(&masked(0x01, b"hel")).await;
        settle().await;
        told.send(()).unwrap();
        peer.send_raw(&masked(0x80, b"lo")).await;
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// K-02: whoever reads a message answers pings.
#[tokio::test]
async fn a_ping_is_answered_in_the_middle_of_a_message() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 16);
        let user = way.run(io, Config::server(), |mut socket| async move {
            read_all(&mut socket).await?;
            Ok(())
        });
        peer.send_raw(&masked(0x02, b"ab")).await;
        peer.send_raw(&masked(0x89, b"p")).await;
        assert_eq!(peer.recv().await, (0x8a, b"p".to_vec()));
        peer.send_raw(&masked(0x80, b"c")).await;
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// what was read of a message that is cut off is not taken for a message.
#[tokio::test]
async fn a_message_that_is_cut_off_is_an_error() {
    for way in WAYS {
        for close in [false, true] {
            let (io, mut peer) = Peer::pair(1 << 16);
            let user = way.run(io, Config::server(), move |mut socket| async move {
                let mut message = socket.next_message().await?.expect("a message");
                assert_eq!(message.chunk().await?.as_deref(), Some(&b"ab"[..]));
                let error = message.chunk().await.unwrap_err();
                assert_eq!((error.is_incomplete(), error.is_disconnect()), (close, !close));
                assert_eq!(message.chunk().await?, None);
                drop(message);
                assert_eq!(socket.recv().await?, None);
                let close = close.then_some(1011);
                assert_eq!(socket.peer_close().map(|close| close.status()), close);
                Ok(())
            });
            peer.send_raw(&masked(0x02, b"ab")).await;
            settle().await;
            if close {
                peer.send_close(1011, "").await;
                assert_eq!(peer.recv().await.0, 0x88);
            } else {
                settle().await;
            }
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// U-04
#[tokio::test]
async fn text_that_is_read_fails_with_the_first_impossible_byte() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 16);
        let user = way.run(io, Config::server(), |mut socket| async move {
            let violation = read_all(&mut socket).await.unwrap_err().violation();
            assert_eq!(violation, Some(Violation::TextUtf8));
            Ok(())
        });
        let mut frame = masked(0x01, b"good\xf4\x90 and more to come");
        frame.truncate(12);
        peer.send_raw(&frame).await;
        let (first, body) = peer.recv().await;
        assert_eq!((first, &body[..2]), (0x88, &1007u16.to_be_bytes()[..]));
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// R-05, G-05
#[tokio::test]
async fn a_message_is_collected_up_to_the_limit_that_is_given() {
    for way in WAYS {
        for (len, limit) in [(0, 0), (9, 9), (10, 9), (70_000, 70_000), (70_001, 70_000)] {
            let (io, mut peer) = Peer::pair(1 << 12);
            let user = way.run(io, Config::server(), move |mut socket| async move {
                for text in [false, true] {
                    let message = socket.next_message().await?.expect("a message");
                    match message.into_message(limit).await {
                        Ok(message) => {
                            assert!(len <= limit);
                            assert_eq!((message.len(), message.is_text()), (len, text));
                        }
                        Err(error) => {
                            assert!(len > limit);
                            let violation = Violation::MessageTooBig { limit };
                            assert_eq!(error.violation(), Some(violation));
                            assert_eq!(socket.recv().await?, None);
                            break;
                        }
                    }
                }
                Ok(())
            });
            let send = async {
                let payload = vec![b'x'; len];
                for first in [0x02, 0x01] {
                    peer.io.write_all(&masked(first, &payload[..len / 2])).await?;
                    peer.io.write_all(&masked(0x80, &payload[len / 2..])).await?;
                }
                Ok::<_, BoxError>(())
            };
            let _ = send.await;
            if len > limit {
                let (first, body) = peer.recv().await;
                assert_eq!((first, &body[..2]), (0x88, &1009u16.to_be_bytes()[..]));
            }
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// as an `AsyncRead`, a stream and a body.
#[tokio::test]
async fn a_message_is_whatever_reads_bytes() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 16);
        let user = way.run(io, Config::server(), |mut socket| async move {
            let expected = vec![b'x'; 3000];
            let mut message = socket.next_message().await?.expect("a message");
            let mut all = vec![0; 10];
            message.read_exact(&mut all).await?;
            all.extend_from_slice(&message.chunk().await?.expect("more"));
            message.read_to_end(&mut all).await?;
            assert_eq!(all, expected);

            let message = socket.next_message().await?.expect("a message");
            let all: Vec<_> = message.try_collect().await?;
            assert_eq!(all.concat(), expected);

            let message = socket.next_message().await?.expect("a message");
            assert_eq!(BodyExt::collect(message).await?.to_bytes(), expected);

            let mut message = socket.next_message().await?.expect("a message");
            let error = message.read_to_end(&mut Vec::new()).await.unwrap_err();
            let source = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
            assert!(source.is_some_and(Error::is_disconnect));
            assert!(message.next().await.is_none());
            Ok(())
        });
        for _ in 0..3 {
            peer.send_raw(&masked(0x02, &[b'x'; 2000])).await;
            settle().await;
            peer.send_raw(&masked(0x80, &[b'x'; 1000])).await;
        }
        peer.send_raw(&masked(0x02, b"and then")).await;
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// S-07: a message that is read has a deadline for its next byte and none for its last.
#[tokio::test(start_paused = true)]
async fn a_message_that_brings_nothing_for_too_long_fails_the_connection() {
    let timeouts = Timeouts::default().min_rate(0usize);
    let table = [(timeouts.clone(), 60), (timeouts.silence(Duration::from_secs(8)), 8)];
    for (timeouts, seconds) in table {
        for way in WAYS {
            for skip in [false, true] {
                let (io, mut peer) = Peer::pair(1 << 16);
                let config = Config::server().timeouts(timeouts.clone()).keep_alive(None);
                let user = way.run(io, config, move |mut socket| async move {
                    let mut message = socket.next_message().await?.expect("a message");
                    if skip {
                        drop(message);
                        return Err(socket.recv().await.unwrap_err().into());
                    }
                    while message.chunk().await?.is_some() {}
                    Ok(())
                });
                let mut first = 0x02;
                for _ in 0..5 {
                    peer.send_raw(&masked(first, b"x")).await;
                    first = 0x00;
                    settle().await;
                    advance(Duration::from_secs(seconds - 1)).await;
                    settle().await;
                }
                peer.send_raw(&masked(first, b"x")).await;
                let begun = Instant::now();
                let (first, body) = peer.recv().await;
                assert_eq!((first, &body[..2]), (0x88, &1008u16.to_be_bytes()[..]));
                let range = seconds..=seconds * 5 / 4;
                assert!(range.contains(&begun.elapsed().as_secs()), "{way:?}");
                drop(peer);
                let error = user.await.unwrap().unwrap_err();
                let error = error.downcast_ref::<Error>().unwrap();
                assert_eq!(error.violation(), Some(Violation::MessageTooSlow));
            }
        }
    }
}

/// S-07: a peer is not late with what nobody reads, whole or in parts.
#[tokio::test(start_paused = true)]
async fn time_in_which_nothing_is_read_does_not_count() {
    for way in WAYS {
        for in_parts in [false, true] {
            let (io, mut peer) = Peer::pair(100);
            let config = Config::server()
                .limits(Limits::default().read_ahead(1000))
                .timeouts(Timeouts::default().handler_grace(None));
            let user = way.run(io, config, move |mut socket| async move {
                let away = Duration::from_secs(1000);
                assert_eq!(socket.recv().await?, Some("first".into()));
                tokio::time::sleep(away).await;
                if in_parts {
                    let mut message = socket.next_message().await?.expect("a message");
                    let mut len = 0;
                    while let Some(chunk) = message.chunk().await? {
                        len += chunk.len();
                        tokio::time::sleep(away).await;
                    }
                    assert_eq!(len, 10_000);
                } else {
                    assert_eq!(socket.recv().await?.map(|message| message.len()), Some(10_000));
                }
                Ok(())
            });
            let mut wire = masked(0x81, b"first");
            wire.extend(masked(0x82, &[7; 10_000]));
            peer.send_raw(&wire).await;
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// S-07: the same where the wait was given up, rather than over.
#[tokio::test(start_paused = true)]
async fn a_wait_that_was_given_up_does_not_count() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let timeouts = Timeouts::default().min_rate(0usize);
    let config = Config::server().timeouts(timeouts).keep_alive(None);
    let mut socket = WebSocket::new(io, config);
    peer.send_raw(&masked(0x01, b"ab")).await;
    let wait = tokio::time::timeout(Duration::from_secs(50), socket.recv());
    assert!(wait.await.is_err());
    tokio::time::sleep(Duration::from_secs(100)).await;
    let wait = tokio::time::timeout(Duration::from_secs(50), socket.recv());
    assert!(wait.await.is_err(), "it has another minute");
    peer.send_raw(&masked(0x80, b"c")).await;
    assert_eq!(socket.recv().await.unwrap(), Some("abc".into()));
}

/// L-07: our Close does not take the message from who reads it.
#[tokio::test]
async fn a_message_is_read_to_its_end_while_the_socket_closes() {
    for way in WAYS {
        let (io, mut peer) = Peer::pair(1 << 12);
        let user = way.run(io, Config::server(), |mut socket| async move {
            drop(socket.next_message().await?);
            let mut message = socket.next_message().await?.expect("a message");
            let mut len = message.chunk().await?.expect("some").len();
            drop(message);
            socket.start_close(hybi::proto::CloseCode::GOING_AWAY, "")?;
            let mut message = socket.next_message().await?.expect("a message");
            while let Some(chunk) = message.chunk().await? {
                len += chunk.len();
                tokio::task::yield_now().await;
            }
            assert!(len > 200_000);
            drop(message);
            assert_eq!(socket.recv().await?, None);
            Ok(())
        });
        peer.send_text("skipped").await;
        peer.send_raw(&masked(0x82, &[1; 10])).await;
        let (mut read, mut write) = tokio::io::split(peer.io);
        let closing = async {
            let mut head = [0; 4];
            read.read_exact(&mut head).await.unwrap();
            assert_eq!(head[0], 0x88);
        };
        let sending = async {
            write.write_all(&masked(0x02, &[1; 50_000])).await.unwrap();
            for _ in 0..4 {
                write.write_all(&masked(0x00, &[1; 50_000])).await.unwrap();
            }
            write.write_all(&masked(0x80, b"")).await.unwrap();
            write.write_all(&masked(0x88, &support::close_body(1001, ""))).await.unwrap();
        };
        tokio::join!(closing, sending);
        drop(read);
        drop(write);
        user.await.unwrap().unwrap();
    }
}

/// The same from the outside, in the middle of the message.
#[tokio::test]
async fn a_drain_lets_a_message_be_read_to_its_end() {
    let (io, mut peer) = Peer::pair(1 << 12);
    let (told, hears) = oneshot::channel();
    let session = Session::new(io, Config::server(), |mut socket: Socket| async move {
        let mut message = socket.next_message().await?.expect("a message");
        let mut len = message.chunk().await?.expect("some").len();
        hears.await?;
        while let Some(chunk) = message.chunk().await? {
            len += chunk.len();
            settle().await;
        }
        assert_eq!(len, 100_001);
        Ok(())
    });
    let control = session.control();
    let session = tokio::spawn(session);
    peer.send_raw(&masked(0x02, b"x")).await;
    settle().await;
    control.close(hybi::proto::CloseCode::GOING_AWAY.into());
    assert_eq!(peer.recv().await.0, 0x88);
    told.send(()).unwrap();
    peer.send_raw(&masked(0x00, &[1; 60_000])).await;
    peer.send_raw(&masked(0x80, &[1; 40_000])).await;
    peer.send_close(1001, "").await;
    drop(peer);
    let ended = session.await.unwrap();
    assert!(matches!(ended.handler(), HandlerEnd::Returned), "{:?}", ended.handler());
    assert!(ended.peer_close().is_some());
}

/// M: the figures of a socket count messages that are read, and skipped, as others.
#[tokio::test]
async fn messages_that_are_read_are_counted() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let session =
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            read_all(&mut socket).await?;
            drop(socket.next_message().await?);
            while socket.recv().await?.is_some() {}
            Ok(())
        }));
    for _ in 0..3 {
        peer.send_raw(&masked(0x02, &[1; 100])).await;
        settle().await;
        peer.send_raw(&masked(0x80, &[1; 10])).await;
    }
    peer.send_close(1000, "").await;
    drop(peer);
    let stats = session.await.unwrap().stats();
    assert_eq!((stats.messages_received, stats.bytes_received), (3, 330));
}

/// from a half, while the other sends.
#[tokio::test]
async fn a_receiver_reads_messages_as_they_arrive() {
    let (io, mut peer) = Peer::pair(1 << 12);
    let (sender, mut receiver) = WebSocket::new(io, Config::server()).split();
    let reading = tokio::spawn(async move {
        let mut message = receiver.next_message().await?.expect("a message");
        let mut len = 0;
        while let Some(chunk) = message.chunk().await? {
            len += chunk.len();
            sender.send(format!("{len}")).await?;
        }
        drop(message);
        drop(receiver.next_message().await?);
        assert_eq!(receiver.recv().await?, Some("last".into()));
        assert!(receiver.next_message().await?.is_none());
        assert_eq!(receiver.peer_close().map(|close| close.status()), Some(1000));
        Ok::<_, BoxError>(len)
    });
    let mut head = header(0x82, 200_000, true);
    head.extend([0; 4]);
    peer.send_raw(&head).await;
    let (mut read, mut write) = tokio::io::split(peer.io);
    let sending = async {
        for _ in 0..200 {
            write.write_all(&[0; 1000]).await.unwrap();
        }
        write.write_all(&masked(0x01, &[b'x'; 40_000])).await.unwrap();
        write.write_all(&masked(0x80, &[b'x'; 40_000])).await.unwrap();
        write.write_all(&masked(0x81, b"last")).await.unwrap();
        write.write_all(&masked(0x88, &support::close_body(1000, ""))).await.unwrap();
    };
    let draining = async {
        let mut all = Vec::new();
        read.read_to_end(&mut all).await.unwrap();
        assert!(all.windows(6).any(|text| text == b"200000"));
    };
    tokio::join!(sending, draining);
    assert_eq!(reading.await.unwrap().unwrap(), 200_000);
}

/// G-09: what was read behind a part is looked at though nobody comes back to receive.
#[tokio::test(start_paused = true)]
async fn input_behind_a_reader_that_was_dropped_is_read_though_nobody_receives() {
    let (io, mut peer) = Peer::pair(1 << 18);
    let (_sender, mut receiver) = WebSocket::new(io, Config::server()).split();
    // One part is there, and behind it in the same read its message ends and a ping follows.
    let mut bytes = masked(0x02, &[7; 17_000]);
    bytes.extend(masked(0x80, &[7; 100]));
    bytes.extend(masked(0x89, b"there?"));
    peer.send_raw(&bytes[..10]).await;
    let mut message = receiver.next_message().await.unwrap().unwrap();
    assert_eq!(message.chunk().await.unwrap().unwrap().len(), 2);
    peer.send_raw(&bytes[10..]).await;
    assert!(message.chunk().await.unwrap().is_some());
    settle().await;
    drop(message);
    let pong = tokio::time::timeout(Duration::from_secs(1), peer.recv()).await;
    assert_eq!(pong.expect("the ping is seen"), (0x8a, b"there?".to_vec()));
}

///
#[test]
fn a_reader_can_be_sent_to_another_task() {
    fn is_send<T: Send + Sync + Unpin>() {}
    is_send::<hybi::socket::MessageReader<&mut WebSocket<DuplexStream>>>();
    is_send::<hybi::socket::MessageReader<&mut hybi::socket::Receiver>>();
    let _ = |message: Message| message.kind();
}
