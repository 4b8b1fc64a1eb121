//! Pools, blocks, leases and their allocation; the journal and the embedded store.
