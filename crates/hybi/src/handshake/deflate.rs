//! How permessage-deflate is negotiated (RFC 7692, section 7).
//!
//! ```text
//! offer    permessage-deflate; client_max_window_bits              one of several, in order of preference
//! answer   permessage-deflate; server_no_context_takeover          or none at all
//! ```
//!
//! Only the answer binds. It has to grant what the offer demands (`server_no_context_takeover`,
//! `server_max_window_bits`) and may have `client_max_window_bits` only if the offer did; what the offer
//! says of the client's own messages is a hint.

use std::fmt;

use http::HeaderValue;

use super::{
    ExtensionOffer, InvalidExtensions,
    extension::{ExtensionParameter, offer},
};
use crate::proto::{Deflate, DeflateParameters};

const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

impl Deflate {
    /// The server's side: what to answer to a client's offers, and what then holds.
    ///
    /// The first offer that can be met is taken; `None` when there is none, and then the answer says
    /// nothing of the extension. An offer with a parameter that does not exist, stands twice or has no
    /// valid value is passed over, and so is one that demands a server's window of 8 bits, which no
    /// widespread compressor keeps to.
    ///
    /// ```
    /// # use http::{Request, Version};
    /// # use hybi::handshake::{HandshakeLimits, ServerHandshake};
    /// use hybi::proto::Deflate;
    ///
    /// # let (parts, ()) = Request::get("/")
    /// #     .version(Version::HTTP_11)
    /// #     .header("Host", "example.com")
    /// #     .header("Upgrade", "websocket")
    /// #     .header("Connection", "Upgrade")
    /// #     .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    /// #     .header("Sec-WebSocket-Version", "13")
    /// #     .header("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
    /// #     .body(())?
    /// #     .into_parts();
    /// # let handshake = ServerHandshake::parse(&parts, None, &HandshakeLimits::new()).unwrap();
    /// let agreed = Deflate::new().accept(handshake.extensions());
    /// let response = handshake.accept_with(None, agreed.as_ref())?;
    /// assert_eq!(
    ///     response.headers()["sec-websocket-extensions"],
    ///     "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn accept(&self, offers: &[ExtensionOffer]) -> Option<DeflateParameters> {
        let mut named = offers.iter().filter(|offer| offer.name() == NAME);
        named.find_map(|offer| self.accept_one(&Parameters::parse(offer).ok()?))
    }

    fn accept_one(&self, offered: &Parameters) -> Option<DeflateParameters> {
        let smaller = |own: u8, other: Option<u8>| own.min(other.unwrap_or(own));
        let server_bits = smaller(self.get_server_max_window_bits(), offered.server_bits);
        if server_bits < 9 {
            return None;
        }
        let client_bits = offered
            .client_bits
            .map(|offered| smaller(self.get_client_max_window_bits(), offered))
            .filter(|&bits| bits < 15);
        Some(DeflateParameters {
            server_no_context_takeover: offered.server_no_takeover
                || !self.get_server_context_takeover(),
            client_no_context_takeover: offered.client_no_takeover
                || !self.get_client_context_takeover(),
            // Whoever demands a value waits for one, were it 15.
            server_max_window_bits: Some(server_bits)
                .filter(|&bits| offered.server_bits.is_some() || bits < 15),
            client_max_window_bits: client_bits,
            level: self.get_level(),
            threshold: self.get_threshold(),
        })
    }

    /// The client's side: what to offer. Its [`Display`](fmt::Display) form is the field's value.
    ///
    /// ```
    /// use hybi::proto::Deflate;
    ///
    /// assert_eq!(
    ///     Deflate::new().server_context_takeover(true).offer().to_string(),
    ///     "permessage-deflate; client_no_context_takeover; client_max_window_bits",
    /// );
    /// ```
    #[must_use]
    pub fn offer(&self) -> ExtensionOffer {
        let (server_bits, client_bits) =
            (self.get_server_max_window_bits(), self.get_client_max_window_bits());
        let parameters = [
            (!self.get_server_context_takeover()).then_some((SERVER_NO_CONTEXT_TAKEOVER, None)),
            (!self.get_client_context_takeover()).then_some((CLIENT_NO_CONTEXT_TAKEOVER, None)),
            (server_bits < 15).then_some((SERVER_MAX_WINDOW_BITS, Some(server_bits))),
            // Without a value it says only that the server may limit us.
            Some((CLIENT_MAX_WINDOW_BITS, Some(client_bits).filter(|&bits| bits < 15))),
        ];
        offer(
            NAME,
            parameters.into_iter().flatten().map(|(name, bits)| {
                ExtensionParameter::new(name, bits.map(|bits| bits.to_string()))
            }),
        )
    }

    /// The client's side: what holds after the server's answer to [`offer`](Self::offer); `None` when it
    /// declined.
    ///
    /// # Errors
    ///
    /// When the answer names an extension that was not offered or one twice, has parameters that do not
    /// exist, stand twice or have no valid value, or does not grant what the offer demands. The client then
    /// fails the connection (RFC 7692, section 7).
    pub fn check(
        &self,
        answer: &[ExtensionOffer],
    ) -> Result<Option<DeflateParameters>, InvalidExtensions> {
        if answer.iter().any(|extension| extension.name() != NAME) {
            return Err(InvalidExtensions::NotOffered);
        }
        let extension = match answer {
            [] => return Ok(None),
            [extension] => extension,
            _ => return Err(InvalidExtensions::Repeated),
        };
        let answered = Parameters::parse(extension)?;
        let client_bits = match answered.client_bits {
            Some(None) => return Err(InvalidExtensions::InvalidValue),
            Some(bits) => bits,
            None => None,
        };
        // A demand for 15 bits is not sent, so that it need not be answered, and every answer meets it.
        if answered.server_bits.unwrap_or(15) > self.get_server_max_window_bits()
            || client_bits.is_some_and(|bits| bits > self.get_client_max_window_bits())
            || !answered.server_no_takeover && !self.get_server_context_takeover()
        {
            return Err(InvalidExtensions::DemandIgnored);
        }
        let own_bits = self.get_client_max_window_bits();
        Ok(Some(DeflateParameters {
            server_no_context_takeover: answered.server_no_takeover,
            // Of our own messages we can always promise more than was asked.
            client_no_context_takeover: answered.client_no_takeover
                || !self.get_client_context_takeover(),
            server_max_window_bits: answered.server_bits,
            client_max_window_bits: client_bits.or(Some(own_bits).filter(|&bits| bits < 15)),
            level: self.get_level(),
            threshold: self.get_threshold(),
        }))
    }
}

impl DeflateParameters {
    /// The value of the server's `Sec-WebSocket-Extensions`.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.to_string()).expect("tokens and separators are visible ASCII")
    }
}

impl fmt::Display for DeflateParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.server_no_context_takeover {
            write!(f, "; {SERVER_NO_CONTEXT_TAKEOVER}")?;
        }
        if self.client_no_context_takeover {
            write!(f, "; {CLIENT_NO_CONTEXT_TAKEOVER}")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(f, "; {SERVER_MAX_WINDOW_BITS}={bits}")?;
        }
        if let Some(bits) = self.client_max_window_bits {
            write!(f, "; {CLIENT_MAX_WINDOW_BITS}={bits}")?;
        }
        Ok(())
    }
}

/// The parameters of one offer or answer.
#[derive(Default)]
struct Parameters {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    /// Without a value only in an offer.
    client_bits: Option<Option<u8>>,
}

impl Parameters {
    fn parse(extension: &ExtensionOffer) -> Result<Self, InvalidExtensions> {
        let mut found = Self::default();
        for parameter in extension.parameters() {
            let repeated = match (parameter.name(), parameter.value()) {
                (SERVER_NO_CONTEXT_TAKEOVER, None) => {
                    std::mem::replace(&mut found.server_no_takeover, true)
                }
                (CLIENT_NO_CONTEXT_TAKEOVER, None) => {
                    std::mem::replace(&mut found.client_no_takeover, true)
                }
                (SERVER_MAX_WINDOW_BITS, Some(value)) => {
                    found.server_bits.replace(parse_bits(value)?).is_some()
                }
                (CLIENT_MAX_WINDOW_BITS, value) => {
                    found.client_bits.replace(value.map(parse_bits).transpose()?).is_some()
                }
                (
                    SERVER_NO_CONTEXT_TAKEOVER
                    | CLIENT_NO_CONTEXT_TAKEOVER
                    | SERVER_MAX_WINDOW_BITS,
                    _,
                ) => return Err(InvalidExtensions::InvalidValue),
                _ => return Err(InvalidExtensions::UnknownParameter),
            };
            if repeated {
                return Err(InvalidExtensions::RepeatedParameter);
            }
        }
        Ok(found)
    }
}

/// 8 to 15 in decimal without sign or leading zero (RFC 7692, section 7.1.2).
fn parse_bits(value: &str) -> Result<u8, InvalidExtensions> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Ok(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Ok(10 + digit - b'0'),
        _ => Err(InvalidExtensions::InvalidValue),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, header};
    use proptest::prelude::*;

    use super::*;
    use crate::handshake::{HandshakeLimits, extension::parse_offers};

    fn parse(field: &str) -> Vec<ExtensionOffer> {
        let mut headers = HeaderMap::new();
        if !field.is_empty() {
            headers.insert(
                header::SEC_WEBSOCKET_EXTENSIONS,
                HeaderValue::from_bytes(field.as_bytes()).unwrap(),
            );
        }
        parse_offers(&headers, &HandshakeLimits::new()).unwrap()
    }

    fn answer(deflate: &Deflate, offers: &str) -> Option<String> {
        deflate.accept(&parse(offers)).map(|agreed| agreed.to_string())
    }

    /// Grants everything.
    fn generous() -> Deflate {
        Deflate::new().server_context_takeover(true).client_context_takeover(true)
    }

    const BAD: [&str; 24] = [
        "unknown",
        "unknown=1",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_max_window_bits=010",
        "server_max_window_bits=+9",
        "server_max_window_bits=-9",
        "server_max_window_bits=1",
        "server_max_window_bits=100",
        "server_max_window_bits=1e1",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=10; client_max_window_bits",
        "client_max_window_bits; client_max_window_bits",
        "Server_No_Context_Takeover",
        "server-no-context-takeover",
    ];

    /// D-01, D-02, D-03, X-06
    #[test]
    fn a_bad_offer_is_declined_and_the_next_one_tried() {
        for bad in BAD {
            let offer = format!("permessage-deflate; {bad}");
            assert_eq!(answer(&generous(), &offer), None, "{bad}");
            let two = format!("{offer}, permessage-deflate; server_max_window_bits=10");
            let second = Some("permessage-deflate; server_max_window_bits=10".into());
            assert_eq!(answer(&generous(), &two), second, "{bad}");
        }
    }

    /// D-01, D-02, D-03
    #[test]
    fn a_bad_answer_fails() {
        for bad in BAD {
            let bad = format!("permessage-deflate; {bad}");
            assert!(generous().check(&parse(&bad)).is_err(), "{bad}");
        }
        let bare = parse("permessage-deflate; client_max_window_bits");
        assert_eq!(generous().check(&bare), Err(InvalidExtensions::InvalidValue));
    }

    /// D-04, D-05, D-06, X-04, X-05, X-06
    #[test]
    fn offers_are_answered_as_far_as_they_allow() {
        let small = Deflate::new().server_max_window_bits(11).client_max_window_bits(10);
        let none = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        let small_none = format!("{none}; server_max_window_bits=11");
        let table: [(&Deflate, &str, Option<&str>); 17] = [
            (&generous(), "", None),
            (&generous(), "foo, x-webkit-deflate-frame", None),
            (&generous(), "Permessage-Deflate", None),
            (&generous(), "permessage-deflate", Some("permessage-deflate")),
            (&generous(), "foo; a=b, permessage-deflate", Some("permessage-deflate")),
            (
                &generous(),
                "permessage-deflate; server_no_context_takeover, permessage-deflate",
                Some("permessage-deflate; server_no_context_takeover"),
            ),
            (
                &generous(),
                "permessage-deflate; client_no_context_takeover",
                Some("permessage-deflate; client_no_context_takeover"),
            ),
            (&generous(), "permessage-deflate; client_max_window_bits", Some("permessage-deflate")),
            (
                &generous(),
                "permessage-deflate; client_max_window_bits=9",
                Some("permessage-deflate; client_max_window_bits=9"),
            ),
            (
                &generous(),
                "permessage-deflate; server_max_window_bits=\"15\"",
                Some("permessage-deflate; server_max_window_bits=15"),
            ),
            (
                &generous(),
                "permessage-deflate; server_max_window_bits=8, permessage-deflate; \
                 server_max_window_bits=9",
                Some("permessage-deflate; server_max_window_bits=9"),
            ),
            (&Deflate::new(), "permessage-deflate", Some(none)),
            (&Deflate::new(), "permessage-deflate; client_max_window_bits", Some(none)),
            // Not to a client that did not say it can do so.
            (&small, "permessage-deflate", Some(&small_none)),
            (
                &small,
                "permessage-deflate; server_max_window_bits=15; client_max_window_bits",
                Some(&format!("{small_none}; client_max_window_bits=10")),
            ),
            (
                &small,
                "permessage-deflate; server_max_window_bits=9; client_max_window_bits=8",
                Some(&format!("{none}; server_max_window_bits=9; client_max_window_bits=8")),
            ),
            (
                &small,
                "permessage-deflate; client_max_window_bits=15",
                Some(&format!("{small_none}; client_max_window_bits=10")),
            ),
        ];
        for (deflate, offers, expected) in table {
            assert_eq!(answer(deflate, offers).as_deref(), expected, "{offers}");
        }
    }

    /// D-10
    #[test]
    fn a_window_of_8_bits_is_declined_by_the_server() {
        assert_eq!(answer(&generous(), "permessage-deflate; server_max_window_bits=8"), None);
    }

    /// X-04
    #[test]
    fn an_offer_says_what_this_end_wants() {
        let offer = |deflate: Deflate| deflate.offer().to_string();
        assert_eq!(
            offer(Deflate::new()),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             client_max_window_bits"
        );
        assert_eq!(offer(generous()), "permessage-deflate; client_max_window_bits");
        assert_eq!(
            offer(generous().server_max_window_bits(9).client_max_window_bits(10)),
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10"
        );
        assert_eq!(Deflate::new().offer().name(), "permessage-deflate");
    }

    /// C-10, D-07, X-07
    #[test]
    fn an_answer_that_ignores_or_exceeds_the_offer_fails() {
        use InvalidExtensions::*;
        let small = generous().server_max_window_bits(10).client_max_window_bits(12);
        let table = [
            (&generous(), "permessage-deflate, permessage-deflate", Repeated),
            (&generous(), "foo", NotOffered),
            (&generous(), "permessage-deflate, foo", NotOffered),
            (&generous(), "Permessage-Deflate", NotOffered),
            (&generous(), "permessage-deflate; client_max_window_bits", InvalidValue),
            (&generous(), "permessage-deflate; foo", UnknownParameter),
            (
                &generous(),
                "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
                RepeatedParameter,
            ),
            (&Deflate::new(), "permessage-deflate", DemandIgnored),
            (&Deflate::new(), "permessage-deflate; client_no_context_takeover", DemandIgnored),
            (&small, "permessage-deflate", DemandIgnored),
            (&small, "permessage-deflate; server_max_window_bits=11", DemandIgnored),
            (
                &small,
                "permessage-deflate; server_max_window_bits=10; client_max_window_bits=13",
                DemandIgnored,
            ),
        ];
        for (deflate, answer, error) in table {
            assert_eq!(deflate.check(&parse(answer)), Err(error), "{answer}");
        }
        assert_eq!(generous().check(&[]), Ok(None), "declining is no fault");
    }

    /// D-05, D-08
    #[test]
    fn what_was_answered_holds_and_no_more() {
        let agreed = |deflate: &Deflate, answer: &str| {
            let agreed = deflate.check(&parse(answer)).unwrap().unwrap();
            (
                agreed.server_no_context_takeover(),
                agreed.client_no_context_takeover(),
                agreed.server_max_window_bits(),
                agreed.client_max_window_bits(),
            )
        };
        assert_eq!(agreed(&generous(), "permessage-deflate"), (false, false, 15, 15));
        assert_eq!(
            agreed(
                &generous(),
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=8; client_max_window_bits=8"
            ),
            (true, true, 8, 8),
            "unasked, but for the last"
        );
        // A server that leaves away what the client said of itself: the client may keep to it.
        let small = Deflate::new().server_context_takeover(true).client_max_window_bits(10);
        assert_eq!(agreed(&small, "permessage-deflate"), (false, true, 15, 10));
        // The server's side of the same: a hint that is not answered does not bind the client.
        let hinted = parse("permessage-deflate; client_max_window_bits");
        let server = generous().accept(&hinted).unwrap();
        assert_eq!((server.client_max_window_bits(), server.level()), (15, 2));
        assert_eq!(server.threshold(), 1024);
    }

    #[test]
    fn level_and_threshold_are_each_ends_own() {
        let deflate = generous().level(5).threshold(7);
        let server = deflate.accept(&parse("permessage-deflate")).unwrap();
        let client = deflate.check(&parse("permessage-deflate")).unwrap().unwrap();
        assert_eq!((server.level(), server.threshold()), (5, 7));
        assert_eq!((client.level(), client.threshold()), (5, 7));
    }

    fn any_deflate() -> impl Strategy<Value = Deflate> {
        (any::<bool>(), any::<bool>(), 9_u8..=15, 9_u8..=15).prop_map(|(server, client, s, c)| {
            Deflate::new()
                .server_context_takeover(server)
                .client_context_takeover(client)
                .server_max_window_bits(s)
                .client_max_window_bits(c)
        })
    }

    proptest! {
        /// D-04, D-06, D-07: what our server answers to our client's offer, our client takes, and both
        /// then agree or the client keeps to less.
        #[test]
        fn our_two_ends_always_agree(server in any_deflate(), client in any_deflate()) {
            let offers = parse(&client.offer().to_string());
            prop_assert_eq!(&offers, &vec![client.offer()]);
            let there = server.accept(&offers).expect("our own offers can be met");
            let here = client.check(&parse(&there.to_string())).unwrap().unwrap();
            prop_assert_eq!(
                here.server_no_context_takeover(), there.server_no_context_takeover()
            );
            prop_assert_eq!(here.server_max_window_bits(), there.server_max_window_bits());
            prop_assert!(
                here.client_no_context_takeover() || !there.client_no_context_takeover()
            );
            prop_assert!(here.client_max_window_bits() <= there.client_max_window_bits());
            prop_assert!(here.server_max_window_bits() <= server.get_server_max_window_bits());
            prop_assert!(here.server_max_window_bits() <= client.get_server_max_window_bits());
            prop_assert!(here.client_max_window_bits() <= client.get_client_max_window_bits());
        }

        /// D-01, D-04, D-06: over all offers.
        #[test]
        fn an_answer_grants_every_demand_of_its_offer(
            deflate in any_deflate(),
            server_no_takeover in any::<bool>(),
            client_no_takeover in any::<bool>(),
            server_bits in proptest::option::of(7_u8..=16),
            client_bits in proptest::option::of(proptest::option::of(7_u8..=16)),
        ) {
            let mut offer = String::from("permessage-deflate");
            if client_no_takeover { offer += "; client_no_context_takeover"; }
            if let Some(bits) = server_bits { offer += &format!("; server_max_window_bits={bits}"); }
            match client_bits {
                Some(Some(bits)) => offer += &format!("; client_max_window_bits={bits}"),
                Some(None) => offer += "; client_max_window_bits",
                None => {}
            }
            if server_no_takeover { offer += "; server_no_context_takeover"; }
            let valid = |bits: u8| (8..=15).contains(&bits);
            let acceptable = server_bits.is_none_or(|bits| valid(bits) && bits > 8)
                && client_bits.flatten().is_none_or(valid);
            let Some(answer) = answer(&deflate, &offer) else {
                prop_assert!(!acceptable, "{}", offer);
                return Ok(());
            };
            prop_assert!(acceptable, "{}", offer);
            let answer = Parameters::parse(&parse(&answer)[0]).unwrap();
            prop_assert!(answer.server_no_takeover || !server_no_takeover);
            if let Some(bits) = server_bits {
                prop_assert!(answer.server_bits.unwrap() <= bits);
            }
            if let Some(answered) = answer.client_bits {
                prop_assert!(answered.unwrap() <= client_bits.unwrap().unwrap_or(15));
            }
        }

        #[test]
        fn negotiation_never_panics(field in "(permessage-deflate|foo)[a-z0-9_;= ,\"]{0,60}") {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::SEC_WEBSOCKET_EXTENSIONS,
                HeaderValue::from_bytes(field.as_bytes()).unwrap(),
            );
            if let Ok(list) = parse_offers(&headers, &HandshakeLimits::new()) {
                let _ = generous().accept(&list);
                let _ = generous().check(&list);
            }
        }
    }
}
