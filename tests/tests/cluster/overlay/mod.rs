//! `bulkhead-vxlan` over several nodes whose underlay is routed.

mod heal;
mod outage;
mod reach;
