//! The store as a whole, and what helps somebody who cannot look at the node.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A row as it is kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredRow {
    /// Its key, without a configured prefix: `/bulkhead/v1/pools/default`.
    pub key: String,
    /// Its value, JSON as text.
    pub value: String,
}

/// What became of rows that were put back.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreReport {
    /// Written.
    pub written: u64,
    /// There already, with the same value.
    pub same: u64,
    /// Keys that are there with another value, and were left.
    pub differing: Vec<String>,
}

/// An etcd to move to.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Migration {
    /// Where: `https://10.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// The file of the authority that signed the members' certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The file of the client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// The file of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The user, with a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file with the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// What every key begins with there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// What became of a migration.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MigrateReport {
    /// Rows copied now.
    pub copied: u64,
    /// Rows that were there from an earlier attempt.
    pub same: u64,
    /// What stands in the way, a sentence each; empty if nothing did.
    pub obstacles: Vec<String>,
    /// What the operator has to write into which file, so that the next start serves from there.
    pub configuration: String,
}

/// What reading the configuration anew changed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReloadReport {
    /// Keys that have another value now.
    pub applied: Vec<SettingChange>,
    /// Keys that have another value in the file, and take effect at the next start.
    pub at_restart: Vec<SettingChange>,
}

/// A key of the configuration that has another value. Of a secret neither value is told.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingChange {
    /// Its path: `etcd.endpoints`.
    pub key: String,
    /// What it was.
    #[serde(default)]
    pub before: String,
    /// What it is.
    #[serde(default)]
    pub after: String,
}

/// A part of a file of a support bundle.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SupportPiece {
    /// The file, a relative path: `metrics.txt`. Parts of one file follow each other.
    pub file: String,
    /// The text, to be put behind that of the parts before it.
    pub text: String,
}
