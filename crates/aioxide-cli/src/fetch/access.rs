//! How servers are reached and who we say we are: the session's settings from the options.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use aioxide_http::{CookieJar, Digest, Netrc, Proxies, Proxy, SessionBuilder, Tls};
use http::{HeaderValue, header};

use super::named;
use super::output::followed;
use super::resolver::Choice;
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
                let value = hidden("--user", &format!("Basic {coded}"))?;
                session = session.secret_header(header::AUTHORIZATION, value);
            }
        }
        if let Some(token) = &args.bearer {
            let token = secret("--bearer", token)?;
            let value = hidden("--bearer", &format!("Bearer {token}"))?;
            session = session.secret_header(header::AUTHORIZATION, value);
        }
        if let Some(path) = &args.netrc_file {
            session = session.netrc(of_option("--netrc-file", path, Netrc::read(path))?);
        } else if args.netrc {
            let path = usual_netrc().ok_or("--netrc: neither NETRC nor HOME says where the file is")?;
            session = session.netrc(of_option("--netrc", &path, Netrc::read(&path))?);
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
            of_option("--cookies", path, load(&jar, path))?;
        }
        if let Some(path) = &args.save_cookies {
            followed(path).map_err(|error| format!("--save-cookies {}: {error}", path.display()))?;
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

/// The file of `--netrc`.
fn usual_netrc() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".netrc"));
    std::env::var_os("NETRC").map(PathBuf::from).or_else(home)
}

/// The files that the options have the run read, each with its option: nothing is written there.
pub(crate) fn files(args: &AccessArgs) -> impl Iterator<Item = (&'static str, PathBuf)> + '_ {
    let named = |text: &Option<String>| text.as_deref()?.strip_prefix('@').map(PathBuf::from);
    let resolver = match &args.resolver {
        Choice::File(path) => Some(path.clone()),
        _ => None,
    };
    [
        ("--cookies", args.cookies.clone()),
        ("--netrc-file", args.netrc_file.clone()),
        ("--netrc", args.netrc.then(usual_netrc).flatten()),
        ("--ca", args.ca.clone()),
        ("--cert", args.cert.clone()),
        ("--key", args.key.clone()),
        ("--user", named(&args.user)),
        ("--bearer", named(&args.bearer)),
        ("--resolver", resolver),
    ]
    .into_iter()
    .filter_map(|(option, path)| Some((option, path?)))
}

/// Makes the file that cookies are to be saved to, if there is none: nothing else of the run gets its name then.
///
/// # Errors
/// It cannot be made.
pub(crate) fn reserve(path: &Path) -> Result<(), String> {
    let made = followed(path)
        .and_then(|path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path));
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => of_option("--save-cookies", path, made).map(drop),
    }
}

/// Reads cookies into the jar.
///
/// # Errors
/// The file cannot be read, or a line of it is none.
fn load(jar: &CookieJar, path: &Path) -> io::Result<usize> {
    let text = fs::read(path)?;
    for (place, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_prefix(b"#HttpOnly_").unwrap_or(line);
        let is_passed_over = line.trim_ascii().is_empty() || line.starts_with(b"#");
        // A value may be empty, and its tab left out.
        if !is_passed_over && line.iter().filter(|byte| **byte == b'\t').count() < 5 {
            let told = format!(
                "line {} is no cookie: Netscape's form has 7 fields, with tabs between them",
                place + 1
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, told));
        }
    }
    jar.load_netscape(&text[..])
}

/// Writes the jar beside the file and puts it in its place.
fn save(jar: &CookieJar, path: &Path) -> io::Result<()> {
    let path = followed(path)?;
    let mut text = Vec::new();
    jar.save_netscape(&mut text)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let saved = file.write_all(&text).and_then(|()| fs::rename(&beside, &path));
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

fn hidden(option: &str, text: &str) -> Result<HeaderValue, String> {
    // What is wrong with it is not said: it is a secret.
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| format!("{option}: it has a character that cannot be sent in a header"))?;
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
    let mut options = Vec::new();
    if let Some(path) = &args.ca {
        tls = tls.root_pem(&pem("--ca", path, "a certificate", &["CERTIFICATE"])?);
        options.push(format!("--ca {}", path.display()));
    }
    if let Some(path) = &args.cert {
        let certificate = pem("--cert", path, "a certificate", &["CERTIFICATE"])?;
        let (option, key) = args.key.as_ref().map_or(("--cert", path), |key| ("--key", key));
        let keys = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
        tls = tls.client_certificate_pem(&certificate, &pem(option, key, "a key without a password", &keys)?);
        options.push(format!("--cert {}", path.display()));
    }
    let told = |error| format!("{}: {}", options.join(", "), with_causes(&error));
    Ok(Some(tls.build().map_err(told)?))
}

/// Reads a file in which one of these is to be.
fn pem(option: &str, path: &Path, what: &str, labels: &[&str]) -> Result<Vec<u8>, String> {
    let text = of_option(option, path, fs::read(path))?;
    let begins = |label: &&str| {
        let begin = format!("-----BEGIN {label}-----");
        text.windows(begin.len()).any(|window| window == begin.as_bytes())
    };
    match labels.iter().any(begins) {
        true => Ok(text),
        false => Err(format!("{option} {}: {what} in PEM is not in it", path.display())),
    }
}

/// Names the option and its file in an error about it.
fn of_option<T>(option: &str, path: &Path, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{option} {}: {error}", path.display()))
}

/// An error and what it comes from, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_told = cause.to_string();
        if !told.ends_with(&cause_told) {
            told = format!("{told}: {cause_told}");
        }
        source = cause.source();
    }
    told
}

fn proxies(args: &AccessArgs) -> Result<Proxies, Failure> {
    let proxies = match &args.proxy {
        Some(url) if url.is_empty() => Proxies::none(),
        Some(url) => {
            Proxies::all(Proxy::new(url).map_err(|error| format!("--proxy: {}", with_causes(&error)))?)
        }
        None => Proxies::from_env().map_err(|error| with_causes(&error))?,
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
