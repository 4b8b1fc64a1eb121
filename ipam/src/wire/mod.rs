//! What goes over the node daemon's socket.

pub mod admin;
