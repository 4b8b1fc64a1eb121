//! The table in the kernel, from one world to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_kernel::{ApplyError, Deletion, Kernel, ObserveError};
use bulkhead_nft::{Command, Policy, Standing, Table, Transaction, change};
use bulkhead_plan::{Ns, Op, Plan};
use bulkhead_policy::compile::{Change, Device, Judge, Said, table_id};
use bulkhead_policy::interpret::{run, said};
use bulkhead_policy::{Changes, Compiler, Decision, Local, Packet, Ruleset, World};

/// Why the kernel does not enforce what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// What it should enforce is not known.
    #[error(
        "it is not known yet what policies there are: the cluster's store was not read since bulkheadd started"
    )]
    Unknown,
    /// It does not tell what it enforces.
    #[error("the kernel's table of policies is not read")]
    Read(#[from] ObserveError),
    /// It does not take what is to be enforced.
    #[error("the kernel's table of policies is not changed")]
    Commit(#[source] Box<ApplyError>),
}

/// What stands in the kernel, as far as it is known.
#[derive(Debug)]
enum Stands {
    /// Whatever an earlier daemon, or somebody else, has left.
    Unknown,
    Nothing,
    This(Box<Table>),
}

/// The table, and whoever changes it.
#[derive(Debug)]
pub(super) struct Stand {
    /// A socket of its own, which stays.
    kernel: Kernel,
    stands: Stands,
    /// What the verdicts of the table stand for.
    pub(super) outcomes: BTreeMap<String, Said>,
    cut_is_due: bool,
    compiler: Compiler,
}

impl Stand {
    pub(super) fn unknown() -> Self {
        Self {
            kernel: Kernel::new(Deletion::Blocking),
            stands: Stands::Unknown,
            outcomes: BTreeMap::new(),
            // Who was there before may have forbidden something, and not have come to it.
            cut_is_due: true,
            compiler: Compiler::default(),
        }
    }

    pub(super) const fn is_unknown(&self) -> bool {
        matches!(self.stands, Stands::Unknown)
    }

    /// What stands is not known any more.
    pub(super) fn forget(&mut self) {
        self.stands = Stands::Unknown;
    }

    /// Brings the table to what `world` says, of which no more than `changes` is otherwise than in the last one, or
    /// everything may be; without endpoints there is none.
    pub(super) fn bring_to(
        &mut self,
        world: &World,
        local: &Local,
        changes: Option<&Changes>,
    ) -> Result<(), Trouble> {
        let followed = changes.filter(|_| !self.is_unknown());
        let change = followed.and_then(|changes| self.compiler.follow(world, local, changes));
        let whole = match change {
            None => self.compiler.compile(world, local),
            Some(change) => {
                if matches!(self.stands, Stands::This(_)) && !local.endpoints.is_empty() {
                    return self.bring_on(change);
                }
                let followed = self.compiler.ruleset();
                followed.unwrap_or_else(|| self.compiler.compile(world, local))
            }
        };
        self.bring_whole(whole, local)
    }

    fn bring_on(&mut self, change: Change) -> Result<(), Trouble> {
        self.commit(change.commands.clone())?;
        if let Stands::This(table) = &mut self.stands {
            change.apply(table, &mut self.outcomes);
        }
        Ok(())
    }

    fn bring_whole(&mut self, ruleset: Ruleset, local: &Local) -> Result<(), Trouble> {
        let wanted = (!local.endpoints.is_empty()).then_some(ruleset.table);
        if self.is_unknown() {
            self.stands = self.found(wanted.as_ref())?;
        }
        let commands = match (&self.stands, &wanted) {
            (Stands::Nothing, None) => Vec::new(),
            (Stands::Nothing, Some(table)) => vec![Command::AddTable(table.clone())],
            (Stands::This(_), None) => vec![Command::DeleteTable(table_id())],
            (Stands::This(before), Some(table)) => change(before, table),
            (Stands::Unknown, Some(table)) => vec![Command::ReplaceTable(table.clone())],
            (Stands::Unknown, None) => {
                let empty = Table::new(table_id());
                vec![
                    Command::ReplaceTable(empty),
                    Command::DeleteTable(table_id()),
                ]
            }
        };
        self.commit(commands)?;
        self.stands = wanted.map_or(Stands::Nothing, |table| Stands::This(Box::new(table)));
        self.outcomes = ruleset.outcomes;
        Ok(())
    }

    /// What an earlier daemon left, if it is exactly what is wanted.
    fn found(&mut self, wanted: Option<&Table>) -> Result<Stands, Trouble> {
        let standing = self.kernel.standing(&table_id())?;
        Ok(match (standing, wanted) {
            (None, _) => Stands::Nothing,
            (Some(standing), Some(table)) if standing == Standing::of(table, &|_| 0) => {
                Stands::This(Box::new(table.clone()))
            }
            (Some(_), _) => Stands::Unknown,
        })
    }

    /// Nobody is left that anything is enforced for.
    pub(super) fn clear(&mut self) -> Result<(), Trouble> {
        self.stands = self.found(None)?;
        if !matches!(self.stands, Stands::Nothing) {
            self.commit(vec![Command::DeleteTable(table_id())])?;
            self.stands = Stands::Nothing;
        }
        Ok(())
    }

    fn commit(&mut self, commands: Vec<Command>) -> Result<(), Trouble> {
        if commands.is_empty() {
            return Ok(());
        }
        let narrows = commands.iter().any(may_narrow);
        let op = Op::Nft {
            ns: Ns::Host,
            transaction: Transaction(commands),
            generation: None,
        };
        let applied = self.kernel.apply(&Plan::new(vec![op]));
        applied.map_err(|error| {
            // It is as it was, or as somebody else has made it.
            self.stands = Stands::Unknown;
            Trouble::Commit(Box::new(error))
        })?;
        self.cut_is_due |= narrows;
        Ok(())
    }

    /// What is otherwise in the kernel; `None` if nothing should be there.
    pub(super) fn differences(&mut self) -> Result<Option<Vec<String>>, Trouble> {
        let Stands::This(table) = &self.stands else {
            return match self.stands {
                Stands::Unknown => Err(Trouble::Unknown),
                _ => Ok(None),
            };
        };
        let should = Standing::of(table, &|_| 0);
        let standing = self.kernel.standing(&table_id())?.unwrap_or_default();
        Ok(Some(standing.differences(&should)))
    }

    /// What the table does to a packet from and to these devices, and what is said on the way.
    pub(super) fn judged(
        &self,
        packet: &Packet,
        devices: (Option<Device>, Option<Device>),
        own: &BTreeSet<IpAddr>,
    ) -> Option<(Decision, Vec<String>)> {
        let Stands::This(table) = &self.stands else {
            return None;
        };
        let evaluation = run(table, packet, devices, |address| own.contains(&address));
        let evaluation = evaluation.ok().flatten()?;
        let decision = match evaluation.verdict {
            Policy::Accept => Decision::Allow,
            Policy::Drop => Decision::Deny,
        };
        Some((decision, said(&self.outcomes, &evaluation)))
    }

    /// Who tells what is no longer allowed, once after each change that may have forbidden something, as soon as
    /// that stands.
    pub(super) fn due_to_cut(&mut self) -> Option<Judge> {
        let is_due = self.cut_is_due && !self.is_unknown();
        is_due.then(|| {
            self.cut_is_due = false;
            self.compiler.judge()
        })
    }

    /// It was not done.
    pub(super) const fn is_not_cut(&mut self) {
        self.cut_is_due = true;
    }
}

/// Whether something that was allowed may be forbidden now: what only adds allows no less, and what a chain decides
/// is in its name, so that one with other rules tells something else and no more.
fn may_narrow(command: &Command) -> bool {
    !matches!(
        command,
        Command::AddElements { .. }
            | Command::AddSet { .. }
            | Command::AddChain { .. }
            | Command::SetRules { .. }
    )
}
