//! Why a member ends a connection on which it never answered. In TLS 1.3 it reads our certificate after
//! the handshake is over for us; if it refuses it, what we have sent by then makes the kernel throw away
//! the alert that says so. A connection on which nothing is sent gets to read it.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::config::{EndpointUrl, EtcdConfig};
use crate::credentials::{self, Pem};
use crate::failure::{Failure, certificate};

/// What the member has against a certificate, if it says so within the time for a connection. Blocks.
pub(crate) fn diagnose(url: &EndpointUrl, config: &EtcdConfig) -> Option<Failure> {
    let pem = credentials::pem(config).ok()??;
    let server = ServerName::try_from(url.bare_host().to_owned()).ok()?;
    let tls = Arc::new(client_config(&pem)?);
    let connection = ClientConnection::new(tls, server).ok()?;
    let address = (url.bare_host(), url.port())
        .to_socket_addrs()
        .ok()?
        .next()?;
    let limit = config.connect_timeout;
    let socket = TcpStream::connect_timeout(&address, limit).ok()?;
    socket.set_read_timeout(Some(limit)).ok()?;
    socket.set_write_timeout(Some(limit)).ok()?;
    certificate(&listen(connection, socket))
}

/// Completes the handshake and reads on, up to the error that ends it: silence at the latest.
fn listen(mut connection: ClientConnection, mut socket: TcpStream) -> io::Error {
    loop {
        match connection.complete_io(&mut socket) {
            Ok((0, 0)) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

fn client_config(pem: &Pem) -> Option<ClientConfig> {
    let certificates = |pem: &[u8]| -> Option<Vec<CertificateDer<'static>>> {
        CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .ok()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&pem.ca)?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots);
    let mut config = match &pem.identity {
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key).ok()?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key)
                .ok()?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Some(config)
}
