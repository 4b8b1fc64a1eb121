//! Calls that are about to have a network, and the pass that takes the node's end of it back: what the others
//! are told is written by one and deleted by the other, and neither may undo what the other has just done.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Instant;

use bulkhead_cni::CniError;
use bulkhead_model::NetworkName;

use super::Overlays;

/// Who is at it. Of one network there are calls that come or a pass that goes, never both.
#[derive(Debug, Default)]
pub(super) struct Doors {
    /// How many calls are between their word to the others and their place among the members.
    coming: BTreeMap<NetworkName, usize>,
    /// The network whose word to the others is being taken back: there is one pass at a time.
    going: Option<NetworkName>,
}

impl Doors {
    /// Whether a call may come now; it is counted then.
    fn comes(&mut self, network: &NetworkName) -> bool {
        if self.going.as_ref() == Some(network) {
            return false;
        }
        *self.coming.entry(network.clone()).or_default() += 1;
        true
    }

    /// A call is a member, or has failed.
    fn came(&mut self, network: &NetworkName) {
        if let Some(count) = self.coming.get_mut(network) {
            *count -= 1;
            if *count == 0 {
                self.coming.remove(network);
            }
        }
    }

    /// Whether the network may go now; nobody comes then until it has gone.
    fn goes(&mut self, network: &NetworkName) -> bool {
        if self.coming.contains_key(network) {
            return false;
        }
        self.going = Some(network.clone());
        true
    }
}

/// A call that comes.
pub(super) struct Coming<'o> {
    overlays: &'o Overlays,
    network: &'o NetworkName,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.overlays.state().doors.came(self.network);
    }
}

/// A network that goes.
pub(super) struct Going<'o>(&'o Overlays);

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.0.state().doors.going = None;
        self.0.news.notify_all();
    }
}

impl Overlays {
    /// Holds the network here, once nothing of it is being taken back.
    ///
    /// # Errors
    /// Code 11 if that takes longer than until then.
    pub(super) fn come<'o>(
        &'o self,
        network: &'o NetworkName,
        until: Instant,
    ) -> Result<Coming<'o>, CniError> {
        let mut state = self.state();
        while !state.doors.comes(network) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.ends() {
                return Err(CniError::try_again(format!(
                    "network {network}: the store does not answer while this node's former end is taken back; try again"
                )));
            }
            let waited = self.news.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        Ok(Coming {
            overlays: self,
            network,
        })
    }

    /// Keeps calls from having the network while it goes; `None` if one has it, or is about to.
    pub(super) fn go(&self, network: &NetworkName) -> Option<Going<'_>> {
        let mut state = self.state();
        let may_go = !state.members.contains_key(network) && state.doors.goes(network);
        drop(state);
        may_go.then(|| Going(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_somebody_comes_to_does_not_go_and_one_that_goes_is_waited_for() {
        let (blue, red): (NetworkName, NetworkName) =
            ("blue".parse().unwrap(), "red".parse().unwrap());
        let mut doors = Doors::default();
        assert!(doors.comes(&blue) && doors.comes(&blue));
        doors.came(&blue);
        assert!(!doors.goes(&blue), "the other call has not come yet");
        assert!(doors.goes(&red));
        assert!(doors.comes(&blue) && !doors.comes(&red));
        doors.going = None;
        assert!(doors.comes(&red));
        doors.came(&blue);
        doors.came(&blue);
        assert!(doors.goes(&blue));
    }
}
