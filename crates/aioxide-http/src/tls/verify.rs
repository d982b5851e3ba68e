//! Who is trusted beside, or in place of, what the roots say.

use std::fmt;
use std::sync::Arc;

use aioxide::net::tls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use aioxide::net::tls::rustls::client::verify_server_name;
use aioxide::net::tls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use aioxide::net::tls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use aioxide::net::tls::rustls::server::ParsedCertificate;
use aioxide::net::tls::rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};
use ring::digest::{SHA256, digest};

/// Asks nobody: every certificate will do, if its owner holds its key.
#[derive(Debug)]
pub(super) struct Nobody(pub(super) Arc<CryptoProvider>);

/// Asks whether the certificate is trusted, not for which name.
#[derive(Debug)]
pub(super) struct AnyName(pub(super) Arc<dyn ServerCertVerifier>);

/// Asks `inner`, but takes a given root for a server's own certificate, too: what `openssl req -x509` makes is both.
#[derive(Debug)]
pub(super) struct RootAsServer {
    pub(super) roots: Vec<CertificateDer<'static>>,
    pub(super) inner: Arc<dyn ServerCertVerifier>,
}

/// Asks for one of these certificates, and then whatever `inner` asks.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) pins: Vec<[u8; 32]>,
    pub(super) inner: Arc<dyn ServerCertVerifier>,
}

/// The certificate that came in place of a pinned one.
#[derive(Debug)]
pub(super) struct NotPinned {
    pub(super) digest: [u8; 32],
}

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate is not pinned; its SHA-256 is ")?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::error::Error for NotPinned {}

/// The part that all have in common: signatures are checked as ever.
macro_rules! signatures_by_inner {
    ($self:ident => $inner:expr) => {
        fn verify_tls12_signature(
            &$self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            $inner.verify_tls12_signature(message, certificate, signature)
        }

        fn verify_tls13_signature(
            &$self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            $inner.verify_tls13_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&$self) -> Vec<SignatureScheme> {
            $inner.supported_verify_schemes()
        }
    };
}

impl ServerCertVerifier for Nobody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        // The name is looked at last: a fault of the certificate itself comes first.
        match self.0.verify_server_cert(certificate, chain, name, ocsp, now) {
            Err(Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    signatures_by_inner!(self => self.0);
}

impl ServerCertVerifier for RootAsServer {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(certificate, chain, name, ocsp, now) {
            // It is looked at once the dates have been found in order.
            Err(Error::InvalidCertificate(CertificateError::Other(OtherError(fault))))
                if fault.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) =>
            {
                if !self.roots.iter().any(|root| root == certificate) {
                    return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
                }
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    signatures_by_inner!(self => self.inner);
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let digest = digest(&SHA256, certificate);
        if !self.pins.iter().any(|pin| pin == digest.as_ref()) {
            let mut came = NotPinned { digest: [0; 32] };
            came.digest.copy_from_slice(digest.as_ref());
            return Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(came)))));
        }
        self.inner.verify_server_cert(certificate, chain, name, ocsp, now)
    }

    signatures_by_inner!(self => self.inner);
}
