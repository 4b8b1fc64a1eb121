//! A question as a person asks it: `web/a -> db/b:5432/tcp`.

use std::fmt;
use std::net::IpAddr;

use crate::World;
use crate::matrix::{End, Probe};

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
    /// Two addresses outside.
    #[error("neither {0} nor {1} is an endpoint: no policy is about what is between them")]
    Outside(IpAddr, IpAddr),
}

impl Question {
    /// The question that `text` asks about `world`: two ends with `->`, `to` or blanks between them, endpoints
    /// by name or addresses (IPv6 with brackets in front of a port).
    ///
    /// # Errors
    /// [`NoQuestion`] if it has another form, or names nobody.
    pub fn parse(text: &str, world: &World) -> Result<Self, NoQuestion> {
        let form = || NoQuestion::Form(text.to_owned());
        let spaced = text.replace("->", " ");
        let words = spaced.split_whitespace();
        // No endpoint is called so: their names have a slash.
        let mut words = words.filter(|word| *word != "to");
        let (Some(source), Some(rest), None) = (words.next(), words.next(), words.next()) else {
            return Err(form());
        };
        let (destination, probe) = rest.rsplit_once(':').ok_or_else(form)?;
        let probe = probe.parse().map_err(|_| form())?;
        let source = end(source, world)?;
        let destination = end(destination, world)?;
        if let (End::Address(source), End::Address(destination)) = (&source, &destination) {
            return Err(NoQuestion::Outside(*source, *destination));
        }
        Ok(Self {
            source,
            destination,
            probe,
        })
    }
}

fn end(text: &str, world: &World) -> Result<End, NoQuestion> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse() {
        return Ok(End::Address(address));
    }
    let mut named = world.endpoints.keys().filter(|id| id.to_string() == text);
    let id = named
        .next()
        .ok_or_else(|| NoQuestion::Nobody(text.to_owned()))?;
    Ok(End::Endpoint(id.clone()))
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
