//! bulkhead-bridge: its configuration and what it wants of the kernel.
