//! A question as a person asks it: `web/a -> db/b:5432/tcp`.

use std::fmt;
use std::net::IpAddr;

use bulkhead_model::{Family, PortMapping};

use crate::matrix::{End, Probe};
use crate::{EndpointId, Packet, World};

/// Who asks for what of whom.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Question {
    /// Who sends.
    pub source: End,
    /// Who is to get it.
    pub destination: End,
    /// What.
    pub probe: Probe,
}

/// Why a text is no question.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoQuestion {
    /// It has another form.
    #[error(
        "{0:?} is no question, such as web/a to db/b:5432/tcp; an arrow instead of the word needs quotes, since '>' is the shell's"
    )]
    Form(String),
    /// Nobody is called so.
    #[error("there is no endpoint {0:?} among the objects, and it is no address")]
    Nobody(String),
    /// Several are called so.
    #[error("{name} is on several networks: {}; ask about one", all.join(", "))]
    Several {
        /// What they are called.
        name: String,
        /// All of it.
        all: Vec<String>,
    },
    /// Two addresses outside.
    #[error("neither {0} nor {1} is an endpoint: no policy is about what is between them")]
    Outside(IpAddr, IpAddr),
}

impl Question {
    /// The question that `text` asks about `world`: as [`Question::read`], one of its ends an endpoint.
    ///
    /// # Errors
    /// [`NoQuestion`] if it has another form, or names nobody.
    pub fn parse(text: &str, world: &World) -> Result<Self, NoQuestion> {
        let question = Self::read(text, world)?;
        question.concerns_somebody(world)?;
        Ok(question)
    }

    /// The question that `text` asks: two ends with `->`, `to` or blanks between them, endpoints by name or
    /// addresses (IPv6 with brackets in front of a port). A pod's name is enough where it is on one network.
    ///
    /// # Errors
    /// [`NoQuestion`] if it has another form, or names nobody.
    pub fn read(text: &str, world: &World) -> Result<Self, NoQuestion> {
        let (source, destination, probe) = parts(text)?;
        Ok(Self {
            source: end(source, world)?,
            destination: end(destination, world)?,
            probe,
        })
    }

    /// Whether `text` has the form of a question, whoever is meant.
    ///
    /// # Errors
    /// [`NoQuestion::Form`] if not.
    pub fn is_formed(text: &str) -> Result<(), NoQuestion> {
        parts(text).map(drop)
    }

    /// What is asked once the node with the addresses `own` has sent it on to whom a host port leads, and which
    /// one that is; `None` if none is meant.
    #[must_use]
    pub fn translated<'p>(
        &self,
        ports: impl IntoIterator<Item = (&'p PortMapping, EndpointId)>,
        is_own: impl Fn(IpAddr) -> bool,
    ) -> Option<(Self, &'p PortMapping)> {
        let (End::Address(to), Probe::Port(protocol, port)) = (&self.destination, &self.probe)
        else {
            return None;
        };
        let is_meant = |mapping: &PortMapping| {
            let host = mapping.host;
            host.protocol == *protocol && host.number.get() == *port && host.address.holds(*to)
        };
        let mut ports = ports.into_iter();
        let (mapping, holder) = ports.find(|(mapping, _)| is_meant(mapping) && is_own(*to))?;
        let translated = Self {
            source: self.source.clone(),
            destination: End::Endpoint(holder),
            probe: Probe::Port(*protocol, mapping.container_port.get()),
        };
        Some((translated, mapping))
    }

    /// The packet that it is about, in a family; `None` if there is none.
    #[must_use]
    pub fn packet(&self, world: &World, family: Family) -> Option<Packet> {
        let space = match &self.source {
            End::Endpoint(_) | End::Part(..) => self.source.space(world),
            End::Address(_) => self.destination.space(world),
        };
        Some(Packet {
            space,
            source: self.source.address(world, family)?,
            destination: self.destination.address(world, family)?,
            traffic: self.probe.traffic(world, &self.destination, family)?,
        })
    }

    /// Whether a policy can be about it.
    ///
    /// # Errors
    /// [`NoQuestion::Outside`] if it is about two addresses that nobody has.
    pub fn concerns_somebody(&self, world: &World) -> Result<(), NoQuestion> {
        match (&self.source, &self.destination) {
            (End::Address(source), End::Address(destination)) => {
                let is_anybodys = |address: &IpAddr| {
                    let mut endpoints = world.endpoints.values();
                    endpoints.any(|endpoint| endpoint.holds(*address))
                };
                if is_anybodys(source) || is_anybodys(destination) {
                    return Ok(());
                }
                Err(NoQuestion::Outside(*source, *destination))
            }
            _ => Ok(()),
        }
    }
}

/// Who sends, who is to get it, and what.
fn parts(text: &str) -> Result<(&str, &str, Probe), NoQuestion> {
    let form = || NoQuestion::Form(text.to_owned());
    let words = text.split("->").flat_map(str::split_whitespace);
    // No endpoint is called so: their names have a slash.
    let mut words = words.filter(|word| *word != "to");
    let (Some(source), Some(rest), None) = (words.next(), words.next(), words.next()) else {
        return Err(form());
    };
    let (destination, probe) = rest.rsplit_once(':').ok_or_else(form)?;
    let probe = probe.parse().map_err(|_| form())?;
    Ok((source, destination, probe))
}

fn end(text: &str, world: &World) -> Result<End, NoQuestion> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse() {
        return Ok(End::Address(address));
    }
    if let Some(id) = world.endpoints.keys().find(|id| id.to_string() == text) {
        return Ok(End::Endpoint(id.clone()));
    }
    let mut named: Vec<&EndpointId> = world
        .endpoints
        .keys()
        .filter(|id| text.split_once('/') == Some((&id.namespace, &id.name)))
        .collect();
    match (named.pop(), named.is_empty()) {
        (Some(id), true) => Ok(End::Endpoint(id.clone())),
        (Some(last), false) => {
            let all = named.into_iter().chain([last]);
            Err(NoQuestion::Several {
                name: text.to_owned(),
                all: all.map(ToString::to_string).collect(),
            })
        }
        (None, _) => Err(NoQuestion::Nobody(text.to_owned())),
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            destination,
            probe,
        } = self;
        write!(f, "{source} -> {destination} {probe}")
    }
}
