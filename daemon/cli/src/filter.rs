//! Which rows of a list are wanted.

use bulkhead_ipam::wire::admin::Filter;
use clap::Args;

/// Of leases and what is about them. Rows have all of what is given.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FilterArgs {
    #[command(flatten)]
    place: PlaceArgs,

    /// Only those of pods of this namespace.
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Only those of the pod of this name.
    #[arg(long, value_name = "POD")]
    pod: Option<String>,

    /// Only those of this network.
    #[arg(long = "network", value_name = "NETWORK", id = "filter_network")]
    network: Option<String>,
}

/// Of blocks.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PlaceArgs {
    /// Only those of this node: its name, its id, or the beginning of its id.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,

    /// Only those of this pool.
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
}

impl FilterArgs {
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            network: self.network.clone(),
            ..self.place.filter()
        }
    }
}

impl PlaceArgs {
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            node: self.node.clone(),
            pool: self.pool.clone(),
            ..Filter::default()
        }
    }
}
