//! nftables as values: tables, their text, their netlink encoding, their difference. Pure.
