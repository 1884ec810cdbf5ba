use std::{
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem, pem::PemObject},
};
use sha2::{Digest, Sha256};

/// The service's certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file with the certificate, and those between it and the authority behind it.
    pub certificates: PathBuf,
    /// A PEM file with its key.
    pub key: PathBuf,
}

/// Why a service cannot use TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot use {path} for TLS: {source}; check the path and who may read it")]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no certificate in the file, or a damaged one.
    #[error("{0} has no certificate; a PEM file has BEGIN CERTIFICATE in it")]
    NoCertificates(PathBuf),
    /// There is no key in the file, or a damaged one.
    #[error("{0} has no key; a PEM file has BEGIN PRIVATE KEY in it")]
    NoKey(PathBuf),
    /// The two do not belong together, or are of an unknown kind.
    #[error("certificate and key cannot be used ({0}); check that they belong together")]
    Unusable(String),
    /// No certificate could be made.
    #[error("cannot make a certificate ({0}); check the service's names")]
    SelfSigned(String),
}

impl Tls {
    /// With these PEM files.
    pub fn new(certificates: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificates: certificates.into(), key: key.into() }
    }

    /// A certificate for trying, which nobody has signed but itself: the one that is in the folder,
    /// or a new one if that does not go by these names (`name` or `name:port`) or cannot be used.
    /// Devices need the file [`certificates`](Self::certificates) to trust it.
    ///
    /// # Errors
    /// [`TlsError::File`], [`TlsError::SelfSigned`].
    pub fn self_signed(folder: &Path, names: &[String]) -> Result<Self, TlsError> {
        let tls = Self::new(folder.join("tls-certificate.pem"), folder.join("tls-key.pem"));
        let names: Vec<_> = names.iter().map(|name| host(name).to_owned()).collect();
        if tls.goes_by(&names) {
            return Ok(tls);
        }
        let made = rcgen::generate_simple_self_signed(names)
            .map_err(|error| TlsError::SelfSigned(error.to_string()))?;
        write(&tls.key, &made.signing_key.serialize_pem(), 0o600)?;
        write(&tls.certificates, &made.cert.pem(), 0o644)?;
        Ok(tls)
    }

    /// SHA-256 of the certificate, as browsers and openssl show it.
    ///
    /// # Errors
    /// [`TlsError::File`], [`TlsError::NoCertificates`].
    pub fn fingerprint(&self) -> Result<String, TlsError> {
        let chain = self.chain()?;
        let first = chain.first().ok_or_else(|| self.no_certificates())?;
        let bytes: [u8; 32] = Sha256::digest(first).into();
        Ok(bytes.map(|byte| format!("{byte:02X}")).join(":"))
    }

    /// Reads the files, and tells whether they can be used.
    ///
    /// # Errors
    /// Every [`TlsError`] but [`TlsError::SelfSigned`].
    pub fn check(&self) -> Result<(), TlsError> {
        self.load().map(drop)
    }

    fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = self.chain()?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| match error {
            pem::Error::Io(source) => TlsError::File { path: self.key.clone(), source },
            _ => TlsError::NoKey(self.key.clone()),
        })?;
        let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
        // Named, since another library of the process may bring a provider of its own.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let failed = |error| match error {
            pem::Error::Io(source) => TlsError::File { path: self.certificates.clone(), source },
            _ => self.no_certificates(),
        };
        let chain = CertificateDer::pem_file_iter(&self.certificates).map_err(failed)?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        if chain.is_empty() { Err(self.no_certificates()) } else { Ok(chain) }
    }

    fn no_certificates(&self) -> TlsError {
        TlsError::NoCertificates(self.certificates.clone())
    }

    /// Whether a device that has the certificate would accept this service by all these names.
    fn goes_by(&self, names: &[String]) -> bool {
        let accepted = || {
            self.load().ok()?;
            let certificate = self.chain().ok()?.into_iter().next()?;
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone()).ok()?;
            let provider = Arc::new(aws_lc_rs::default_provider());
            let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
            let verifier = verifier.build().ok()?;
            for name in names {
                let name = ServerName::try_from(name.as_str()).ok()?;
                let now = UnixTime::now();
                verifier.verify_server_cert(&certificate, &[], &name, &[], now).ok()?;
            }
            Some(())
        };
        accepted().is_some()
    }
}

/// A name without its port and brackets.
fn host(name: &str) -> &str {
    let host = match name.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next(),
        None if name.matches(':').count() == 1 => name.split(':').next(),
        None => None,
    };
    host.unwrap_or(name)
}

/// Writes a file anew, which only its owner can read if its mode says so, from the beginning.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let write = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        options.open(path)?.write_all(text.as_bytes())
    };
    write().map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// What new connections are encrypted with; it may be replaced while the service runs.
#[derive(Clone)]
pub(super) struct Current {
    files: Tls,
    config: Arc<Mutex<Arc<ServerConfig>>>,
}

impl Current {
    pub(super) fn load(files: Tls) -> Result<Self, TlsError> {
        let config = Arc::new(Mutex::new(files.load()?));
        Ok(Self { files, config })
    }

    /// Reads the files again. If that fails, what was read before stays.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        let config = self.files.load()?;
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone().into()
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("files", &self.files).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_its_port() {
        for (name, told) in [
            ("keys.example:443", "keys.example"),
            ("keys.example", "keys.example"),
            ("10.0.0.1:1", "10.0.0.1"),
            ("[::1]:7600", "::1"),
            ("::1", "::1"),
        ] {
            assert_eq!(host(name), told);
        }
    }
}
