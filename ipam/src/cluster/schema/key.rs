//! Keys: where each kind of row stands.

use super::{RowError, Value, decode};
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Key, KeyRange, Row};
use crate::cluster::name::{
    MemberId, NameError, NodeId, ObjectId, ObjectPart, OverlayName, PoolName, ReservationName,
    StickyId,
};

use super::{BlockRow, Wanted};

/// What stands under a key.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Place {
    /// The store itself.
    Meta,
    /// Who removed old audit rows last.
    Janitor,
    /// The last change of pools or reservations by an operator.
    Change,
    /// A pool.
    Pool(PoolName),
    /// A node's fence.
    Fence(NodeId),
    /// What a node says of itself.
    Node(NodeId),
    /// A node's sign of life.
    Live(NodeId),
    /// A block, by its first ordinal.
    Block {
        /// The pool.
        pool: PoolName,
        /// The first ordinal.
        first: u64,
    },
    /// A lease.
    Lease {
        /// The pool.
        pool: PoolName,
        /// The ordinal.
        ordinal: u64,
    },
    /// An ordinal that is kept for somebody.
    Kept {
        /// The pool.
        pool: PoolName,
        /// The ordinal.
        ordinal: u64,
    },
    /// What a node asks of another.
    Ask(AskPlace),
    /// The ordinal that an identity keeps.
    Sticky(StickyId),
    /// A reservation.
    Reservation(ReservationName),
    /// A network that nodes have together.
    Overlay(OverlayName),
    /// A node's end of one.
    Vtep {
        /// The network.
        network: OverlayName,
        /// The node.
        node: NodeId,
    },
    /// An attachment as policies see it.
    Endpoint {
        /// Its network.
        network: ObjectPart,
        /// Its node.
        node: NodeId,
        /// Its id: 26 base32 characters.
        id: ObjectPart,
    },
    /// What a node enforces.
    Applied(NodeId),
    /// How often policies have been changed.
    PolicyRevision,
    /// A policy, or an object that policies speak of.
    Object(ObjectId),
    /// A member of a security group.
    Member(MemberId),
    /// What an encrypted one is keyed by.
    Keys(OverlayName),
    /// Something that happened.
    Audit(AuditPlace),
}

/// Who asks whom for what.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AskPlace {
    /// The block's owner.
    pub owner: NodeId,
    /// Who asks.
    pub asker: NodeId,
    /// The pool.
    pub pool: PoolName,
    /// What is asked for.
    pub wanted: Wanted,
}

/// Where an audit row stands; no two have the same.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AuditPlace {
    /// The pool.
    pub pool: PoolName,
    /// The ordinal, or the block's first.
    pub ordinal: u64,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The node that wrote it, in short.
    pub writer: String,
    /// The writer's own count.
    pub nth: u64,
}

/// The rows of one cluster in a store: all keys begin with a prefix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Schema {
    root: String,
}

impl Default for Schema {
    /// Without anything before it: `/bulkhead/v1/`.
    fn default() -> Self {
        Self::new("").expect("an empty prefix is one")
    }
}

impl Schema {
    /// Longest prefix, so that no key becomes too long.
    pub const LONGEST_PREFIX: usize = 128;

    /// Keys that begin with `prefix` and then `/bulkhead/v1/`; `None` if it is too long or has other
    /// characters than printable ASCII.
    #[must_use]
    pub fn new(prefix: &str) -> Option<Self> {
        let fits = prefix.len() <= Self::LONGEST_PREFIX;
        let root = format!("{}/bulkhead/v1/", prefix.trim_end_matches('/'));
        (fits && Key::new(root.as_str()).is_some()).then_some(Self { root })
    }

    /// What every key begins with.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The key of a place.
    #[must_use]
    pub fn key(&self, place: &Place) -> Key {
        let path = match place {
            Place::Meta => "meta".to_owned(),
            Place::Janitor => "janitor".to_owned(),
            Place::Change => "change".to_owned(),
            Place::Pool(pool) => format!("pools/{pool}"),
            Place::Fence(node) => format!("fences/{node}"),
            Place::Node(node) => format!("nodes/{node}"),
            Place::Live(node) => format!("live/{node}"),
            Place::Block { pool, first } => format!("blocks/{pool}/{first:016x}"),
            Place::Lease { pool, ordinal } => format!("leases/{pool}/{ordinal:016x}"),
            Place::Kept { pool, ordinal } => format!("kept/{pool}/{ordinal:016x}"),
            Place::Ask(ask) => {
                let wanted = match ask.wanted {
                    Wanted::Any => "any".to_owned(),
                    Wanted::Ordinal(ordinal) => format!("{ordinal:016x}"),
                };
                format!("asks/{}/{}/{}/{wanted}", ask.owner, ask.asker, ask.pool)
            }
            Place::Sticky(id) => format!("sticky/{}/{}/{}", id.namespace, id.name, id.network),
            Place::Reservation(name) => format!("reservations/{name}"),
            Place::Overlay(network) => format!("overlays/{network}"),
            Place::Vtep { network, node } => format!("vteps/{network}/{node}"),
            Place::Endpoint { network, node, id } => format!("endpoints/{network}/{node}/{id}"),
            Place::Applied(node) => format!("applied/{node}"),
            Place::PolicyRevision => "policy/revision".to_owned(),
            Place::Object(id) => format!(
                "policy/objects/{}/{}/{}",
                id.kind,
                or_none(id.namespace.as_ref()),
                id.name
            ),
            Place::Member(id) => format!(
                "policy/members/{}/{}/{}/{}",
                id.group,
                id.namespace,
                id.name,
                or_none(id.network.as_ref())
            ),
            Place::Keys(network) => format!("keys/{network}"),
            Place::Audit(audit) => format!(
                "audit/{}/{:016x}/{:013}-{}-{}",
                audit.pool, audit.ordinal, audit.at_unix_ms, audit.writer, audit.nth
            ),
        };
        self.path(&path)
    }

    /// What stands under a key; `None` if no kind of row does.
    #[must_use]
    pub fn place(&self, key: &Key) -> Option<Place> {
        let path = key.as_str().strip_prefix(&self.root)?;
        let parts: Vec<&str> = path.split('/').collect();
        let place = parse(&parts)?;
        // One place has one key: `blocks/p/40` is none, nor is one in upper case.
        (self.key(&place) == *key).then_some(place)
    }

    /// Reads a row whose place is known to be of this kind.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn read<T: Value>(&self, row: &Row) -> Result<(Place, T), RowError> {
        let place = self.place(&row.key).filter(T::belongs);
        let place = place.ok_or_else(|| RowError::Unknown {
            key: row.key.to_string(),
        })?;
        Ok((place, decode(&row.key, &row.value)?))
    }

    /// Reads a block's row.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn read_block(&self, row: &Row) -> Result<(PoolName, Block, BlockRow), RowError> {
        let (place, value) = self.read::<BlockRow>(row)?;
        let Place::Block { pool, first } = place else {
            unreachable!("a block's row stands at a block's place");
        };
        let block = value.block(first).ok_or_else(|| RowError::Damaged {
            key: row.key.to_string(),
            what: format!("bits {} do not go with this first ordinal", value.bits),
        })?;
        Ok((pool, block, value))
    }

    /// Every row.
    #[must_use]
    pub fn everything(&self) -> KeyRange {
        KeyRange::prefix(&self.root)
    }

    /// Every row but one.
    #[must_use]
    pub fn everything_but(&self, key: &Key) -> [KeyRange; 2] {
        let everything = self.everything();
        let after = everything.after(key);
        let before = KeyRange {
            until: key.to_string(),
            ..everything
        };
        [before, after]
    }

    /// Every row of a kind: `pools`, `fences`, `nodes`, `live`, `blocks`, `leases`, `kept`, `asks`,
    /// `sticky`, `reservations`, `overlays`, `vteps`, `keys`, `endpoints`, `applied`, `policy` or `audit`.
    #[must_use]
    pub fn kind(&self, kind: &str) -> KeyRange {
        KeyRange::prefix(&format!("{}{kind}/", self.root))
    }

    /// Every row of a kind that is of `pool`: `blocks`, `leases`, `kept` or `audit`.
    #[must_use]
    pub fn of_pool(&self, kind: &str, pool: &PoolName) -> KeyRange {
        KeyRange::prefix(&format!("{}{kind}/{pool}/", self.root))
    }

    /// The rows of a kind whose ordinals lie in `block`: `blocks` that begin there, `leases` or `kept`.
    #[must_use]
    pub fn within(&self, kind: &str, pool: &PoolName, block: Block) -> KeyRange {
        self.between(kind, pool, block.first(), block.end())
    }

    /// The rows of a kind whose ordinals are `from` or later and before `until`.
    #[must_use]
    pub fn between(&self, kind: &str, pool: &PoolName, from: u64, until: u64) -> KeyRange {
        let at = |ordinal: u64| format!("{}{kind}/{pool}/{ordinal:016x}", self.root);
        KeyRange {
            from: at(from),
            until: at(until),
        }
    }

    /// The nodes' ends of an overlay.
    #[must_use]
    pub fn vteps_of(&self, network: &OverlayName) -> KeyRange {
        KeyRange::prefix(&format!("{}vteps/{network}/", self.root))
    }

    /// The endpoints of a network.
    #[must_use]
    pub fn endpoints_of(&self, network: &ObjectPart) -> KeyRange {
        KeyRange::prefix(&format!("{}endpoints/{network}/", self.root))
    }

    /// The endpoints that a node has on a network.
    #[must_use]
    pub fn endpoints_on(&self, network: &ObjectPart, node: &NodeId) -> KeyRange {
        KeyRange::prefix(&format!("{}endpoints/{network}/{node}/", self.root))
    }

    /// The objects of policies, whatever kind.
    #[must_use]
    pub fn objects(&self) -> KeyRange {
        KeyRange::prefix(&format!("{}policy/objects/", self.root))
    }

    /// The members of security groups, of one or of all.
    #[must_use]
    pub fn members(&self, group: Option<&ObjectPart>) -> KeyRange {
        let below = group.map_or_else(String::new, |group| format!("{group}/"));
        KeyRange::prefix(&format!("{}policy/members/{below}", self.root))
    }

    /// What is asked of a node.
    #[must_use]
    pub fn asks_of(&self, owner: &NodeId) -> KeyRange {
        KeyRange::prefix(&format!("{}asks/{owner}/", self.root))
    }

    /// What happened to one ordinal, or to the blocks that begin there.
    #[must_use]
    pub fn audit_of(&self, pool: &PoolName, ordinal: u64) -> KeyRange {
        KeyRange::prefix(&format!("{}audit/{pool}/{ordinal:016x}/", self.root))
    }

    fn path(&self, path: &str) -> Key {
        let key = Key::new(format!("{}{path}", self.root));
        key.expect("every part is short, printable ASCII")
    }
}

fn parse(parts: &[&str]) -> Option<Place> {
    Some(match parts {
        ["meta"] => Place::Meta,
        ["janitor"] => Place::Janitor,
        ["change"] => Place::Change,
        ["pools", pool] => Place::Pool(pool.parse().ok()?),
        ["fences", node] => Place::Fence(node.parse().ok()?),
        ["nodes", node] => Place::Node(node.parse().ok()?),
        ["live", node] => Place::Live(node.parse().ok()?),
        ["blocks", pool, first] => Place::Block {
            pool: pool.parse().ok()?,
            first: hex(first)?,
        },
        ["leases", pool, ordinal] => Place::Lease {
            pool: pool.parse().ok()?,
            ordinal: hex(ordinal)?,
        },
        ["kept", pool, ordinal] => Place::Kept {
            pool: pool.parse().ok()?,
            ordinal: hex(ordinal)?,
        },
        ["asks", owner, asker, pool, wanted] => Place::Ask(AskPlace {
            owner: owner.parse().ok()?,
            asker: asker.parse().ok()?,
            pool: pool.parse().ok()?,
            wanted: match *wanted {
                "any" => Wanted::Any,
                ordinal => Wanted::Ordinal(hex(ordinal)?),
            },
        }),
        ["sticky", namespace, name, network] => Place::Sticky(StickyId {
            namespace: namespace.parse().ok()?,
            name: name.parse().ok()?,
            network: network.parse().ok()?,
        }),
        ["reservations", name] => Place::Reservation(name.parse().ok()?),
        ["overlays", network] => Place::Overlay(network.parse().ok()?),
        ["vteps", network, node] => Place::Vtep {
            network: network.parse().ok()?,
            node: node.parse().ok()?,
        },
        ["endpoints", network, node, id] => Place::Endpoint {
            network: network.parse().ok()?,
            node: node.parse().ok()?,
            id: id.parse().ok()?,
        },
        ["applied", node] => Place::Applied(node.parse().ok()?),
        ["policy", "revision"] => Place::PolicyRevision,
        ["policy", "objects", kind, namespace, name] => Place::Object(ObjectId {
            kind: kind.parse().ok()?,
            namespace: or_none_of(namespace).ok()?,
            name: name.parse().ok()?,
        }),
        ["policy", "members", group, namespace, name, network] => Place::Member(MemberId {
            group: group.parse().ok()?,
            namespace: namespace.parse().ok()?,
            name: name.parse().ok()?,
            network: or_none_of(network).ok()?,
        }),
        ["keys", network] => Place::Keys(network.parse().ok()?),
        ["audit", pool, ordinal, entry] => audit(pool, ordinal, entry)?,
        _ => return None,
    })
}

/// What stands in a key for a part that there is none of; no name begins with it.
const NONE: &str = "-";

fn or_none(part: Option<&ObjectPart>) -> &str {
    part.map_or(NONE, ObjectPart::as_str)
}

fn or_none_of(text: &str) -> Result<Option<ObjectPart>, NameError> {
    match text {
        NONE => Ok(None),
        part => part.parse().map(Some),
    }
}

fn audit(pool: &str, ordinal: &str, entry: &str) -> Option<Place> {
    let (at, rest) = entry.split_once('-')?;
    let (writer, nth) = rest.rsplit_once('-')?;
    // The writer is a node's short id.
    let _: NodeId = writer.parse().ok()?;
    Some(Place::Audit(AuditPlace {
        pool: pool.parse().ok()?,
        ordinal: hex(ordinal)?,
        at_unix_ms: at.parse().ok()?,
        writer: writer.to_owned(),
        nth: nth.parse().ok()?,
    }))
}

fn hex(text: &str) -> Option<u64> {
    (text.len() == 16)
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten()
}
