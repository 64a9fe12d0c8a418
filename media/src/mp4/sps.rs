//! The sequence parameter set of H.264 (ITU-T H.264 §7.3.2.1.1 and Annex E): what has to be known
//! before a decoder is let loose on the stream.

use crate::fault::{Fault, Outcome, broken};
use crate::info::Stated;

/// What a sequence parameter set says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sps {
    /// `profile_idc`.
    pub profile: u8,
    /// Height and width as shown, after cropping.
    pub size: [usize; 2],
    /// Height times width as coded, before cropping: what a decoder allocates by.
    pub coded_pixels: u64,
    /// What it states of colours.
    pub colour: Stated,
    /// Width and height of a pixel, where they are stated.
    pub pixel_aspect: Option<(u32, u32)>,
}

/// Bits, most significant first, of a payload whose emulation prevention bytes were removed.
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn new(nal: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(nal.len());
        let mut zeros = 0;
        for &byte in nal {
            // §7.4.1: a 3 behind two zeros is stuffing, and starts the count of zeros afresh.
            if byte == 3 && zeros >= 2 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            bytes.push(byte);
        }
        Self { bytes, at: 0 }
    }

    fn bit(&mut self) -> Outcome<u32> {
        let byte = self.bytes.get(self.at / 8).ok_or_else(|| broken("the sequence parameter set is cut off"))?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit.into())
    }

    fn flag(&mut self) -> Outcome<bool> {
        Ok(self.bit()? == 1)
    }

    fn bits(&mut self, count: u32) -> Outcome<u32> {
        (0..count).try_fold(0u32, |sum, _| Ok(sum << 1 | self.bit()?))
    }

    /// ue(v), §9.1.
    fn golomb(&mut self) -> Outcome<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return Err(broken("the sequence parameter set holds a number out of range"));
            }
        }
        Ok(((1u64 << zeros) - 1) as u32 + self.bits(zeros)?)
    }

    /// se(v), §9.1.1.
    fn signed_golomb(&mut self) -> Outcome<i64> {
        let code = i64::from(self.golomb()?);
        Ok(if code % 2 == 1 { (code + 1) / 2 } else { -code / 2 })
    }
}

impl Sps {
    /// Parses a NAL unit of type 7, with its header byte.
    pub(crate) fn parse(nal: &[u8]) -> Outcome<Self> {
        let bits = &mut Bits::new(nal.get(1..).unwrap_or_default());
        let profile = bits.bits(8)? as u8;
        bits.bits(16)?; // constraint flags, level
        bits.golomb()?; // id
        let mut chroma = 1;
        if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
            chroma = bits.golomb()?;
            if chroma == 3 {
                bits.flag()?;
            }
            let depth = (bits.golomb()?, bits.golomb()?);
            if depth != (0, 0) {
                return Err(Fault::Foreign("its pictures have more than 8 bits per sample".into()));
            }
            bits.flag()?;
            if bits.flag()? {
                skip_scaling_lists(bits, if chroma == 3 { 12 } else { 8 })?;
            }
        }
        if chroma != 1 {
            return Err(Fault::Foreign(format!("its chroma format is {chroma}, not 4:2:0")));
        }
        bits.golomb()?; // log2_max_frame_num
        match bits.golomb()? {
            0 => {
                bits.golomb()?;
            }
            1 => {
                bits.flag()?;
                bits.signed_golomb()?;
                bits.signed_golomb()?;
                for _ in 0..bits.golomb()?.min(255) {
                    bits.signed_golomb()?;
                }
            }
            _ => {}
        }
        bits.golomb()?; // max_num_ref_frames
        bits.flag()?;
        let columns = u64::from(bits.golomb()?) + 1;
        let rows = u64::from(bits.golomb()?) + 1;
        if !bits.flag()? {
            return Err(Fault::Foreign("it is interlaced".into()));
        }
        bits.flag()?; // direct_8x8_inference
        let (mut left, mut right, mut top, mut bottom) = (0, 0, 0, 0);
        if bits.flag()? {
            [left, right, top, bottom] =
                [bits.golomb()?, bits.golomb()?, bits.golomb()?, bits.golomb()?].map(u64::from);
        }
        let width = (columns * 16).checked_sub(2 * (left + right)).filter(|&n| n > 0);
        let height = (rows * 16).checked_sub(2 * (top + bottom)).filter(|&n| n > 0);
        let (Some(width), Some(height)) = (width, height) else {
            return Err(broken("the sequence parameter set crops the whole picture away"));
        };
        let coded_pixels = columns.saturating_mul(rows).saturating_mul(256);
        let mut sps = Self {
            profile,
            size: [height as usize, width as usize],
            coded_pixels,
            colour: Stated::default(),
            pixel_aspect: None,
        };
        if bits.flag()? {
            sps.read_vui(bits)?;
        }
        Ok(sps)
    }

    /// The first fields of the video usability information, Annex E.1.1; the rest is not needed.
    fn read_vui(&mut self, bits: &mut Bits) -> Outcome<()> {
        /// Table E-1, from index 1.
        const ASPECTS: [(u32, u32); 16] = [
            (1, 1),
            (12, 11),
            (10, 11),
            (16, 11),
            (40, 33),
            (24, 11),
            (20, 11),
            (32, 11),
            (80, 33),
            (18, 11),
            (15, 11),
            (64, 33),
            (160, 99),
            (4, 3),
            (3, 2),
            (2, 1),
        ];
        if bits.flag()? {
            let index = bits.bits(8)? as usize;
            self.pixel_aspect = match index {
                255 => Some((bits.bits(16)?, bits.bits(16)?)).filter(|&(w, h)| w > 0 && h > 0),
                1..=16 => Some(ASPECTS[index - 1]),
                _ => None,
            };
        }
        if bits.flag()? {
            bits.flag()?; // overscan_appropriate
        }
        if bits.flag()? {
            bits.bits(3)?; // video_format
            self.colour.full_range = Some(bits.flag()?);
            if bits.flag()? {
                self.colour.primaries = Some(bits.bits(8)? as u8);
                self.colour.transfer = Some(bits.bits(8)? as u8);
                self.colour.matrix = Some(bits.bits(8)? as u8);
            }
        }
        Ok(())
    }

    /// The profile's name.
    pub(crate) fn profile_name(&self) -> &'static str {
        match self.profile {
            66 => "Baseline",
            77 => "Main",
            88 => "Extended",
            100 => "High",
            _ => "",
        }
    }
}

fn skip_scaling_lists(bits: &mut Bits, lists: usize) -> Outcome<()> {
    for list in 0..lists {
        if !bits.flag()? {
            continue;
        }
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.signed_golomb()? + 256).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_set_is_read() {
        // x264, High, 320×180 (coded 320×192, cropped), VUI with square pixels and BT.709 limited;
        // written by hand from the syntax table.
        let mut bits = String::new();
        let mut put = |text: &str| bits.push_str(&text.replace(' ', ""));
        put("01100100 00000000 00001100"); // 100, no constraints, level 12
        put("1 010 1 1 0 0"); // id 0, 4:2:0, 8 bits twice, no bypass, no scaling
        put("1 1 011"); // frame number, order type 0, order count
        put("00101 0"); // 4 references, no gaps
        put("000010100 0001100"); // 20 columns, 12 rows
        put("1 1"); // frames only, direct inference
        put("1 1 1 1 00111"); // cropped by 2·6 at the bottom
        put("1 1 00000001 0 1 101 0 1 00000001 00000001 00000001"); // usability information
        put("0000000000000000");
        let bytes: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | (bit - b'0')) << (8 - byte.len()))
            .collect();
        let mut nal = vec![0x67];
        for byte in bytes {
            if byte <= 3 && nal.ends_with(&[0, 0]) {
                nal.push(3);
            }
            nal.push(byte);
        }
        let sps = Sps::parse(&nal).unwrap();
        assert_eq!(sps.size, [180, 320]);
        assert_eq!(sps.coded_pixels, 320 * 192);
        assert_eq!((sps.colour.matrix, sps.colour.full_range, sps.pixel_aspect), (Some(1), Some(false), Some((1, 1))));
        for length in 0..10 {
            assert!(Sps::parse(&nal[..length]).is_err());
        }
    }
}
