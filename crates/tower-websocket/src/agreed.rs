//! What a handshake agrees on about compression: nothing without the feature `deflate`.

use http::Response;
#[cfg(feature = "deflate")]
use hybi::proto::DeflateParameters;
use hybi::{
    handshake::{ServerHandshake, SubprotocolNotOffered},
    socket::Config,
};

use crate::{layer::Settings, policy::Accept};

/// What the handshake agrees on about compression.
pub(crate) struct Agreed {
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateParameters>,
}

#[cfg(feature = "deflate")]
impl Agreed {
    pub(crate) fn new(handshake: &ServerHandshake, settings: &Settings, accept: &Accept) -> Self {
        let wanted = accept.get_deflate().unwrap_or(settings.deflate.as_ref());
        Self { deflate: wanted.and_then(|deflate| deflate.accept(handshake.extensions())) }
    }

    pub(crate) fn record(&self, span: &tracing::Span) {
        if let Some(agreed) = &self.deflate {
            span.record("compression", tracing::field::display(agreed));
        }
    }

    pub(crate) fn accept(
        &self,
        handshake: &ServerHandshake,
        subprotocol: Option<&str>,
    ) -> Result<Response<()>, SubprotocolNotOffered> {
        handshake.accept_with(subprotocol, self.deflate.as_ref())
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.deflate.is_none()
    }

    pub(crate) fn configure(self, config: Config) -> Config {
        config.deflate(self.deflate)
    }
}

#[cfg(not(feature = "deflate"))]
impl Agreed {
    pub(crate) fn new(_: &ServerHandshake, _: &Settings, _: &Accept) -> Self {
        Self {}
    }

    pub(crate) fn record(&self, _: &tracing::Span) {}

    pub(crate) fn accept(
        &self,
        handshake: &ServerHandshake,
        subprotocol: Option<&str>,
    ) -> Result<Response<()>, SubprotocolNotOffered> {
        handshake.accept(subprotocol)
    }

    pub(crate) fn is_plain(&self) -> bool {
        true
    }

    pub(crate) fn configure(self, config: Config) -> Config {
        config
    }
}
