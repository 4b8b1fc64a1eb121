//! One CNI call's life: lock, lease, observe, plan, apply, verify, answer.
