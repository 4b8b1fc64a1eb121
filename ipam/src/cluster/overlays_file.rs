//! What a node knew last of the networks that it has together with others: what it has to know of them
//! when it boots while the store is away. It decides nothing that the store can be asked about.
//!
//! The file is replaced as a whole: a line with the CRC-32C of the rest, then JSON that people can read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::geometry::Block;
use super::name::{NodeId, OverlayName, PoolName};
use super::schema::{OverlayRow, PoolRow, SCHEMA, VtepRow};
use crate::error::FileError;
use crate::journal::crc::crc32c;
use crate::journal::replace_file;

/// The rows of the store that a node's ends follow from, as they were known at a time.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OverlaysFile {
    /// The schema that it was written in.
    v: u32,
    node: NodeId,
    /// When, in milliseconds since 1970, by the node's clock.
    pub at_unix_ms: u64,
    /// The networks.
    pub overlays: BTreeMap<OverlayName, OverlayRow>,
    /// Their pools.
    pub pools: BTreeMap<PoolName, PoolRow>,
    /// The ends of each network.
    pub vteps: BTreeMap<OverlayName, BTreeMap<NodeId, VtepRow>>,
    /// Who had which block of these pools.
    pub blocks: Vec<KnownBlock>,
    /// Nodes that were declared lost.
    #[serde(default)]
    pub lost: BTreeSet<NodeId>,
}

/// A block, and whose it was.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KnownBlock {
    /// The pool.
    pub pool: PoolName,
    first: u64,
    bits: u8,
    /// The owner.
    pub node: NodeId,
}

/// Why the file is not used.
#[derive(Debug, thiserror::Error)]
pub enum OverlaysFileError {
    /// A later release wrote it.
    #[error(
        "{} has schema {found}, this release reads {SCHEMA}; use the later release, or remove it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
    },
    /// It is not what was written.
    #[error(
        "{} is damaged: {what}; remove it: it is written anew once the cluster's store is read",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// It is another node's.
    #[error("{} is of node {found}, and this is node {node}; it was copied from there: remove it", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who reads it.
        node: NodeId,
    },
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
}

impl KnownBlock {
    /// A block of a node's.
    #[must_use]
    pub fn new(pool: PoolName, block: Block, node: NodeId) -> Self {
        Self {
            pool,
            first: block.first(),
            bits: block.bits(),
            node,
        }
    }

    /// The block; `None` if there is no such one.
    #[must_use]
    pub fn block(&self) -> Option<Block> {
        Block::new(self.first, self.bits)
    }
}

impl OverlaysFile {
    /// One with nothing in it.
    #[must_use]
    pub const fn new(node: NodeId, at_unix_ms: u64) -> Self {
        Self {
            v: SCHEMA,
            node,
            at_unix_ms,
            overlays: BTreeMap::new(),
            pools: BTreeMap::new(),
            vteps: BTreeMap::new(),
            blocks: Vec::new(),
            lost: BTreeSet::new(),
        }
    }

    /// Whether both say the same, whenever that was.
    #[must_use]
    pub fn says_as(&self, other: &Self) -> bool {
        let at_unix_ms = self.at_unix_ms;
        let undated = Self {
            at_unix_ms,
            ..other.clone()
        };
        *self == undated
    }

    /// What is kept in a state directory for `node`; `None` if nothing is.
    ///
    /// # Errors
    /// [`OverlaysFileError`].
    pub fn load(state_dir: &Path, node: &NodeId) -> Result<Option<Self>, OverlaysFileError> {
        let path = Self::path(state_dir);
        match fs::read(&path) {
            Ok(bytes) => Self::decode(&bytes, &path, node).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::at("read", &path)(error).into()),
        }
    }

    /// Keeps it in a state directory, durably.
    ///
    /// # Errors
    /// What the system refused; the one before is kept then.
    pub fn save(&self, state_dir: &Path) -> Result<(), FileError> {
        replace_file(&Self::path(state_dir), &self.encode()).map(drop)
    }

    /// Keeps none.
    ///
    /// # Errors
    /// What the system refused.
    pub fn remove(state_dir: &Path) -> Result<(), FileError> {
        let path = Self::path(state_dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(FileError::at("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("overlays")
    }

    fn encode(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("it has text keys");
        json.push(b'\n');
        let mut bytes = format!("{:08x}\n", crc32c(&[&json])).into_bytes();
        bytes.append(&mut json);
        bytes
    }

    fn decode(bytes: &[u8], path: &Path, node: &NodeId) -> Result<Self, OverlaysFileError> {
        #[derive(Deserialize)]
        struct Version {
            v: u64,
        }
        let damaged = |what: String| OverlaysFileError::Damaged {
            path: path.to_owned(),
            what,
        };
        let json = checked(bytes).map_err(|what| damaged(what.to_owned()))?;
        let version: Version =
            serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))?;
        if version.v > u64::from(SCHEMA) {
            return Err(OverlaysFileError::Newer {
                path: path.to_owned(),
                found: version.v,
            });
        }
        let file: Self =
            serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))?;
        if file.node == *node {
            return Ok(file);
        }
        Err(OverlaysFileError::Foreign {
            path: path.to_owned(),
            found: file.node,
            node: node.clone(),
        })
    }
}

/// What stands behind the first line, if it is what the line says.
fn checked(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let (line, json) = bytes.split_at_checked(9).ok_or("it is cut off")?;
    let said = str::from_utf8(&line[..8]).ok();
    let said = said.and_then(|text| u32::from_str_radix(text, 16).ok());
    match said {
        Some(said) if line[8] == b'\n' && said == crc32c(&[json]) => Ok(json),
        _ => Err("its first line is not the checksum of the rest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::geometry::{Geometry, Layout, Subnet};
    use crate::testing::TempDir;

    fn node(nth: u8) -> NodeId {
        format!("{nth:032x}").parse().unwrap()
    }

    fn file() -> OverlaysFile {
        let mut file = OverlaysFile::new(node(1), 7);
        let (pods, pool) = ("pods".parse::<OverlayName>().unwrap(), "default");
        let pool: PoolName = pool.parse().unwrap();
        let overlay =
            r#"{"vni":7,"port":4789,"pools":["default"],"by":"00000000000000000000000000000001"}"#;
        file.overlays
            .insert(pods.clone(), serde_json::from_str(overlay).unwrap());
        let vtep = r#"{"name":"n2","epoch":1,"underlay":"192.0.2.2","mac":"02:00:00:00:00:02","mtu":1450}"#;
        let ends = file.vteps.entry(pods).or_default();
        ends.insert(node(2), serde_json::from_str(vtep).unwrap());
        let geometry = Geometry::new(Layout {
            v4: Some(Subnet::of("10.4.0.0/16".parse().unwrap())),
            v6: None,
            block_bits: 4,
            reserved: Vec::new(),
            node_addresses: true,
        });
        let row = PoolRow::new(geometry.unwrap());
        file.pools.insert(pool.clone(), row);
        let block = Block::new(16, 4).unwrap();
        file.blocks.push(KnownBlock::new(pool, block, node(2)));
        file
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let dir = TempDir::new("overlays");
        assert_eq!(OverlaysFile::load(dir.path(), &node(1)).unwrap(), None);
        file().save(dir.path()).unwrap();
        let read = OverlaysFile::load(dir.path(), &node(1)).unwrap();
        assert_eq!(read, Some(file()));
        OverlaysFile::remove(dir.path()).unwrap();
        OverlaysFile::remove(dir.path()).unwrap();
        assert_eq!(OverlaysFile::load(dir.path(), &node(1)).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_damaged_in_any_byte_or_cut_off_is_refused() {
        let bytes = file().encode();
        let path = Path::new("/state/overlays");
        let refused = |bytes: &[u8]| {
            let error = OverlaysFile::decode(bytes, path, &node(1)).unwrap_err();
            assert!(
                matches!(error, OverlaysFileError::Damaged { .. }),
                "{error}"
            );
        };
        for nth in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[nth] ^= 0x10;
            refused(&damaged);
            refused(&bytes[..nth]);
        }
    }

    #[test]
    fn a_later_schema_and_another_nodes_file_are_refused_by_name() {
        let path = Path::new("/state/overlays");
        let said = |file: &OverlaysFile, node: &NodeId| {
            let error = OverlaysFile::decode(&file.encode(), path, node);
            error.unwrap_err().to_string()
        };
        let mut later = file();
        later.v = SCHEMA + 1;
        let expected = format!("/state/overlays has schema {}, ", SCHEMA + 1);
        assert!(said(&later, &node(1)).starts_with(&expected));
        let foreign = said(&file(), &node(3));
        assert!(foreign.starts_with(&format!("/state/overlays is of node {}", node(1))));
    }

    #[test]
    fn the_time_says_nothing() {
        let mut later = file();
        later.at_unix_ms += 1;
        assert!(file().says_as(&later));
        later.lost.insert(node(2));
        assert!(!file().says_as(&later));
    }
}
