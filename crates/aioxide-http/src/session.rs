//! The session: the handle that a program holds, its settings, and the requests that it starts.

use std::fmt;
use std::rc::Rc;

use http::Method;
#[cfg(feature = "websocket")]
use url::Url;

use crate::client::Client;
use crate::pool::Stats;
use crate::request::IntoUrl;
#[cfg(feature = "websocket")]
use crate::websocket::WebSocketBuilder;

pub use builder::SessionBuilder;
pub use request::RequestBuilder;

mod builder;
mod request;

/// An HTTP client that keeps its connections and shares them between its requests.
///
/// A clone is another handle to the same session. When the last handle is dropped, or after [`close`](Self::close),
/// idle connections are closed; responses that are being read go on to their end.
///
/// # Examples
///
/// ```no_run
/// use aioxide_http::Session;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let text = aioxide::run(async {
///     let session = Session::new();
///     session.get("https://www.rust-lang.org/").send().await?.error_for_status()?.text().await
/// })??;
/// # Ok(()) }
/// ```
///
/// asyncio: aiohttp's `ClientSession`, which keeps cookies unless told otherwise (here: [`SessionBuilder::cookie_store`]); HTTP/2 is used where the server offers it.
#[derive(Clone)]
pub struct Session {
    client: Rc<Client>,
}

impl Session {
    /// A session with the default settings.
    pub fn new() -> Self {
        SessionBuilder::default().finish()
    }

    /// Starts a session with settings of your own.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// A request with any method.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder::new(self.client.clone(), method, url)
    }

    /// A GET request.
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A POST request.
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A PUT request.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A DELETE request.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A HEAD request.
    pub fn head(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A PATCH request.
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// An OPTIONS request.
    pub fn options(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::OPTIONS, url)
    }

    /// A websocket, at a URL of `ws`, `wss`, `http` or `https`.
    ///
    /// It holds a place in the pool until it is dropped.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
    /// let socket = session.websocket("ws://127.0.0.1:8000/echo").connect().await?;
    /// socket.send_text("hello").await?;
    /// assert_eq!(socket.receive().await?, Some(aioxide_http::Message::Text("hello".into())));
    /// socket.close(1000, "").await?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "websocket")]
    pub fn websocket(&self, url: impl IntoUrl) -> WebSocketBuilder {
        // The two schemes differ in name alone, and the URL's own type does not change one into the other in place.
        let url = url.into_url().map(|url| match url.scheme() {
            "ws" => with_scheme(&url, "http"),
            "wss" => with_scheme(&url, "https"),
            _ => url,
        });
        WebSocketBuilder::new(RequestBuilder::from_result(self.client.clone(), Method::GET, url))
    }

    /// Closes idle connections, and refuses requests from now on; those under way go on to their end.
    pub fn close(&self) {
        self.client.pool.close();
    }

    /// Closes the session and its connections, those in use and websockets too: whoever waits for an answer or a message, or
    /// reads, gets an error ([`Error::is_closed`](crate::Error::is_closed)).
    ///
    /// # Examples
    ///
    /// ```
    /// let session = aioxide_http::Session::new();
    /// session.abort();
    /// assert_eq!(session.connections(), 0);
    /// ```
    pub fn abort(&self) {
        self.close();
        self.client.connector.aborts.abort();
    }

    /// What the session has open, and who waits for it.
    ///
    /// # Examples
    ///
    /// ```
    /// let session = aioxide_http::Session::new();
    /// assert_eq!((session.stats().open, session.stats().waiting), (0, 0));
    /// ```
    pub fn stats(&self) -> Stats {
        self.client.pool.stats()
    }

    /// How many connections the session has, idle ones and those being made among them.
    pub fn connections(&self) -> usize {
        self.client.pool.counts().0
    }

    /// How many of its connections are idle.
    pub fn idle_connections(&self) -> usize {
        self.client.pool.counts().1
    }
}

/// The same URL of another scheme.
#[cfg(feature = "websocket")]
fn with_scheme(url: &Url, scheme: &str) -> Url {
    let rest = url.as_str().split_once(':').map_or("", |(_, rest)| rest);
    Url::parse(&format!("{scheme}:{rest}")).unwrap_or_else(|_| url.clone())
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connections, idle) = self.client.pool.counts();
        f.debug_struct("Session")
            .field("connections", &connections)
            .field("idle", &idle)
            .finish_non_exhaustive()
    }
}
