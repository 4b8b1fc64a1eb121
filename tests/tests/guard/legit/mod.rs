//! Exchanges that must work on every ground, each on a lab of its own. The container that attacks
//! elsewhere is an honest host here.

mod flows;
mod messages;
mod roles;
mod tools;
