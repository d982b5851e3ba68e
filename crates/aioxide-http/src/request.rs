//! A request as it is once built, and what can be used as its URL.

use http::Method;
use http::header::{HeaderMap, HeaderValue};
use url::Url;

use crate::body::Body;
use crate::error::{Error, Result};
use crate::timeout::Timeouts;

/// What a request is made of, once it is built.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// A redirect has led to another origin: the session's own secrets stay behind, too.
    pub(crate) is_elsewhere: bool,
    pub(crate) body: Body,
    /// What the body is, unless a header says something else.
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) options: Options,
}

/// What a request may change of its session's settings.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) timeouts: Timeouts,
    pub(crate) redirects: usize,
    pub(crate) decompress: bool,
    pub(crate) max_body_size: Option<u64>,
    /// None of the session's own headers goes along.
    pub(crate) is_bare: bool,
}

/// What can be used as a URL: text, or a [`Url`].
pub trait IntoUrl: sealed::Sealed {
    /// The URL.
    ///
    /// # Errors
    /// `is_invalid_url`.
    fn into_url(self) -> Result<Url>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for url::Url {}
    impl Sealed for &url::Url {}
    impl Sealed for &str {}
    impl Sealed for String {}
    impl Sealed for &String {}
}

impl IntoUrl for Url {
    fn into_url(self) -> Result<Url> {
        Ok(self)
    }
}

impl IntoUrl for &Url {
    fn into_url(self) -> Result<Url> {
        Ok(self.clone())
    }
}

impl IntoUrl for &str {
    fn into_url(self) -> Result<Url> {
        Url::parse(self).map_err(|error| Error::invalid_url(self).with_source(error))
    }
}

impl IntoUrl for String {
    fn into_url(self) -> Result<Url> {
        self.as_str().into_url()
    }
}

impl IntoUrl for &String {
    fn into_url(self) -> Result<Url> {
        self.as_str().into_url()
    }
}
