//! TLS by rustls (1.2 and 1.3, ring): verified by the platform's roots unless the program says otherwise.

use std::error;
use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{AlertDescription, CertificateError, ClientConfig, ServerConfig};

pub use tokio_rustls::{client, rustls, server};

/// The client's settings: certificates verified by the platform's roots and by `extra_roots`, no ALPN.
///
/// Make it once and share it: reading the roots takes milliseconds, and sessions are resumed within one configuration.
///
/// # Errors
/// [`Error::is_configuration`]: the platform has no roots and none were given, or an extra root is no certificate.
pub fn client_config(
    extra_roots: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<ClientConfig, Error> {
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::configuration)?
        .dangerous()
        .with_custom_certificate_verifier(platform_verifier(extra_roots)?)
        .with_no_client_auth())
}

/// What verifies servers' certificates by the platform's roots and by `extra_roots`, for settings of one's own.
///
/// # Errors
/// As [`client_config`].
pub fn platform_verifier(
    extra_roots: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra_roots, provider)
        .map_err(Error::configuration)?;
    Ok(Arc::new(verifier))
}

/// The client's settings with nothing verified: whoever stands between can read and change everything.
///
/// # Errors
/// [`Error::is_configuration`], which does not happen with the built-in provider.
pub fn danger_unverified_client_config() -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::configuration)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        .with_no_client_auth())
}

/// The server's settings: one certificate (with its chain) for all names, no client certificates, no ALPN.
///
/// # Errors
/// [`Error::is_configuration`]: the key is of no known kind, or does not fit the certificate.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::configuration)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(Error::configuration)
}

/// Makes the client's side of TLS connections. Cloning is cheap.
///
/// # Examples
/// ```no_run
/// use std::sync::Arc;
/// use aioxide::net::tls::{Connector, client_config};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = client_config([])?;
/// config.alpn_protocols = vec![b"http/1.1".to_vec()];
/// let connector = Connector::new(Arc::new(config));
/// let stream = aioxide::net::connect("example.org", 443).await?;
/// let stream = connector.connect("example.org", stream).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Connector {
    inner: tokio_rustls::TlsConnector,
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connector")
    }
}

impl Connector {
    /// With settings of [`client_config`], or of rustls itself.
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Self { inner: config.into() }
    }

    /// Shakes hands with the server `host` (a name or a numeric address, IPv6 with or without brackets) over `stream`.
    ///
    /// # Errors
    /// [`Error`]: its predicates tell the certificate's faults, the peer's refusal and broken connections apart.
    ///
    /// # Cancel safety
    /// Dropping the future drops the stream.
    pub async fn connect<S>(&self, host: &str, stream: S) -> Result<client::TlsStream<S>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| Error::name(host))?;
        self.inner.connect(name, stream).await.map_err(|error| Error::handshake(Some(host), error))
    }
}

/// Makes the server's side of TLS connections. Cloning is cheap.
#[derive(Clone)]
pub struct Acceptor {
    inner: tokio_rustls::TlsAcceptor,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Acceptor")
    }
}

impl Acceptor {
    /// With settings of [`server_config`], or of rustls itself.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self { inner: config.into() }
    }

    /// Shakes hands with a client over `stream`.
    ///
    /// # Errors
    /// [`Error`], as for the client.
    ///
    /// # Cancel safety
    /// Dropping the future drops the stream.
    pub async fn accept<S>(&self, stream: S) -> Result<server::TlsStream<S>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.inner.accept(stream).await.map_err(|error| Error::handshake(None, error))
    }
}

/// Why TLS could not be set up, or could not be agreed on.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    host: Option<String>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Configuration(rustls::Error),
    Name,
    Protocol(rustls::Error),
    Io(io::Error),
}

impl Error {
    fn new(host: Option<&str>, kind: Kind) -> Self {
        Self { inner: Box::new(Inner { host: host.map(str::to_owned), kind }) }
    }

    fn configuration(error: rustls::Error) -> Self {
        Self::new(None, Kind::Configuration(error))
    }

    fn name(host: &str) -> Self {
        Self::new(Some(host), Kind::Name)
    }

    fn handshake(host: Option<&str>, error: io::Error) -> Self {
        let kind = match error.downcast::<rustls::Error>() {
            Ok(error) => Kind::Protocol(error),
            Err(error) => Kind::Io(error),
        };
        Self::new(host, kind)
    }

    fn certificate(&self) -> Option<&CertificateError> {
        match &self.inner.kind {
            Kind::Protocol(rustls::Error::InvalidCertificate(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether the settings are at fault: no connection was involved.
    pub fn is_configuration(&self) -> bool {
        matches!(self.inner.kind, Kind::Configuration(_))
    }

    /// Whether the host given is neither a name nor an address.
    pub fn is_invalid_name(&self) -> bool {
        matches!(self.inner.kind, Kind::Name)
    }

    /// Whether the other side's certificate was not accepted, for whichever reason.
    pub fn is_certificate(&self) -> bool {
        self.certificate().is_some()
    }

    /// Whether the certificate is out of date, or not valid yet.
    pub fn is_expired(&self) -> bool {
        use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        matches!(
            self.certificate(),
            Some(Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
        )
    }

    /// Whether the certificate is for another name.
    pub fn is_wrong_name(&self) -> bool {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        matches!(self.certificate(), Some(NotValidForName | NotValidForNameContext { .. }))
    }

    /// Whether no trusted root stands behind the certificate.
    pub fn is_untrusted(&self) -> bool {
        // A bad signature is that of somebody who takes a trusted one's name.
        matches!(self.certificate(), Some(CertificateError::UnknownIssuer | CertificateError::BadSignature))
    }

    /// The alert with which the other side refused.
    pub fn alert(&self) -> Option<AlertDescription> {
        match &self.inner.kind {
            Kind::Protocol(rustls::Error::AlertReceived(alert)) => Some(*alert),
            _ => None,
        }
    }

    /// Whether the connection broke, or ended in the middle of the handshake.
    pub fn is_io(&self) -> bool {
        matches!(self.inner.kind, Kind::Io(_))
    }

    /// rustls's own error, if it is one.
    pub fn rustls(&self) -> Option<&rustls::Error> {
        match &self.inner.kind {
            Kind::Configuration(error) | Kind::Protocol(error) => Some(error),
            Kind::Name | Kind::Io(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.kind {
            Kind::Configuration(_) => return formatter.write_str("tls cannot be set up"),
            Kind::Name => formatter.write_str("invalid tls server name")?,
            Kind::Protocol(rustls::Error::InvalidCertificate(fault)) => formatter.write_str(told(fault))?,
            Kind::Protocol(rustls::Error::AlertReceived(_)) => {
                formatter.write_str("the other side refused the tls handshake")?;
            }
            Kind::Protocol(_) | Kind::Io(_) => formatter.write_str("the tls handshake failed")?,
        }
        match &self.inner.host {
            Some(host) => write!(formatter, ": {host}"),
            None => Ok(()),
        }
    }
}

/// What is wrong with a certificate, for a person.
fn told(fault: &CertificateError) -> &'static str {
    use CertificateError as Fault;
    match fault {
        Fault::Expired | Fault::ExpiredContext { .. } => "the certificate has expired",
        Fault::NotValidYet | Fault::NotValidYetContext { .. } => "the certificate is not valid yet",
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => {
            "the certificate is for another name"
        }
        Fault::UnknownIssuer | Fault::BadSignature => "the certificate's issuer is not trusted",
        Fault::Revoked => "the certificate was revoked",
        _ => "the certificate was not accepted",
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Error")
            .field("host", &self.inner.host)
            .field("kind", &self.inner.kind)
            .finish()
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.inner.kind {
            Kind::Configuration(error) | Kind::Protocol(error) => Some(error),
            Kind::Io(error) => Some(error),
            Kind::Name => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error.inner.kind {
            Kind::Io(error) => error.kind(),
            Kind::Name | Kind::Configuration(_) => io::ErrorKind::InvalidInput,
            Kind::Protocol(_) => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// Accepts every certificate.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
