use std::{
    fmt, io,
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;

/// Why certificates cannot be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot read the certificates in {path}: {source}; check the path and who may read it")]
    Read {
        /// Which.
        path: std::path::PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no certificate in it, or a damaged one.
    #[error("these are no certificates; a PEM file has BEGIN CERTIFICATE in it")]
    NoCertificates,
    /// The platform's certificates cannot be used.
    #[error("the platform's certificates cannot be used ({0}); install them, or name a file")]
    Platform(String),
}

/// Whom a device believes that a server is the one it was looking for: what signs the server's
/// certificate.
///
/// This protects what passes between device and service from who listens on the way. Keys and
/// media do not depend on it.
#[derive(Clone, Default)]
pub struct Trust {
    /// None for those of the platform.
    roots: Option<Arc<RootCertStore>>,
    /// Made when it is first needed: a device that never uses TLS needs no certificates.
    config: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl Trust {
    /// In the authorities that this machine trusts. The same as `default`.
    pub fn platform() -> Self {
        Self::default()
    }

    /// In nobody: for what does not use TLS.
    pub(super) fn nobody() -> Self {
        Self { roots: Some(Arc::new(RootCertStore::empty())), config: Arc::default() }
    }

    /// In these authorities alone, or these very certificates if they are self-signed: a PEM text.
    ///
    /// # Errors
    /// [`TrustError::NoCertificates`].
    pub fn pem(text: &[u8]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(text) {
            let certificate = certificate.map_err(|_| TrustError::NoCertificates)?;
            roots.add(certificate).map_err(|_| TrustError::NoCertificates)?;
        }
        if roots.is_empty() {
            return Err(TrustError::NoCertificates);
        }
        Ok(Self { roots: Some(Arc::new(roots)), config: Arc::default() })
    }

    /// The same, of a PEM file.
    ///
    /// # Errors
    /// [`TrustError::Read`], [`TrustError::NoCertificates`].
    pub fn file(path: impl AsRef<Path>) -> Result<Self, TrustError> {
        let path = path.as_ref();
        let text = std::fs::read(path)
            .map_err(|source| TrustError::Read { path: path.to_owned(), source })?;
        Self::pem(&text)
    }

    /// What rustls needs to know, for HTTP/1.1: a WebSocket, or a request.
    ///
    /// # Errors
    /// [`TrustError::Platform`].
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, TrustError> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        let platform = |error: rustls::Error| TrustError::Platform(error.to_string());
        // Named, since another library of the process may bring a provider of its own.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(platform)?;
        let mut config = match &self.roots {
            Some(roots) => builder.with_root_certificates(roots.clone()),
            None => builder.with_platform_verifier().map_err(platform)?,
        }
        .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(self.config.get_or_init(|| Arc::new(config)).clone())
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots = self.roots.as_ref().map(|roots| roots.len());
        f.debug_struct("Trust").field("certificates", &roots).finish_non_exhaustive()
    }
}
