//! Messages that are there already do not keep other tasks from their turn, however short they are.

mod support;
#[path = "support/user.rs"]
mod user;

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use futures_util::StreamExt;
use hybi::socket::{BoxError, Config};
use support::{Peer, masked, within_ten_seconds};
use user::{Drive, User};

const MESSAGES: usize = 11_000;

/// One task takes no more messages than this before others have their turn.
const STREAK: usize = 128;

/// How messages are taken.
#[derive(Clone, Copy, Debug)]
enum Taking {
    Received,
    InParts,
    Streamed,
}

impl Taking {
    async fn take(self, user: &mut User) -> Result<bool, BoxError> {
        Ok(match (self, user) {
            (Self::Received, user) => user.recv().await?.is_some(),
            (Self::InParts, user) => user.read_in_parts().await?.is_some(),
            (Self::Streamed, User::Whole(socket)) => socket.next().await.transpose()?.is_some(),
            (Self::Streamed, User::Halves(_, it)) => it.next().await.transpose()?.is_some(),
        })
    }
}

/// Takes all messages, beside a task that counts its turns. Gives the most that were taken between two of
/// them.
async fn longest_streak(drive: Drive, taking: Taking, payload: &[u8]) -> usize {
    let (io, mut peer) = Peer::pair(1 << 20);
    peer.send_raw(&masked(0x82, payload).repeat(MESSAGES)).await;
    let turns = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&turns);
    let other = tokio::spawn(async move {
        // It is always ready, while `yield_now` would take turns with that of the user.
        poll_fn::<(), _>(|cx| {
            count.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    });
    let (told, tell) = tokio::sync::oneshot::channel();
    let user = drive.run(io, Config::server(), move |mut user: User| async move {
        let (mut longest, mut streak, mut last) = (0, 0, usize::MAX);
        for _ in 0..MESSAGES {
            assert!(taking.take(&mut user).await?);
            let turn = turns.load(Ordering::Relaxed);
            streak = if turn == last { streak + 1 } else { 1 };
            last = turn;
            longest = longest.max(streak);
        }
        told.send(longest).expect("the test waits");
        Ok(())
    });
    let longest = tell.await.unwrap();
    other.abort();
    drop(peer);
    drop(user.await);
    longest
}

#[test]
fn a_user_with_many_messages_leaves_other_tasks_their_turn() {
    within_ten_seconds(|| async {
        for drive in Drive::ALL {
            for taking in [Taking::Received, Taking::InParts, Taking::Streamed] {
                for payload in [&b""[..], b"x"] {
                    let longest = longest_streak(drive, taking, payload).await;
                    assert!(
                        longest <= STREAK,
                        "{drive:?} {taking:?}: {longest} messages in one turn"
                    );
                    assert!(
                        longest >= 16,
                        "{drive:?} {taking:?}: no more than {longest} messages in one turn"
                    );
                }
            }
        }
    });
}
