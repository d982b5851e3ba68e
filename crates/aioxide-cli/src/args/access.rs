//! The options of `aioxide fetch` that say how servers are reached, and who we are.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::fetch::Choice;

/// Settings of the session.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessArgs {
    /// Say who we are to the origins of the URLs given; @FILE reads it from the first line of FILE
    #[arg(short, long, value_name = "NAME:PASSWORD|@FILE", conflicts_with = "bearer")]
    pub(crate) user: Option<String>,

    /// Answer digest challenges with --user, in place of sending it at once
    #[arg(long, requires = "user")]
    pub(crate) digest: bool,

    /// Send a token to the origins of the URLs given; @FILE reads it from the first line of FILE
    #[arg(long, value_name = "TOKEN|@FILE")]
    pub(crate) bearer: Option<String>,

    /// Take names and passwords from ~/.netrc, or the file that NETRC names
    #[arg(long)]
    pub(crate) netrc: bool,

    /// Take names and passwords from FILE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) netrc_file: Option<PathBuf>,

    /// Send the cookies in FILE, which has Netscape's form, and keep those that servers set during the run
    #[arg(short = 'b', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) cookies: Option<PathBuf>,

    /// Keep cookies, and write them to FILE at the end
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) save_cookies: Option<PathBuf>,

    /// What requests say about who asks; a way to reach you is polite
    #[arg(short = 'A', long, value_name = "TEXT")]
    pub(crate) user_agent: Option<String>,

    /// Go through this proxy (http, https, socks5, socks5h) in place of the one that http_proxy, https_proxy and all_proxy
    /// name; '' for none
    #[arg(long, value_name = "URL", help_heading = "Network")]
    pub(crate) proxy: Option<String>,

    /// Go through no proxy to these names (with all names under them), addresses and networks, in place of no_proxy
    #[arg(long, value_name = "LIST", help_heading = "Network")]
    pub(crate) no_proxy: Option<String>,

    /// Trust the certificates in FILE (PEM), too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca: Option<PathBuf>,

    /// Show servers the certificate in FILE (PEM)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) cert: Option<PathBuf>,

    /// The key of --cert, if it does not stand in the same file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "cert")]
    pub(crate) key: Option<PathBuf>,

    /// Accept every certificate: others on the way can then read and change everything
    #[arg(short = 'k', long)]
    pub(crate) insecure: bool,

    /// Connect to ADDRESS when a URL says HOST and PORT (* for any)
    #[arg(long, value_name = "HOST:PORT:ADDRESS[,ADDRESS]", help_heading = "Network")]
    pub(crate) resolve: Vec<String>,

    /// Ask these servers for names, in place of the system: in their order, the next one when one is silent or cannot help. FILE
    /// names them, as /etc/resolv.conf does. For lists with thousands of hosts
    #[arg(long, value_name = "ADDRESS[,ADDRESS]|FILE|system", default_value = "system", value_parser = Choice::parse, help_heading = "Network")]
    pub(crate) resolver: Choice,

    /// Connect from this address of the machine
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(crate) interface: Option<IpAddr>,

    /// Ask for gzip, br and zstd, and decode what comes; without it files are kept as they come
    #[arg(long, help_heading = "Network")]
    pub(crate) compressed: bool,

    /// Use HTTP/1.1 also where the server offers HTTP/2
    #[arg(long, help_heading = "Network")]
    pub(crate) http1: bool,
}
