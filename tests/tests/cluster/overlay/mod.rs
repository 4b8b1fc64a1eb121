//! `bulkhead-vxlan` over several nodes whose underlay is routed.

mod doctor;
mod encrypted;
mod heal;
mod options;
mod outage;
mod reach;
