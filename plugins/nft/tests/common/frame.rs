//! Frames to be judged.

pub const BOUND: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

pub fn ethernet(source: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 0x99];
    frame.extend(source);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

pub fn tagged(source: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut inner = vec![0, 0];
    inner.extend(kind.to_be_bytes());
    inner.extend(payload);
    ethernet(source, 0x8100, &inner)
}

pub fn ip4(protocol: u8, target: [u8; 4], fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 192, 0, 2, 77]);
    packet.extend(target);
    packet.extend(payload);
    packet
}

pub fn ip6(next: u8, source: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([
        next, 255, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, source,
    ]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(payload);
    packet
}

pub fn transport(source: u16, target: u16) -> Vec<u8> {
    let mut bytes = source.to_be_bytes().to_vec();
    bytes.extend(target.to_be_bytes());
    bytes.resize(24, 0);
    bytes
}

pub fn arp(operation: u8, sender: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, operation];
    bytes.extend(OTHER);
    bytes.extend(sender);
    bytes.resize(28, 0);
    bytes
}

/// Router advertisement, plain and behind what hides it.
pub fn advertisements() -> Vec<Vec<u8>> {
    let mut ra = vec![134, 0, 0, 0];
    ra.resize(16, 0);
    let behind = |next: u8, header: [u8; 8]| {
        let mut payload = header.to_vec();
        payload.extend(&ra);
        ip6(next, 1, &payload)
    };
    vec![
        ip6(58, 1, &ra),
        behind(0, [58, 0, 5, 2, 0, 0, 1, 0]),
        behind(44, [58, 0, 0, 1, 0, 0, 0, 9]),
        behind(44, [58, 0, 0, 8, 0, 0, 0, 9]),
        behind(44, [60, 0, 0, 8, 0, 0, 0, 9]),
        behind(60, [44, 0, 1, 4, 0, 0, 0, 0]),
        behind(44, [51, 0, 0, 8, 0, 0, 0, 9]),
        behind(43, [58, 0, 0, 0, 0, 0, 0, 0]),
        behind(51, [58, 0, 0, 0, 0, 0, 0, 0]),
    ]
}

pub fn frames() -> Vec<Vec<u8>> {
    let mut packets: Vec<(u16, Vec<u8>)> = advertisements()
        .into_iter()
        .map(|ra| (0x86dd, ra))
        .collect();
    for (protocol, port) in [(6, 80), (6, 22), (17, 53), (17, 80), (1, 0x800), (47, 80)] {
        let bytes = transport(546, port);
        for target in [[10, 1, 2, 3], [192, 0, 2, 1], [203, 0, 113, 1]] {
            packets.push((0x0800, ip4(protocol, target, 0, &bytes)));
        }
        packets.push((0x0800, ip4(protocol, [10, 0, 0, 1], 7, &bytes)));
        packets.push((0x86dd, ip6(protocol, 2, &bytes)));
        packets.push((0x86dd, ip6(protocol, 3, &bytes)));
    }
    packets.push((0x86dd, ip6(17, 1, &transport(5000, 53))));
    packets.push((
        0x0800,
        ip4(6, [10, 1, 2, 3], 0, &transport(1, 80))[..30].to_vec(),
    ));
    packets.push((0x86dd, ip6(58, 1, &[129; 8])));
    packets.push((0x0800, ip4(1, [10, 1, 2, 3], 0, &[8; 8])));
    packets.push((0x0806, arp(1, [10, 0, 0, 1])));
    packets.push((0x0806, arp(2, [10, 0, 0, 1])));
    packets.push((0x0806, arp(1, [10, 0, 0, 2])));
    packets.push((0x88cc, vec![0; 46]));
    let mut frames = Vec::new();
    for (kind, packet) in &packets {
        frames.push(ethernet(BOUND, *kind, packet));
        frames.push(ethernet(OTHER, *kind, packet));
    }
    let tags = packets.iter().step_by(5);
    frames.extend(
        tags.flat_map(|(kind, packet)| {
            [tagged(BOUND, *kind, packet), tagged(OTHER, *kind, packet)]
        }),
    );
    frames
}
