//! High dynamic range (PQ and HLG, ITU-R BT.2100) to 8-bit sRGB.
//!
//! The operator is `clip`: reference white, 203 cd/m² (ITU-R BT.2408), becomes 255, what is darker keeps its luminance,
//! and what is brighter is cut off. It leaves the colours of everything up to white as they are; curves that keep
//! highlights would darken all of it, and clips of both kinds in one set would differ.

use crate::info::Transfer;

/// Luminance of reference white, in cd/m².
const WHITE: f32 = 203.0;
/// Luminance of the brightest white of HLG on the display that BT.2100 describes, in cd/m².
const HLG_PEAK: f32 = 1000.0;
/// BT.2020's red, green and blue in BT.709's (ITU-R BT.2087).
const TO_709: [[f32; 3]; 3] = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]];
/// Steps of the table of sRGB's curve.
const STEPS: usize = 1 << 14;

/// The curves of a transfer function, tabled.
#[derive(Debug)]
pub(crate) struct ToneMap {
    transfer: Transfer,
    /// Whether the primaries are BT.2020's.
    wide: bool,
    /// Linear light of each code of 16 bits; 1 is white, for HLG before its system gamma.
    light: Vec<f32>,
    /// sRGB's code of linear light from 0 to 1.
    codes: Vec<u8>,
}

impl ToneMap {
    /// `None` for what has no high dynamic range.
    pub(crate) fn new(transfer: Transfer, wide: bool) -> Option<Self> {
        let light: fn(f32) -> f32 = match transfer {
            Transfer::Sdr => return None,
            Transfer::Pq => |code| pq(code) / WHITE,
            Transfer::Hlg => hlg,
        };
        let light = (0..=u16::MAX).map(|code| light(f32::from(code) / 65_535.0)).collect();
        let codes = (0..=STEPS).map(|step| (255.0 * srgb(step as f32 / STEPS as f32)).round() as u8).collect();
        Some(Self { transfer, wide, light, codes })
    }

    /// Appends pixels of 16 bits, `[N, 3]`, to `out`.
    pub(crate) fn apply(&self, pixels: impl Iterator<Item = [u16; 3]>, out: &mut Vec<u8>) {
        for pixel in pixels {
            let mut light = pixel.map(|code| self.light[usize::from(code)]);
            if self.transfer == Transfer::Hlg {
                // The display's part of the curve, by the luminance of the scene.
                let scene = 0.2627 * light[0] + 0.6780 * light[1] + 0.0593 * light[2];
                let gain = HLG_PEAK / WHITE * scene.max(0.0).powf(0.2);
                light = light.map(|value| value * gain);
            }
            if self.wide {
                light = TO_709.map(|row| row[0] * light[0] + row[1] * light[1] + row[2] * light[2]);
            }
            out.extend(light.map(|value| self.codes[(value.clamp(0.0, 1.0) * STEPS as f32).round() as usize]));
        }
    }
}

/// Luminance in cd/m² of a code of PQ from 0 to 1 (SMPTE ST 2084).
fn pq(code: f32) -> f32 {
    const M1: f32 = 2610.0 / 16_384.0;
    const M2: f32 = 2523.0 / 4096.0 * 128.0;
    const C1: f32 = 3424.0 / 4096.0;
    const C2: f32 = 2413.0 / 4096.0 * 32.0;
    const C3: f32 = 2392.0 / 4096.0 * 32.0;
    let power = code.powf(1.0 / M2);
    10_000.0 * ((power - C1).max(0.0) / (C2 - C3 * power)).powf(1.0 / M1)
}

/// Scene light, at most 1, of a code of HLG from 0 to 1.
fn hlg(code: f32) -> f32 {
    const A: f32 = 0.178_832_77;
    const B: f32 = 0.284_668_92;
    const C: f32 = 0.559_910_7;
    if code <= 0.5 { code * code / 3.0 } else { (((code - C) / A).exp() + B) / 12.0 }
}

fn srgb(light: f32) -> f32 {
    if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(transfer: Transfer, codes: [f32; 3]) -> [u8; 3] {
        let mut out = Vec::new();
        let map = ToneMap::new(transfer, true).unwrap();
        map.apply([codes.map(|code| (code * 65_535.0).round() as u16)].into_iter(), &mut out);
        out.try_into().unwrap()
    }

    #[test]
    fn published_levels_come_out() {
        // BT.2408, table 1: reference white is 58 % of PQ and 75 % of HLG.
        for (transfer, white) in [(Transfer::Pq, 0.5807), (Transfer::Hlg, 0.75)] {
            assert!(mapped(transfer, [white; 3]).iter().all(|&code| code >= 254), "{transfer:?}");
            assert_eq!(mapped(transfer, [1.0; 3]), [255; 3]);
            assert_eq!(mapped(transfer, [0.0; 3]), [0; 3]);
        }
        // 18 % grey of that white is 36.54 cd/m², 41 % of PQ: sRGB's code of 0.18 is 118.
        assert!((pq(0.4109) - 36.54).abs() < 0.05, "{}", pq(0.4109));
        assert!(mapped(Transfer::Pq, [0.4109; 3]).iter().all(|code| code.abs_diff(118) <= 1));
        assert!((pq(0.508_078) - 100.0).abs() < 0.1 && (pq(1.0) - 10_000.0).abs() < 1.0);
        assert!(ToneMap::new(Transfer::Sdr, true).is_none());
    }

    #[test]
    fn what_is_red_in_wide_primaries_stays_red() {
        // BT.709's red in BT.2020's primaries, at white's luminance.
        let light = [0.6274f32, 0.0691, 0.0164].map(|value| value * WHITE);
        let inverse = |nits: f32| {
            let (mut low, mut high) = (0.0, 1.0);
            for _ in 0..40 {
                let middle = (low + high) / 2.0;
                if pq(middle) < nits { low = middle } else { high = middle }
            }
            low
        };
        let [red, green, blue] = mapped(Transfer::Pq, light.map(inverse));
        assert!(red >= 254 && green <= 6 && blue <= 6, "{red} {green} {blue}");
    }
}
