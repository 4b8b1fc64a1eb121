//! Freed addresses in the order of their release, cheap to clone.

use std::net::IpAddr;
use std::sync::Arc;

use super::overlay::FreedAt;

/// Entries copied by a change after a clone.
const CHUNK: usize = 64;

/// The list. Sequences rise from one to the next, or stay.
#[derive(Clone, Debug, Default)]
pub(crate) struct FreedList {
    chunks: Arc<Vec<Arc<Vec<Arc<FreedAt>>>>>,
    len: usize,
}

impl FreedList {
    /// Adds the latest.
    pub(crate) fn push(&mut self, freed: Arc<FreedAt>) {
        let chunks = Arc::make_mut(&mut self.chunks);
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => Arc::make_mut(chunk).push(freed),
            _ => chunks.push(Arc::new(vec![freed])),
        }
        self.len += 1;
    }

    /// Takes out the one that was freed under this sequence, if it is in the list.
    pub(crate) fn remove(&mut self, sequence: u64, address: IpAddr) {
        let before = |chunk: &Arc<Vec<Arc<FreedAt>>>| {
            chunk.last().is_some_and(|last| last.sequence < sequence)
        };
        let first = self.chunks.partition_point(before);
        let may_have = |chunk: &&Arc<Vec<Arc<FreedAt>>>| {
            chunk
                .first()
                .is_some_and(|first| first.sequence <= sequence)
        };
        let chunks = self.chunks[first..].iter().take_while(may_have);
        let found = chunks.enumerate().find_map(|(nth, chunk)| {
            let is_it =
                |freed: &Arc<FreedAt>| freed.sequence == sequence && freed.address == address;
            chunk.iter().position(is_it).map(|at| (first + nth, at))
        });
        let Some((nth, at)) = found else {
            return;
        };
        let chunks = Arc::make_mut(&mut self.chunks);
        Arc::make_mut(&mut chunks[nth]).remove(at);
        if chunks[nth].is_empty() {
            chunks.remove(nth);
        }
        self.len -= 1;
    }

    /// The oldest.
    pub(crate) fn first(&self) -> Option<&Arc<FreedAt>> {
        self.iter().next()
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// All, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<FreedAt>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::record::BootId;

    #[test]
    fn a_clone_keeps_what_the_other_takes_out() {
        let mut list = FreedList::default();
        let mut model = Vec::new();
        for nth in 0..1000_u32 {
            let freed = Arc::new(FreedAt {
                address: Ipv4Addr::from_bits(nth).into(),
                sequence: u64::from(nth / 3),
                since_boot_ms: 0,
                boot: BootId("a".to_owned()),
            });
            list.push(Arc::clone(&freed));
            model.push(freed);
        }
        let (whole, all) = (list.clone(), model.clone());
        for nth in (0..1000).filter(|nth| nth % 7 != 0) {
            list.remove(all[nth].sequence, all[nth].address);
            model.retain(|freed| freed.address != all[nth].address);
            // Not there any more.
            list.remove(all[nth].sequence, all[nth].address);
        }
        let addresses = |list: &FreedList| list.iter().map(|f| f.address).collect::<Vec<_>>();
        assert!(
            addresses(&list)
                .into_iter()
                .eq(model.iter().map(|f| f.address))
        );
        assert_eq!((list.len(), whole.len()), (143, 1000));
        assert_eq!(whole.first().unwrap().address, all[0].address);
        assert!(
            addresses(&whole)
                .into_iter()
                .eq(all.iter().map(|f| f.address))
        );
    }
}
