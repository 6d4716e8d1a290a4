//! Which pages may open a WebSocket.

use std::{any::type_name, fmt, sync::Arc};

use super::{Attempt, Refuse};

/// Decides whether the page that makes a handshake may open a WebSocket, for
/// [`WebSocketLayer::origin`](crate::WebSocketLayer::origin).
///
/// | check | accepts |
/// |---|---|
/// | [`SameOrigin`](super::SameOrigin), the default | pages of the host that the handshake is sent to |
/// | [`AllowOrigins`](super::AllowOrigins) | pages of a list of origins |
/// | [`DangerouslyAnyOrigin`](super::DangerouslyAnyOrigin) | every page |
/// | [`origin_fn`] | pages that a closure accepts |
///
/// [`or`](Self::or) joins two of them:
///
/// ```
/// use tower_websocket::{
///     WebSocketLayer, handler_fn,
///     policy::{AllowOrigins, OriginCheck, SameOrigin},
/// };
///
/// let app = AllowOrigins::new(["https://app.example.com"])?;
/// let layer = WebSocketLayer::new(handler_fn(|_| async {})).origin(SameOrigin::new().or(app));
/// # let _ = layer;
/// # Ok::<(), tower_websocket::policy::InvalidOriginPattern>(())
/// ```
///
/// A check is not a [`Policy`](super::Policy), and a policy is not a check. A policy can therefore never turn the
/// check off:
///
/// ```compile_fail,E0277
/// # use tower_websocket::{WebSocketLayer, handler_fn, policy::Paths};
/// let layer = WebSocketLayer::new(handler_fn(|_| async {})).origin(Paths::new(["/chat"]));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not check the origin of a WebSocket handshake",
    note = "wrap a closure in `origin_fn`; a policy goes into `WebSocketLayer::policy`"
)]
pub trait OriginCheck: Send + Sync + 'static {
    /// Checks the page that makes this handshake.
    ///
    /// The layer asks only where the request has an `Origin` field. A client without one is not a browser; see
    /// [`WebSocketLayer::require_origin`](crate::WebSocketLayer::require_origin).
    ///
    /// # Errors
    ///
    /// The answer to a page that may not open a WebSocket.
    fn check(&self, attempt: &Attempt) -> Result<(), Refuse>;

    /// Accepts pages that either check accepts. If both refuse, the refusal is that of `other`.
    fn or<O: OriginCheck>(self, other: O) -> EitherOrigin<Self, O>
    where
        Self: Sized,
    {
        EitherOrigin { first: self, second: other }
    }
}

impl<O: OriginCheck + ?Sized> OriginCheck for Arc<O> {
    fn check(&self, attempt: &Attempt) -> Result<(), Refuse> {
        (**self).check(attempt)
    }
}

impl<O: OriginCheck + ?Sized> OriginCheck for Box<O> {
    fn check(&self, attempt: &Attempt) -> Result<(), Refuse> {
        (**self).check(attempt)
    }
}

/// Accepts pages that either check accepts. See [`OriginCheck::or`].
#[derive(Clone, Debug)]
#[must_use]
pub struct EitherOrigin<A, B> {
    first: A,
    second: B,
}

impl<A: OriginCheck, B: OriginCheck> OriginCheck for EitherOrigin<A, B> {
    fn check(&self, attempt: &Attempt) -> Result<(), Refuse> {
        self.first.check(attempt).or_else(|_| self.second.check(attempt))
    }
}

/// A check of origins by a closure, which says whether the page may open a WebSocket. Other pages are answered
/// with 403.
///
/// The origin is in [`Attempt::origin`]. An origin that has to be looked up first, such as that of a customer, is
/// the task of an outer layer, which puts the answer into the request's extensions.
///
/// ```
/// use tower_websocket::{
///     WebSocketLayer, handler_fn,
///     policy::{Attempt, Origin, origin_fn},
/// };
///
/// #[derive(Clone)]
/// struct Site(String); // that an outer layer has found
///
/// let check = origin_fn(|attempt: &Attempt| match attempt.origin() {
///     Origin::Tuple(origin) => {
///         attempt.extensions().get::<Site>().is_some_and(|site| origin.to_string() == site.0)
///     }
///     _ => false,
/// });
/// let layer = WebSocketLayer::new(handler_fn(|_| async {})).origin(check);
/// # let _ = layer;
/// ```
pub fn origin_fn<F>(f: F) -> OriginFn<F>
where
    F: Fn(&Attempt) -> bool + Send + Sync + 'static,
{
    OriginFn { f }
}

/// A closure that checks origins. See [`origin_fn`].
#[derive(Clone)]
#[must_use]
pub struct OriginFn<F> {
    f: F,
}

impl<F> OriginCheck for OriginFn<F>
where
    F: Fn(&Attempt) -> bool + Send + Sync + 'static,
{
    fn check(&self, attempt: &Attempt) -> Result<(), Refuse> {
        if (self.f)(attempt) {
            return Ok(());
        }
        tracing::debug!(origin = ?attempt.origin(), "a page of an origin that is refused asks for a WebSocket");
        Err(Refuse::forbidden("the Origin is not one that this server allows"))
    }
}

impl<F> fmt::Debug for OriginFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OriginFn").field(&format_args!("{}", type_name::<F>())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        AllowOrigins, DangerouslyAnyOrigin, Origin, SameOrigin,
        tests::{attempt, checked},
    };

    fn from(origin: &str) -> Attempt {
        attempt(&[("host", "example.com"), ("origin", origin)])
    }

    /// O-03 (origins are compared)
    #[test]
    fn either_of_two_checks_is_enough() {
        let list = || AllowOrigins::new(["https://app.example"]).unwrap();
        for (origin, accepted) in [
            ("https://example.com", true),
            ("https://app.example", true),
            ("https://evil.example", false),
            ("null", false),
        ] {
            assert_eq!(checked(&SameOrigin::new().or(list()), &from(origin)), accepted, "{origin}");
            assert_eq!(checked(&list().or(SameOrigin::new()), &from(origin)), accepted, "{origin}");
            let shared: Arc<dyn OriginCheck> = Arc::new(list().or(SameOrigin::new()));
            assert_eq!(checked(&shared, &from(origin)), accepted, "{origin}");
            assert!(checked(&list().or(DangerouslyAnyOrigin), &from(origin)));
        }
    }

    #[test]
    fn a_closure_decides_about_each_origin() {
        let null = origin_fn(|attempt: &Attempt| *attempt.origin() == Origin::Null);
        assert!(checked(&null, &from("null")));
        assert!(!checked(&null, &from("https://example.com")));
        assert!(format!("{null:?}").contains("OriginFn"));
    }
}
