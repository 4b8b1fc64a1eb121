//! Sandboxes, topologies, packets and captures for tests, the demo and the benchmarks.
