//! `bulkhead-vxlan` over several nodes whose underlay is routed.

mod bridged;
mod doctor;
mod heal;
mod outage;
mod reach;
