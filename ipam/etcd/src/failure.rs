//! What an error of etcd, of gRPC or of TLS means for a request: whether it may have been carried out,
//! whether another member may do better, and what an operator has to do.

use std::error::Error as StdError;
use std::fmt::Write as _;

use rustls::CertificateError;
use tonic::{Code, ConnectError, Status};

/// What became of a request that was not answered as asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// Nothing was done; another member may do it.
    Unsent(String),
    /// It may have been done, or be done yet.
    Lost(String),
    /// Nothing was done, and this member will do nothing for us until an operator acts: its certificate
    /// or ours. Another one may.
    Distrusted(String),
    /// Nothing was done, and no member will do it until an operator acts.
    Refused(String),
    /// Nothing was done: the token is not good any more, or the password. A new connection, which reads
    /// the password anew, may do.
    Login(String),
    /// The revision asked for is compacted; this is the oldest there is, if etcd said so.
    Compacted(Option<u64>),
}

impl Failure {
    /// For people.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Unsent(why)
            | Self::Lost(why)
            | Self::Distrusted(why)
            | Self::Refused(why)
            | Self::Login(why) => why.clone(),
            Self::Compacted(_) => "the revision is compacted".to_owned(),
        }
    }
}

/// An error and its causes, each once, as one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error).skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            let _ = write!(text, ": {cause}");
        }
    }
    text
}

/// The error and everything under it. `io::Error::source` leaves out the error it wraps.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn StdError + 'static) = *error;
        match error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

impl From<tonic::transport::Error> for Failure {
    /// Of a connection that was to be made.
    fn from(error: tonic::transport::Error) -> Self {
        certificate(&error).unwrap_or_else(|| Self::Unsent(connect_text(&error)))
    }
}

impl From<etcd_client::Error> for Failure {
    fn from(error: etcd_client::Error) -> Self {
        match error {
            etcd_client::Error::GRpcStatus(status) => Self::from(status),
            etcd_client::Error::TransportError(error) => Self::from(error),
            // A watch's request cannot be sent on a stream that has ended; the rest is of requests
            // that were never built.
            other => Self::Unsent(other.to_string()),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        match status.source() {
            Some(source) => of_transport(source),
            None => of_etcd(&status),
        }
    }
}

/// The connection failed, before or after the request went out on it.
fn of_transport(source: &(dyn StdError + 'static)) -> Failure {
    if let Some(refused) = certificate(source) {
        return refused;
    }
    if causes(source).any(<dyn StdError>::is::<ConnectError>) {
        return Failure::Unsent(connect_text(source));
    }
    Failure::Lost(chain(source))
}

/// The innermost cause says it all: the layers above it say only that there was a transport.
fn connect_text(error: &(dyn StdError + 'static)) -> String {
    let innermost = causes(error).last().unwrap_or(error).to_string();
    match innermost.as_str() {
        "deadline has elapsed" => "no connection in time".to_owned(),
        _ => innermost,
    }
}

/// A certificate that one of both sides does not accept. A member that refuses ours may say so only
/// after the handshake (TLS 1.3), but reads no request before it has accepted it.
pub(crate) fn certificate(error: &(dyn StdError + 'static)) -> Option<Failure> {
    let tls = causes(error).find_map(<dyn StdError>::downcast_ref::<rustls::Error>);
    let why = match tls {
        Some(rustls::Error::InvalidCertificate(invalid)) => theirs(invalid),
        // HTTP/2 keeps only the text of what ended its connection.
        _ => ours(&chain(error))?,
    };
    Some(Failure::Distrusted(why))
}

fn theirs(invalid: &CertificateError) -> String {
    use CertificateError as Invalid;
    let (what, remedy) = match invalid {
        Invalid::Expired | Invalid::ExpiredContext { .. } => (
            "has expired",
            "renew it, and see that this node's clock is right",
        ),
        Invalid::NotValidYet | Invalid::NotValidYetContext { .. } => {
            ("is not valid yet", "see that this node's clock is right")
        }
        // An authority that was made anew has the name of the one before, and another key.
        Invalid::UnknownIssuer | Invalid::BadSignature => {
            ("is not from an authority in ca", "add that authority to it")
        }
        Invalid::NotValidForName | Invalid::NotValidForNameContext { .. } => (
            "is for another name",
            "use one of its names as the endpoint",
        ),
        _ => ("is not acceptable", "renew it"),
    };
    format!("the member's certificate {what} ({invalid}): {remedy}")
}

/// What an alert about our certificate says (RFC 8446 §6.2), if `text` tells of one.
fn ours(text: &str) -> Option<String> {
    let (_, alert) = text.split_once("received fatal alert: ")?;
    let alert = alert.split([':', ' ']).next()?;
    match alert {
        "CertificateRequired" | "NoCertificate" => {
            Some("the member asks for a client certificate: set cert and key".to_owned())
        }
        "BadCertificate"
        | "UnsupportedCertificate"
        | "CertificateRevoked"
        | "CertificateExpired"
        | "CertificateUnknown"
        | "UnknownCA"
        | "AccessDenied" => Some(format!(
            "the member refuses our certificate ({alert}): see that there is one in \
                 cert, valid now and from an authority that etcd trusts (--trusted-ca)"
        )),
        _ => None,
    }
}

/// etcd answered with an error (its `api/v3rpc/rpctypes/error.go`).
fn of_etcd(status: &Status) -> Failure {
    let message = status.message();
    let text = message.strip_prefix("etcdserver: ").unwrap_or(message);
    let refused = |remedy: &str| Failure::Refused(format!("{text}: {remedy}"));
    let login = |remedy: &str| Failure::Login(format!("{text}: {remedy}"));
    match (status.code(), text) {
        (Code::Unavailable, "no leader" | "rpc not supported for learner" | "not capable")
        | (Code::ResourceExhausted, "too many requests")
        | (Code::FailedPrecondition, "not leader") => Failure::Unsent(text.to_owned()),
        (Code::OutOfRange, "mvcc: required revision has been compacted") => {
            Failure::Compacted(None)
        }
        (Code::InvalidArgument, "revision of auth store is old") => {
            login("its users are being changed; try again")
        }
        (Code::Unauthenticated, _) => login("see that the user still exists"),
        (Code::InvalidArgument, "authentication failed, invalid user ID or password") => {
            login("correct user or the password in password_file")
        }
        (Code::InvalidArgument, "user name is empty") => {
            refused("etcd has authentication enabled; set user and password_file")
        }
        (Code::FailedPrecondition, "authentication is not enabled") => {
            refused("leave out user and password_file, or enable it with `etcdctl auth enable`")
        }
        (Code::PermissionDenied, _) => refused(
            "grant the user, which is the certificate's common name if none is set, a role with \
             readwrite permission on the prefix, as docs/store.md says",
        ),
        (Code::ResourceExhausted, "mvcc: database space exceeded") => refused(
            "compact and defragment etcd, or raise --quota-backend-bytes; then `etcdctl alarm disarm`",
        ),
        (Code::DataLoss, _) => refused("a member's data differs from the others'; restore it"),
        (Code::InvalidArgument | Code::FailedPrecondition | Code::ResourceExhausted, _) => {
            refused("etcd's limits are lower than its defaults, or this release does not fit it")
        }
        (Code::Unimplemented, _) => refused("what answers is not etcd 3.4 or later"),
        _ => Failure::Lost(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_etcd_says_it_did_not_do_counts_as_not_done() {
        let of = |code, message: &str| Failure::from(Status::new(code, message));
        let unsent = [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
        ];
        for (code, message) in unsent {
            assert!(matches!(of(code, message), Failure::Unsent(_)), "{message}");
        }
        let lost = [
            (Code::Unavailable, "etcdserver: request timed out"),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
            ),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, "etcdserver: server stopped"),
            (Code::Unavailable, "anything"),
            (Code::Unknown, "context deadline exceeded"),
            (Code::Cancelled, ""),
            (Code::Internal, "anything"),
        ];
        for (code, message) in lost {
            assert!(matches!(of(code, message), Failure::Lost(_)), "{message}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let refused = [
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                "alarm disarm",
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                "readwrite",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: user name is empty",
                "set user",
            ),
            (Code::Unimplemented, "unknown service", "3.4 or later"),
        ];
        for (code, message, remedy) in refused {
            match Failure::from(Status::new(code, message)) {
                Failure::Refused(why) => assert!(why.contains(remedy), "{why}"),
                other => panic!("{message}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_cause_that_io_wraps_is_found_and_named_once() {
        let inner = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let outer = std::io::Error::new(std::io::ErrorKind::InvalidData, inner);
        assert!(matches!(certificate(&outer), Some(Failure::Distrusted(_))));
        assert_eq!(chain(&outer), "invalid peer certificate: UnknownIssuer");
        let alert = std::io::Error::other("transport error: received fatal alert: UnknownCA");
        assert!(matches!(certificate(&alert), Some(Failure::Distrusted(_))));
        let alert = std::io::Error::other("received fatal alert: ProtocolVersion");
        assert_eq!(certificate(&alert), None);
    }
}
