//! The jar as a text file that curl, wget and browsers' tools read and write: Netscape's `cookies.txt`.

use std::io::{self, BufRead, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cookie_store::{Cookie, CookieDomain, CookieExpiration, RawCookie};
use url::Url;

use super::{CookieJar, cookie_domain};

/// A line that is longer is no cookie.
const MAX_LINE: usize = 16 * 1024;

impl CookieJar {
    /// Reads cookies from a file of Netscape's form (`cookies.txt`), beside those that are there.
    ///
    /// Returns how many were taken. Comments, outdated cookies and lines that are none are passed over.
    ///
    /// # Errors
    /// Those of `file`; a line that is not UTF-8 is `InvalidData`.
    ///
    /// # Examples
    ///
    /// ```
    /// use aioxide_http::{CookieJar, Url};
    ///
    /// let jar = CookieJar::new();
    /// let file = "# Netscape HTTP Cookie File\n.example.org\tTRUE\t/\tTRUE\t0\tid\t7\n";
    /// assert_eq!(jar.load_netscape(file.as_bytes())?, 1);
    /// let url = Url::parse("https://www.example.org/").expect("a url");
    /// assert_eq!(jar.get(&url, "id").as_deref(), Some("7"));
    ///
    /// let mut saved = Vec::new();
    /// jar.save_netscape(&mut saved)?;
    /// assert!(String::from_utf8_lossy(&saved).contains(".example.org\tTRUE\t/\tTRUE\t0\tid\t7\n"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn load_netscape(&self, file: impl BufRead) -> io::Result<usize> {
        let mut taken = 0;
        for line in file.lines() {
            let line = line?;
            if line.len() <= MAX_LINE && self.load_line(&line) == Some(true) {
                taken += 1;
            }
        }
        Ok(taken)
    }

    fn load_line(&self, line: &str) -> Option<bool> {
        let (line, http_only) = match line.strip_prefix("#HttpOnly_") {
            Some(rest) => (rest, true),
            None => (line, false),
        };
        if line.starts_with('#') {
            return None;
        }
        let mut fields = line.trim_end_matches('\r').splitn(7, '\t');
        let [domain, subdomains, path, secure, expires, name] =
            [(); 6].map(|()| fields.next()).into_iter().collect::<Option<Vec<_>>>()?.try_into().ok()?;
        let value = fields.next().unwrap_or_default();
        let secure = secure.eq_ignore_ascii_case("TRUE");
        let host = domain.trim_start_matches('.');
        let scheme = if secure { "https" } else { "http" };
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = Url::parse(&format!("{scheme}://{bracketed}/")).ok()?;
        let mut raw = RawCookie::build((name.to_owned(), value.to_owned()))
            .path(path.to_owned())
            .secure(secure)
            .http_only(http_only);
        if subdomains.eq_ignore_ascii_case("TRUE") && url.domain().is_some() {
            raw = raw.domain(host.to_owned());
        }
        let mut jar = self.jar.borrow_mut();
        let raw = raw.build();
        if !jar.is_acceptable(&url, &raw) {
            return None;
        }
        let mut cookie = Cookie::try_from_raw_cookie(&raw, &url).ok()?.into_owned();
        cookie.expires = match expires.parse::<u64>().ok()? {
            0 => CookieExpiration::SessionEnd,
            seconds => {
                let left = (UNIX_EPOCH + Duration::from_secs(seconds.min(MAX_EXPIRY)))
                    .duration_since(SystemTime::now())
                    .ok()?;
                CookieExpiration::from(left.as_secs().max(1))
            }
        };
        Some(jar.insert(cookie, &url))
    }

    /// Writes the cookies that are not outdated as a file of Netscape's form; those without a date have a 0.
    ///
    /// The file holds secrets: make it readable by its owner alone.
    ///
    /// # Errors
    /// Those of `file`.
    pub fn save_netscape(&self, mut file: impl Write) -> io::Result<()> {
        file.write_all(b"# Netscape HTTP Cookie File\n")?;
        let jar = self.jar.borrow();
        let mut lines = Vec::new();
        for cookie in jar.sites.values().flat_map(|site| site.cookies.iter_unexpired()) {
            let shared = matches!(cookie.domain, CookieDomain::Suffix(_));
            let flag = |is: bool| if is { "TRUE" } else { "FALSE" };
            let expires = match &cookie.expires {
                CookieExpiration::AtUtc(when) => when.unix_timestamp().max(1),
                CookieExpiration::SessionEnd => 0,
            };
            lines.push(format!(
                "{}{}{}\t{}\t{}\t{}\t{expires}\t{}\t{}\n",
                if cookie.http_only() == Some(true) { "#HttpOnly_" } else { "" },
                if shared { "." } else { "" },
                cookie_domain(cookie),
                flag(shared),
                String::from(&cookie.path),
                flag(cookie.secure() == Some(true)),
                cookie.name(),
                cookie.value(),
            ));
        }
        lines.sort();
        lines.iter().try_for_each(|line| file.write_all(line.as_bytes()))?;
        file.flush()
    }
}

/// The end of the year 9999.
const MAX_EXPIRY: u64 = 253_402_300_799;
