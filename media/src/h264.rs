//! H.264 by OpenH264: coded pictures in, planes out, and back.

use crate::{
    colour::Planes,
    fault::{Fault, Outcome, broken, guard},
};
use musiva_core::Rate;
use openh264::{
    OpenH264API,
    decoder::{self, DecodedYUV, DecoderConfig, Flush},
    encoder::{self, EncoderConfig, FrameRate, IntraFramePeriod, QpRange, RateControlMode, VuiConfig},
    formats::YUVSource,
};

/// Decodes whole pictures; hands them out in the order in which they are shown.
pub(crate) struct Decoder(decoder::Decoder);

/// The decoder does not know profiles beyond High, and cannot tell them from damage.
fn refused(_: impl Sized) -> Fault {
    Fault::Undecoded("its H.264 pictures are not decoded by our own decoder".into())
}

impl Decoder {
    pub(crate) fn new() -> Outcome<Self> {
        // Flushing after each picture, the wrapper's default, breaks the order of B-frames.
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        decoder::Decoder::with_api_config(OpenH264API::from_source(), config).map(Self).map_err(refused)
    }

    /// Takes one coded picture as NAL units with start codes; hands out a picture, if one is due.
    pub(crate) fn push(&mut self, picture: &[u8]) -> Outcome<Option<Planes>> {
        guard("H.264", || {
            let decoded = self.0.decode(picture).map_err(refused)?;
            Ok(decoded.as_ref().map(planes))
        })
        .map_err(refused)
    }

    /// Hands out what is left at the end of the stream.
    pub(crate) fn finish(&mut self) -> Outcome<Vec<Planes>> {
        guard("H.264", || {
            let rest = self.0.flush_remaining().map_err(refused)?;
            Ok(rest.iter().map(planes).collect())
        })
        .map_err(refused)
    }
}

fn planes(decoded: &DecodedYUV<'_>) -> Planes {
    let (width, height) = decoded.dimensions();
    let (y, u, v) = decoded.strides();
    let pack = |plane: &[u8], stride: usize, rows: usize, columns: usize| {
        plane.chunks(stride).take(rows).flat_map(|row| &row[..columns]).copied().collect()
    };
    Planes {
        height,
        width,
        y: pack(decoded.y(), y, height, width),
        u: pack(decoded.u(), u, height / 2, width / 2),
        v: pack(decoded.v(), v, height / 2, width / 2),
    }
}

/// Encodes pictures one by one, without B-frames: they come out in the order in which they went in.
pub(crate) struct Encoder(encoder::Encoder);

/// A coded picture.
pub(crate) struct Coded {
    /// NAL units without start codes.
    pub nals: Vec<Vec<u8>>,
}

impl Encoder {
    /// At a constant quantizer `qp` (12 best to 51; less counts as 12, where the encoder would pick its own), BT.709 limited range, constrained baseline.
    pub(crate) fn new(rate: Rate, qp: u8) -> Outcome<Self> {
        let hertz = rate.as_f64().clamp(1.0, 60.0);
        let config = EncoderConfig::new()
            // The one mode that keeps to the range of quantizers and warns of nothing on stderr.
            .rate_control_mode(RateControlMode::Bufferbased)
            .qp(QpRange::new(qp.max(12), qp.max(12)))
            .skip_frames(false)
            .adaptive_quantization(false)
            .background_detection(false)
            .scene_change_detect(false)
            .max_frame_rate(FrameRate::from_hz(hertz as f32))
            // A picture to start from every two seconds, so that players can seek.
            .intra_frame_period(IntraFramePeriod::from_num_frames((2.0 * hertz).round() as u32))
            // More threads cut the picture into as many slices: the bytes would follow the machine.
            .num_threads(1)
            .vui(VuiConfig::bt709());
        encoder::Encoder::with_api_config(OpenH264API::from_source(), config)
            .map(Self)
            .map_err(|_| broken("the H.264 encoder does not start"))
    }

    pub(crate) fn push(&mut self, picture: &Planes) -> Outcome<Coded> {
        let stream = self.0.encode(&Source(picture)).map_err(|_| broken("the H.264 encoder refuses a picture"))?;
        let mut nals = Vec::new();
        for layer in (0..stream.num_layers()).filter_map(|index| stream.layer(index)) {
            for nal in (0..layer.nal_count()).filter_map(|index| layer.nal_unit(index)) {
                let start = if nal.starts_with(&[0, 0, 0, 1]) { 4 } else { 3 };
                nals.push(nal[start.min(nal.len())..].to_vec());
            }
        }
        Ok(Coded { nals })
    }
}

struct Source<'a>(&'a Planes);

impl YUVSource for Source<'_> {
    fn dimensions(&self) -> (usize, usize) {
        (self.0.width, self.0.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.0.width, self.0.width / 2, self.0.width / 2)
    }

    fn y(&self) -> &[u8] {
        &self.0.y
    }

    fn u(&self) -> &[u8] {
        &self.0.u
    }

    fn v(&self) -> &[u8] {
        &self.0.v
    }
}
