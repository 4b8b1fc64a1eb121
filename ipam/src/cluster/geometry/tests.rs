use super::*;

fn subnet(prefix: &str) -> Subnet {
    Subnet::of(prefix.parse().unwrap())
}

fn layout(v4: Option<&str>, v6: Option<&str>, block_bits: u8) -> Layout {
    Layout {
        v4: v4.map(subnet),
        v6: v6.map(subnet),
        block_bits,
        reserved: Vec::new(),
        node_addresses: false,
    }
}

fn geometry(v4: Option<&str>, v6: Option<&str>, block_bits: u8) -> Geometry {
    Geometry::new(layout(v4, v6, block_bits)).unwrap()
}

fn refusal(layout: Layout) -> String {
    Geometry::new(layout).unwrap_err().to_string()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn an_ordinal_is_one_address_of_each_family() {
    let dual = geometry(Some("10.4.0.0/16"), Some("fd00:4::/64"), 6);
    assert_eq!((dual.size_bits(), dual.size()), (16, 65_536));
    assert_eq!(
        dual.addresses(9),
        [address("10.4.0.9"), address("fd00:4::9")]
    );
    assert_eq!(dual.ordinal(address("10.4.1.0")), Some(256));
    assert_eq!(dual.ordinal(address("fd00:4::100")), Some(256));
    assert_eq!(dual.ordinal(address("fd00:4::1:0")), None);
    assert_eq!(dual.ordinal(address("10.5.0.0")), None);
    assert_eq!(dual.addresses(65_536), [] as [IpAddr; 0]);
    let leased = dual.leased(9);
    assert_eq!(leased[0].address.to_string(), "10.4.0.9/16");
    assert_eq!(leased[0].gateway, Some(address("10.4.0.1")));
    assert_eq!(leased[1].address.to_string(), "fd00:4::9/64");
    assert_eq!((leased[0].range, leased[1].range), (0, 1));
}

#[test]
fn conversions_go_both_ways() {
    for pool in [
        geometry(Some("10.4.0.0/22"), None, 6),
        geometry(None, Some("fd00::/64"), 8),
        geometry(Some("10.4.0.0/24"), Some("fd00::/120"), 8),
        geometry(Some("10.4.0.8/31"), None, 0),
    ] {
        let last = pool.size() - 1;
        for ordinal in [0, 1, 2, 7, 63, 64, 255, 1023, last].map(|n| n.min(last)) {
            for address in pool.addresses(ordinal) {
                assert_eq!(pool.ordinal(address), Some(ordinal));
            }
        }
    }
}

#[test]
fn a_pool_of_ipv6_alone_ends_at_2_to_the_40() {
    let pool = geometry(None, Some("fd00::/64"), 6);
    assert_eq!(pool.size_bits(), 40);
    assert_eq!(
        pool.ordinal(address("fd00::ff:ffff:ffff")),
        Some((1 << 40) - 1)
    );
    assert_eq!(pool.ordinal(address("fd00::100:0:0")), None);
    assert_eq!(pool.ordinal(address("fd00::ffff:ffff:ffff:ffff")), None);
}

#[test]
fn ends_gateways_and_reserved_spans_are_never_given_out() {
    let mut layout = layout(Some("10.4.0.0/24"), Some("fd00:4::/64"), 6);
    layout.reserved = vec![
        "10.4.0.8-10.4.0.15".parse().unwrap(),
        "fd00:4::10".parse().unwrap(),
    ];
    let pool = Geometry::new(layout).unwrap();
    let unusable: Vec<u64> = (0..256).filter(|at| !pool.is_usable(*at)).collect();
    assert_eq!(unusable, [0, 1, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255]);
    assert_eq!(
        pool.unusable(0).unwrap().to_string(),
        "10.4.0.0 is the first or last of its prefix"
    );
    assert_eq!(
        pool.unusable(1).unwrap().to_string(),
        "10.4.0.1 is the gateway"
    );
    assert_eq!(
        pool.unusable(12).unwrap().to_string(),
        "the pool reserves 10.4.0.8-10.4.0.15"
    );
    assert_eq!(
        pool.unusable(16).unwrap().to_string(),
        "the pool reserves fd00:4::10"
    );
    assert_eq!(pool.unusable(256), Some(Unusable::Outside));
    assert_eq!(pool.unusable(17), None);
    for block in [0, 64, 192].map(|first| Block::new(first, 6).unwrap()) {
        let count = block.ordinals().filter(|at| pool.is_usable(*at)).count();
        assert_eq!(pool.usable(block), count as u64);
    }
}

#[test]
fn the_first_of_each_block_may_be_of_its_node() {
    let mut layout = layout(Some("10.4.0.0/24"), Some("fd00:4::/64"), 4);
    layout.node_addresses = true;
    layout.reserved = vec!["10.4.0.30-10.4.0.40".parse().unwrap()];
    let pool = Geometry::new(layout.clone()).unwrap();
    assert_eq!(
        pool.unusable(16).unwrap().to_string(),
        "10.4.0.16 is of the node whose block it is the first of"
    );
    // Also that which no container would have anyway: the network's address is an address to a node.
    assert_eq!(pool.unusable(0), Some(Unusable::End(address("10.4.0.0"))));
    let unusable: Vec<u64> = (0..50).filter(|at| !pool.is_usable(*at)).collect();
    assert_eq!(
        unusable,
        [vec![0, 1, 16], (30..=40).collect(), vec![48]].concat()
    );
    for (first, bits) in [
        (0, 4),
        (0, 6),
        (16, 4),
        (24, 3),
        (32, 4),
        (32, 5),
        (240, 4),
        (0, 8),
    ] {
        let block = Block::new(first, bits).unwrap();
        let count = block.ordinals().filter(|at| pool.is_usable(*at)).count();
        assert_eq!(pool.usable(block), count as u64, "{block:?}");
    }
    let of_node = |first, bits| pool.node_addresses(Block::new(first, bits).unwrap());
    assert_eq!(of_node(0, 4), [address("10.4.0.0"), address("fd00:4::")]);
    assert_eq!(
        of_node(48, 3),
        [address("10.4.0.48"), address("fd00:4::30")]
    );
    // Somebody else may have what is reserved, 10.4.0.32.
    assert_eq!(of_node(32, 4), [] as [IpAddr; 0]);
    // A part that is lent has the first of nothing.
    assert_eq!(of_node(56, 3), [] as [IpAddr; 0]);
    let without = geometry(Some("10.4.0.0/24"), None, 4);
    assert_eq!(
        without.node_addresses(Block::new(16, 4).unwrap()),
        [] as [IpAddr; 0]
    );
    assert_eq!(without.usable(Block::new(16, 4).unwrap()), 16);
    layout.block_bits = 0;
    assert_eq!(
        refusal(layout),
        "blocks of one address leave nothing beside that of the node; choose larger blocks, or none for nodes"
    );
}

#[test]
fn the_broadcast_address_is_the_prefixs_not_the_pools() {
    // The pool ends where the smaller family does: 10.4.0.255 is an ordinary address of 10.4.0.0/16.
    let pool = geometry(Some("10.4.0.0/16"), Some("fd00::/120"), 6);
    assert!(pool.is_usable(255));
    let pool = geometry(Some("10.4.0.8/31"), None, 0);
    assert_eq!(pool.usable(pool.whole()), 2);
}

#[test]
fn a_block_is_one_prefix_of_each_family() {
    let pool = geometry(Some("10.4.0.0/16"), Some("fd00:4::/64"), 6);
    let texts = |block| {
        let prefixes = pool.prefixes_of(block).into_iter();
        prefixes.map(|p| p.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        texts(pool.block_of(300).unwrap()),
        ["10.4.1.0/26", "fd00:4::100/122"]
    );
    assert_eq!(
        texts(Block::one(300).unwrap()),
        ["10.4.1.44/32", "fd00:4::12c/128"]
    );
    assert_eq!(pool.block_of(65_536), None);
}

#[test]
fn pools_overlap_by_any_family() {
    let a = geometry(Some("10.4.0.0/16"), Some("fd00:4::/64"), 6);
    let b = geometry(Some("10.5.0.0/16"), Some("fd00:4::/80"), 6);
    let c = geometry(Some("10.5.0.0/16"), None, 6);
    assert!(a.overlap(&b).is_some());
    assert!(a.overlap(&c).is_none());
    assert!(c.overlap(&b).is_some());
}

#[test]
fn a_refused_layout_says_what_to_write() {
    let v4 = |prefix| layout(Some(prefix), None, 6);
    let gateway = |gateway: &str| {
        let mut layout = v4("10.4.0.0/24");
        layout.v4.as_mut().unwrap().gateway = Some(address(gateway));
        layout
    };
    let mut reserved = v4("10.4.0.0/24");
    reserved.reserved = vec!["10.4.0.200-10.4.1.4".parse().unwrap()];
    let mut all = v4("10.4.0.0/24");
    all.reserved = vec!["10.4.0.0/24".parse().unwrap()];
    for (layout, text) in [
        (
            Layout::default(),
            "no prefix is named: name one of IPv4, one of IPv6, or both",
        ),
        (
            layout(Some("fd00::/64"), None, 6),
            "fd00::/64 is no IPv4 prefix; put it under the other family's key",
        ),
        (
            v4("0.0.0.0/0"),
            "0.0.0.0/0 is every address there is; name a smaller prefix",
        ),
        (
            v4("10.4.0.0/27"),
            "a block of 64 addresses (block_bits 6) is larger than the pool, which has 32; choose block_bits 5 or less, or a larger prefix",
        ),
        (
            layout(None, Some("fd00::/64"), 17),
            "block_bits 17 is more than 16, which is 65536 addresses a block; choose less",
        ),
        (
            layout(None, Some("fd00::/64"), 200),
            "block_bits 200 is more than 16, which is 65536 addresses a block; choose less",
        ),
        (
            gateway("10.5.0.1"),
            "gateway 10.5.0.1 is not in 10.4.0.0/24; name one inside, or none",
        ),
        (
            gateway("10.4.0.255"),
            "gateway 10.4.0.255 is the first or last address of 10.4.0.0/24, which no host has; name another",
        ),
        (
            reserved,
            "reserved 10.4.0.200-10.4.1.4 is not inside 10.4.0.0/24; reserve addresses of the pool, or remove it",
        ),
        (
            all,
            "nothing of 10.4.0.0/24 is left to give out: all of it is reserved or a gateway; reserve less, or name a larger prefix",
        ),
    ] {
        assert_eq!(refusal(layout), text);
    }
}
