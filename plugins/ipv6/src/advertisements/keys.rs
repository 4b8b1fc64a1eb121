//! `routerAdvertisements` of the configuration.

use std::net::Ipv6Addr;

use bulkhead_cni::Dns;
use bulkhead_cni::json::{Field, FieldError, Object};
use bulkhead_model::Mtu;

use super::{ADVERTISEMENTS, Advertisements, Domain, OwnAddresses, OwnPrefix, Preference};

/// `AdvDefaultLifetime`, in seconds (RFC 4861 section 6.2.1).
pub(super) const LIFETIME_SECS: u16 = 1800;
/// The shortest one, in seconds: advertised unasked every third of it.
const LIFETIME_LEAST_SECS: u16 = 30;
/// The longest one, in seconds.
const LIFETIME_MOST_SECS: u16 = 9000;
/// `AdvPreferredLifetime`, in seconds.
const PREFERRED_SECS: u32 = 604_800;
/// `AdvValidLifetime`, in seconds.
const VALID_SECS: u32 = 2_592_000;
/// `IRT_DEFAULT`, in seconds (RFC 8415 section 7.6).
const REFRESH_SECS: u32 = 86_400;
/// `IRT_MINIMUM`, in seconds.
const REFRESH_LEAST_SECS: u32 = 600;
/// An advertisement with as many servers, and as many bytes of search domains, is shorter than the least
/// MTU of IPv6.
const MOST_SERVERS: usize = 8;
const MOST_SEARCH_BYTES: usize = 512;

const A_SERVER: &str = "a unicast IPv6 address";

const KEYS: [&str; 11] = [
    "lifetime",
    "preference",
    "managed",
    "other",
    "autonomous",
    "preferredLifetime",
    "validLifetime",
    "dns",
    "search",
    "dhcpv6",
    "refreshTime",
];
/// Those about the container's own prefix.
const OF_PREFIX: [&str; 3] = ["autonomous", "preferredLifetime", "validLifetime"];
const KNOWN: &str = "known: routerAdvertisements has lifetime, preference, managed, other, autonomous, preferredLifetime, validLifetime, dns, search, dhcpv6 and refreshTime";

/// What the rest of the configuration says.
pub(crate) struct Around<'a> {
    /// `prefixPerContainer`.
    pub(crate) prefixes: bool,
    /// The link's.
    pub(crate) mtu: Mtu,
    /// The resolver settings of the runtime, else of the network.
    pub(crate) dns: &'a Dns,
}

impl Advertisements {
    /// Reads `routerAdvertisements`; `None` if it is absent or false.
    ///
    /// # Errors
    /// Naming the key, the value found and what it should be.
    pub(crate) fn parse(
        root: &Object<'_>,
        around: &Around<'_>,
    ) -> Result<Option<Self>, FieldError> {
        let Some(field) = root.optional(ADVERTISEMENTS) else {
            return Ok(None);
        };
        let object = match field.bool() {
            Ok(false) => return Ok(None),
            Ok(true) => Object::empty(ADVERTISEMENTS),
            Err(_) => field
                .object()
                .map_err(|_| field.invalid("true, false or an object"))?,
        };
        if let Some((_, unknown)) = object.members().find(|(key, _)| !KEYS.contains(key)) {
            return Err(unknown.invalid(KNOWN));
        }
        let refresh_secs = refresh(&object)?;
        Ok(Some(Self {
            lifetime_secs: lifetime(&object)?,
            preference: preference(&object)?,
            other: flags(&object, refresh_secs.is_some())?,
            prefix: prefix(&object, around.prefixes)?,
            mtu: around.mtu,
            dns: servers(&object, around.dns)?,
            search: search(&object, around.dns)?,
            refresh_secs,
        }))
    }
}

fn lifetime(object: &Object<'_>) -> Result<u16, FieldError> {
    let Some(field) = object.optional("lifetime") else {
        return Ok(LIFETIME_SECS);
    };
    let secs = field.u64().ok().and_then(|secs| u16::try_from(secs).ok());
    let allowed =
        |secs: &u16| *secs == 0 || (LIFETIME_LEAST_SECS..=LIFETIME_MOST_SECS).contains(secs);
    secs.filter(allowed)
        .ok_or_else(|| field.invalid("0 or 30 to 9000 seconds (RFC 4861 section 6.2.1)"))
}

fn preference(object: &Object<'_>) -> Result<Preference, FieldError> {
    let Some(field) = object.optional("preference") else {
        return Ok(Preference::Medium);
    };
    match field.str()? {
        "low" => Ok(Preference::Low),
        "medium" => Ok(Preference::Medium),
        "high" => Ok(Preference::High),
        _ => Err(field.invalid("\"low\", \"medium\" or \"high\"")),
    }
}

/// The O flag. M is refused: what would be asked of us then we do not answer.
fn flags(object: &Object<'_>, answers: bool) -> Result<bool, FieldError> {
    if let Some(managed) = object.optional("managed")
        && managed.bool()?
    {
        return Err(managed.unsupported(
            "the node gives out no addresses by DHCPv6, a container has its lease from the start; leave it out",
        ));
    }
    let Some(other) = object.optional("other") else {
        return Ok(answers);
    };
    if other.bool()? && !answers {
        return Err(
            other.invalid("false, as it must be without \"dhcpv6\": true: nobody would answer")
        );
    }
    other.bool()
}

fn prefix(object: &Object<'_>, prefixes: bool) -> Result<Option<OwnPrefix>, FieldError> {
    if !prefixes {
        let of_prefix = OF_PREFIX.iter().find_map(|key| object.optional(key));
        return match of_prefix {
            Some(field) => Err(field.invalid(
                "of use without \"prefixPerContainer\": true: there is no prefix to make addresses of, remove it",
            )),
            None => Ok(None),
        };
    }
    let autonomous = object.optional_bool("autonomous")?.unwrap_or(true);
    let preferred = object.optional("preferredLifetime");
    let preferred_secs = match &preferred {
        Some(field) => field.u32()?,
        None => PREFERRED_SECS,
    };
    let valid_secs = object.optional_u32("validLifetime")?;
    let valid_secs = valid_secs.unwrap_or(VALID_SECS.max(preferred_secs));
    match preferred {
        Some(field) if preferred_secs > valid_secs => Err(field.invalid(format!(
            "at most the valid lifetime of {valid_secs} seconds (RFC 4861 section 4.6.2)"
        ))),
        _ => Ok(Some(OwnPrefix {
            addresses: if autonomous {
                OwnAddresses::Autonomous
            } else {
                OwnAddresses::Configured
            },
            preferred_secs: preferred_secs.min(valid_secs),
            valid_secs,
        })),
    }
}

/// Those that are named, or the IPv6 ones among the network's.
fn servers(object: &Object<'_>, dns: &Dns) -> Result<Vec<Ipv6Addr>, FieldError> {
    let Some(field) = object.optional("dns") else {
        let known = dns.nameservers.iter();
        let of_ipv6 = known.filter_map(|server| server.parse().ok());
        return Ok(of_ipv6.filter(is_server).take(MOST_SERVERS).collect());
    };
    let read = |item: &Field<'_>| {
        let server: Ipv6Addr = item.parse_as(A_SERVER)?;
        is_server(&server)
            .then_some(server)
            .ok_or_else(|| item.invalid(A_SERVER))
    };
    let items = field.items()?;
    if items.len() > MOST_SERVERS {
        return Err(field.invalid(format!("a list of at most {MOST_SERVERS} servers")));
    }
    items.iter().map(read).collect()
}

fn is_server(address: &Ipv6Addr) -> bool {
    !address.is_multicast() && !address.is_unspecified() && !address.is_loopback()
}

/// Those that are named, or the network's as far as they can be said and fit.
fn search(object: &Object<'_>, dns: &Dns) -> Result<Vec<Domain>, FieldError> {
    let Some(field) = object.optional("search") else {
        let mut left = MOST_SEARCH_BYTES;
        let known = dns.search.iter().filter_map(|domain| Domain::new(domain));
        let fits = |domain: &Domain| match left.checked_sub(domain.wire_len()) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        };
        return Ok(known.take_while(fits).collect());
    };
    let read =
        |item: &Field<'_>| Domain::new(item.str()?).ok_or_else(|| item.invalid("a domain name"));
    let domains: Vec<_> = field.items()?.iter().map(read).collect::<Result<_, _>>()?;
    if domains.iter().map(Domain::wire_len).sum::<usize>() > MOST_SEARCH_BYTES {
        return Err(field.invalid(format!("a list of at most {MOST_SEARCH_BYTES} bytes")));
    }
    Ok(domains)
}

/// `dhcpv6` and `refreshTime`.
fn refresh(object: &Object<'_>) -> Result<Option<u32>, FieldError> {
    let answers = object.optional_bool("dhcpv6")?.unwrap_or_default();
    let Some(field) = object.optional("refreshTime") else {
        return Ok(answers.then_some(REFRESH_SECS));
    };
    if !answers {
        return Err(field.invalid("of use without \"dhcpv6\": true: it is what DHCPv6 answers"));
    }
    match field.u32()? {
        secs if secs >= REFRESH_LEAST_SECS => Ok(Some(secs)),
        _ => Err(field.invalid("600 seconds or more (RFC 8415 section 7.6)")),
    }
}
