//! What a request that is no handshake pays for the layer: no allocation at all, by a counting
//! allocator, and a future that is hardly larger than the inner service's.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    mem::size_of,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::Full;
use hyper::ext::Protocol;
use tests::start::echo;
use tower::{Layer, Service};
use tower_websocket::{ResponseFuture, WebSocketLayer, handler_fn};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is left to the system's allocator; only calls are counted.
#[allow(unsafe_code, reason = "there is no other way to count allocations")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Body = Full<Bytes>;

/// The inner service: it allocates once, so that a count of zero would be noticed.
#[derive(Clone)]
struct Inner;

impl Service<Request<Body>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        black_box(Box::new(request.uri().path().len()));
        ready(Ok(Response::new(request.into_body())))
    }
}

fn main() {
    a_request_that_passes_costs_no_allocation();
    the_future_has_room_for_the_inner_future_or_the_judgement_and_no_more();
    println!("pass_through_cost: 2 passed, 0 failed");
}

/// The requests that pass, each with a different reason.
fn requests() -> Vec<Request<Body>> {
    let get = || Request::get("/page").header("Host", "example.com");
    let mut requests = vec![
        get().header("Cookie", "a=b").header("Accept", "*/*"),
        get().header("Connection", "keep-alive, Upgrade").header("Upgrade", "h2c, other/1"),
        get().header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        get().version(Version::HTTP_10).header("Upgrade", "websocket"),
        get().version(Version::HTTP_2),
        get().method(Method::POST).header("Upgrade", "websocket").header("Content-Length", "4"),
        get().method(Method::CONNECT).version(Version::HTTP_2),
    ]
    .into_iter()
    .map(|request| request.body(Full::from("body")).unwrap())
    .collect::<Vec<_>>();
    let other = Protocol::from_static("connect-udp");
    requests.last_mut().unwrap().extensions_mut().insert(other);
    requests
}

/// Allocations from the call to the response.
fn cost<S>(service: &mut S, request: Request<Body>) -> usize
where
    S: Service<Request<Body>, Error = Infallible>,
{
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(service.poll_ready(&mut cx).is_ready());
    let future = std::pin::pin!(service.call(request));
    let response = future.poll(&mut cx);
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(matches!(response, Poll::Ready(Ok(_))));
    after - before
}

///
fn a_request_that_passes_costs_no_allocation() {
    let mut layered = WebSocketLayer::new(handler_fn(echo)).layer(Inner);
    for (plain, same) in requests().into_iter().zip(requests()) {
        let what = format!("{plain:?}");
        let alone = cost(&mut Inner, plain);
        let with_layer = cost(&mut layered, same);
        assert_eq!(alone, 1, "{what}");
        assert_eq!(with_layer, alone, "{what}");
    }
    println!("pass_through_cost: {} kinds of requests, no allocation each", requests().len());
}

fn the_future_has_room_for_the_inner_future_or_the_judgement_and_no_more() {
    let inner = size_of::<<Inner as Service<Request<Body>>>::Future>();
    // A boxed judgement, and the service and body for a policy that passes the request on.
    let judgement = size_of::<[usize; 2]>() + size_of::<Option<(Inner, Body)>>();
    let whole = size_of::<ResponseFuture<Inner, Body>>();
    println!("pass_through_cost: the inner future {inner} B, the layer's {whole} B");
    assert!(whole <= inner.max(judgement) + size_of::<usize>(), "{whole} B");
}
