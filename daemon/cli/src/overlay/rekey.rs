//! `bulkhead overlay rekey`.

use bulkhead_ipam::wire::admin::Request;
use clap::Args;

use crate::daemon::Reach;
use crate::done::Done;
use crate::failure::Failure;

#[derive(Args, Debug)]
pub(crate) struct RekeyArgs {
    /// The network.
    network: String,

    #[command(flatten)]
    reach: Reach,
}

impl RekeyArgs {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let request = Request::OverlayRekey {
            network: self.network.clone(),
        };
        let notes = self.reach.daemon()?.done(&request)?;
        Ok(Done::new(
            format!("network {}", self.network),
            "has a new key",
            notes,
        ))
    }
}
