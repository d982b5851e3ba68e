//! TLS settings that Python has read out of `ssl=`.

use std::path::PathBuf;

use aioxide_http::{Tls as Settings, TlsVersion};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::local::Local;
use crate::settings::setting;

/// Made once for each value of `ssl=`; connections with different ones are never mixed.
#[pyclass(frozen, module = "aioxide._aioxide", name = "_Tls")]
pub(crate) struct Tls {
    settings: Local<Settings>,
}

impl Tls {
    /// RuntimeError in another thread than the one that made them.
    pub(crate) fn settings(&self) -> PyResult<Settings> {
        self.settings.get().cloned()
    }
}

#[pymethods]
impl Tls {
    /// From a dict whose keys are those of `aioxide.http.tls`.
    #[new]
    fn new(settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut builder = Settings::builder();
        for root in setting::<Vec<Vec<u8>>>(settings, "roots")?.unwrap_or_default() {
            builder = builder.root_der(&root);
        }
        if let Some(yes) = setting::<bool>(settings, "only_these_roots")? {
            builder = builder.only_these_roots(yes);
        }
        if let Some((chain, key)) = setting::<(Vec<u8>, Vec<u8>)>(settings, "certificate")? {
            builder = builder.client_certificate_pem(&chain, &key);
        }
        if let Some(version) = setting::<String>(settings, "min_version")? {
            builder = builder.min_version(version_of(&version)?);
        }
        if let Some(version) = setting::<String>(settings, "max_version")? {
            builder = builder.max_version(version_of(&version)?);
        }
        if let Some(digest) = setting::<[u8; 32]>(settings, "fingerprint")? {
            builder = builder.pin_sha256(digest).pins_replace_roots(true);
        }
        if let Some(name) = setting::<String>(settings, "server_name")? {
            builder = builder.server_name(name);
        }
        if let Some(names) = setting::<Vec<String>>(settings, "cipher_suites")? {
            builder = builder.cipher_suites(&names);
        }
        if let Some(names) = setting::<Vec<String>>(settings, "groups")? {
            builder = builder.groups(&names);
        }
        if let Some(yes) = setting::<bool>(settings, "http2")? {
            builder = builder.http2(yes);
        }
        if let Some(yes) = setting::<bool>(settings, "resumption")? {
            builder = builder.resumption(yes);
        }
        if let Some(path) = setting::<PathBuf>(settings, "key_log")? {
            builder = builder.key_log_file(path);
        }
        if setting::<bool>(settings, "any_certificate")? == Some(true) {
            builder = builder.danger_accept_any_certificate(true);
        }
        if setting::<bool>(settings, "any_name")? == Some(true) {
            builder = builder.danger_accept_any_name(true);
        }
        let settings = builder.build().map_err(|error| PyValueError::new_err(crate::errors::text(&error)))?;
        Ok(Self { settings: Local::new(settings) })
    }
}

fn version_of(name: &str) -> PyResult<TlsVersion> {
    match name {
        "TLSv1.2" => Ok(TlsVersion::Tls12),
        "TLSv1.3" => Ok(TlsVersion::Tls13),
        _ => Err(PyValueError::new_err(format!("{name} is not spoken: TLSv1.2 and TLSv1.3 are"))),
    }
}
