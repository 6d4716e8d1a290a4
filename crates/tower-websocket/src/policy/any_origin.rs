//! No check at all.

use super::{Attempt, OriginCheck, Refuse};

/// Accepts pages of every site, and clients that send anything as their `Origin`.
///
/// It is right where a handshake carries nothing that a browser adds by itself: no cookie, no HTTP
/// authentication, no client certificate, no address of a private network. In all other cases any page
/// that a user visits can open a WebSocket in that user's name (RFC 6455, section 10.2). To serve pages
/// of other sites, list them in [`AllowOrigins`](super::AllowOrigins).
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct DangerouslyAnyOrigin;

impl OriginCheck for DangerouslyAnyOrigin {
    fn check(&self, _: &Attempt) -> Result<(), Refuse> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{attempt, checked};

    /// O-03
    #[test]
    fn every_origin_is_accepted_when_that_is_written_out() {
        for origin in ["https://evil.example", "null", "junk", ""] {
            let attempt = attempt(&[("origin", origin)]);
            assert!(checked(&DangerouslyAnyOrigin, &attempt), "{origin}");
        }
        assert!(checked(&DangerouslyAnyOrigin, &attempt(&[])));
    }
}
