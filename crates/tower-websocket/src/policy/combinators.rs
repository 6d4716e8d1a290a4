//! Policies made of policies.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use super::{Attempt, Decision, Policy};

/// Accepts what both accept. See [`Policy::and`].
#[derive(Clone, Debug)]
#[must_use]
pub struct And<A, B> {
    first: A,
    second: B,
}

impl<A, B> And<A, B> {
    pub(super) fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: Policy, B: Policy> Policy for And<A, B> {
    async fn decide(&self, attempt: &Attempt) -> Decision {
        let first = match self.first.decide(attempt).await {
            Decision::Accept(accept) => accept,
            ended => return ended,
        };
        match self.second.decide(attempt).await {
            Decision::Accept(second) => Decision::Accept(first.merge(second)),
            ended => ended,
        }
    }
}

/// Accepts what either accepts. See [`Policy::or`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Or<A, B> {
    first: A,
    second: B,
}

impl<A, B> Or<A, B> {
    pub(super) fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: Policy, B: Policy> Policy for Or<A, B> {
    async fn decide(&self, attempt: &Attempt) -> Decision {
        match self.first.decide(attempt).await {
            Decision::Refuse(_) => self.second.decide(attempt).await,
            ended => ended,
        }
    }
}

/// A policy that several layers share.
impl<P: Policy> Policy for Arc<P> {
    async fn decide(&self, attempt: &Attempt) -> Decision {
        P::decide(self, attempt).await
    }
}

/// A policy without its type, for fields, lists and choices made when the program runs.
///
/// Clones share the policy. It costs one allocation per handshake.
///
/// ```
/// use tower_websocket::policy::{AllowHosts, BoxPolicy, Policy, Subprotocols};
///
/// # let is_local = true;
/// let mut policy: BoxPolicy = Subprotocols::from_static(["chat.v1"]).boxed();
/// if is_local {
///     policy = AllowHosts::loopback().and(policy).boxed();
/// }
/// ```
#[derive(Clone)]
#[must_use]
pub struct BoxPolicy(Arc<dyn DynPolicy>);

impl BoxPolicy {
    /// Forgets the type of `policy`.
    pub fn new(policy: impl Policy) -> Self {
        Self(Arc::new(policy))
    }
}

impl Policy for BoxPolicy {
    async fn decide(&self, attempt: &Attempt) -> Decision {
        self.0.decide_dyn(attempt).await
    }

    fn boxed(self) -> Self {
        self
    }
}

impl fmt::Debug for BoxPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoxPolicy").finish_non_exhaustive()
    }
}

/// [`Policy`] in a form that can be a trait object.
trait DynPolicy: Send + Sync {
    fn decide_dyn<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> Pin<Box<dyn Future<Output = Decision> + Send + 'a>>;
}

impl<P: Policy> DynPolicy for P {
    fn decide_dyn<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> Pin<Box<dyn Future<Output = Decision> + Send + 'a>> {
        Box::pin(self.decide(attempt))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{HeaderValue, StatusCode, header};

    use super::*;
    use crate::policy::{
        Accept, Refuse, policy_fn, policy_fn_async,
        tests::{attempt, decide, refused},
    };

    const ACCEPT: u8 = b'a';
    const REFUSE: u8 = b'r';
    const PASS: u8 = b'p';

    /// A policy that writes its name down when it is asked.
    fn named(name: &'static str, decision: u8, asked: &Arc<Mutex<Vec<&'static str>>>) -> BoxPolicy {
        let asked = Arc::clone(asked);
        policy_fn(move |_| {
            asked.lock().unwrap().push(name);
            match decision {
                ACCEPT => {
                    Accept::new().header(header::SET_COOKIE, HeaderValue::from_static(name)).into()
                }
                REFUSE => Refuse::forbidden(name).into(),
                _ => Decision::Pass,
            }
        })
        .boxed()
    }

    fn summary(decision: &Decision) -> String {
        match decision {
            Decision::Accept(accept) => {
                let cookies = accept.get_headers().get_all(header::SET_COOKIE);
                let names: Vec<_> = cookies.iter().map(|name| name.to_str().unwrap()).collect();
                format!("accept {}", names.join(" "))
            }
            Decision::Refuse(refuse) => format!("refuse {}", refuse.get_reason()),
            Decision::Pass => "pass".to_owned(),
        }
    }

    /// O-01: who is asked, in which order, and whose word counts.
    #[test]
    fn and_ends_at_the_first_refusal_or_pass_and_or_at_the_first_accept_or_pass() {
        let table = [
            (ACCEPT, ACCEPT, ("accept 1 2", 2), ("accept 1", 1)),
            (ACCEPT, REFUSE, ("refuse 2", 2), ("accept 1", 1)),
            (ACCEPT, PASS, ("pass", 2), ("accept 1", 1)),
            (REFUSE, ACCEPT, ("refuse 1", 1), ("accept 2", 2)),
            (REFUSE, REFUSE, ("refuse 1", 1), ("refuse 2", 2)),
            (REFUSE, PASS, ("refuse 1", 1), ("pass", 2)),
            (PASS, ACCEPT, ("pass", 1), ("pass", 1)),
            (PASS, REFUSE, ("pass", 1), ("pass", 1)),
            (PASS, PASS, ("pass", 1), ("pass", 1)),
        ];
        for (first, second, and, or) in table {
            let asked = Arc::new(Mutex::new(Vec::new()));
            let pair = || (named("1", first, &asked), named("2", second, &asked));

            let (a, b) = pair();
            let decision = decide(&a.and(b), &attempt(&[]));
            assert_eq!(summary(&decision), and.0);
            assert_eq!(*asked.lock().unwrap(), ["1", "2"][..and.1]);

            asked.lock().unwrap().clear();
            let (a, b) = pair();
            let decision = decide(&a.or(b), &attempt(&[]));
            assert_eq!(summary(&decision), or.0);
            assert_eq!(*asked.lock().unwrap(), ["1", "2"][..or.1]);
        }
    }

    #[test]
    fn combinators_nest() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let policy = |name, decision| named(name, decision, &asked);

        let nested = policy("1", REFUSE).or(policy("2", ACCEPT)).and(policy("3", ACCEPT));
        assert_eq!(summary(&decide(&nested, &attempt(&[]))), "accept 2 3");
        let nested = policy("1", ACCEPT).and(policy("2", REFUSE).or(policy("3", REFUSE)));
        assert_eq!(summary(&decide(&nested, &attempt(&[]))), "refuse 3");
        let nested = policy("1", REFUSE).and(policy("2", ACCEPT)).or(policy("3", ACCEPT));
        assert_eq!(summary(&decide(&nested, &attempt(&[]))), "accept 3");
    }

    #[test]
    fn boxed_policies_of_different_types_fit_in_a_list() {
        let policies: Vec<BoxPolicy> = vec![
            policy_fn(|_| Decision::Accept(Accept::new())).boxed(),
            Arc::new(policy_fn_async(async |_| Decision::Accept(Accept::new()))).boxed(),
            policy_fn(|_| Decision::Refuse(Refuse::new(StatusCode::GONE))).boxed(),
        ];
        let all = policies.into_iter().reduce(|all, policy| all.and(policy).boxed()).unwrap();
        assert_eq!(refused(&decide(&all.clone(), &attempt(&[]))), StatusCode::GONE);
    }

    #[test]
    fn a_policy_in_an_arc_is_that_policy() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(named("shared", ACCEPT, &asked));
        for layer in [Arc::clone(&shared), shared] {
            assert!(decide(&layer, &attempt(&[])).is_accept());
        }
        assert_eq!(*asked.lock().unwrap(), ["shared", "shared"]);
    }
}
