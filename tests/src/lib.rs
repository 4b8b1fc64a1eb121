//! Tests of the whole: spec, kernel, runtimes.
