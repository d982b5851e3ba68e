//! What hosts let robots have: `robots.txt`, by RFC 9309.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use aioxide::sync::Mutex;
use aioxide::time::{Instant, sleep_until};
use aioxide_http::{RedirectAction, RedirectAttempt, Session, Timeouts};
use http::StatusCode;
use texting_robots::Robot;
use url::{Position, Url};

use super::Retry;
use crate::fetch::report::{Failed, Outcome};

/// The rules of the hosts that were asked last.
#[derive(Debug)]
pub(crate) struct Robots {
    /// The name that rules are looked for under.
    agent: String,
    hosts: RefCell<HashMap<String, Rc<Host>>>,
}

/// A host whose rules are known, or are being asked for by whoever holds the lock.
#[derive(Debug, Default)]
struct Host {
    rules: Mutex<Option<Rules>>,
    /// When they could not be had last, and why: those who waited meanwhile do not ask again, one after the other.
    failed: RefCell<Option<(Instant, Failed)>>,
    /// When the next download may start.
    next: Cell<Option<Instant>>,
}

#[derive(Clone)]
enum Rules {
    All,
    Some(Rc<Robot>),
    /// There may be rules, but the server cannot tell them, or they cannot be read: then all is forbidden.
    Unknown(Rc<str>),
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rules::All => "All",
            Rules::Some(_) => "Some",
            Rules::Unknown(_) => "Unknown",
        })
    }
}

/// How many hosts are remembered; then all are forgotten, and asked again.
const HOSTS: usize = 1000;
/// How much of a file is read; the standard asks for 500 KiB at least.
const MOST_BYTES: usize = 512 * 1024;
/// No host's Crawl-delay is obeyed further.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Stops a request where it is redirected to what may not be asked for, or to a host whose rules are not known yet. Then the host
/// is asked, and the request made again: it comes one redirect further.
#[derive(Debug, Default)]
pub(crate) struct Redirects(OnceCell<Rc<Followed>>);

/// What is known of one request's redirects.
#[derive(Debug, Default)]
struct Followed {
    stopped: RefCell<Option<Url>>,
    permitted: RefCell<Vec<Url>>,
}

impl Redirects {
    /// Decides on each redirect of a request.
    pub(crate) fn policy(
        &self,
        robots: &Rc<Robots>,
    ) -> impl Fn(&RedirectAttempt<'_>) -> RedirectAction + 'static {
        let (robots, followed) = (Rc::clone(robots), Rc::clone(self.0.get_or_init(Rc::default)));
        move |redirect| {
            let to = redirect.to();
            if followed.permitted.borrow().contains(to) || robots.is_permitted(to) {
                return RedirectAction::Follow;
            }
            followed.stopped.replace(Some(to.clone()));
            RedirectAction::Stop
        }
    }

    /// Where it was stopped; the host is to be [asked](Robots::permit).
    pub(crate) fn stopped_at(&self) -> Option<Url> {
        self.0.get()?.stopped.take()
    }

    /// The host permits it.
    pub(crate) fn permit(&self, url: Url) {
        self.0.get_or_init(Rc::default).permitted.borrow_mut().push(url);
    }
}

/// Who has named a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    ByUser,
    /// By a redirect to another origin.
    ByServer,
}

/// Whether rules in their [`normal`] form let a URL be asked for.
fn allows(robot: &Robot, url: &Url) -> bool {
    let path = normal(url[Position::BeforePath..].as_bytes());
    robot.allowed(&format!("{}{}", &url[..Position::BeforePath], String::from_utf8_lossy(&path)))
}

/// Percent-encoding as it is compared (RFC 9309, 2.2.2): what need not be encoded is not, what is has capital digits, and what is not
/// ASCII is encoded.
fn normal(text: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|hex| *first == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let coded = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match coded {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => normal.push(byte),
            Some(byte) => normal.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            None if first.is_ascii() => normal.push(*first),
            None => normal.extend_from_slice(format!("%{first:02X}").as_bytes()),
        }
        rest = if coded.is_some() { &after[2..] } else { after };
    }
    normal
}

impl Robots {
    /// Rules for the program that calls itself so: what stands before the version counts.
    pub(crate) fn new(user_agent: &str) -> Self {
        let end = user_agent.find(['/', ' ']).unwrap_or(user_agent.len());
        Robots { agent: user_agent[..end].to_owned(), hosts: RefCell::default() }
    }

    /// Waits until a URL may be asked for. One that a redirect has named gets no secrets.
    ///
    /// # Errors
    /// It may not, or the host cannot be reached.
    pub(crate) async fn permit(
        &self,
        session: &Session,
        url: &Url,
        named_by: Named,
        timeouts: Timeouts,
    ) -> Result<(), Failed> {
        let (host, since) = (self.host(url), Instant::now());
        let mut rules = host.rules.lock().await;
        let known = match &*rules {
            Some(known) => known.clone(),
            None => {
                if let Some((at, failed)) = &*host.failed.borrow()
                    && *at >= since
                {
                    return Err(failed.clone());
                }
                let asked = self.ask(session, url, named_by, timeouts).await.inspect_err(|failed| {
                    host.failed.replace(Some((Instant::now(), failed.clone())));
                });
                rules.insert(asked?).clone()
            }
        };
        drop(rules);
        match known {
            Rules::All => Ok(()),
            Rules::Unknown(why) => Err(Failed::new(Outcome::Disallowed, &*why)),
            Rules::Some(robot) if !allows(&robot, url) => {
                Err(Failed::new(Outcome::Disallowed, "by robots.txt"))
            }
            Rules::Some(robot) => {
                let delay = robot.delay.and_then(|delay| Duration::try_from_secs_f32(delay).ok());
                if let Some(delay) = delay.map(|delay| delay.min(LONGEST_DELAY)) {
                    let now = Instant::now();
                    let at = host.next.get().map_or(now, |next| next.max(now));
                    host.next.set(Some(at + delay));
                    sleep_until(at).await;
                }
                Ok(())
            }
        }
    }

    /// Whether a URL may be asked for at once: its host's rules are known, and want no pause.
    fn is_permitted(&self, url: &Url) -> bool {
        let host = self.hosts.borrow().get(&url[..Position::BeforePath]).map(Rc::clone);
        let rules = host.and_then(|host| host.rules.try_lock()?.clone());
        match rules {
            Some(Rules::All) => true,
            Some(Rules::Some(robot)) => robot.delay.is_none() && allows(&robot, url),
            _ => false,
        }
    }

    fn host(&self, url: &Url) -> Rc<Host> {
        let mut hosts = self.hosts.borrow_mut();
        let origin = &url[..Position::BeforePath];
        if let Some(host) = hosts.get(origin) {
            return Rc::clone(host);
        }
        if hosts.len() >= HOSTS {
            hosts.clear();
        }
        Rc::clone(hosts.entry(origin.to_owned()).or_default())
    }

    /// Reads a host's rules. Redirects are followed; what is missing forbids nothing.
    async fn ask(
        &self,
        session: &Session,
        url: &Url,
        named_by: Named,
        timeouts: Timeouts,
    ) -> Result<Rules, Failed> {
        let mut file = url.clone();
        file.set_path("/robots.txt");
        file.set_query(None);
        let failed = |error: aioxide_http::Error| {
            let failed = Failed::from_http(&error, &file);
            Failed { error: format!("robots.txt: {}", failed.error), ..failed }
        };
        let mut request = session.get(&file).timeouts(timeouts);
        if named_by == Named::ByServer {
            request = request.without_secrets();
        }
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(
                Failed::new(Outcome::HttpError, format!("robots.txt: {status}")).worth(Retry::Worthwhile)
            );
        }
        if status.is_server_error() {
            return Ok(Rules::Unknown(format!("robots.txt cannot be had: {status}").into()));
        }
        if !status.is_success() {
            return Ok(Rules::All);
        }
        let mut text = Vec::new();
        while text.len() < MOST_BYTES
            && let Some(piece) = response.chunk().await.map_err(failed)?
        {
            text.extend_from_slice(&piece);
        }
        text.truncate(MOST_BYTES);
        // It takes what is no rule for a comment. What it cannot read is a rule that is too large.
        Ok(match Robot::new(&self.agent, &normal(&text)) {
            Ok(robot) => Rules::Some(Rc::new(robot)),
            Err(_) => Rules::Unknown("robots.txt has a rule that cannot be read".into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_does_not_pass_by_a_rule() {
        let rules = "User-agent: *\nDisallow: /no\nDisallow: /%6eq\nDisallow: /caf\u{e9}\nDisallow: /x%2Fy\nDisallow: /a*%3fb$\n";
        let robot = Robot::new("aioxide", &normal(rules.as_bytes())).unwrap();
        let is_allowed = |path: &str| allows(&robot, &Url::parse(&format!("http://a/{path}")).unwrap());
        for path in [
            "no",
            "%6eo",
            "%6Eo",
            "n%6F/x",
            "nq",
            "%6eq",
            "n%71",
            "caf%c3%a9",
            "caf\u{e9}/1",
            "x%2fy",
            "x%2Fy",
            "a1%3Fb",
        ] {
            assert!(!is_allowed(path), "{path}");
        }
        for path in ["", "x/y", "cafe", "n%2Fo", "a?b"] {
            assert!(is_allowed(path), "{path}");
        }
    }
}
