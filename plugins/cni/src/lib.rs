//! The CNI specification: environment, stdin, versions, results, error codes, delegation.
