//! A closure as a policy.

use std::{any::type_name, fmt, future::IntoFuture};

use super::{Attempt, Decision, Policy};

/// A policy of a closure or function, async or not.
///
/// It takes the [`Attempt`] by value, so that an async closure can borrow from it while it waits:
///
/// ```
/// use std::{collections::HashSet, sync::Arc};
///
/// use http::Uri;
/// use tower_websocket::policy::{Accept, Attempt, Decision, Policy, Refuse, policy_fn};
///
/// # async fn is_open(_: &Uri) -> bool { true }
/// let plain = policy_fn(|attempt| match attempt.peer_addr() {
///     Some(peer) if peer.ip().is_loopback() => Decision::Accept(Accept::new()),
///     _ => Decision::Refuse(Refuse::forbidden("only from this machine")),
/// });
///
/// let rooms = Arc::new(HashSet::from(["/rooms/1", "/rooms/2"]));
/// let waiting = policy_fn(async move |attempt: Attempt| {
///     if rooms.contains(attempt.uri().path()) && is_open(attempt.uri()).await {
///         Decision::Accept(Accept::new())
///     } else {
///         Decision::Pass
///     }
/// });
/// # fn is_policy(_: impl Policy) {}
/// # is_policy(plain.and(waiting));
/// ```
///
/// A closure is cloned for each handshake, so what it owns should be cheap to clone, such as an `Arc`.
pub fn policy_fn<F, R>(f: F) -> PolicyFn<F>
where
    F: FnOnce(Attempt) -> R + Clone + Send + Sync + 'static,
    R: IntoFuture<Output = Decision>,
    R::IntoFuture: Send,
{
    PolicyFn { f }
}

/// A closure as a policy. See [`policy_fn`].
#[derive(Clone)]
#[must_use]
pub struct PolicyFn<F> {
    f: F,
}

impl<F, R> Policy for PolicyFn<F>
where
    F: FnOnce(Attempt) -> R + Clone + Send + Sync + 'static,
    R: IntoFuture<Output = Decision>,
    R::IntoFuture: Send,
{
    async fn decide(&self, attempt: &Attempt) -> Decision {
        let f = self.f.clone();
        // Only the future lives on while it waits, as `R` itself need not be `Send`.
        let future = f(attempt.clone()).into_future();
        future.await
    }
}

impl<F> fmt::Debug for PolicyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PolicyFn").field(&format_args!("{}", type_name::<F>())).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::sync::Semaphore;

    use super::*;
    use crate::policy::{
        Accept, Refuse,
        tests::{attempt, decide},
    };

    async fn named(attempt: Attempt) -> Decision {
        tokio::task::yield_now().await;
        if attempt.headers().contains_key("x-in") {
            Accept::new().into()
        } else {
            Refuse::forbidden("out").into()
        }
    }

    /// O-01
    #[tokio::test]
    async fn closures_and_functions_decide_async_or_not() {
        let (inside, outside) = (attempt(&[("x-in", "1")]), attempt(&[]));

        let plain = policy_fn(|attempt| match attempt.headers().get("x-in") {
            Some(_) => Decision::Accept(Accept::new()),
            None => Decision::Pass,
        });
        assert!(decide(&plain, &inside).is_accept());
        assert!(decide(&plain, &outside).is_pass());

        let function = policy_fn(named);
        assert!(function.decide(&inside).await.is_accept());
        assert!(function.decide(&outside).await.is_refuse());

        let block = policy_fn(|attempt| async move { named(attempt).await });
        assert!(block.decide(&inside).await.is_accept());
    }

    #[tokio::test]
    async fn a_closure_may_give_what_a_decision_is_made_of() {
        let attempt = attempt(&[]);
        assert!(policy_fn(|_| Accept::new()).decide(&attempt).await.is_accept());
        assert!(policy_fn(|_| Refuse::forbidden("no")).decide(&attempt).await.is_refuse());
    }

    #[tokio::test]
    async fn an_async_closure_owns_its_state_and_borrows_the_attempt_while_it_waits() {
        let (seen, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let policy = policy_fn({
            let (seen, gate) = (Arc::clone(&seen), Arc::clone(&gate));
            async move |attempt: Attempt| {
                let headers = attempt.headers();
                let _permit = gate.acquire().await;
                seen.fetch_add(headers.len(), Ordering::Relaxed);
                Decision::Accept(Accept::new())
            }
        });
        let attempt = attempt(&[]);
        let (first, second, ()) =
            tokio::join!(policy.decide(&attempt), policy.decide(&attempt), async {
                gate.add_permits(1);
            });
        assert!(first.is_accept() && second.is_accept());
        assert_eq!(seen.load(Ordering::Relaxed), 2 * attempt.headers().len());
    }

    #[test]
    fn the_closure_runs_when_the_decision_is_awaited_and_not_before() {
        let policy = policy_fn(|_| -> Decision { unreachable!("called without being awaited") });
        drop(policy.decide(&attempt(&[])));
    }
}
