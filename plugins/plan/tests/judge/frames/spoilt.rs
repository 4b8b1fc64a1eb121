//! What becomes of a frame when somebody means harm.

use netns_fixtures::packet::{Frame, Vlan};

use super::Sender;

impl Sender<'_> {
    /// In a tag, behind a SNAP header, of another type.
    pub(super) fn wrapped(&mut self, frame: Frame) -> Frame {
        match self.dice.below(60) {
            0 => frame.tagged(Vlan {
                protocol: 0x8100,
                tci: 0,
            }),
            1 => frame.tagged(Vlan {
                protocol: 0x88a8,
                tci: 7,
            }),
            2 => frame.in_snap(),
            _ => frame,
        }
    }

    /// One thing that is not as it should be.
    pub(super) fn spoil(&mut self, bytes: &mut Vec<u8>) {
        let header = match bytes[12..14] {
            [0x08, 0x00] => 34,
            [0x86, 0xdd] => 54,
            // With the sender it speaks of.
            [0x08, 0x06] => 14 + 18,
            // A tag has its type behind it.
            _ => 18,
        };
        match self.dice.below(12) {
            // Ethernet padding, and more than that.
            0 => bytes.resize(bytes.len().max(60), 0),
            1 => {
                let filler = self.some_bytes(40);
                bytes.extend(filler);
            }
            // Of ARP each byte says something; of others the first ones do.
            8 if header == 32 => {
                let at = 14 + self.dice.below(8);
                bytes[at] = bytes[at].wrapping_add(self.dice.one(&[1, 255, 5]));
            }
            // An end too early: behind the fixed header, of which every receiver needs all.
            2 => {
                let left = bytes.len().saturating_sub(header);
                bytes.truncate(header + self.dice.below(left + 1));
            }
            3 => {
                let kind = self
                    .dice
                    .one(&[0x88cc_u16, 0x888e, 0x0842, 0x8035, 0x8847, 100, 0x9000]);
                bytes[12..14].copy_from_slice(&kind.to_be_bytes());
            }
            // Next header, hop limit, length, fragment word: where they are.
            4 if header == 54 => {
                bytes[14 + 6] = self
                    .dice
                    .one(&[0, 6, 17, 43, 44, 50, 51, 58, 59, 60, 112, 132]);
            }
            4 | 5 if header == 34 => {
                bytes[14 + 9] = self.dice.one(&[1, 2, 6, 17, 41, 47, 50, 112, 132]);
            }
            5 if header == 54 => bytes[14 + 7] = self.dice.one(&[0, 1, 64, 255]),
            6 if header == 54 => {
                bytes[14 + 5] = bytes[14 + 5].wrapping_add(self.dice.one(&[1, 255, 8, 248]));
            }
            6 if header == 34 => {
                bytes[14 + 3] = bytes[14 + 3].wrapping_add(self.dice.one(&[1, 255, 8, 248]));
            }
            7 if header == 34 => bytes[14 + 6] = self.dice.one(&[0x20, 0x40, 0x80, 0x1f]),
            _ => {
                let at = self.dice.below(bytes.len().min(110));
                let other = self.dice.byte();
                let near = bytes[at] ^ 1 << self.dice.below(8);
                bytes[at] = self.dice.one(&[0, 1, 2, 3, 255, near, near, other]);
            }
        }
    }
}
