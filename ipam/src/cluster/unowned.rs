//! What a transaction compares so that no row covers any ordinal of a block.

use super::geometry::Block;
use super::kv::{Compare, Revision};
use super::name::PoolName;
use super::schema::{Place, Schema};

/// That no block begins inside `block`, and that the rows under which a larger one could cover it, of at
/// most 2^`largest_bits` ordinals, are as they were `seen`: none of these covers it.
pub(super) fn nobodys(
    schema: &Schema,
    pool: &PoolName,
    block: Block,
    largest_bits: u8,
    seen: &[(Block, Revision)],
) -> Vec<Compare> {
    debug_assert!(
        seen.iter().all(|(other, _)| !other.overlaps(block)),
        "a block that is somebody's is compared to be nobody's"
    );
    let mut when = vec![Compare::NoneIn(schema.within("blocks", pool, block))];
    for ancestor in block.ancestors(largest_bits) {
        let first = ancestor.first();
        let seen = seen.iter().find(|(block, _)| block.first() == first);
        let pool = pool.clone();
        let key = schema.key(&Place::Block { pool, first });
        let revision = seen.map_or(Revision(0), |(_, revision)| *revision);
        when.push(Compare::Modified(key, revision));
    }
    when
}
