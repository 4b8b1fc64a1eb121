//! Recorded attachments, as an operator names them, and the call a runtime would make about one.

mod asked;
mod kind;
mod subject;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bulkhead_attach::GUARD;
use bulkhead_cni::list::NetworkList;
use bulkhead_ipam::{Access, AttachmentRecord, FileError, Guards, Managed, StaleReason, StateDir};
use bulkhead_model::{AttachmentKey, NetworkName};
use clap::Args;

pub(crate) use asked::Asked;
pub(crate) use kind::{collect, explain, inspect, is_sound, repair};
pub(crate) use subject::Subject;

use crate::daemon::{Daemon, Socket};
use crate::failure::Failure;
use crate::sources::{Network, Sources};

/// What a command about attachments needs to know besides.
#[derive(Args, Debug)]
pub(crate) struct Looked {
    #[command(flatten)]
    pub(crate) socket: Socket,

    #[command(flatten)]
    pub(crate) sources: Sources,

    /// Where runtimes keep the results of ADD (libcni's cache).
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cni")]
    cache_dir: PathBuf,

    /// Where plugins are; may be repeated.
    #[arg(long = "bin-dir", value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dirs: Vec<PathBuf>,
}

/// A recorded attachment.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) record: AttachmentRecord,
    pub(crate) state_dir: PathBuf,
    /// Why it cannot be alive.
    pub(crate) death: Option<StaleReason>,
    list: Option<NetworkList>,
}

impl Found {
    /// The same as it is recorded now; `None` if it is gone, or was added anew.
    pub(crate) fn again(&self, state: &StateDir) -> Result<Option<Self>, Failure> {
        let read = || {
            let Some(known) = state.network(&self.key().network).read()? else {
                return Ok(None);
            };
            let Some(record) = known.find(&self.record.id())? else {
                return Ok(None);
            };
            let death = known.death(&record);
            Ok(Some((record, death)))
        };
        let found = read().map_err(|source| Failure::Store {
            network: self.key().network.clone(),
            source,
        })?;
        let same = found.filter(|(record, _)| record.sequence == self.record.sequence);
        Ok(same.map(|(record, death)| Self {
            record,
            death,
            ..self.clone()
        }))
    }

    pub(crate) const fn key(&self) -> &AttachmentKey {
        &self.record.key
    }

    /// Whether it is more than addresses.
    pub(crate) fn has_kernel_objects(&self) -> bool {
        !kind::has_addresses_only(self)
    }

    /// Whether it is the guard of a port that another plugin made.
    pub(crate) fn is_guard(&self) -> bool {
        self.record.kind == GUARD
    }

    /// `NETWORK/CONTAINER/IFNAME`, which names it alone.
    pub(crate) fn name(&self) -> String {
        crate::ipam::name(self.key())
    }
}

impl Looked {
    /// The daemon that has the attachment's state directory.
    ///
    /// # Errors
    /// What says so cannot be read.
    pub(crate) fn owner(&self, found: &Found) -> Result<Option<Daemon>, Failure> {
        self.socket.owner(&found.state_dir)
    }

    /// Every recorded attachment, or those that `only` names and `network` has, with what could not be
    /// read. In the order of their names.
    ///
    /// # Errors
    /// Nothing is called so; attachments of several containers are.
    pub(crate) fn select(
        &self,
        only: Option<&Subject>,
        network: Option<&NetworkName>,
    ) -> Result<(Vec<Found>, Vec<Failure>), Failure> {
        let (networks, mut failures) = self.sources.select(network)?;
        let mut all = Vec::new();
        for network in networks {
            match attachments_of(&network) {
                Ok(found) => all.extend(found),
                Err(failure) => failures.push(failure),
            }
        }
        all.sort_by_cached_key(Found::name);
        Ok((chosen(all, only, failures.is_empty())?, failures))
    }
}

impl Looked {
    /// As [`Looked::select`] of every network, with the ports of other plugins that are guarded.
    ///
    /// # Errors
    /// As [`Looked::select`].
    pub(crate) fn select_with_guards(
        &self,
        only: Option<&Subject>,
    ) -> Result<(Vec<Found>, Vec<Failure>), Failure> {
        let (all, failures) = with_guards(&self.sources)?;
        Ok((chosen(all, only, failures.is_empty())?, failures))
    }
}

/// Those of `all` that `only` names, of one container; `is_all` says whether nothing is missing in it.
fn chosen(
    mut all: Vec<Found>,
    only: Option<&Subject>,
    is_all: bool,
) -> Result<Vec<Found>, Failure> {
    let Some(only) = only else {
        return Ok(all);
    };
    only.choose(&mut all);
    let mut containers: Vec<_> = all.iter().map(|found| &found.key().container).collect();
    containers.dedup();
    containers.sort_unstable();
    containers.dedup();
    match containers.len() {
        0 if is_all => Err(Failure::NoAttachment(only.to_string())),
        0 | 1 => Ok(all),
        _ => Err(Failure::Ambiguous {
            text: only.to_string(),
            names: all.iter().map(Found::name).collect(),
        }),
    }
}

/// Every recorded attachment with a port, those among them whose ports other plugins made; or those that
/// `only` names, with what could not be read. In the order of their names.
///
/// # Errors
/// Nothing is called so; attachments of several containers are.
pub(crate) fn ports(
    sources: &Sources,
    only: Option<&Subject>,
) -> Result<(Vec<Found>, Vec<Failure>), Failure> {
    let (mut all, failures) = with_guards(sources)?;
    all.retain(|found| found.record.names.port.is_some());
    Ok((chosen(all, only, failures.is_empty())?, failures))
}

/// Every recorded attachment, and every port of other plugins that is guarded.
fn with_guards(sources: &Sources) -> Result<(Vec<Found>, Vec<Failure>), Failure> {
    let (networks, mut failures) = sources.select(None)?;
    let mut dirs = BTreeSet::from([sources.state_dir.clone()]);
    let mut all = Vec::new();
    for network in networks {
        match attachments_of(&network) {
            Ok(found) => all.extend(found),
            Err(failure) => failures.push(failure),
        }
        dirs.insert(network.state_dir);
    }
    for dir in dirs {
        match guarded(&dir) {
            Ok(found) => all.extend(found),
            Err(error) => failures.push(error.into()),
        }
    }
    all.sort_by_cached_key(Found::name);
    Ok((all, failures))
}

/// The ports of other plugins that are guarded.
fn guarded(state_dir: &Path) -> Result<Vec<Found>, FileError> {
    let guards = Guards::of(state_dir);
    let found = guards.all()?.into_iter().map(|record| {
        Ok(Found {
            death: guards.death(&record)?,
            record,
            state_dir: state_dir.to_owned(),
            list: None,
        })
    });
    found.collect()
}

/// Opens a state directory for what must not meet an ADD or DEL. One that a daemon has is the daemon's
/// to change.
pub(crate) fn alone(state_dir: &Path) -> Result<StateDir, Failure> {
    if Managed::path(state_dir).exists() {
        return Err(Failure::Managed(state_dir.to_owned()));
    }
    Ok(StateDir::open(state_dir, Access::Exclusive)?)
}

fn attachments_of(network: &Network) -> Result<Vec<Found>, Failure> {
    let Some(snapshot) = network.read()? else {
        return Ok(Vec::new());
    };
    let read = || {
        let records = snapshot.attachments()?.into_iter();
        Ok(records
            .map(|record| Found {
                death: snapshot.death(&record),
                state_dir: network.state_dir.clone(),
                list: network.list.clone(),
                record,
            })
            .collect())
    };
    read().map_err(|source| Failure::Store {
        network: network.name.clone(),
        source,
    })
}
