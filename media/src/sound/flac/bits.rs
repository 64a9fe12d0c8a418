//! Bits, most significant first, and the two checks over them.

/// Writes numbers of any number of bits.
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that do not yet fill a byte, and how many there are.
    rest: u64,
    count: u32,
}

impl BitWriter {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), rest: 0, count: 0 }
    }

    /// The low `width` bits of `value`, 56 at most.
    pub(super) fn put(&mut self, value: u64, width: u32) {
        debug_assert!(width <= 56);
        self.rest = self.rest << width | value & ((1 << width) - 1);
        self.count += width;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.rest >> self.count) as u8);
        }
    }

    /// The low `width` bits of `value`, in two's complement.
    pub(super) fn put_signed(&mut self, value: i32, width: u32) {
        self.put(i64::from(value) as u64, width);
    }

    /// `zeros` zeros and a one.
    pub(super) fn put_unary(&mut self, zeros: u64) {
        let mut left = zeros;
        while left >= 32 {
            self.put(0, 32);
            left -= 32;
        }
        self.put(1, left as u32 + 1);
    }

    /// A number below 2³⁶ in the manner of UTF-8 (§9.1.5).
    pub(super) fn put_number(&mut self, number: u64) {
        if number < 0x80 {
            return self.put(number, 8);
        }
        // With `more` further bytes there is room for 5·more + 6 bits.
        let more = (1..=6).find(|more| number < 1 << (5 * more + 6)).unwrap_or(6);
        let head = 0xff80u64 >> more & 0xff;
        self.put(head | number >> (6 * more), 8);
        for step in (0..more).rev() {
            self.put(0x80 | number >> (6 * step) & 0x3f, 8);
        }
    }

    /// Zeros up to the next byte.
    pub(super) fn align(&mut self) {
        self.put(0, (8 - self.count % 8) % 8);
    }

    /// The whole bytes so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.align();
        self.bytes
    }
}

/// CRC with the polynomial x⁸ + x² + x + 1.
pub(super) fn crc8(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |crc, byte| (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 }))
}

/// CRC with the polynomial x¹⁶ + x¹⁵ + x² + 1.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x8005 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_utf8_writes_characters() {
        for character in ['a', '\u{7f}', '\u{80}', 'ß', '\u{7ff}', '\u{800}', '中', '\u{ffff}', '\u{10000}', '🟥'] {
            let mut out = BitWriter::new();
            out.put_number(u64::from(u32::from(character)));
            assert_eq!(out.finish(), character.to_string().as_bytes());
        }
        // Beyond Unicode, by the table of RFC 9639 §9.1.5.
        let mut out = BitWriter::new();
        out.put_number((1 << 36) - 1);
        assert_eq!(out.finish(), [0xfe, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf]);
    }

    #[test]
    fn checks_have_the_catalogued_values() {
        // "123456789": CRC-8/SMBUS and CRC-16/UMTS in the usual catalogues of CRCs.
        assert_eq!((crc8(b"123456789"), crc16(b"123456789")), (0xf4, 0xfee8));
    }
}
