//! How sockets share their configurations.

use std::sync::{Arc, Mutex, PoisonError};

use hybi::socket::Config;

/// How many configurations are remembered.
const REMEMBERED: usize = 8;

/// The configurations of sockets that are not as the layer says: they have a subprotocol, limits of
/// their own or compression. There are few kinds of them, and sockets of one kind share one.
#[derive(Default)]
pub(crate) struct Configs {
    /// The newest is the last.
    known: Mutex<Vec<Arc<Config>>>,
}

/// A clone knows none: it belongs to other settings.
impl Clone for Configs {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Configs {
    /// `config`, or one that is the same.
    pub(crate) fn share(&self, config: Config) -> Arc<Config> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.iter().rev().find(|known| is_same(known, &config)) {
            return Arc::clone(same);
        }
        if known.len() == REMEMBERED {
            known.remove(0);
        }
        let config = Arc::new(config);
        known.push(Arc::clone(&config));
        config
    }
}

fn is_same(one: &Config, other: &Config) -> bool {
    #[cfg(feature = "deflate")]
    if one.get_deflate() != other.get_deflate() {
        return false;
    }
    one.get_role() == other.get_role()
        && one.get_subprotocol() == other.get_subprotocol()
        && one.get_limits() == other.get_limits()
        && one.get_timeouts() == other.get_timeouts()
        && one.get_keep_alive() == other.get_keep_alive()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hybi::{proto::Limits, socket::Timeouts};

    use super::*;

    fn named(name: &str) -> Config {
        Config::server().subprotocol(Some(name.into()))
    }

    #[cfg(feature = "deflate")]
    fn agreed() -> hybi::proto::DeflateParameters {
        let request = http::Request::get("/")
            .header("Host", "example.com")
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Extensions", "permessage-deflate")
            .body(())
            .unwrap();
        let attempt = crate::policy::Attempt::from_request(&request).unwrap();
        hybi::proto::Deflate::new().accept(attempt.extension_offers()).unwrap()
    }

    #[test]
    fn only_what_is_the_same_is_shared() {
        let kinds = [
            named("a"),
            named("A"),
            Config::server().limits(Limits::default().max_message(1)),
            named("a").limits(Limits::default().max_message(1)),
            named("a").timeouts(Timeouts::default().close(Duration::ZERO)),
            named("a").keep_alive(None),
            #[cfg(feature = "deflate")]
            named("a").deflate(Some(agreed())),
        ];
        let configs = Configs::default();
        let first: Vec<_> = kinds.iter().map(|kind| configs.share(kind.clone())).collect();
        for (one, config) in first.iter().enumerate() {
            assert_eq!(config.get_subprotocol(), kinds[one].get_subprotocol());
            let again = configs.share(kinds[one].clone());
            for (other, first) in first.iter().enumerate() {
                assert_eq!(Arc::ptr_eq(&again, first), one == other, "{one} {other}");
            }
        }
    }

    /// A client may choose among any number of names.
    #[test]
    fn no_more_than_a_few_are_remembered() {
        let configs = Configs::default();
        let first = configs.share(named("0"));
        for name in 1..REMEMBERED {
            configs.share(named(&name.to_string()));
        }
        assert!(Arc::ptr_eq(&configs.share(named("0")), &first));
        configs.share(named("another"));
        assert!(!Arc::ptr_eq(&configs.share(named("0")), &first));
        assert_eq!(configs.known.lock().unwrap().len(), REMEMBERED);
    }
}
