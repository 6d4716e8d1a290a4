//! A time limit that costs nothing where nothing has to be waited for.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    task::unconstrained,
    time::{Sleep, sleep},
};

pin_project! {
    /// The output of a future; `None` if it takes longer than the limit.
    ///
    /// Unlike tokio's `Timeout` it is a few bytes larger than the future, and asks for the time and a
    /// timer only if the first poll is pending.
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Within<F> {
        #[pin]
        future: F,
        limit: Duration,
        end: Option<Pin<Box<Sleep>>>,
    }
}

/// Waits for `future`, but no longer than `limit`.
pub(crate) fn within<F: Future>(limit: Duration, future: F) -> Within<F> {
    Within { future, limit, end: None }
}

impl<F: Future> Future for Within<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        let end = this.end.get_or_insert_with(|| Box::pin(sleep(*this.limit)));
        // The future may have used up what the runtime allows this task in one turn.
        pin!(unconstrained(end.as_mut())).poll(cx).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};

    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// Outside of a runtime, where a timer would panic.
    #[test]
    fn what_is_ready_needs_no_timer() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(pin!(within(LIMIT, ready(1))).poll(&mut cx), Poll::Ready(Some(1)));
        assert_eq!(pin!(within(Duration::ZERO, ready(1))).poll(&mut cx), Poll::Ready(Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_ends_the_wait_and_not_before() {
        for limit in [LIMIT, LIMIT * 2] {
            let start = Instant::now();
            assert_eq!(within(limit, pending::<()>()).await, None);
            assert_eq!(start.elapsed(), limit);
            let early = limit - Duration::from_millis(1);
            assert_eq!(within(limit, sleep(early)).await, Some(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_that_never_leaves_the_runtime_alone_is_ended_too() {
        let busy = poll_fn(|cx| {
            // Until nothing more is allowed in this turn.
            while pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
            Poll::<()>::Pending
        });
        let end = tokio::time::timeout(LIMIT * 2, within(LIMIT, busy));
        let advance = async {
            loop {
                tokio::time::advance(LIMIT / 10).await;
            }
        };
        tokio::select! {
            ended = end => assert_eq!(ended.unwrap(), None),
            () = advance => unreachable!(),
        }
    }
}
