//! Several nodes and a real etcd.

mod hammer;
mod overlay;
