//! Compression through the layer: who gets it, what the answer says, and that frames are compressed then.

use axum::Router;
use http::{HeaderValue, header::SEC_WEBSOCKET_EXTENSIONS};
use tests::{
    client::Client,
    h2::Connection,
    start::{app, echo, soon, start},
};
use tower_websocket::{
    Deflate, Message, Sessions, WebSocket, WebSocketLayer, handler_fn, per_message,
    policy::{Accept, Attempt, Decision, Policy, Refuse},
    policy_fn,
};

const FIELD: &str = "sec-websocket-extensions";
const OFFER: &str = "permessage-deflate; client_max_window_bits";
/// What the default settings answer.
const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// "Hello", compressed, and one that refers to a "Hello" before.
const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
const AGAIN: &[u8] = b"\xf2\x00\x11\x00\x00";

fn takeover() -> Deflate {
    Deflate::new().server_context_takeover(true).client_context_takeover(true).threshold(1)
}

fn layer_app(set: impl FnOnce(WebSocketLayer) -> WebSocketLayer) -> Router {
    let layer = set(WebSocketLayer::new(tests_handler::echo()));
    Router::new().fallback_service(layer.into_service())
}

/// A nameable type for the handler.
mod tests_handler {
    use tower_websocket::handler::{PerMessage, Shared};

    use super::*;

    #[derive(Clone)]
    pub(super) struct Same;

    impl tower::Service<Message> for Same {
        type Response = Option<Message>;
        type Error = std::convert::Infallible;
        type Future = std::future::Ready<Result<Option<Message>, Self::Error>>;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, message: Message) -> Self::Future {
            std::future::ready(Ok(Some(message)))
        }
    }

    pub(super) type Echo = PerMessage<Shared<Same>>;

    pub(super) fn echo() -> Echo {
        per_message(Same)
    }
}

/// The answers over both versions of HTTP, and the first byte of what comes back for a long text.
async fn both(app: Router, offers: &[&str]) -> [(Option<String>, u8); 2] {
    let addr = start(app).await;
    let text = "compress me ".repeat(200);

    let mut client = Client::connect(addr).await;
    let fields: Vec<_> = offers.iter().map(|offer| (FIELD, *offer)).collect();
    let response = client.handshake("/", &fields).await;
    assert_eq!(response.status, 101);
    assert!(response.all(FIELD).len() <= 1, "one line");
    let h1 = response.field(FIELD).map(Into::into);
    client.send_frame(0x81, text.as_bytes()).await;
    let h1 = (h1, soon("the echo", client.recv()).await.0);

    let connection = Connection::connect(addr).await;
    let mut request = connection.handshake("/");
    request.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("13"));
    for offer in offers {
        let value = HeaderValue::from_str(offer).unwrap();
        request.headers_mut().append(SEC_WEBSOCKET_EXTENSIONS, value);
    }
    let (response, mut stream) = soon("an answer", connection.send(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    let h2 = response.headers().get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
    let h2: Vec<_> = h2.map(|value| value.to_str().unwrap().to_owned()).collect();
    assert!(h2.len() <= 1, "one line");
    stream.send_frame(0x81, text.as_bytes()).await;
    let h2 = (h2.into_iter().next(), soon("the echo", stream.recv()).await.0);
    [h1, h2]
}

/// S-06, X-05
#[tokio::test]
async fn without_being_asked_for_there_is_no_compression() {
    let app = layer_app(|layer| layer);
    assert_eq!(both(app, &[OFFER]).await, [(None, 0x81), (None, 0x81)]);
    let app = layer_app(|layer| layer.deflate(Deflate::new()));
    assert_eq!(both(app, &[]).await, [(None, 0x81), (None, 0x81)], "nor to who offers none");
}

/// D-04, D-06
#[tokio::test]
async fn a_layer_answers_the_first_offer_that_it_can_meet() {
    let agreed = |answer: &str| [(Some(answer.into()), 0xc1), (Some(answer.into()), 0xc1)];
    let app = || layer_app(|layer| layer.deflate(Deflate::new()));
    assert_eq!(both(app(), &[OFFER]).await, agreed(PLAIN));
    // Over several lines, and behind one that it does not know and one that is wrong.
    let offers = ["x-unknown, permessage-deflate; server_max_window_bits=7", "permessage-deflate"];
    assert_eq!(both(app(), &offers).await, agreed(PLAIN));
    let small = Deflate::new().server_max_window_bits(10).client_max_window_bits(11);
    let app = layer_app(|layer| layer.deflate(small));
    let answer = format!("{PLAIN}; server_max_window_bits=10; client_max_window_bits=11");
    assert_eq!(both(app, &[OFFER]).await, agreed(&answer));
}

/// D-13, D-12, D-22
#[tokio::test]
async fn frames_are_compressed_as_was_agreed() {
    for (deflate, takes_over) in [(takeover(), true), (Deflate::new().threshold(1), false)] {
        let addr = start(layer_app(|layer| layer.deflate(deflate))).await;
        let mut client = Client::connect(addr).await;
        assert_eq!(client.handshake("/", &[(FIELD, OFFER)]).await.status, 101);
        client.send_frame(0xc1, HELLO).await;
        let (first, payload) = client.recv().await;
        // Without context takeover it pays nothing.
        assert_eq!(
            (first, payload),
            if takes_over { (0xc1, HELLO.to_vec()) } else { (0x81, b"Hello".to_vec()) }
        );
        client.send_frame(0xc1, AGAIN).await;
        if takes_over {
            let (first, payload) = client.recv().await;
            assert!(first == 0xc1 && payload.len() < HELLO.len());
        } else {
            assert_eq!(client.recv_close().await, 1007);
        }
    }
}

/// S-06: for one socket, whatever the layer says.
#[tokio::test]
async fn a_policy_grants_and_refuses_compression() {
    async fn answer<P: Policy>(layer: Option<Deflate>, policy: P) -> Option<String> {
        let app = layer_app(|it| match layer {
            Some(deflate) => it.deflate(deflate).policy(policy),
            None => it.policy(policy),
        });
        let [h1, h2] = both(app, &[OFFER]).await;
        assert_eq!(h1, h2);
        assert_eq!(h1.1 & 0x40 != 0, h1.0.is_some());
        h1.0
    }
    fn grant(deflate: &Deflate) -> impl Policy {
        let deflate = deflate.clone();
        policy_fn(move |_: Attempt| Decision::Accept(Accept::new().deflate(deflate.clone())))
    }
    fn refuse() -> impl Policy {
        policy_fn(|_: Attempt| Decision::Accept(Accept::new().without_deflate()))
    }
    let full = Some("permessage-deflate".to_owned());
    let plain = Some(PLAIN.to_owned());
    let layer = || Some(Deflate::new());
    assert_eq!(answer(layer(), policy_fn(|_: Attempt| Decision::from(Accept::new()))).await, plain);
    assert_eq!(answer(layer(), grant(&takeover())).await, full, "instead of the layer's");
    assert_eq!(answer(None, grant(&takeover())).await, full);
    assert_eq!(answer(layer(), refuse()).await, None);
    assert_eq!(answer(layer(), grant(&takeover()).and(refuse())).await, None);
    assert_eq!(answer(layer(), refuse().and(grant(&takeover()))).await, None);
    assert_eq!(answer(None, grant(&Deflate::new()).and(grant(&takeover()))).await, plain);
    let second = policy_fn(|_: Attempt| Decision::Refuse(Refuse::forbidden("no")));
    assert_eq!(answer(None, second.or(grant(&takeover()))).await, full);
}

/// X-01, H-12
#[tokio::test]
async fn a_malformed_offer_is_refused_and_a_bad_one_declined() {
    let addr = start(layer_app(|layer| layer.deflate(Deflate::new()))).await;
    for (offer, status) in [
        ("permessage-deflate; =1", 400),
        ("permessage-deflate; server_max_window_bits=\"", 400),
        ("permessage-deflate; server_max_window_bits=99", 101),
        ("permessage-deflate; server_max_window_bits=8", 101),
    ] {
        let mut client = Client::connect(addr).await;
        let response = client.handshake("/", &[(FIELD, offer)]).await;
        assert_eq!(response.status, status, "{offer}");
        assert_eq!(response.field(FIELD), None);
    }
}

/// S-06
#[tokio::test]
async fn a_handler_can_send_a_message_uncompressed() {
    let handler = handler_fn(|mut socket: WebSocket| async move {
        let secret = "token ".repeat(500);
        socket.send(secret.as_str()).await?;
        socket.send_uncompressed(secret.as_str()).await?;
        Ok::<_, tower_websocket::BoxError>(())
    });
    let layer = WebSocketLayer::new(handler).deflate(takeover());
    let addr = start(Router::new().fallback_service(layer.into_service())).await;
    let mut client = Client::connect(addr).await;
    client.handshake("/", &[(FIELD, OFFER)]).await;
    assert_eq!(client.recv().await.0, 0xc1);
    assert_eq!(client.recv().await, (0x81, "token ".repeat(500).into_bytes()));
    // A plain echo beside it is not affected.
    let addr = start(app(handler_fn(echo), &Sessions::new())).await;
    let mut client = Client::open(addr, "/").await;
    client.send_text("hello").await;
    assert_eq!(client.recv_text().await, "hello");
}
