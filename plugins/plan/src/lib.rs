//! World (is), Want (should be), and the plan that leads from one to the other. Pure.
