//! `bulkhead-vxlan` over several nodes whose underlay is routed.

mod doctor;
mod encrypted;
mod heal;
mod outage;
mod reach;
