//! An authority, and certificates of it that are good or not.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType, date_time_ymd,
};

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Validity {
    /// In the time of the test.
    Now,
    /// No more since 2001.
    Expired,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// An authority for certificates, in a directory of its own.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, whose files lie in `dir`, and whose name is that directory's.
    ///
    /// # Panics
    /// When a file cannot be written.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let key = KeyPair::generate().expect("ring makes keys");
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let mut params = params(&name, Validity::Now);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("the key fits");
        fs::create_dir_all(dir).unwrap_or_else(|e| panic!("create {}: {e}", dir.display()));
        let authority = Self {
            dir: dir.to_owned(),
            issuer: Issuer::new(params, key),
        };
        write(&authority.certificate(), &certificate.pem());
        authority
    }

    /// The file with its own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate for a server at `addresses`, or for a client called `name`; in files of that name,
    /// which are written anew if they are there.
    ///
    /// # Panics
    /// When a file cannot be written.
    #[must_use]
    pub fn issue(&self, name: &str, addresses: &[IpAddr], validity: Validity) -> CertificateFiles {
        let key = KeyPair::generate().expect("ring makes keys");
        let mut params = params(name, validity);
        params.subject_alt_names = addresses.iter().copied().map(SanType::IpAddress).collect();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate: Certificate = params
            .signed_by(&key, &self.issuer)
            .expect("the authority's key fits");
        let files = self.files(name);
        write(&files.certificate, &certificate.pem());
        write(&files.key, &key.serialize_pem());
        files
    }

    /// Where the files of that name are.
    pub(super) fn files(&self, name: &str) -> CertificateFiles {
        CertificateFiles {
            certificate: self.dir.join(format!("{name}.pem")),
            key: self.dir.join(format!("{name}-key.pem")),
        }
    }
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = match validity {
        Validity::Now => date_time_ymd(2100, 1, 1),
        Validity::Expired => date_time_ymd(2001, 1, 1),
    };
    params
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
}
