//! A jar of cookies by RFC 6265, with the rules that browsers have added.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use cookie_store::{Cookie, CookieDomain, RawCookie};
use http::header::{HeaderMap, HeaderValue, SET_COOKIE};
use url::{Host, Url};

use super::CookieStore;

mod netscape;

/// The cookies of a session, in memory; cloning shares them.
///
/// A cookie for a public suffix (`com`, `github.io`) is refused, and so are those of hosts that are IP addresses, unless
/// [`allow_ip_hosts`](Self::allow_ip_hosts) says otherwise. It keeps at most 180 cookies of a site, 3 000 in all, each of at most
/// 4 096 bytes: what goes first is what would expire first, and the site that was asked least recently.
///
/// # Examples
///
/// ```
/// use aioxide_http::{CookieJar, Session, Url};
///
/// let jar = CookieJar::new();
/// let session = Session::builder().cookie_store(jar.clone()).build()?;
/// let url = Url::parse("https://shop.example.org/cart").expect("a url");
/// assert!(jar.set(&url, "id=7; Path=/; Secure"));
/// assert_eq!(jar.get(&url, "id").as_deref(), Some("7"));
/// assert!(!jar.set(&url, "id=7; Domain=other.example.com"));
/// # Ok::<(), aioxide_http::Error>(())
/// ```
///
/// asyncio: aiohttp's `CookieJar`, `allow_ip_hosts` being its `unsafe`; public suffixes are unknown to that.
#[derive(Clone, Default)]
pub struct CookieJar {
    jar: Rc<RefCell<Jar>>,
}

#[derive(Default)]
struct Jar {
    /// By registrable domain (`example.org`): the cookies that a request can meet are all of one site.
    sites: HashMap<Box<str>, Site>,
    count: usize,
    clock: u64,
    takes_ip_hosts: bool,
}

#[derive(Default)]
struct Site {
    cookies: cookie_store::CookieStore,
    used: u64,
}

/// How many cookies one site may have.
const MAX_PER_SITE: usize = 180;

/// How many cookies there may be.
const MAX_TOTAL: usize = 3_000;

/// How long a cookie's name and value may be together.
const MAX_LENGTH: usize = 4_096;

/// How many cookies one answer may set.
const MAX_PER_ANSWER: usize = 200;

impl CookieJar {
    /// An empty jar.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether hosts that are IP addresses may have cookies; no unless set, since anybody may have had the address before.
    pub fn allow_ip_hosts(self, yes: bool) -> Self {
        self.jar.borrow_mut().takes_ip_hosts = yes;
        self
    }

    /// Takes one `Set-Cookie` as if `url` had sent it; says whether it is kept (or has removed one that was).
    pub fn set(&self, url: &Url, set_cookie: &str) -> bool {
        self.jar.borrow_mut().set(url, set_cookie)
    }

    /// The value of the cookie called `name` that a request to `url` would send.
    pub fn get(&self, url: &Url, name: &str) -> Option<String> {
        let mut jar = self.jar.borrow_mut();
        let found = jar.for_request(url).into_iter().find(|cookie| cookie.name() == name);
        found.map(|cookie| cookie.value().to_owned())
    }

    /// How many cookies there are, outdated ones among them.
    pub fn len(&self) -> usize {
        self.jar.borrow().count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all cookies.
    pub fn clear(&self) {
        let mut jar = self.jar.borrow_mut();
        jar.sites.clear();
        jar.count = 0;
    }
}

impl CookieStore for CookieJar {
    fn store(&self, url: &Url, headers: &HeaderMap) {
        let mut jar = self.jar.borrow_mut();
        for value in headers.get_all(SET_COOKIE).iter().take(MAX_PER_ANSWER) {
            if let Ok(text) = std::str::from_utf8(value.as_bytes()) {
                jar.set(url, text);
            }
        }
    }

    fn header(&self, url: &Url) -> Option<HeaderValue> {
        let mut jar = self.jar.borrow_mut();
        let cookies = jar.for_request(url);
        if cookies.is_empty() {
            return None;
        }
        let pairs: Vec<String> =
            cookies.iter().map(|cookie| format!("{}={}", cookie.name(), cookie.value())).collect();
        let mut value = HeaderValue::from_str(&pairs.join("; ")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieJar").field("cookies", &self.len()).finish_non_exhaustive()
    }
}

impl Jar {
    fn set(&mut self, url: &Url, text: &str) -> bool {
        let Ok(mut raw) = RawCookie::parse(text.to_owned()) else { return false };
        if !self.is_acceptable(url, &raw) {
            return false;
        }
        match raw.domain().map(|domain| domain.trim_start_matches('.').to_ascii_lowercase()) {
            Some(domain) if domain.is_empty() || is_host(url, &domain) && is_public_suffix(&domain) => {
                raw.unset_domain();
            }
            Some(domain) if is_public_suffix(&domain) => return false,
            _ => {}
        }
        let Ok(cookie) = Cookie::try_from_raw_cookie(&raw, url) else { return false };
        self.insert(cookie.into_owned(), url)
    }

    fn is_acceptable(&self, url: &Url, raw: &RawCookie<'_>) -> bool {
        let secure = url.scheme() == "https";
        let local = is_host(url, "localhost");
        let (name, value) = raw.name_value();
        let sendable = HeaderValue::from_str(name).is_ok() && HeaderValue::from_str(value).is_ok();
        let is_ip = matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)));
        let on_ip = !is_ip || self.takes_ip_hosts && raw.domain().is_none_or(|domain| is_host(url, domain));
        // RFC 6265bis, 5.6: what says it is secure comes over a secure connection, and names promise what they say.
        let wants_secure =
            raw.secure() == Some(true) || has_prefix(name, "__Secure-") || has_prefix(name, "__Host-");
        let keeps_promise = !has_prefix(name, "__Secure-") || raw.secure() == Some(true);
        let keeps_host = !has_prefix(name, "__Host-")
            || raw.secure() == Some(true) && raw.domain().is_none() && raw.path() == Some("/");
        sendable
            && on_ip
            && name.len() + value.len() <= MAX_LENGTH
            && (!wants_secure || secure || local)
            && keeps_promise
            && keeps_host
    }

    fn insert(&mut self, cookie: Cookie<'static>, url: &Url) -> bool {
        let Some(key) = url.host_str().map(site_of) else { return false };
        let expires_now = cookie.is_expired();
        if expires_now && !self.sites.contains_key(key) {
            return false;
        }
        let used = self.tick();
        let site = self.sites.entry(key.into()).or_default();
        site.used = used;
        let before = site.len();
        let taken = site.cookies.insert(cookie, url).is_ok();
        site.purge();
        self.count = self.count + site.len() - before;
        if site.len() == 0 {
            self.sites.remove(key);
        }
        while self.count > MAX_TOTAL && self.evict_site() {}
        taken
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Forgets the site that was asked least recently, if there are several.
    fn evict_site(&mut self) -> bool {
        if self.sites.len() < 2 {
            return false;
        }
        let oldest = self.sites.iter().min_by_key(|(_, site)| site.used).map(|(key, _)| key.clone());
        if let Some(site) = oldest.and_then(|key| self.sites.remove(&key)) {
            self.count -= site.len();
        }
        true
    }

    /// What a request to `url` sends, longer paths first (RFC 6265, 5.4).
    fn for_request(&mut self, url: &Url) -> Vec<&Cookie<'static>> {
        if self.sites.is_empty() {
            return Vec::new();
        }
        let used = self.tick();
        let Some(site) = url.host_str().and_then(|host| self.sites.get_mut(site_of(host))) else {
            return Vec::new();
        };
        site.used = used;
        let mut cookies = site.cookies.matches(url);
        cookies.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        cookies
    }
}

impl Site {
    fn len(&self) -> usize {
        self.cookies.iter_any().count()
    }

    /// Removes what is outdated, and while there is too much, what will be first; those of no date stay longest.
    fn purge(&mut self) {
        let mut rest = Vec::new();
        let mut outdated = Vec::new();
        for cookie in self.cookies.iter_any() {
            let place = (cookie_domain(cookie), String::from(&cookie.path), cookie.name().to_owned());
            match cookie.is_expired() {
                true => outdated.push(place),
                false => rest.push((cookie.expires.clone(), place)),
            }
        }
        if rest.len() > MAX_PER_SITE {
            rest.sort_by_key(|(expires, _)| match expires {
                cookie_store::CookieExpiration::AtUtc(when) => (0, when.unix_timestamp()),
                cookie_store::CookieExpiration::SessionEnd => (1, 0),
            });
            let surplus = rest.len() - MAX_PER_SITE;
            outdated.extend(rest.drain(..surplus).map(|(_, place)| place));
        }
        for (domain, path, name) in outdated {
            self.cookies.remove(&domain, &path, &name);
        }
    }
}

/// The key under which the store has a cookie.
fn cookie_domain(cookie: &Cookie<'_>) -> String {
    match &cookie.domain {
        CookieDomain::HostOnly(domain) | CookieDomain::Suffix(domain) => domain.clone(),
        CookieDomain::NotPresent | CookieDomain::Empty => String::new(),
    }
}

fn is_host(url: &Url, name: &str) -> bool {
    url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(name))
}

fn is_public_suffix(domain: &str) -> bool {
    psl::suffix_str(domain) == Some(domain)
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
}

/// What all hosts that can share a cookie with `host` have in common.
fn site_of(host: &str) -> &str {
    let is_name = !host.starts_with('[') && host.parse::<std::net::Ipv4Addr>().is_err();
    is_name.then(|| psl::domain_str(host)).flatten().unwrap_or(host)
}

#[cfg(test)]
mod tests;
