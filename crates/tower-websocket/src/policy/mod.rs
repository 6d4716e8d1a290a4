//! Who may open a WebSocket.
//!
//! A layer judges a well-formed handshake in two steps. An [`OriginCheck`] looks at the page that makes the
//! handshake, always and first. Then a [`Policy`] looks at everything else, and makes a [`Decision`]: [`Accept`],
//! [`Refuse`] with an HTTP answer, or pass the handshake on to the inner service as an ordinary request. Both are
//! values that a layer owns, and can be tested without a server:
//!
//! ```
//! use http::{Request, StatusCode};
//! use tower_websocket::policy::{
//!     Attempt, Decision, OriginCheck, Policy, SameOrigin, Subprotocols,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let check = SameOrigin::new();
//! let policy = Subprotocols::new(["chat.v2", "chat.v1"])?;
//!
//! let handshake = |origin: &str| {
//!     let request = Request::get("/chat")
//!         .header("Host", "chat.example.com")
//!         .header("Upgrade", "websocket")
//!         .header("Connection", "Upgrade")
//!         .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
//!         .header("Sec-WebSocket-Version", "13")
//!         .header("Sec-WebSocket-Protocol", "chat.v1")
//!         .header("Origin", origin)
//!         .body(())?;
//!     Ok::<_, Box<dyn std::error::Error>>(Attempt::from_request(&request)?)
//! };
//!
//! let good = handshake("https://chat.example.com")?;
//! assert!(check.check(&good).is_ok());
//! match policy.decide(&good).await {
//!     Decision::Accept(accept) => assert_eq!(accept.get_subprotocol(), Some("chat.v1")),
//!     other => panic!("{other:?}"),
//! }
//! let refused = check.check(&handshake("https://evil.example")?);
//! assert!(refused.is_err_and(|refuse| refuse.status() == StatusCode::FORBIDDEN));
//! # Ok(())
//! # }
//! ```
//!
//! # Why the origin is checked
//!
//! A browser lets the page of any site open a WebSocket to any server, and sends that server's
//! cookies along. Neither the same-origin policy nor CORS applies, so that the check of `Origin` is
//! the only defence against cross-site WebSocket hijacking ([RFC 6455, section 10.2]); `SameSite`
//! cookies are a second line. A layer therefore checks the origin by [`SameOrigin`], unless
//! [`WebSocketLayer::origin`](crate::WebSocketLayer::origin) is given another check. No policy can turn the check off.
//!
//! | policy | accepts |
//! |---|---|
//! | [`AllowHosts`] | handshakes sent to a list of hosts: the defence against DNS rebinding |
//! | [`Paths`] | a list of paths, and passes all others to the inner service |
//! | [`Subprotocols`] | everything, and chooses the subprotocol |
//! | [`policy_fn`], [`policy_fn_async`] | handshakes that a closure accepts |
//!
//! `Origin` is not authentication: every program but a browser can send what it likes. The check of the origin
//! protects the users of a browser, who prove themselves by a cookie, a token or a client certificate. An outer
//! layer or a policy checks that proof:
//!
//! ```
//! use http::{HeaderValue, header};
//! use tower_websocket::policy::{Accept, Attempt, Decision, Policy, Refuse, policy_fn_async};
//!
//! # async fn session_of(_: Option<&HeaderValue>) -> Option<()> { None }
//! let policy = policy_fn_async(async |attempt: Attempt| {
//!     match session_of(attempt.headers().get(header::COOKIE)).await {
//!         Some(_) => Decision::Accept(Accept::new()),
//!         None => Decision::Refuse(Refuse::unauthorized(HeaderValue::from_static("Bearer"))),
//!     }
//! });
//! # fn is_policy(_: impl Policy) {}
//! # is_policy(policy);
//! ```
//!
//! Compare secrets in constant time, and remember that a session outlives a log-out unless the handler
//! closes it.
//!
//! [RFC 6455, section 10.2]: https://www.rfc-editor.org/rfc/rfc6455#section-10.2

mod any_origin;
mod attempt;
mod authority;
mod combinators;
mod decision;
mod hosts;
mod origin;
mod origin_check;
mod origin_list;
mod paths;
mod policy_fn;
mod same_origin;
mod subprotocols;

use std::future::Future;

pub use self::{
    any_origin::DangerouslyAnyOrigin,
    attempt::{Attempt, PeerAddr},
    authority::Authority,
    combinators::{And, BoxPolicy, Or},
    decision::{Accept, Decision, Refuse},
    hosts::{AllowHosts, InvalidHostPattern},
    origin::{Origin, TupleOrigin},
    origin_check::{EitherOrigin, OriginCheck, OriginFn, origin_fn},
    origin_list::{AllowOrigins, InvalidOriginPattern},
    paths::Paths,
    policy_fn::{AsyncPolicyFn, PolicyFn, policy_fn, policy_fn_async},
    same_origin::SameOrigin,
    subprotocols::Subprotocols,
};

/// Decides who may open a WebSocket, among the handshakes whose [origin](OriginCheck) is accepted. See the
/// [module docs](self) for an example.
///
/// An implementation writes an `async fn`:
///
/// ```
/// use tower_websocket::policy::{Accept, Attempt, Decision, Policy, Refuse};
///
/// struct Members;
///
/// impl Policy for Members {
///     async fn decide(&self, attempt: &Attempt) -> Decision {
///         if attempt.headers().contains_key("x-member") {
///             Accept::new().into()
///         } else {
///             Refuse::forbidden("members only").into()
///         }
///     }
/// }
/// # fn is_policy(_: impl Policy) {}
/// # is_policy(Members);
/// ```
///
/// There is no implementation for `Option<P>`: `Some(a).and(Some(b))` would be `Option::and`, which
/// forgets `a`. A policy that is chosen when the program runs is a [`BoxPolicy`].
///
/// ```compile_fail,E0277
/// # use tower_websocket::policy::{Paths, Policy};
/// # fn is_policy(_: impl Policy) {}
/// is_policy(Some(Paths::new()));
/// ```
///
/// # Cancel safety
///
/// The future is dropped when the client goes away or the layer's time for policies is up. A policy
/// that changes something (counts, takes a ticket) has to undo it then.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a WebSocket policy",
    note = "wrap a closure in `policy_fn`; a policy is `Send + Sync + 'static`"
)]
pub trait Policy: Send + Sync + 'static {
    /// Judges one handshake.
    fn decide(&self, attempt: &Attempt) -> impl Future<Output = Decision> + Send;

    /// Accepts what both policies accept; `self` is asked first.
    ///
    /// The first refusal or pass is the decision. Two accepts are merged: the first's subprotocol
    /// wins, header fields are added up, of the limits the tighter ones hold. Compression that one of them
    /// [refuses](Accept::without_deflate) is refused; else the first that grants it says how.
    fn and<Q: Policy>(self, other: Q) -> And<Self, Q>
    where
        Self: Sized,
    {
        And::new(self, other)
    }

    /// Accepts what either policy accepts; `self` is asked first, and `other` only if it refuses.
    ///
    /// The first accept or pass is the decision; if both refuse, the last refusal.
    fn or<Q: Policy>(self, other: Q) -> Or<Self, Q>
    where
        Self: Sized,
    {
        Or::new(self, other)
    }

    /// The policy without its type.
    fn boxed(self) -> BoxPolicy
    where
        Self: Sized,
    {
        BoxPolicy::new(self)
    }
}

#[cfg(test)]
mod tests;
