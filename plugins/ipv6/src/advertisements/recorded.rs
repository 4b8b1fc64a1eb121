//! What is advertised, as an attachment's record has it: one line of words.

use std::fmt;

use bulkhead_model::{Family, Mtu};

use super::{Advertisements, Domain, OwnAddresses, OwnPrefix, Preference, keys};

impl fmt::Display for Advertisements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lifetime={} mtu={}", self.lifetime_secs, self.mtu)?;
        match self.preference {
            Preference::Low => f.write_str(" preference=low")?,
            Preference::Medium => {}
            Preference::High => f.write_str(" preference=high")?,
        }
        if self.other {
            f.write_str(" other")?;
        }
        if let Some(prefix) = self.prefix {
            if prefix.addresses == OwnAddresses::Autonomous {
                f.write_str(" autonomous")?;
            }
            let (preferred, valid) = (prefix.preferred_secs, prefix.valid_secs);
            write!(f, " prefix={preferred},{valid}")?;
        }
        for server in &self.dns {
            write!(f, " dns={server}")?;
        }
        for domain in &self.search {
            write!(f, " search={domain}")?;
        }
        match self.refresh_secs {
            Some(refresh) => write!(f, " refresh={refresh}"),
            None => Ok(()),
        }
    }
}

impl Advertisements {
    /// The line; `None` if it is another release's.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut read = Self {
            lifetime_secs: keys::LIFETIME_SECS,
            preference: Preference::Medium,
            other: false,
            prefix: None,
            mtu: Mtu::minimum(Family::V6),
            dns: Vec::new(),
            search: Vec::new(),
            refresh_secs: None,
        };
        let mut addresses = OwnAddresses::Configured;
        for word in text.split(' ') {
            match word.split_once('=').unwrap_or((word, "")) {
                ("lifetime", secs) => read.lifetime_secs = secs.parse().ok()?,
                ("mtu", mtu) => read.mtu = Mtu::new(mtu.parse().ok()?)?,
                ("preference", "low") => read.preference = Preference::Low,
                ("preference", "high") => read.preference = Preference::High,
                ("other", "") => read.other = true,
                ("autonomous", "") => addresses = OwnAddresses::Autonomous,
                ("prefix", pair) => {
                    let (preferred, valid) = pair.split_once(',')?;
                    read.prefix = Some(OwnPrefix {
                        addresses,
                        preferred_secs: preferred.parse().ok()?,
                        valid_secs: valid.parse().ok()?,
                    });
                }
                ("dns", server) => read.dns.push(server.parse().ok()?),
                ("search", domain) => read.search.push(Domain::new(domain)?),
                ("refresh", secs) => read.refresh_secs = Some(secs.parse().ok()?),
                _ => return None,
            }
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_back() {
        for text in [
            "lifetime=1800 mtu=1500",
            "lifetime=0 mtu=1280 preference=low other",
            "lifetime=9000 mtu=9000 preference=high other autonomous prefix=604800,4294967295 \
             dns=2001:db8::53 dns=2001:db8::54 search=example.org search=b.example refresh=86400",
            "lifetime=30 mtu=1500 prefix=1,2",
        ] {
            let read = Advertisements::read(text).unwrap();
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn other_words_are_no_line_of_ours() {
        for text in [
            "",
            "lifetime=1800 mtu=1500 sailor",
            "lifetime=70000 mtu=1500",
            "lifetime=1800 mtu=1",
            "lifetime=1800 mtu=1500 prefix=1",
            "lifetime=1800 mtu=1500 dns=10.0.0.1",
        ] {
            assert_eq!(Advertisements::read(text), None, "{text}");
        }
    }
}
