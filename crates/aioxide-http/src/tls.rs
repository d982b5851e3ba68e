//! How TLS is made and whom it trusts: settings for a session, a request or a proxy.

use std::cell::OnceCell;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use aioxide::net::tls::rustls;
use aioxide::net::tls::rustls::client::danger::ServerCertVerifier;
use aioxide::net::tls::rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use aioxide::net::tls::rustls::crypto::CryptoProvider;
use aioxide::net::tls::rustls::pki_types::pem::PemObject;
use aioxide::net::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use aioxide::net::tls::rustls::{RootCertStore, SupportedProtocolVersion, version};
use aioxide::net::tls::{Connector, platform_verifier};

use crate::error::{BoxError, Error, Kind, Result};

use choices::{Choices, KeyFile};
use verify::{AnyName, Nobody, NotPinned, Pinned, RootAsServer};

mod choices;
mod verify;

/// Settings of TLS, ready for use; cloning shares them.
///
/// Certificates are verified by the platform's roots unless [`TlsBuilder`] was told otherwise. Connections made with
/// different settings are never mixed.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use aioxide_http::{Session, Tls};
///
/// let tls = Tls::builder().root_pem(&std::fs::read("authority.pem")?).only_these_roots(true).build()?;
/// let session = Session::builder().tls(tls).build()?;
/// session.get("https://intranet.example.org/").send().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tls {
    setup: Rc<Setup>,
}

struct Setup {
    config: Arc<ClientConfig>,
    server_name: Option<String>,
    /// rustls's own settings: what they offer is the program's affair.
    is_as_given: bool,
    /// HTTP/2 is not offered.
    http1_only: bool,
    /// For each list of protocols to offer.
    connectors: [OnceCell<Connector>; 3],
}

/// Which protocols are offered to the server (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// What the settings say.
    Any,
    Http1,
    Http2AndHttp1,
}

impl Tls {
    /// Starts settings of your own.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }

    /// These settings as they are, ALPN included.
    pub fn from_config(config: Arc<ClientConfig>) -> Self {
        Self {
            setup: Rc::new(Setup {
                config,
                server_name: None,
                is_as_given: true,
                http1_only: false,
                connectors: Default::default(),
            }),
        }
    }

    pub(crate) fn server_name(&self) -> Option<&str> {
        self.setup.server_name.as_deref()
    }

    pub(crate) fn is_as_given(&self) -> bool {
        self.setup.is_as_given
    }

    pub(crate) fn is_http1_only(&self) -> bool {
        self.setup.http1_only
    }

    /// Tells settings apart, as long as they are alive.
    pub(crate) fn key(&self) -> usize {
        Rc::as_ptr(&self.setup).addr()
    }

    pub(crate) fn connector(&self, offer: Offer) -> &Connector {
        self.setup.connectors[offer as usize].get_or_init(|| {
            let mut config = self.setup.config.clone();
            let protocols = match offer {
                Offer::Any => None,
                Offer::Http1 => Some(vec![HTTP1.to_vec()]),
                Offer::Http2AndHttp1 => Some(vec![H2.to_vec(), HTTP1.to_vec()]),
            };
            if let Some(protocols) = protocols
                && config.alpn_protocols != protocols
            {
                Arc::make_mut(&mut config).alpn_protocols = protocols;
            }
            Connector::new(config)
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.setup.server_name).finish_non_exhaustive()
    }
}

pub(crate) const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Builds [`Tls`]; a mistake comes out of [`build`](Self::build).
///
/// # Examples
///
/// ```
/// use aioxide_http::{Tls, TlsVersion};
///
/// let tls = Tls::builder().min_version(TlsVersion::Tls13).server_name("internal.example.org").build()?;
/// assert!(Tls::builder().root_pem(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----").build().is_err());
/// # Ok::<(), aioxide_http::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct TlsBuilder {
    roots: Vec<CertificateDer<'static>>,
    only_these_roots: bool,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
    pins: Vec<[u8; 32]>,
    pins_replace_roots: bool,
    server_name: Option<String>,
    any_certificate: bool,
    any_name: bool,
    choices: Choices,
    http1_only: bool,
    no_resumption: bool,
    key_log: Option<PathBuf>,
    problem: Option<Error>,
}

impl TlsBuilder {
    /// Trusts the certificates in this PEM text, besides the platform's.
    pub fn root_pem(mut self, pem: &[u8]) -> Self {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            match certificate {
                Ok(certificate) => self.roots.push(certificate),
                Err(error) => {
                    self.problem = Some(problem(format!("a root certificate cannot be read: {error}")))
                }
            }
        }
        self
    }

    /// Trusts this certificate (DER), besides the platform's.
    pub fn root_der(mut self, der: &[u8]) -> Self {
        self.roots.push(CertificateDer::from(der.to_vec()));
        self
    }

    /// Whether the platform's roots are left out; no unless set.
    pub fn only_these_roots(mut self, yes: bool) -> Self {
        self.only_these_roots = yes;
        self
    }

    /// Proves who we are to servers that ask for it, by a certificate (with its chain) and its key, both as PEM.
    pub fn client_certificate_pem(mut self, chain: &[u8], key: &[u8]) -> Self {
        let chain: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        match (chain, PrivateKeyDer::from_pem_slice(key)) {
            (Ok(chain), Ok(key)) if !chain.is_empty() => self.identity = Some((chain, key)),
            (Ok(_), Ok(_)) => self.problem = Some(problem("there is no client certificate in the pem text")),
            (Err(error), _) => {
                self.problem = Some(problem(format!("the client certificate cannot be read: {error}")))
            }
            (_, Err(error)) => {
                self.problem = Some(problem(format!("the client's key cannot be read: {error}")))
            }
        }
        self
    }

    /// The oldest version that is spoken; TLS 1.2 unless set.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min = Some(version);
        self
    }

    /// The newest version that is spoken; TLS 1.3 unless set.
    pub fn max_version(mut self, version: TlsVersion) -> Self {
        self.max = Some(version);
        self
    }

    /// Accepts the server's certificate only if the SHA-256 of its DER form is this, or another one given here.
    ///
    /// It comes on top of all other checks; see [`pins_replace_roots`](Self::pins_replace_roots).
    pub fn pin_sha256(mut self, digest: [u8; 32]) -> Self {
        self.pins.push(digest);
        self
    }

    /// Whether a pinned certificate is trusted for itself, whoever has signed it, for whatever name and time; no unless set.
    ///
    /// asyncio: aiohttp's `Fingerprint`, which does so.
    pub fn pins_replace_roots(mut self, yes: bool) -> Self {
        self.pins_replace_roots = yes;
        self
    }

    /// The name that the server is asked for (SNI) and its certificate must have, in place of the URL's host.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Accepts every certificate: others on the way can then read and change everything.
    pub fn danger_accept_any_certificate(mut self, yes: bool) -> Self {
        self.any_certificate = yes;
        self
    }

    /// Accepts certificates of trusted roots for every name: whoever has one for some name can stand between.
    pub fn danger_accept_any_name(mut self, yes: bool) -> Self {
        self.any_name = yes;
        self
    }

    /// Offers these cipher suites alone, of those that there are; named as in IANA's registry.
    ///
    /// # Examples
    ///
    /// ```
    /// use aioxide_http::Tls;
    ///
    /// assert!(Tls::builder().cipher_suites(&["TLS_AES_256_GCM_SHA384"]).build().is_ok());
    /// assert!(Tls::builder().cipher_suites(&["TLS_RSA_WITH_NULL_MD5"]).build().is_err());
    /// ```
    pub fn cipher_suites<N: AsRef<str>>(mut self, names: &[N]) -> Self {
        self.choices.suites = Some(names.iter().map(|name| name.as_ref().to_owned()).collect());
        self
    }

    /// Agrees on keys by these groups alone, of those that there are: `x25519`, `secp256r1`, `secp384r1`.
    pub fn groups<N: AsRef<str>>(mut self, names: &[N]) -> Self {
        self.choices.groups = Some(names.iter().map(|name| name.as_ref().to_owned()).collect());
        self
    }

    /// Whether HTTP/2 is offered; yes unless set.
    pub fn http2(mut self, yes: bool) -> Self {
        self.http1_only = !yes;
        self
    }

    /// Whether a session of TLS is taken up again on the next connection; yes unless set.
    pub fn resumption(mut self, yes: bool) -> Self {
        self.no_resumption = !yes;
        self
    }

    /// Appends the secrets of each connection to this file, for programs that look into recorded traffic (`SSLKEYLOGFILE`).
    pub fn key_log_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key_log = Some(path.into());
        self
    }

    /// The settings. Reading the platform's roots takes milliseconds: make them once.
    ///
    /// # Errors
    /// `is_invalid_request`: a certificate or key that cannot be read or do not fit, versions, suites or groups that
    /// leave none, no roots, a name that is none, a key log that cannot be opened, pins that would be ignored or replace roots without there being one.
    pub fn build(mut self) -> Result<Tls> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        if self.pins_replace_roots && self.pins.is_empty() {
            return Err(problem("pins_replace_roots needs a pin"));
        }
        if let Some(name) = &self.server_name {
            aioxide::net::tls::rustls::pki_types::ServerName::try_from(name.clone())
                .map_err(|_| problem(format!("{name:?} is no name of a server")))?;
        }
        let provider = self.choices.provider()?;
        let versions = self.versions(&provider)?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(problem)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(provider)?);
        let mut config = match self.identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(problem)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
        if self.no_resumption {
            config.resumption = Resumption::disabled();
        }
        if let Some(path) = &self.key_log {
            config.key_log = Arc::new(KeyFile::open(path)?);
        }
        let setup = Setup {
            config: Arc::new(config),
            server_name: self.server_name,
            is_as_given: false,
            http1_only: self.http1_only,
            connectors: Default::default(),
        };
        Ok(Tls { setup: Rc::new(setup) })
    }

    /// Those between the oldest and the newest of which a suite is left.
    fn versions(&self, provider: &CryptoProvider) -> Result<Vec<&'static SupportedProtocolVersion>> {
        let wanted =
            |version| self.min.is_none_or(|min| version >= min) && self.max.is_none_or(|max| version <= max);
        let has_suite = |version| provider.cipher_suites.iter().any(|suite| suite.version() == version);
        let all = [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)];
        let versions: Vec<_> = all
            .into_iter()
            .filter(|(name, version)| wanted(*name) && has_suite(*version))
            .map(|(_, version)| version)
            .collect();
        if versions.is_empty() {
            return Err(problem(
                "no version of tls is left between the oldest and the newest, with these suites",
            ));
        }
        Ok(versions)
    }

    fn verifier(&mut self, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
        let mut verifier: Arc<dyn ServerCertVerifier> = if self.any_certificate || self.pins_replace_roots {
            Arc::new(Nobody(provider))
        } else {
            let given = std::mem::take(&mut self.roots);
            let inner = if self.only_these_roots {
                let mut roots = RootCertStore::empty();
                for root in given.iter().cloned() {
                    roots.add(root).map_err(problem)?;
                }
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(problem)?
            } else {
                platform_verifier(given.iter().cloned()).map_err(problem)?
            };
            Arc::new(RootAsServer { roots: given, inner })
        };
        if self.any_name && !self.any_certificate {
            verifier = Arc::new(AnyName(verifier));
        }
        if !self.pins.is_empty() {
            verifier = Arc::new(Pinned { pins: std::mem::take(&mut self.pins), inner: verifier });
        }
        Ok(verifier)
    }
}

/// The SHA-256 of a certificate that came in place of a pinned one, if that is what `error` says.
pub(crate) fn not_pinned(error: &rustls::Error) -> Option<[u8; 32]> {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            other.0.downcast_ref().map(|came: &NotPinned| came.digest)
        }
        _ => None,
    }
}

fn problem(why: impl Into<BoxError>) -> Error {
    Error::new(Kind::InvalidRequest).with_source(why)
}
