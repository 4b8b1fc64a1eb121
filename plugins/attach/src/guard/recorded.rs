//! The guard's settings as an attachment's record has them: one line of words.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bulkhead_model::Mac;
use bulkhead_nft::Rate;
use bulkhead_plan::Multicast;

use super::{GuardConfig, GuardRole, GuardSwitch};

/// Among the other names of a record: what its port may send. A record without it is of a release that
/// had no guard.
pub const GUARD: &str = "guard";

/// A record's words are not the guard's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the guard's settings")]
pub struct NotGuard;

impl fmt::Display for GuardConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.switch {
            GuardSwitch::On => "on",
            GuardSwitch::Off => "off",
            GuardSwitch::Mac => "mac",
        })?;
        match self.role {
            GuardRole::Host => {}
            GuardRole::Router => f.write_str(" router")?,
            GuardRole::DhcpServer => f.write_str(" dhcp-server")?,
            GuardRole::Trusted => f.write_str(" trusted")?,
        }
        for prefix in &self.prefixes {
            write!(f, " prefix={prefix}")?;
        }
        for (address, mac) in &self.allowed {
            write!(f, " allowed={address}")?;
            if let Some(mac) = mac {
                write!(f, ",{mac}")?;
            }
        }
        for mac in &self.macs {
            write!(f, " mac={mac}")?;
        }
        if self.dhcp_client {
            f.write_str(" dhcp-client")?;
        }
        for (name, rate) in [
            ("neighbour", self.budgets.neighbour),
            ("broadcast", self.budgets.broadcast),
        ] {
            if let Some(rate) = rate {
                write!(f, " {name}={},{}", rate.per_second, rate.burst)?;
            }
        }
        if let Some(groups) = self.budgets.groups {
            write!(f, " groups={groups}")?;
        }
        if self.configured {
            f.write_str(" configured")?;
        }
        match self.multicast {
            None => Ok(()),
            Some(Multicast::None) => f.write_str(" multicast=none"),
            Some(Multicast::LinkLocal) => f.write_str(" multicast=link-local"),
            Some(Multicast::All) => f.write_str(" multicast=all"),
        }
    }
}

impl FromStr for GuardConfig {
    type Err = NotGuard;

    fn from_str(text: &str) -> Result<Self, NotGuard> {
        let mut config = Self::default();
        let mut words = text.split(' ');
        config.switch = match words.next() {
            Some("on") => GuardSwitch::On,
            Some("off") => GuardSwitch::Off,
            Some("mac") => GuardSwitch::Mac,
            _ => return Err(NotGuard),
        };
        for word in words {
            config.word(word)?;
        }
        Ok(config)
    }
}

impl GuardConfig {
    fn word(&mut self, word: &str) -> Result<(), NotGuard> {
        match word.split_once('=').unwrap_or((word, "")) {
            ("router", "") => self.role = GuardRole::Router,
            ("dhcp-server", "") => self.role = GuardRole::DhcpServer,
            ("trusted", "") => self.role = GuardRole::Trusted,
            ("dhcp-client", "") => self.dhcp_client = true,
            ("configured", "") => self.configured = true,
            ("prefix", prefix) => {
                self.prefixes.insert(parsed(prefix)?);
            }
            ("mac", mac) => {
                self.macs.insert(parsed(mac)?);
            }
            ("allowed", pair) => {
                self.allowed.insert(self::pair(pair)?);
            }
            ("neighbour", pair) => self.budgets.neighbour = Some(rate(pair)?),
            ("broadcast", pair) => self.budgets.broadcast = Some(rate(pair)?),
            ("groups", groups) => self.budgets.groups = Some(parsed(groups)?),
            ("multicast", "none") => self.multicast = Some(Multicast::None),
            ("multicast", "link-local") => self.multicast = Some(Multicast::LinkLocal),
            ("multicast", "all") => self.multicast = Some(Multicast::All),
            _ => return Err(NotGuard),
        }
        Ok(())
    }
}

fn pair(text: &str) -> Result<(IpAddr, Option<Mac>), NotGuard> {
    match text.split_once(',') {
        None => Ok((parsed(text)?, None)),
        Some((address, mac)) => Ok((parsed(address)?, Some(parsed(mac)?))),
    }
}

fn rate(text: &str) -> Result<Rate, NotGuard> {
    let (per_second, burst) = text.split_once(',').ok_or(NotGuard)?;
    Ok(Rate {
        per_second: parsed(per_second)?,
        burst: parsed(burst)?,
    })
}

fn parsed<T: FromStr>(text: &str) -> Result<T, NotGuard> {
    text.parse().map_err(|_| NotGuard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_back() {
        for text in [
            "on",
            "off",
            "mac multicast=none",
            "on router prefix=10.9.0.0/24 prefix=fd00:9::/60 multicast=link-local",
            "on dhcp-server allowed=10.1.0.100 allowed=10.1.0.101,00:00:5e:00:01:33 mac=00:00:5e:00:01:33",
            "on trusted dhcp-client configured multicast=all",
            "on neighbour=5,10 broadcast=100,200 groups=64",
        ] {
            let read: GuardConfig = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "",
            "yes",
            "on  router",
            "on prefix=10",
            "on allowed=x",
            "on sailor",
            "on neighbour=5",
            "on groups=0",
        ] {
            assert_eq!(text.parse::<GuardConfig>(), Err(NotGuard), "{text}");
        }
    }
}
