//! Cookies: where a session keeps them. The jar of this crate is behind the feature `cookies`.

use std::rc::Rc;

use http::header::{HeaderMap, HeaderValue};
use url::Url;

#[cfg(feature = "cookies")]
pub use jar::CookieJar;

#[cfg(feature = "cookies")]
mod jar;

/// Where a session keeps cookies: it is told what every answer sets, and asked what every request sends.
///
/// Both happen for each step of a redirect, with the URL of that step. `CookieJar` is the one of this crate; a program
/// may bring its own with [`SessionBuilder::cookie_store`](crate::SessionBuilder::cookie_store).
///
/// # Examples
///
/// ```
/// use aioxide_http::{CookieStore, HeaderMap, HeaderValue, Session, Url};
/// use std::cell::RefCell;
///
/// /// Writes down what servers wanted to set, and sends nothing.
/// #[derive(Default)]
/// struct Log(RefCell<Vec<String>>);
///
/// impl CookieStore for Log {
///     fn store(&self, url: &Url, headers: &HeaderMap) {
///         let cookies = headers.get_all("set-cookie").iter();
///         self.0.borrow_mut().extend(cookies.map(|cookie| format!("{url}: {cookie:?}")));
///     }
///
///     fn header(&self, _: &Url) -> Option<HeaderValue> {
///         None
///     }
/// }
///
/// let session = Session::builder().cookie_store(Log::default()).build()?;
/// # Ok::<(), aioxide_http::Error>(())
/// ```
pub trait CookieStore {
    /// An answer from `url` has come, which has `Set-Cookie` among its headers.
    fn store(&self, url: &Url, headers: &HeaderMap);

    /// The value of `Cookie` for a request to `url`, if it has any.
    fn header(&self, url: &Url) -> Option<HeaderValue>;
}

impl<T: CookieStore + ?Sized> CookieStore for Rc<T> {
    fn store(&self, url: &Url, headers: &HeaderMap) {
        (**self).store(url, headers);
    }

    fn header(&self, url: &Url) -> Option<HeaderValue> {
        (**self).header(url)
    }
}
