//! A closure as a policy.

use std::{any::type_name, fmt};

use super::{Attempt, Decision, Policy};

/// A policy of a closure or function, which gives anything that is [`Into<Decision>`](Decision): an
/// [`Accept`](super::Accept), a [`Refuse`](super::Refuse), a status, or a `Result` of the first two.
///
/// ```
/// use http::StatusCode;
/// use tower_websocket::policy::{Accept, Attempt, Refuse, policy_fn};
///
/// let members = policy_fn(|attempt: Attempt| {
///     let name = attempt.headers().get("x-member").ok_or(StatusCode::UNAUTHORIZED)?;
///     if name == "guest" {
///         return Err(Refuse::forbidden("guests may not"));
///     }
///     Ok(Accept::new())
/// });
/// # let _ = tower_websocket::WebSocketLayer::new(tower_websocket::handler_fn(|_| async {})).policy(members);
/// ```
///
/// A closure is cloned for each handshake, so what it owns should be cheap to clone, such as an `Arc`. One that waits
/// is for [`policy_fn_async`].
pub fn policy_fn<F, D>(f: F) -> PolicyFn<F>
where
    F: FnOnce(Attempt) -> D + Clone + Send + Sync + 'static,
    D: Into<Decision>,
{
    PolicyFn { f }
}

/// A policy of an async closure or function. Its future gives what a closure of [`policy_fn`] gives.
///
/// It takes the [`Attempt`] by value, so that it can borrow from it while it waits:
///
/// ```
/// use std::{collections::HashSet, sync::Arc};
///
/// use http::Uri;
/// use tower_websocket::policy::{Accept, Attempt, Decision, policy_fn_async};
///
/// # async fn is_open(_: &Uri) -> bool { true }
/// let rooms = Arc::new(HashSet::from(["/rooms/1", "/rooms/2"]));
/// let policy = policy_fn_async(async move |attempt: Attempt| {
///     if rooms.contains(attempt.uri().path()) && is_open(attempt.uri()).await {
///         Decision::Accept(Accept::new())
///     } else {
///         Decision::Pass
///     }
/// });
/// # let _ = tower_websocket::WebSocketLayer::new(tower_websocket::handler_fn(|_| async {})).policy(policy);
/// ```
pub fn policy_fn_async<F, Fut>(f: F) -> AsyncPolicyFn<F>
where
    F: FnOnce(Attempt) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output: Into<Decision>> + Send,
{
    AsyncPolicyFn { f }
}

/// A closure as a policy. See [`policy_fn`].
#[derive(Clone)]
#[must_use]
pub struct PolicyFn<F> {
    f: F,
}

impl<F, D> Policy for PolicyFn<F>
where
    F: FnOnce(Attempt) -> D + Clone + Send + Sync + 'static,
    D: Into<Decision>,
{
    async fn decide(&self, attempt: &Attempt) -> Decision {
        self.f.clone()(attempt.clone()).into()
    }
}

impl<F> fmt::Debug for PolicyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PolicyFn").field(&format_args!("{}", type_name::<F>())).finish()
    }
}

/// An async closure as a policy. See [`policy_fn_async`].
#[derive(Clone)]
#[must_use]
pub struct AsyncPolicyFn<F> {
    f: F,
}

impl<F, Fut> Policy for AsyncPolicyFn<F>
where
    F: FnOnce(Attempt) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output: Into<Decision>> + Send,
{
    async fn decide(&self, attempt: &Attempt) -> Decision {
        let f = self.f.clone();
        f(attempt.clone()).await.into()
    }
}

impl<F> fmt::Debug for AsyncPolicyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncPolicyFn").field(&format_args!("{}", type_name::<F>())).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use http::{Response, StatusCode};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::policy::{
        Accept, Refuse,
        tests::{attempt, decide, refused},
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

        let function = policy_fn_async(named);
        assert!(function.decide(&inside).await.is_accept());
        assert!(function.decide(&outside).await.is_refuse());

        let block = policy_fn_async(|attempt| async move { named(attempt).await });
        assert!(block.decide(&inside).await.is_accept());
    }

    #[tokio::test]
    async fn a_closure_may_give_what_a_decision_is_made_of() {
        let attempt = attempt(&[]);
        assert!(policy_fn(|_| Accept::new()).decide(&attempt).await.is_accept());
        assert!(policy_fn(|_| Refuse::forbidden("no")).decide(&attempt).await.is_refuse());
        let decision = decide(&policy_fn(|_| StatusCode::GONE), &attempt);
        assert_eq!(refused(&decision), StatusCode::GONE);
        let answer = || Response::builder().status(409).header("x-why", "taken").body("taken");
        let answered = policy_fn(move |_| Refuse::from(answer().unwrap()));
        match decide(&answered, &attempt) {
            Decision::Refuse(refuse) => {
                assert_eq!(refuse.status(), StatusCode::CONFLICT);
                assert_eq!(refuse.get_headers()["x-why"], "taken");
            }
            other => panic!("{other:?}"),
        }
        let failed = policy_fn_async(async |_| Err::<Accept, _>(StatusCode::UNAUTHORIZED));
        assert_eq!(refused(&failed.decide(&attempt).await), StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn an_async_closure_owns_its_state_and_borrows_the_attempt_while_it_waits() {
        let (seen, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let policy = policy_fn_async({
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
