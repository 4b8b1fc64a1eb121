//! What the files of a configuration hold. They are read for every connection that is made anew, so
//! that a renewed certificate or a changed password needs no restart.

use std::fs;
use std::path::{Path, PathBuf};

use etcd_client::ConnectOptions;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::config::{EtcdConfig, IdentityFiles, LoginFiles, TlsFiles};

/// Why the files are of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    /// The system refused.
    #[error("cannot read {}, which must be there whenever etcd is connected to", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not what the key says.
    #[error("{} holds no {what} in PEM: put one there", path.display())]
    NoPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// An empty first line.
    #[error("{} has no password in its first line: put it there", .0.display())]
    NoPassword(PathBuf),
}

/// What the files for TLS hold.
pub(crate) struct Pem {
    pub(crate) ca: Vec<u8>,
    /// Our certificate and its key.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// The files for TLS as they are now; `None` without it.
pub(crate) fn pem(config: &EtcdConfig) -> Result<Option<Pem>, CredentialError> {
    let Some(TlsFiles { ca, identity }) = &config.tls else {
        return Ok(None);
    };
    let identity = match identity {
        Some(IdentityFiles { certificate, key }) => {
            Some((certificates(certificate)?, private_key(key)?))
        }
        None => None,
    };
    Ok(Some(Pem {
        ca: certificates(ca)?,
        identity,
    }))
}

/// The same for gRPC.
pub(crate) fn tls(config: &EtcdConfig) -> Result<Option<ClientTlsConfig>, CredentialError> {
    let Some(Pem { ca, identity }) = pem(config)? else {
        return Ok(None);
    };
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        // A member that is stopped still completes a TCP connection.
        .timeout(config.connect_timeout);
    Ok(Some(match identity {
        Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
        None => tls,
    }))
}

/// The options of a client: the user with the password that the file has now.
pub(crate) fn options(config: &EtcdConfig) -> Result<ConnectOptions, CredentialError> {
    let options = ConnectOptions::new()
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    let Some(LoginFiles { user, password }) = &config.login else {
        return Ok(options);
    };
    let text = String::from_utf8_lossy(&read(password)?).into_owned();
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(CredentialError::NoPassword(password.clone()));
    }
    Ok(options.with_user(user, line))
}

fn certificates(path: &Path) -> Result<Vec<u8>, CredentialError> {
    let pem = read(path)?;
    let good = CertificateDer::pem_slice_iter(&pem).next();
    match good {
        Some(Ok(_)) => Ok(pem),
        _ => Err(no_pem(path, "certificate")),
    }
}

fn private_key(path: &Path) -> Result<Vec<u8>, CredentialError> {
    let pem = read(path)?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(_) => Ok(pem),
        Err(_) => Err(no_pem(path, "private key")),
    }
}

fn no_pem(path: &Path, what: &'static str) -> CredentialError {
    CredentialError::NoPem {
        path: path.to_owned(),
        what,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialError> {
    fs::read(path).map_err(|source| CredentialError::Read {
        path: path.to_owned(),
        source,
    })
}
