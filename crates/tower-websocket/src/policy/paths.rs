//! Which paths are WebSockets.

use super::{Accept, Attempt, Decision, Policy};

/// Accepts handshakes for its own paths, and passes all others to the inner service.
///
/// For a layer around a whole service. Put it first, as the first decision that is no accept counts:
///
/// ```
/// use tower_websocket::policy::{Paths, Policy, Subprotocols};
///
/// let paths = Paths::new().exact("/chat").prefix("/rooms");
/// let policy = paths.and(Subprotocols::from_static(["chat.v1"]));
/// # let _ = policy;
/// ```
///
/// Paths are compared byte for byte as the client sent them: `%63hat` is not `chat`, and `.` and `..`
/// are names like any other. The path is what the layer gets, from which a router may have taken a
/// prefix.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Paths {
    exact: Vec<String>,
    prefixes: Vec<String>,
}

impl Paths {
    /// No path: every request passes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds this path alone: `/chat`, but neither `/chat/` nor `/chat/1`.
    ///
    /// # Panics
    ///
    /// When `path` is not a path: it begins with a slash, and has no query.
    pub fn exact(mut self, path: impl Into<String>) -> Self {
        self.exact.push(checked(path.into()));
        self
    }

    /// Adds this path and all below it: for `/rooms` also `/rooms/` and `/rooms/1`, but not `/rooms1`.
    /// For `/rooms/`, only what is below it.
    ///
    /// # Panics
    ///
    /// When `path` is not a path: it begins with a slash, and has no query.
    pub fn prefix(mut self, path: impl Into<String>) -> Self {
        self.prefixes.push(checked(path.into()));
        self
    }

    fn contains(&self, path: &str) -> bool {
        let is_below = |prefix: &String| {
            path.strip_prefix(prefix.as_str()).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')
            })
        };
        self.exact.iter().any(|exact| exact == path) || self.prefixes.iter().any(is_below)
    }
}

impl Policy for Paths {
    async fn decide(&self, attempt: &Attempt) -> Decision {
        if self.contains(attempt.uri().path()) { Accept::new().into() } else { Decision::Pass }
    }
}

fn checked(path: String) -> String {
    assert!(path.starts_with('/'), "a path begins with a slash: {path:?}");
    assert!(!path.contains(['?', '#']), "a path has no query and no fragment: {path:?}");
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        AllowHosts,
        tests::{decide, get},
    };

    fn to(path: &str) -> Attempt {
        let mut request = get(&[("host", "a.example"), ("origin", "https://b.example")]);
        *request.uri_mut() = path.parse().unwrap();
        Attempt::from_request(&request).unwrap()
    }

    /// O-01
    #[test]
    fn its_own_paths_are_accepted_and_all_others_pass() {
        let paths = Paths::new().exact("/chat").prefix("/rooms").prefix("/files/");
        let table = [
            ("/chat", true),
            ("/chat?room=1", true),
            ("/rooms", true),
            ("/rooms/", true),
            ("/rooms/1/2?x", true),
            ("/files/", true),
            ("/files/1", true),
            ("http://a.example/chat", true),
            ("/", false),
            ("/chat/", false),
            ("/chat/1", false),
            ("/chats", false),
            ("/Chat", false),
            ("/%63hat", false),
            ("//chat", false),
            ("/rooms1", false),
            ("/x/rooms", false),
            ("/files", false),
            ("/other?/chat", false),
        ];
        for (path, own) in table {
            let decision = decide(&paths, &to(path));
            assert!(if own { decision.is_accept() } else { decision.is_pass() }, "{path}");
        }
        assert!(decide(&Paths::new(), &to("/chat")).is_pass());
        assert!(decide(&Paths::new().prefix("/"), &to("/chat")).is_accept());
    }

    #[test]
    fn what_passes_is_not_judged_by_the_policies_behind() {
        let policy = Paths::new().exact("/chat").and(AllowHosts::loopback());
        assert!(decide(&policy, &to("/chat")).is_refuse());
        assert!(decide(&policy, &to("/other")).is_pass());
    }

    #[test]
    #[should_panic(expected = "begins with a slash")]
    fn a_path_begins_with_a_slash() {
        let _ = Paths::new().exact("chat");
    }

    #[test]
    #[should_panic(expected = "no query")]
    fn a_path_has_no_query() {
        let _ = Paths::new().prefix("/chat?room");
    }
}
