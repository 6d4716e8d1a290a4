//! One attempt at a time for each server (RFC 6455, section 4.1).

use std::{
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::Request;
use hybi::handshake::Address;
use tower_layer::Layer;
use tower_service::Service;

/// Lets one attempt at a time go to each host and port; the others wait their turn (RFC 6455, section 4.1,
/// rule 2). It goes around a [`WebSocketClient`](super::WebSocketClient).
///
/// The standard asks this of clients that act for many, such as browsers, lest a page floods a server
/// with handshakes. It means the server's IP address; here it is the host as the address names it, so
/// that it works behind a proxy. All services of one layer and its clones count together.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_websocket::client::{Connector, OnePerAddressLayer, WebSocketClient};
///
/// let client = ServiceBuilder::new()
///     .layer(OnePerAddressLayer::new())
///     .layer_fn(WebSocketClient::new)
///     .service(Connector::tcp());
/// # let _: tower_websocket::client::OnePerAddress<WebSocketClient<_>> = client;
/// ```
///
/// A service is ready at once, and the inner one is asked when the turn has come. How long to wait for
/// it is a timeout layer's to bound, outside of this one.
#[derive(Clone, Default)]
#[must_use]
pub struct OnePerAddressLayer {
    servers: Servers,
}

/// Who has an attempt under way or waits for it.
type Servers = Arc<Mutex<HashMap<Server, Arc<tokio::sync::Mutex<()>>>>>;

type Server = (Box<str>, u16);

impl OnePerAddressLayer {
    /// A layer under which no attempt is under way.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for OnePerAddressLayer {
    type Service = OnePerAddress<S>;

    fn layer(&self, inner: S) -> OnePerAddress<S> {
        OnePerAddress { inner, servers: Arc::clone(&self.servers) }
    }
}

impl fmt::Debug for OnePerAddressLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnePerAddressLayer").finish_non_exhaustive()
    }
}

/// The service of a [`OnePerAddressLayer`].
#[derive(Clone)]
#[must_use]
pub struct OnePerAddress<S> {
    inner: S,
    servers: Servers,
}

impl<S> Service<Request<()>> for OnePerAddress<S>
where
    S: Service<Request<()>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let mut inner = self.inner.clone();
        let turn = Turn::of(&request, &self.servers);
        Box::pin(async move {
            let _turn = match &turn {
                Some(turn) => Some(turn.slot.lock().await),
                // No address: the inner service tells what is wrong with it.
                None => None,
            };
            poll_fn(|cx| inner.poll_ready(cx)).await?;
            inner.call(request).await
        })
    }
}

impl<S: fmt::Debug> fmt::Debug for OnePerAddress<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnePerAddress").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// A place in the queue for a server.
struct Turn {
    servers: Servers,
    server: Server,
    slot: Arc<tokio::sync::Mutex<()>>,
}

impl Turn {
    fn of(request: &Request<()>, servers: &Servers) -> Option<Self> {
        let address = Address::try_from(request.uri()).ok()?;
        let server = (address.host().into(), address.port());
        let slot = {
            let mut servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(servers.entry(server.clone()).or_default())
        };
        Some(Self { servers: Arc::clone(servers), server, slot })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's and this one: the last of the queue takes it away.
        if Arc::strong_count(&self.slot) == 2 {
            servers.remove(&self.server);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;
    use tower::{ServiceExt, service_fn};

    use super::*;

    /// How many attempts are under way now, and were at most.
    #[derive(Default)]
    struct Attempts {
        now: AtomicUsize,
        most: AtomicUsize,
        total: AtomicUsize,
        go_on: Notify,
    }

    fn stalling(
        attempts: &Arc<Attempts>,
    ) -> impl Service<Request<()>, Response = (), Error = (), Future: Send> + Clone + Send + 'static
    {
        let attempts = Arc::clone(attempts);
        service_fn(move |_: Request<()>| {
            let attempts = Arc::clone(&attempts);
            async move {
                attempts.total.fetch_add(1, Ordering::Relaxed);
                let now = attempts.now.fetch_add(1, Ordering::Relaxed) + 1;
                attempts.most.fetch_max(now, Ordering::Relaxed);
                attempts.go_on.notified().await;
                attempts.now.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            }
        })
    }

    fn request(uri: &str) -> Request<()> {
        Request::get(uri).body(()).unwrap()
    }

    async fn all_wait() {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    /// C-13: also through clones and other services of the layer, and however the address is written.
    #[tokio::test]
    async fn one_attempt_for_each_address_is_under_way() {
        let attempts = Arc::new(Attempts::default());
        let layer = OnePerAddressLayer::new();
        let addresses = ["ws://h/a", "ws://H:80/b", "http://h/c", "ws://h:80?d"];
        let mut tasks = Vec::new();
        for address in addresses.into_iter().cycle().take(20) {
            let service = layer.clone().layer(stalling(&attempts));
            tasks.push(tokio::spawn(service.oneshot(request(address))));
        }
        for done in 1..=20 {
            all_wait().await;
            assert_eq!(attempts.total.load(Ordering::Relaxed), done);
            attempts.go_on.notify_one();
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(()));
        }
        assert_eq!(attempts.most.load(Ordering::Relaxed), 1);
        assert!(layer.servers.lock().unwrap().is_empty());
    }

    /// C-13
    #[tokio::test]
    async fn other_addresses_do_not_wait() {
        let attempts = Arc::new(Attempts::default());
        let service = OnePerAddressLayer::new().layer(stalling(&attempts));
        for address in ["ws://h", "wss://h", "ws://h:81", "ws://i", "/no-address", "/no-address"] {
            tokio::spawn(service.clone().oneshot(request(address)));
        }
        all_wait().await;
        assert_eq!(attempts.most.load(Ordering::Relaxed), 6);
    }

    /// C-13: whoever gives up makes room for the next, waiting or under way.
    #[tokio::test]
    async fn an_attempt_that_is_given_up_makes_room() {
        let attempts = Arc::new(Attempts::default());
        let layer = OnePerAddressLayer::new();
        let service = layer.layer(stalling(&attempts));
        let start = || tokio::spawn(service.clone().oneshot(request("ws://h")));
        let first = start();
        all_wait().await;
        let (second, third) = (start(), start());
        all_wait().await;
        second.abort();
        first.abort();
        all_wait().await;
        assert_eq!(attempts.total.load(Ordering::Relaxed), 2);
        third.abort();
        assert!(third.await.is_err());
        assert!(layer.servers.lock().unwrap().is_empty());
    }
}
