//! What is left of the suites and groups of TLS where a program wants fewer, and the file that its secrets are written to.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aioxide::net::tls::rustls::KeyLog;
use aioxide::net::tls::rustls::crypto::{CryptoProvider, ring};

use crate::error::Result;

use super::problem;

/// All unless named.
#[derive(Debug, Default)]
pub(super) struct Choices {
    pub(super) suites: Option<Vec<String>>,
    pub(super) groups: Option<Vec<String>>,
}

impl Choices {
    /// The provider with the suites and groups that were chosen.
    ///
    /// # Errors
    /// None of the names is of one that there is.
    pub(super) fn provider(&self) -> Result<Arc<CryptoProvider>> {
        let mut provider = ring::default_provider();
        if let Some(names) = &self.suites {
            provider.cipher_suites.retain(|suite| has(names, &format!("{:?}", suite.suite())));
            if provider.cipher_suites.is_empty() {
                return Err(problem(format!("none of these cipher suites is there: {}", names.join(", "))));
            }
        }
        if let Some(names) = &self.groups {
            provider.kx_groups.retain(|group| has(names, &format!("{:?}", group.name())));
            if provider.kx_groups.is_empty() {
                return Err(problem(format!("none of these groups is there: {}", names.join(", "))));
            }
        }
        Ok(Arc::new(provider))
    }
}

/// rustls writes `TLS13_AES_…` and `X25519` where the registry has `TLS_AES_…` and `x25519`.
fn has(names: &[String], name: &str) -> bool {
    let registered = name.replacen("TLS13_", "TLS_", 1);
    names.iter().any(|wanted| wanted.eq_ignore_ascii_case(&registered))
}

/// Appends the secrets of connections to a file, in the form of `SSLKEYLOGFILE`.
pub(super) struct KeyFile {
    file: Mutex<File>,
}

impl KeyFile {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.map_err(|error| problem(format!("key log file {}: {error}", path.display())))?;
        Ok(Self { file: Mutex::new(file) })
    }
}

impl KeyLog for KeyFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        // A log that cannot be written is no reason for a connection to fail.
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").finish_non_exhaustive()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
