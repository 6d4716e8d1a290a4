//! What a policy can say.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
#[cfg(feature = "deflate")]
use hybi::proto::Deflate;
use hybi::{
    ByteString, Bytes,
    handshake::{Refusal, Subprotocol, is_reserved},
    proto::Limits,
};

/// What becomes of a handshake.
#[derive(Clone, Debug)]
#[must_use]
pub enum Decision {
    /// Opens the WebSocket.
    Accept(Accept),
    /// Answers with an HTTP error.
    Refuse(Refuse),
    /// Lets the inner service have the request, as if it were no handshake.
    ///
    /// Over HTTP/2 a handshake is a `CONNECT`. An inner service that answers 200 to whatever it is
    /// asked tells the client that its WebSocket is open; answer 404 to what you do not know.
    Pass,
}

impl Decision {
    /// Whether the WebSocket is opened.
    #[must_use]
    pub fn is_accept(&self) -> bool {
        matches!(self, Self::Accept(_))
    }

    /// Whether the handshake is answered with an error.
    #[must_use]
    pub fn is_refuse(&self) -> bool {
        matches!(self, Self::Refuse(_))
    }

    /// Whether the inner service gets the request.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        matches!(self, Self::Pass)
    }
}

impl From<Accept> for Decision {
    fn from(accept: Accept) -> Self {
        Self::Accept(accept)
    }
}

impl From<Refuse> for Decision {
    fn from(refuse: Refuse) -> Self {
        Self::Refuse(refuse)
    }
}

/// Lets a policy use `?` on what it needs to know:
///
/// ```
/// use http::header::AUTHORIZATION;
/// use tower_websocket::policy::{Accept, Attempt, Refuse, policy_fn};
///
/// fn check(attempt: &Attempt) -> Result<Accept, Refuse> {
///     let token = attempt.headers().get(AUTHORIZATION).ok_or(Refuse::forbidden("no token"))?;
///     token.to_str().map_err(|_| Refuse::forbidden("the token is not text"))?;
///     Ok(Accept::new())
/// }
///
/// let policy = policy_fn(|attempt: Attempt| check(&attempt));
/// # let _ = tower_websocket::WebSocketLayer::new(tower_websocket::handler_fn(|_| async {})).policy(policy);
/// ```
impl<R: Into<Refuse>> From<Result<Accept, R>> for Decision {
    fn from(result: Result<Accept, R>) -> Self {
        result.map_or_else(|refuse| Self::Refuse(refuse.into()), Self::Accept)
    }
}

impl From<StatusCode> for Decision {
    fn from(status: StatusCode) -> Self {
        Self::Refuse(status.into())
    }
}

/// Opens the WebSocket, perhaps under conditions.
///
/// ```
/// use http::{HeaderValue, header};
/// use tower_websocket::{Limits, policy::Accept};
///
/// let accept = Accept::new()
///     .header(header::SET_COOKIE, HeaderValue::from_static("seen=1"))
///     .limits(Limits::default().max_message(4096));
/// assert_eq!(accept.get_headers()[header::SET_COOKIE], "seen=1");
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Accept {
    subprotocol: Option<Subprotocol>,
    headers: HeaderMap,
    // Boxed because few policies set limits, and every decision is as large as this.
    limits: Option<Box<Limits>>,
    // Whether it says anything of compression; and if so, what is granted.
    #[cfg(feature = "deflate")]
    deflate: Option<Option<Box<Deflate>>>,
}

impl Accept {
    /// Accepts without a subprotocol, further header fields or tighter limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the subprotocol, one of those that [the client offers](super::Attempt::subprotocols)
    /// (RFC 6455, section 4.2.2).
    ///
    /// A name that the client did not offer is the policy's mistake, and the client is answered with
    /// 500.
    pub fn subprotocol(mut self, subprotocol: Subprotocol) -> Self {
        self.subprotocol = Some(subprotocol);
        self
    }

    /// Adds a header field to the answer, beside those of the same name.
    ///
    /// Fields that frame the message or belong to the handshake (`Connection`, `Content-Length`,
    /// `Keep-Alive`, `Proxy-Connection`, `TE`, `Trailer`, `Transfer-Encoding`, `Upgrade` and
    /// `Sec-WebSocket-*`) are not a policy's to set: they are ignored with a warning in the log.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if may_set(&name) {
            self.headers.append(name, value);
        }
        self
    }

    /// Limits this socket; of these and the layer's limits the tighter ones hold.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(Box::new(limits));
        self
    }

    /// Grants compression to this socket, as `deflate` says instead of the layer, if the client offers it.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    pub fn deflate(mut self, deflate: Deflate) -> Self {
        self.deflate = Some(Some(Box::new(deflate)));
        self
    }

    /// Opens this socket without compression, whatever the layer says.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    pub fn without_deflate(mut self) -> Self {
        self.deflate = Some(None);
        self
    }

    /// What is granted of compression to this socket: `None` leaves it to the layer, `Some(None)` is
    /// nothing.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    #[must_use]
    pub fn get_deflate(&self) -> Option<Option<&Deflate>> {
        self.deflate.as_ref().map(Option::as_deref)
    }

    /// The name of the chosen subprotocol.
    #[must_use]
    pub fn get_subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_ref().map(Subprotocol::as_str)
    }

    /// The header fields that are added to the answer.
    #[must_use]
    pub fn get_headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The limits of this socket.
    #[must_use]
    pub fn get_limits(&self) -> Option<&Limits> {
        self.limits.as_deref()
    }

    /// What two policies accept together; `self` was asked first.
    pub(super) fn merge(mut self, other: Self) -> Self {
        match (&self.subprotocol, other.subprotocol) {
            (None, theirs) => self.subprotocol = theirs,
            (Some(ours), Some(theirs)) if *ours != theirs => tracing::debug!(
                chosen = %ours,
                ignored = %theirs,
                "two policies chose different subprotocols for one WebSocket"
            ),
            (Some(_), _) => {}
        }
        // `HeaderMap::extend` would replace what is there.
        for (name, value) in &other.headers {
            self.headers.append(name, value.clone());
        }
        self.limits = match (self.limits, other.limits) {
            (Some(ours), Some(theirs)) => Some(Box::new(ours.tightest(&theirs))),
            (ours, theirs) => ours.or(theirs),
        };
        #[cfg(feature = "deflate")]
        {
            // A refusal wins, else the first that grants it.
            self.deflate = match (self.deflate, other.deflate) {
                (Some(None), _) | (_, Some(None)) => Some(None),
                (ours, theirs) => ours.or(theirs),
            };
        }
        self
    }
}

impl std::fmt::Debug for Accept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be cookies.
        let names: Vec<_> = self.headers.keys().collect();
        let mut accept = f.debug_struct("Accept");
        accept
            .field("subprotocol", &self.get_subprotocol())
            .field("headers", &names)
            .field("limits", &self.limits);
        #[cfg(feature = "deflate")]
        accept.field("deflate", &self.deflate);
        accept.finish()
    }
}

/// Answers a handshake with an HTTP error.
///
/// ```
/// use http::{HeaderValue, StatusCode, header};
/// use tower_websocket::policy::Refuse;
///
/// let refuse = Refuse::new(StatusCode::TOO_MANY_REQUESTS)
///     .header(header::RETRY_AFTER, HeaderValue::from_static("60"))
///     .reason("one socket per user");
/// assert_eq!(refuse.status(), StatusCode::TOO_MANY_REQUESTS);
/// assert_eq!(refuse.get_reason(), "one socket per user");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Refuse(Refusal);

impl Refuse {
    /// Refuses with this status. One that refuses nothing (1xx, 2xx) is replaced by 500.
    pub fn new(status: StatusCode) -> Self {
        Self(Refusal::new(status))
    }

    /// Refuses with 403 (Forbidden): nothing the client could prove would change it.
    pub fn forbidden(reason: impl Into<ByteString>) -> Self {
        Self::new(StatusCode::FORBIDDEN).reason(reason)
    }

    /// Refuses with 401 (Unauthorized) and a challenge in `WWW-Authenticate` (RFC 9110, section
    /// 11.6.1).
    pub fn unauthorized(challenge: HeaderValue) -> Self {
        Self::new(StatusCode::UNAUTHORIZED).header(header::WWW_AUTHENTICATE, challenge)
    }

    /// Says why in one line of text, which becomes the body. The client can read it.
    pub fn reason(self, reason: impl Into<ByteString>) -> Self {
        Self(self.0.reason(reason))
    }

    /// Adds a header field to the answer, beside those of the same name.
    ///
    /// The same fields as for [`Accept::header`] are ignored.
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        if may_set(&name) { Self(self.0.header(name, value)) } else { self }
    }

    /// Sets the body instead of the line of text. Its type is the `Content-Type` given by
    /// [`header`](Self::header).
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self(self.0.body(body))
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// The line that says why; the status's standard phrase when nothing was said.
    #[must_use]
    pub fn get_reason(&self) -> &str {
        self.0.explanation()
    }

    /// The header fields that were added.
    #[must_use]
    pub fn get_headers(&self) -> &HeaderMap {
        self.0.headers()
    }
}

impl From<StatusCode> for Refuse {
    fn from(status: StatusCode) -> Self {
        Self::new(status)
    }
}

/// A whole answer, such as one that an application makes for its other requests. The fields that
/// [`header`](Refuse::header) ignores are left out.
///
/// ```
/// use http::{Response, StatusCode};
/// use tower_websocket::policy::Refuse;
///
/// let answer = Response::builder().status(StatusCode::CONFLICT).body("taken").unwrap();
/// assert_eq!(Refuse::from(answer).status(), StatusCode::CONFLICT);
/// ```
impl<B: Into<Bytes>> From<Response<B>> for Refuse {
    fn from(response: Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        let mut refuse = Self::new(parts.status).body(body);
        for (name, value) in &parts.headers {
            if !is_reserved(name) {
                refuse = refuse.header(name.clone(), value.clone());
            }
        }
        refuse
    }
}

impl From<Refuse> for Refusal {
    fn from(refuse: Refuse) -> Self {
        refuse.0
    }
}

fn may_set(name: &HeaderName) -> bool {
    let reserved = is_reserved(name);
    if reserved {
        tracing::warn!(%name, "a policy cannot set this header field of a handshake's answer");
    }
    !reserved
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;

    fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    #[test]
    fn a_result_is_the_decision_of_either_side() {
        let accept =
            Decision::from(Ok::<_, Refuse>(Accept::new().limits(Limits::default().max_message(7))));
        assert!(matches!(accept, Decision::Accept(accept) if accept.get_limits().is_some()));
        let refuse = Decision::from(Err(Refuse::new(StatusCode::TOO_MANY_REQUESTS)));
        assert!(
            matches!(refuse, Decision::Refuse(r) if r.status() == StatusCode::TOO_MANY_REQUESTS)
        );
    }

    /// H-04, N-02: the layer alone says what frames the message or belongs to the handshake.
    #[test]
    fn a_policy_cannot_set_the_fields_of_the_handshake() {
        let fields = [
            "connection",
            "content-length",
            "keep-alive",
            "proxy-connection",
            "sec-websocket-accept",
            "sec-websocket-extensions",
            "sec-websocket-key",
            "sec-websocket-protocol",
            "sec-websocket-version",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ];
        for field in fields {
            let name = HeaderName::from_static(field);
            let accept = Accept::new().header(name.clone(), value("x"));
            assert!(accept.get_headers().is_empty(), "{field}");
            let refuse = Refuse::forbidden("no").header(name, value("x"));
            assert!(refuse.get_headers().is_empty(), "{field}");
        }
        let accept = Accept::new()
            .header(header::SET_COOKIE, value("a=1"))
            .header(header::SET_COOKIE, value("b=2"));
        let cookies: Vec<_> = accept.get_headers().get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }

    /// O-02, H-14
    #[test]
    fn a_refusal_becomes_a_whole_answer() {
        let refuse = Refuse::unauthorized(value("Bearer")).reason("log in first");
        let response = Refusal::from(refuse).into_response(Version::HTTP_11);
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response.headers()[header::CONNECTION], "close");
        assert_eq!(response.body(), "log in first\n");

        let refuse = Refuse::new(StatusCode::CONFLICT)
            .header(header::CONTENT_TYPE, value("application/json"))
            .body("{}");
        let response = Refusal::from(refuse).into_response(Version::HTTP_11);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(response.body(), "{}");
    }

    /// S-11: no cookie in a log.
    #[test]
    fn debug_text_has_no_header_values() {
        let accept = Accept::new().header(header::SET_COOKIE, value("secret=1"));
        let refuse = Refuse::forbidden("no").header(header::SET_COOKIE, value("secret=1"));
        for text in [format!("{accept:?}"), format!("{refuse:?}")] {
            assert!(text.contains("set-cookie") && !text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn merged_accepts_keep_the_first_subprotocol_all_fields_and_the_tighter_limits() {
        let name = Subprotocol::from_static;
        let first = Accept::new()
            .subprotocol(name("a"))
            .header(header::SET_COOKIE, value("a=1"))
            .limits(Limits::default().max_message(10).output_mark(2000));
        let second = Accept::new()
            .subprotocol(name("b"))
            .header(header::SET_COOKIE, value("b=2"))
            .limits(Limits::default().max_message(20).output_mark(1000));

        let merged = first.clone().merge(second);
        assert_eq!(merged.get_subprotocol(), Some("a"));
        let cookies: Vec<_> = merged.get_headers().get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        let limits = Limits::default().max_message(10).output_mark(1000);
        assert_eq!(merged.get_limits(), Some(&limits));

        for merged in [first.clone().merge(Accept::new()), Accept::new().merge(first.clone())] {
            assert_eq!(merged.get_subprotocol(), Some("a"));
            assert_eq!(merged.get_headers(), first.get_headers());
            assert_eq!(merged.get_limits(), first.get_limits());
        }
    }

    /// S-06
    #[cfg(feature = "deflate")]
    #[test]
    fn of_merged_accepts_a_refusal_of_compression_wins_and_else_the_first_grant() {
        let nothing = Accept::new();
        let refuse = Accept::new().without_deflate();
        let (a, b) = (Deflate::new().level(1), Deflate::new().level(2));
        let grant = |deflate: &Deflate| Accept::new().deflate(deflate.clone());
        let table = [
            (&nothing, &nothing, None),
            (&nothing, &grant(&b), Some(Some(&b))),
            (&grant(&a), &nothing, Some(Some(&a))),
            (&grant(&a), &grant(&b), Some(Some(&a))),
            (&grant(&a), &refuse, Some(None)),
            (&refuse, &grant(&b), Some(None)),
            (&nothing, &refuse, Some(None)),
            (&refuse, &nothing, Some(None)),
        ];
        for (first, second, expected) in table {
            let merged = first.clone().merge(second.clone());
            assert_eq!(merged.get_deflate(), expected, "{first:?} and {second:?}");
        }
    }
}
