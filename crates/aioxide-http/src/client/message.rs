//! What hyper is given to send: the request as its connection needs it.

use http::header::{ACCEPT_ENCODING, HOST, RANGE};
use http::uri::{Authority, PathAndQuery};
use http::{Uri, Version};
use url::Position;

use crate::body::Body;
use crate::connector::HostInfo;
use crate::error::{Error, Kind, Result};
use crate::proxy;
use crate::request::Request;

/// What hyper is to send.
pub(super) fn message(
    request: &mut Request,
    host: &HostInfo,
    version: Version,
) -> Result<http::Request<Body>> {
    let invalid = |error: http::Error| Error::new(Kind::InvalidUrl).with_source(error);
    let target = request.url[Position::BeforePath..Position::AfterQuery].to_owned();
    let target =
        PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)).map_err(|error| invalid(error.into()))?;
    let mut headers = match (request.options.is_bare, request.is_elsewhere) {
        (true, _) => host.host_header()?,
        (false, true) => host.headers_elsewhere(),
        (false, false) => host.headers.clone(),
    };
    // A part of a coded body cannot be decoded, and its numbers would count coded bytes.
    if host.offers_codings && (!request.options.decompress || request.headers.contains_key(RANGE)) {
        headers.remove(ACCEPT_ENCODING);
    }
    if !request.headers.is_empty() {
        headers.extend(request.headers.clone());
    }
    if let Some(proxy) = host.forwarder() {
        headers.extend(proxy.headers().clone());
    }
    let uri = if host.is_forwarded {
        let uri = proxy::absolute(&request.url).to_owned();
        Uri::from_maybe_shared(bytes::Bytes::from(uri)).map_err(|error| invalid(error.into()))?
    } else if version == Version::HTTP_2 {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(host.scheme.clone());
        parts.authority = Some(match headers.remove(HOST).filter(|name| *name != host.authority.as_str()) {
            Some(name) => Authority::try_from(name.as_bytes()).map_err(|error| invalid(error.into()))?,
            None => host.authority.clone(),
        });
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).map_err(|error| invalid(error.into()))?
    } else {
        Uri::from(target)
    };
    if request.options.route.is_http10 && request.body.content_length().is_none() {
        // hyper would send the request without it.
        let why = "a body of unknown length cannot be sent in HTTP/1.0, which knows no chunks";
        return Err(Error::new(Kind::InvalidRequest).with_source(why));
    }
    let mut message = http::Request::new(request.body.take_for_attempt());
    if request.options.route.is_http10 {
        *message.version_mut() = Version::HTTP_10;
    }
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = uri;
    *message.headers_mut() = headers;
    Ok(message)
}
