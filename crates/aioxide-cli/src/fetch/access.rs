//! How servers are reached and who we say we are: the session's settings from the options.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use aioxide_http::{CookieJar, Digest, Netrc, Proxies, Proxy, SessionBuilder, Tls};
use http::{HeaderValue, header};

use super::named;
use crate::Failure;
use crate::args::AccessArgs;

/// What outlives the making of the session.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// Credentials that answer a challenge.
    pub(crate) digest: Option<Digest>,
    jar: Option<(Rc<CookieJar>, PathBuf)>,
}

impl Access {
    /// Sets up a session.
    ///
    /// # Errors
    /// A file that cannot be read, or an option's value that makes no sense.
    pub(crate) fn prepare(
        args: &AccessArgs,
        mut session: SessionBuilder,
    ) -> Result<(Self, SessionBuilder), Failure> {
        let mut access = Access::default();
        if let Some(agent) = &args.user_agent {
            session = session.user_agent(agent);
        }
        if args.http1 {
            session = session.http2(false);
        }
        session = session.proxies(proxies(args)?);
        if let Some(tls) = tls(args)? {
            session = session.tls(tls);
        }
        for text in &args.resolve {
            let (host, port, addresses) = resolve(text).ok_or_else(|| {
                format!("--resolve {text}: must read HOST:PORT:ADDRESS[,ADDRESS], with * for any port")
            })?;
            session = session.resolve_to(&host, port, addresses);
        }
        if let Some(address) = args.interface {
            session = session.local_address(address);
        }
        session = access.identify(args, session)?;
        access.cookies(args, session)
    }

    /// Names, passwords and tokens. They go to the origins of the URLs given, and not to where these redirect.
    fn identify(
        &mut self,
        args: &AccessArgs,
        mut session: SessionBuilder,
    ) -> Result<SessionBuilder, Failure> {
        if let Some(text) = &args.user {
            let text = secret("--user", text)?;
            let (user, password) = text.split_once(':').ok_or("--user must read NAME:PASSWORD, or @FILE")?;
            if args.digest {
                self.digest = Some(Digest::new(user, password));
            } else {
                use base64::Engine;
                let coded = base64::engine::general_purpose::STANDARD.encode(text.as_bytes());
                session = session.secret_header(header::AUTHORIZATION, hidden(&format!("Basic {coded}"))?);
            }
        }
        if let Some(token) = &args.bearer {
            let token = secret("--bearer", token)?;
            session = session.secret_header(header::AUTHORIZATION, hidden(&format!("Bearer {token}"))?);
        }
        if let Some(path) = &args.netrc_file {
            session = session.netrc(named(path, Netrc::read(path))?);
        } else if args.netrc {
            session = session.netrc(Netrc::from_env().map_err(|error| format!("--netrc: {error}"))?);
        }
        Ok(session)
    }

    fn cookies(
        mut self,
        args: &AccessArgs,
        session: SessionBuilder,
    ) -> Result<(Self, SessionBuilder), Failure> {
        if args.cookies.is_none() && args.save_cookies.is_none() {
            return Ok((self, session));
        }
        // Whoever names hosts by their addresses knows whose they are.
        let jar = Rc::new(CookieJar::new().allow_ip_hosts(true));
        if let Some(path) = &args.cookies {
            named(path, File::open(path).and_then(|file| jar.load_netscape(BufReader::new(file))))?;
        }
        if let Some(path) = &args.save_cookies {
            self.jar = Some((Rc::clone(&jar), path.clone()));
        }
        Ok((self, session.cookie_store(jar)))
    }

    /// Saves the cookies, for their owner alone.
    ///
    /// # Errors
    /// Those of the file, which is named.
    pub(crate) fn finish(&self) -> Result<(), String> {
        let Some((jar, path)) = &self.jar else { return Ok(()) };
        named(path, save(jar, path))
    }
}

/// Writes the jar beside the file and puts it in its place.
fn save(jar: &CookieJar, path: &Path) -> io::Result<()> {
    let mut text = Vec::new();
    jar.save_netscape(&mut text)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let saved = file.write_all(&text).and_then(|()| fs::rename(&beside, path));
    if saved.is_err() {
        let _ = fs::remove_file(&beside);
    }
    saved
}

/// A value, or the first line of `@FILE`: a command line is seen by everybody.
fn secret(option: &str, text: &str) -> Result<String, String> {
    let Some(path) = text.strip_prefix('@') else { return Ok(text.to_owned()) };
    let read = fs::read_to_string(path).map_err(|error| format!("{option} @{path}: {error}"))?;
    Ok(read.lines().next().unwrap_or_default().to_owned())
}

fn hidden(text: &str) -> Result<HeaderValue, String> {
    // What is wrong with it is not said: it is a secret.
    let mut value =
        HeaderValue::try_from(text).map_err(|_| "the password or token cannot be sent in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// Settings of TLS; `None` where the session's own will do, which are made when the first connection wants them: reading the
/// system's roots takes milliseconds and megabytes.
fn tls(args: &AccessArgs) -> Result<Option<Tls>, Failure> {
    if !args.insecure && args.ca.is_none() && args.cert.is_none() {
        return Ok(None);
    }
    let mut tls = Tls::builder().danger_accept_any_certificate(args.insecure);
    if let Some(path) = &args.ca {
        tls = tls.root_pem(&named(path, fs::read(path))?);
    }
    if let Some(certificate) = &args.cert {
        let key = args.key.as_ref().unwrap_or(certificate);
        tls = tls
            .client_certificate_pem(&named(certificate, fs::read(certificate))?, &named(key, fs::read(key))?);
    }
    Ok(Some(tls.build()?))
}

fn proxies(args: &AccessArgs) -> Result<Proxies, Failure> {
    let proxies = match &args.proxy {
        Some(url) if url.is_empty() => Proxies::none(),
        Some(url) => Proxies::all(Proxy::new(url)?),
        None => Proxies::from_env()?,
    };
    Ok(match &args.no_proxy {
        Some(list) => proxies.no_proxy(list),
        None => proxies,
    })
}

/// Reads `HOST:PORT:ADDRESS,ADDRESS`.
pub(crate) fn resolve(text: &str) -> Option<(String, u16, Vec<SocketAddr>)> {
    let (host, rest) = text.split_once(':')?;
    let (port, addresses) = rest.split_once(':')?;
    let port = if port == "*" { 0 } else { port.parse().ok()? };
    let address = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let addresses: Option<Vec<_>> =
        addresses.split(',').map(|text| address(text).map(|address| SocketAddr::new(address, 0))).collect();
    (!host.is_empty()).then_some((host.to_owned(), port, addresses?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_names_are_read() {
        let (host, port, addresses) = resolve("a.test:443:127.0.0.1,[::1]").unwrap();
        assert_eq!((host.as_str(), port, addresses.len()), ("a.test", 443, 2));
        assert_eq!(resolve("a.test:*:::1").unwrap().1, 0);
        for text in ["a.test", "a.test:443", "a.test:443:", "a.test:443:b.test", ":1:::1", "a:x:::1"] {
            assert!(resolve(text).is_none(), "{text}");
        }
    }
}
