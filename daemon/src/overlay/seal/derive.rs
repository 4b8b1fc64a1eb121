//! A state's key and index from a network's secret. Pure.

use std::net::IpAddr;

use bulkhead_ipam::cluster::NodeId;
use bulkhead_ipam::cluster::schema::{Salt, Secret};
use bulkhead_model::NetworkName;
use bulkhead_plan::{KEY_LEN, Sa, SaKey};
use hkdf::Hkdf;
use sha2::Sha256;

/// Tells these keys from any others that are ever derived from the same secret.
const PURPOSE: &[u8] = b"bulkhead esp 1";
/// Length of an index.
const SPI_LEN: usize = 4;
/// The first index that a state may have (RFC 4303 section 2.1).
const FIRST_SPI: u32 = 256;

/// One of the two ends.
pub(super) struct End<'a> {
    pub(super) node: &'a NodeId,
    pub(super) address: IpAddr,
    pub(super) salt: Salt,
}

/// By what `from` sends to `to` (HKDF, RFC 5869). Whatever makes one state another is in it, each part with
/// its length, so that no two say the same.
pub(super) fn sa(
    secret: &Secret,
    epoch: u64,
    network: &NetworkName,
    from: &End<'_>,
    to: &End<'_>,
) -> Sa {
    let mut info = Vec::new();
    let mut add = |part: &[u8]| {
        let len = u16::try_from(part.len()).expect("names and addresses are short");
        info.extend(len.to_be_bytes());
        info.extend(part);
    };
    add(&epoch.to_be_bytes());
    add(network.as_str().as_bytes());
    for end in [from, to] {
        add(end.node.as_str().as_bytes());
        match end.address {
            IpAddr::V4(v4) => add(&v4.octets()),
            IpAddr::V6(v6) => add(&v6.octets()),
        }
        add(end.salt.bytes());
    }
    let mut material = [0; KEY_LEN + SPI_LEN];
    Hkdf::<Sha256>::new(Some(PURPOSE), secret.expose())
        .expand(&info, &mut material)
        .expect("RFC 5869 gives up to 255 hashes' lengths");
    let (key, spi) = material.split_at(KEY_LEN);
    let spi = u32::from_be_bytes(spi.try_into().expect("four bytes"));
    Sa {
        spi: spi.max(FIRST_SPI),
        key: SaKey::new(key.try_into().expect("as long as a key")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    #[test]
    fn whatever_differs_gives_another_key_and_the_same_gives_the_same() {
        let (one, two) = (node("0f3a9c1e77d24b6e"), node("b2c4d6e8f0a1c3e5"));
        let end = |node, last: u8, salt: u8| End {
            node,
            address: [192, 0, 2, last].into(),
            salt: Salt::new([salt; 16]),
        };
        let network = |name: &str| -> NetworkName { name.parse().unwrap() };
        let (pods, blue) = (network("pods"), network("blue"));
        let (secret, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
        let all = [
            sa(&secret, 1, &pods, &end(&one, 1, 1), &end(&two, 2, 1)),
            // The other direction.
            sa(&secret, 1, &pods, &end(&two, 2, 1), &end(&one, 1, 1)),
            // The same addresses and salts of other nodes.
            sa(&secret, 1, &pods, &end(&two, 1, 1), &end(&one, 2, 1)),
            sa(&other, 1, &pods, &end(&one, 1, 1), &end(&two, 2, 1)),
            sa(&secret, 2, &pods, &end(&one, 1, 1), &end(&two, 2, 1)),
            sa(&secret, 1, &blue, &end(&one, 1, 1), &end(&two, 2, 1)),
            // Either's salt, either's address.
            sa(&secret, 1, &pods, &end(&one, 1, 2), &end(&two, 2, 1)),
            sa(&secret, 1, &pods, &end(&one, 1, 1), &end(&two, 2, 2)),
            sa(&secret, 1, &pods, &end(&one, 3, 1), &end(&two, 2, 1)),
            sa(&secret, 1, &pods, &end(&one, 1, 1), &end(&two, 3, 1)),
        ];
        let keys: BTreeSet<_> = all.iter().map(|sa| sa.key.expose().to_vec()).collect();
        let indexes: BTreeSet<_> = all.iter().map(|sa| sa.spi).collect();
        assert_eq!((keys.len(), indexes.len()), (all.len(), all.len()));
        assert!(indexes.iter().all(|spi| *spi >= FIRST_SPI));
        let again = sa(&secret, 1, &pods, &end(&one, 1, 1), &end(&two, 2, 1));
        assert_eq!(again, all[0]);
    }

    /// The first case of RFC 5869 appendix A, by the same crate: what nodes of other releases derive.
    #[test]
    fn the_derivation_is_that_of_the_rfc() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let mut okm = [0; 42];
        Hkdf::<Sha256>::new(Some(&salt), &[0x0b; 22])
            .expand(&info, &mut okm)
            .unwrap();
        assert_eq!(okm[..8], [0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a]);
        assert_eq!(okm[38..], [0x87, 0x18, 0x58, 0x65]);
    }

    /// Computed by another program (Python's hmac and hashlib): nodes of all releases must derive the same.
    #[test]
    fn a_state_is_what_it_always_was() {
        let (one, two) = (node("0f3a9c1e77d24b6e"), node("b2c4d6e8f0a1c3e5"));
        let end = |node, last: u8| End {
            node,
            address: [192, 0, 2, last].into(),
            salt: Salt::new([1; 16]),
        };
        let secret = Secret::new([1; 32]);
        let network = "pods".parse().unwrap();
        let sa = sa(&secret, 1, &network, &end(&one, 1), &end(&two, 2));
        assert_eq!(sa.spi, 0x70eb_e289);
        let key = sa.key.expose();
        assert_eq!(key[..4], [0xc0, 0xd2, 0x70, 0xcd]);
        assert_eq!(key[32..], [0x52, 0x7d, 0x0a, 0xa4]);
    }
}
