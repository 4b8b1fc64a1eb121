//! The plugin executable: looks at the name it was called by.
fn main() {}
