//! Which etcd, and how it is spoken to: parsed from an operator's configuration, after which nothing
//! can be wrong with it. What the files hold is read at each connect, in [`crate::credentials`].

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// etcd's port for clients, where an endpoint names none.
const CLIENT_PORT: u16 = 2379;
/// Least and most milliseconds of a timeout.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
/// Longest prefix; keys of ours stay far below etcd's limits with it.
const LONGEST_PREFIX: usize = 256;

/// The keys of a configuration, as an operator writes them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EtcdSettings {
    /// `https://10.0.0.1:2379` for each member; the port may be left out.
    pub endpoints: Vec<String>,
    /// What every key begins with, before `/bulkhead/v1/`, whether it ends with a slash or not: for a
    /// cluster that others use too.
    pub prefix: String,
    /// PEM file with the authorities that the members' certificates come from.
    pub ca: Option<PathBuf>,
    /// PEM file with our own certificate, followed by its intermediates.
    pub cert: Option<PathBuf>,
    /// PEM file with its key.
    pub key: Option<PathBuf>,
    /// The user to authenticate as.
    pub user: Option<String>,
    /// File with the user's password in its first line.
    pub password_file: Option<PathBuf>,
    /// How long a connection may take to be made, in milliseconds; 1,000 if unset.
    pub connect_timeout_ms: Option<u64>,
    /// How long a member may take to answer, in milliseconds; 2,000 if unset.
    pub timeout_ms: Option<u64>,
}

/// Settings that make sense together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EtcdConfig {
    pub(crate) endpoints: Vec<EndpointUrl>,
    pub(crate) prefix: String,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) login: Option<LoginFiles>,
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_timeout: Duration,
}

/// A member's address: `http` or `https`, host and port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct EndpointUrl {
    scheme: Scheme,
    /// As in a URL: IPv6 addresses in brackets.
    host: String,
    port: u16,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scheme {
    Http,
    Https,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TlsFiles {
    pub(crate) ca: PathBuf,
    pub(crate) identity: Option<IdentityFiles>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct IdentityFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LoginFiles {
    pub(crate) user: String,
    pub(crate) password: PathBuf,
}

/// What is wrong with the settings.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// No member to speak to.
    #[error("endpoints: none is given; name every member's client URL, like https://10.0.0.1:2379")]
    NoEndpoints,
    /// Not a member's URL.
    #[error("endpoints: {endpoint:?} {why}; write it like https://10.0.0.1:2379")]
    Endpoint {
        /// As written.
        endpoint: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Twice the same member would count as two.
    #[error("endpoints: {0} is listed twice; list each member once")]
    Twice(String),
    /// Some with TLS, some without.
    #[error("endpoints: {http} is http and {https} is https; give all members the same scheme")]
    MixedSchemes {
        /// One without TLS.
        http: String,
        /// One with it.
        https: String,
    },
    /// TLS without anybody to trust.
    #[error("ca: not given, but the endpoints are https; name the authority of their certificates")]
    NoAuthority,
    /// Files of TLS, and no TLS.
    #[error("{0}: given, but the endpoints are http; make them https, or leave it out")]
    NeedsTls(&'static str),
    /// One of two keys that go together.
    #[error("{given}: given without {missing}; give both or neither")]
    Half {
        /// The one there is.
        given: &'static str,
        /// The other.
        missing: &'static str,
    },
    /// A prefix that keys cannot begin with.
    #[error(
        "prefix: {0:?} is not printable ASCII without spaces, at most 256 bytes; write it like /prod"
    )]
    Prefix(String),
    /// A timeout that is none.
    #[error("{key}: {given} is not between 100 and 60000 milliseconds")]
    Timeout {
        /// Which.
        key: &'static str,
        /// What was given.
        given: u64,
    },
}

impl TryFrom<EtcdSettings> for EtcdConfig {
    type Error = ConfigError;

    fn try_from(settings: EtcdSettings) -> Result<Self, ConfigError> {
        let endpoints = endpoints(&settings.endpoints)?;
        let prefix = settings.prefix.trim_end_matches('/').to_owned();
        if prefix.len() > LONGEST_PREFIX || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::Prefix(prefix));
        }
        let identity = pair(("cert", settings.cert), ("key", settings.key))?
            .map(|(certificate, key)| IdentityFiles { certificate, key });
        let login = pair(
            ("user", settings.user),
            ("password_file", settings.password_file),
        )?
        .map(|(user, password)| LoginFiles { user, password });
        Ok(Self {
            tls: tls(endpoints[0].scheme, settings.ca, identity)?,
            endpoints,
            prefix,
            login,
            connect_timeout: timeout("connect_timeout_ms", settings.connect_timeout_ms, 1_000)?,
            answer_timeout: timeout("timeout_ms", settings.timeout_ms, 2_000)?,
        })
    }
}

fn endpoints(texts: &[String]) -> Result<Vec<EndpointUrl>, ConfigError> {
    let mut endpoints: Vec<EndpointUrl> = Vec::new();
    for text in texts {
        let endpoint = EndpointUrl::parse(text)?;
        if endpoints.contains(&endpoint) {
            return Err(ConfigError::Twice(endpoint.to_string()));
        }
        endpoints.push(endpoint);
    }
    let first = |scheme| endpoints.iter().find(|endpoint| endpoint.scheme == scheme);
    match (first(Scheme::Http), first(Scheme::Https)) {
        (None, None) => Err(ConfigError::NoEndpoints),
        (Some(http), Some(https)) => Err(ConfigError::MixedSchemes {
            http: http.to_string(),
            https: https.to_string(),
        }),
        _ => Ok(endpoints),
    }
}

fn tls(
    scheme: Scheme,
    ca: Option<PathBuf>,
    identity: Option<IdentityFiles>,
) -> Result<Option<TlsFiles>, ConfigError> {
    match (scheme, ca, identity) {
        (Scheme::Https, Some(ca), identity) => Ok(Some(TlsFiles { ca, identity })),
        (Scheme::Https, None, _) => Err(ConfigError::NoAuthority),
        (Scheme::Http, None, None) => Ok(None),
        (Scheme::Http, Some(_), _) => Err(ConfigError::NeedsTls("ca")),
        (Scheme::Http, None, Some(_)) => Err(ConfigError::NeedsTls("cert")),
    }
}

/// Both or neither.
fn pair<A, B>(
    (a_key, a): (&'static str, Option<A>),
    (b_key, b): (&'static str, Option<B>),
) -> Result<Option<(A, B)>, ConfigError> {
    let half = |given, missing| Err(ConfigError::Half { given, missing });
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        (Some(_), None) => half(a_key, b_key),
        (None, Some(_)) => half(b_key, a_key),
    }
}

fn timeout(key: &'static str, given: Option<u64>, default: u64) -> Result<Duration, ConfigError> {
    let given = given.unwrap_or(default);
    if TIMEOUT_MS.contains(&given) {
        Ok(Duration::from_millis(given))
    } else {
        Err(ConfigError::Timeout { key, given })
    }
}

impl EndpointUrl {
    /// The host as a name or an address, without brackets.
    pub(crate) fn bare_host(&self) -> &str {
        let host = self.host.strip_prefix('[');
        let host = host.and_then(|host| host.strip_suffix(']'));
        host.unwrap_or(&self.host)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    fn parse(text: &str) -> Result<Self, ConfigError> {
        let refuse = |why| ConfigError::Endpoint {
            endpoint: text.to_owned(),
            why,
        };
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            _ => return Err(refuse("does not begin with http:// or https://")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = host_and_port(authority).map_err(refuse)?;
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port,
        })
    }
}

fn host_and_port(authority: &str) -> Result<(&str, u16), &'static str> {
    let split = match authority.strip_prefix('[') {
        Some(inside) => {
            let end = inside.find(']').ok_or("has a bracket that is not closed")?;
            let address: Result<std::net::Ipv6Addr, _> = inside[..end].parse();
            address.map_err(|_| "has something else than an IPv6 address in brackets")?;
            end + 2
        }
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(split);
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if host.is_empty() || !(host.starts_with('[') || host.bytes().all(name)) {
        return Err("has no plain host name or address, or more than that and a port");
    }
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => CLIENT_PORT,
        None => return Err("has more than a host and a port"),
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or("has no port between 1 and 65535")?,
    };
    Ok((host, port))
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut EtcdSettings)) -> Result<EtcdConfig, String> {
        let mut settings = EtcdSettings {
            endpoints: vec![
                "https://10.0.0.1".to_owned(),
                "https://[fd00::2]:4001/".to_owned(),
            ],
            ca: Some("/ca.pem".into()),
            ..EtcdSettings::default()
        };
        change(&mut settings);
        EtcdConfig::try_from(settings).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let config = with(|_| ()).unwrap();
        let urls: Vec<String> = config.endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(urls, ["https://10.0.0.1:2379", "https://[fd00::2]:4001"]);
        assert_eq!(config.connect_timeout, Duration::from_secs(1));
        assert_eq!(config.answer_timeout, Duration::from_secs(2));
        assert_eq!((config.prefix.as_str(), config.login), ("", None));
        for (prefix, begins) in [("/", ""), ("/prod/", "/prod"), ("/prod", "/prod")] {
            let config = with(|s| s.prefix = prefix.to_owned()).unwrap();
            assert_eq!(config.prefix, begins);
        }
    }

    #[test]
    fn everything_that_contradicts_itself_is_refused_with_its_key() {
        type Change = fn(&mut EtcdSettings);
        let cases: [(Change, &str); 14] = [
            (|s| s.endpoints.clear(), "endpoints: none is given"),
            (
                |s| s.endpoints.push("10.0.0.3:2379".into()),
                "does not begin with http://",
            ),
            (
                |s| s.endpoints.push("https://".into()),
                "has no plain host name",
            ),
            (
                |s| s.endpoints.push("https://u:p@h:1".into()),
                "has no port between",
            ),
            (
                |s| s.endpoints.push("https://h:0".into()),
                "has no port between",
            ),
            (
                |s| s.endpoints.push("https://h/v3".into()),
                "has no plain host name",
            ),
            (
                |s| s.endpoints.push("https://[fd00::2".into()),
                "bracket that is not closed",
            ),
            (
                |s| s.endpoints.push("https://10.0.0.1:2379".into()),
                "is listed twice",
            ),
            (
                |s| s.endpoints.push("http://10.0.0.3".into()),
                "give all members the same scheme",
            ),
            (|s| s.ca = None, "ca: not given"),
            (|s| s.key = Some("/k".into()), "key: given without cert"),
            (
                |s| s.user = Some("u".into()),
                "user: given without password_file",
            ),
            (|s| s.prefix = "/a b".into(), "prefix: \"/a b\""),
            (|s| s.timeout_ms = Some(99), "timeout_ms: 99"),
        ];
        for (change, expected) in cases {
            let error = with(change).unwrap_err();
            assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        }
        let plain = |s: &mut EtcdSettings| s.endpoints = vec!["http://h".to_owned()];
        let error = with(plain).unwrap_err();
        assert!(
            error.starts_with("ca: given, but the endpoints are http"),
            "{error}"
        );
    }
}
