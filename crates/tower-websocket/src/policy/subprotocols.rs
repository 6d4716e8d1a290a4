//! Which subprotocol is spoken.

use http::StatusCode;
use hybi::handshake::{InvalidSubprotocol, Subprotocol};

use super::{Accept, Attempt, Decision, Policy, Refuse};

/// Chooses the first of its subprotocols that the client offers (RFC 6455, section 1.9).
///
/// Names are compared byte for byte. Where there is none in common, the WebSocket is opened without a
/// subprotocol, unless one is [required](Self::required).
///
/// ```
/// use tower_websocket::policy::Subprotocols;
///
/// let policy = Subprotocols::new(["chat.v2", "chat.v1"])?.required();
/// # let _ = policy;
/// # Ok::<(), tower_websocket::handshake::InvalidSubprotocol>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Subprotocols {
    names: Vec<Subprotocol>,
    required: bool,
    client_preference: bool,
}

impl Subprotocols {
    /// Speaks these subprotocols, the most preferred first.
    ///
    /// # Errors
    ///
    /// When a name is not an HTTP token (RFC 9110, section 5.6.2).
    pub fn new<I>(names: I) -> Result<Self, InvalidSubprotocol>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let names = names.into_iter().map(|name| Subprotocol::new(name.as_ref()));
        Ok(Self::of(names.collect::<Result<_, _>>()?))
    }

    /// Speaks these subprotocols, known when the program is built, the most preferred first.
    ///
    /// # Panics
    ///
    /// When a name is not an HTTP token (RFC 9110, section 5.6.2).
    pub fn from_static(names: impl IntoIterator<Item = &'static str>) -> Self {
        Self::of(names.into_iter().map(Subprotocol::from_static).collect())
    }

    /// Refuses clients that offer none of the subprotocols with 400, which names them.
    ///
    /// A browser whose page asked for subprotocols fails anyway if it gets none.
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Chooses by the client's order of preference instead of the server's.
    pub fn client_preference(mut self) -> Self {
        self.client_preference = true;
        self
    }

    fn of(names: Vec<Subprotocol>) -> Self {
        Self { names, required: false, client_preference: false }
    }

    fn choose(&self, offers: &[Subprotocol]) -> Option<&Subprotocol> {
        if self.client_preference {
            offers.iter().find_map(|offer| self.names.iter().find(|name| *name == offer))
        } else {
            self.names.iter().find(|name| offers.contains(name))
        }
    }
}

impl Policy for Subprotocols {
    async fn decide(&self, attempt: &Attempt) -> Decision {
        match self.choose(attempt.subprotocols()) {
            // Our own name, as the client's is part of what its request has in memory.
            Some(name) => Accept::new().subprotocol(name.clone()).into(),
            None if self.required => {
                let names: Vec<_> = self.names.iter().map(Subprotocol::as_str).collect();
                let names = names.join(", ");
                Refuse::new(StatusCode::BAD_REQUEST)
                    .reason(format!("offer one of these in Sec-WebSocket-Protocol: {names}"))
                    .into()
            }
            None => Accept::new().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{attempt, decide, refused};

    fn chosen(policy: &Subprotocols, offers: &[&str]) -> Option<String> {
        let lines: Vec<_> = offers.iter().map(|line| ("sec-websocket-protocol", *line)).collect();
        match decide(policy, &attempt(&lines)) {
            Decision::Accept(accept) => accept.get_subprotocol().map(str::to_owned),
            decision => panic!("{decision:?}"),
        }
    }

    /// N-02, N-03, N-04, N-06
    #[test]
    fn the_first_of_the_servers_or_the_clients_list_is_chosen() {
        let server = Subprotocols::new(["v3", "v2", "v1"]).unwrap();
        let client = Subprotocols::from_static(["v3", "v2", "v1"]).client_preference();
        let table: [(&[&str], Option<&str>, Option<&str>); 6] = [
            (&["v1, v2"], Some("v2"), Some("v1")),
            (&["v1", "v3,,v2"], Some("v3"), Some("v1")),
            (&["other, v2"], Some("v2"), Some("v2")),
            (&["V1, v"], None, None),
            (&["v1.example"], None, None),
            (&[], None, None),
        ];
        for (offers, by_server, by_client) in table {
            assert_eq!(chosen(&server, offers).as_deref(), by_server, "{offers:?}");
            assert_eq!(chosen(&client, offers).as_deref(), by_client, "{offers:?}");
        }
    }

    /// N-05
    #[test]
    fn a_required_subprotocol_is_named_in_the_refusal() {
        let policy = Subprotocols::new(["v2", "v1"]).unwrap().required();
        assert_eq!(chosen(&policy, &["v1"]).as_deref(), Some("v1"));
        for offers in [&[][..], &[("sec-websocket-protocol", "secret")][..]] {
            let decision = decide(&policy, &attempt(offers));
            assert_eq!(refused(&decision), StatusCode::BAD_REQUEST);
            let Decision::Refuse(refuse) = decision else { unreachable!() };
            assert!(refuse.get_reason().contains("v2, v1"), "{}", refuse.get_reason());
            assert!(!refuse.get_reason().contains("secret"), "N-10");
        }
    }

    /// N-01
    #[test]
    fn a_name_that_is_no_token_is_refused() {
        for name in ["", "a b", "a,b", "ü"] {
            assert!(Subprotocols::new(["good", name]).is_err(), "{name}");
        }
    }
}
