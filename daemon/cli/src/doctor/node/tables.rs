//! The kernel's neighbour tables: one of each family for all namespaces of the machine.

use std::fs;

/// How full one is (`neigh_stat_seq_show`, `net/core/neighbour.c`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Table {
    /// Entries, permanent ones among them.
    pub(crate) entries: u64,
    /// Entries that were refused because it was full, since the machine started.
    pub(crate) refused: u64,
}

/// Both; `None` where the kernel does not say: only the machine's own namespace has them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) v4: Option<Table>,
    pub(crate) v6: Option<Table>,
}

impl Tables {
    pub(super) fn read() -> Self {
        let table =
            |name| Table::parse(&fs::read_to_string(format!("/proc/net/stat/{name}")).ok()?);
        Self {
            v4: table("arp_cache"),
            v6: table("ndisc_cache"),
        }
    }
}

impl Table {
    /// A line of names, then one for each processor, in hexadecimal. Entries are the same on each.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let names: Vec<_> = lines.next()?.split_whitespace().collect();
        let column = |name| names.iter().position(|known| *known == name);
        let (entries, refused) = (column("entries")?, column("table_fulls"));
        let mut table = Self::default();
        for line in lines {
            let words: Vec<_> = line.split_whitespace().collect();
            let number = |at: usize| u64::from_str_radix(words.get(at)?, 16).ok();
            table.entries = number(entries)?;
            table.refused += refused.and_then(number).unwrap_or_default();
        }
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_counts_is_read() {
        let text = "entries  allocs   hits     table_fulls\n\
                    00000026 000a4565 00028bfc 0000000a\n\
                    00000026 000a494c 00000000 00000002\n";
        let table = Table {
            entries: 0x26,
            refused: 12,
        };
        assert_eq!(Table::parse(text), Some(table));
        // Kernels before 4.5 do not count refusals.
        let older = Table::parse("entries allocs\n00000003 00000001\n").unwrap();
        assert_eq!((older.entries, older.refused), (3, 0));
        assert_eq!(Table::parse(""), None);
    }
}
