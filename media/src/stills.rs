//! PNG, JPEG and WebP. Sixteen bits become eight; what is transparent is laid over white; profiles
//! and gamma are left alone: the numbers in the file are taken for sRGB.

mod apng;

use crate::{
    fault::{Fault, Outcome, broken, guard},
    info::{Format, Matrix, Orientation, Range, SourceInfo, Transfer},
    metadata::Metadata,
    source::{BACKGROUND, ReadSeek, Shared, Source, Stream},
    timeline::Schedule,
};
use musiva_core::Clip;
use std::io::{BufReader, Read, Seek, SeekFrom};
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};

/// Larger files are no pictures that one would train on.
const MOST_BYTES: u64 = 1 << 30;

type File = BufReader<Box<dyn ReadSeek>>;

fn check_size(height: usize, width: usize, max_pixels: u64) -> Outcome<()> {
    match (height as u64).checked_mul(width as u64) {
        Some(pixels) if pixels <= max_pixels => Ok(()),
        _ => Err(Fault::TooBig(format!("it has {width}×{height} pixels, more than the limit of {max_pixels}"))),
    }
}

/// Red, green and blue from 1 to 4 channels (grey, grey and alpha, RGB, RGBA).
fn to_rgb(pixels: &[u8], channels: usize) -> Vec<u8> {
    let over = |code: u8, alpha: u8| {
        let (code, alpha, under) = (u32::from(code), u32::from(alpha), u32::from(BACKGROUND));
        ((code * alpha + under * (255 - alpha) + 127) / 255) as u8
    };
    match channels {
        1 => pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
        2 => pixels.chunks_exact(2).flat_map(|pixel| [over(pixel[0], pixel[1]); 3]).collect(),
        3 => pixels.to_vec(),
        _ => pixels.chunks_exact(4).flat_map(|pixel| [0, 1, 2].map(|at| over(pixel[at], pixel[3]))).collect(),
    }
}

/// One picture, decoded.
struct Still {
    pixels: Vec<u8>,
    shown: bool,
}

impl Source for Still {
    fn next(&mut self, into: Option<&mut Vec<u8>>) -> Outcome<bool> {
        if std::mem::replace(&mut self.shown, true) {
            return Ok(false);
        }
        if let Some(pixels) = into {
            pixels.clone_from(&self.pixels);
        }
        Ok(true)
    }

    fn seek(&mut self, _: usize) -> Outcome<usize> {
        self.shown = false;
        Ok(0)
    }
}

fn info(format: Format, codec: &str, stored: [usize; 2], orientation: Orientation, schedule: &Schedule) -> SourceInfo {
    SourceInfo {
        format,
        codec: codec.into(),
        matrix: Matrix::Rgb,
        range: Range::Full,
        transfer: Transfer::Sdr,
        colour_stated: true,
        orientation,
        stored,
        pixel_aspect: (1, 1),
        rate: schedule.rate,
        constant_rate: schedule.is_even(),
        frames: schedule.frames,
        still: schedule.is_still(),
        start: 0.0,
    }
}

fn still(
    format: Format,
    codec: &str,
    stored: [usize; 2],
    orientation: Orientation,
    pixels: Vec<u8>,
) -> Outcome<Stream> {
    if pixels.len() != stored[0] * stored[1] * 3 {
        return Err(broken("its picture is cut off"));
    }
    let schedule = Schedule::still();
    let info = info(format, codec, stored, orientation, &schedule);
    Ok(Stream { info, schedule, source: Box::new(Still { pixels, shown: false }) })
}

fn png_refused(error: png::DecodingError) -> Fault {
    match error {
        png::DecodingError::IoError(error) => error.into(),
        png::DecodingError::LimitsExceeded => Fault::TooBig("its PNG data are larger than the limits".into()),
        _ => broken("its PNG data are damaged"),
    }
}

/// A decoder of a PNG whose pictures are no larger than `max_pixels`.
fn png_decoder(mut file: Shared, max_pixels: u64) -> Outcome<png::Reader<BufReader<Shared>>> {
    file.seek(SeekFrom::Start(0))?;
    let bytes = usize::try_from(max_pixels.saturating_mul(8)).unwrap_or(usize::MAX).saturating_add(64 << 20);
    let mut decoder = png::Decoder::new_with_limits(BufReader::new(file), png::Limits { bytes });
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let header = decoder.read_header_info().map_err(png_refused)?;
    check_size(header.height as usize, header.width as usize, max_pixels)?;
    decoder.read_info().map_err(png_refused)
}

/// Opens a PNG, still or animated.
pub(crate) fn open_png(mut file: Box<dyn ReadSeek>, max_pixels: u64) -> Outcome<Stream> {
    let durations = png_durations(&mut file)?;
    let file = Shared::new(file);
    guard("PNG", || {
        let mut reader = png_decoder(file.clone(), max_pixels)?;
        let (height, width) = (reader.info().height as usize, reader.info().width as usize);
        let size = reader.output_buffer_size().ok_or_else(|| broken("its size is out of range"))?;
        let orientation = reader.info().exif_metadata.as_deref().map_or(Orientation::default(), exif_orientation);
        if let Some(durations) = durations.filter(|durations| durations.len() > 1) {
            let schedule = Schedule::of(apng::timeline(&durations))?;
            let stored = [height, width];
            let info = info(Format::Png, "APNG", stored, orientation, &schedule);
            let source = apng::Animation::new(reader, file, stored, durations.len(), max_pixels)?;
            return Ok(Stream { info, schedule, source: Box::new(source) });
        }
        let mut pixels = vec![0; size];
        let frame = reader.next_frame(&mut pixels).map_err(png_refused)?;
        pixels.truncate(frame.buffer_size());
        let pixels = to_rgb(&pixels, frame.color_type.samples());
        still(Format::Png, "PNG", [height, width], orientation, pixels)
    })
}

/// Seconds of each picture of an animated PNG as a fraction (`fcTL` of the PNG specification, third edition); `None` of a
/// still one.
fn png_durations(file: &mut Box<dyn ReadSeek>) -> Outcome<Option<Vec<(u16, u16)>>> {
    const MOST: usize = 1 << 20;
    let length = file.seek(SeekFrom::End(0))?;
    let (mut durations, mut animated, mut at) = (Vec::new(), false, 8);
    while at + 12 <= length {
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0; 8];
        file.read_exact(&mut head)?;
        let size = u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
        match &head[4..] {
            b"acTL" => animated = true,
            // An animation says so in front of its pictures.
            b"IDAT" if !animated => break,
            b"fcTL" if size >= 26 => {
                let mut control = [0; 26];
                file.read_exact(&mut control)?;
                durations.push((
                    u16::from_be_bytes([control[20], control[21]]),
                    u16::from_be_bytes([control[22], control[23]]),
                ));
                if durations.len() > MOST {
                    return Err(broken("it has too many pictures"));
                }
            }
            _ => {}
        }
        at += 12 + size;
    }
    Ok(animated.then_some(durations))
}

/// The text chunks in front of a PNG's pixels.
pub(crate) fn png_metadata(file: Box<dyn ReadSeek>) -> Outcome<Metadata> {
    let decoder = png::Decoder::new_with_limits(File::new(file), png::Limits { bytes: 64 << 20 });
    let reader = decoder.read_info().map_err(png_refused)?;
    let mut metadata = Metadata::new();
    for chunk in &reader.info().uncompressed_latin1_text {
        metadata.push_found(chunk.keyword.clone(), chunk.text.clone());
    }
    for chunk in &reader.info().utf8_text {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(16 << 20).map_err(png_refused)?;
        metadata.push_found(chunk.keyword.clone(), chunk.get_text().map_err(png_refused)?);
    }
    Ok(metadata)
}

/// The bytes of a PNG that shows the clip's only frame.
pub(crate) fn encode_png(clip: &Clip, metadata: &Metadata) -> Outcome<Vec<u8>> {
    let refused = |error: png::EncodingError| broken(format!("the PNG encoder refuses the picture: {error}"));
    let [_, height, width] = clip.shape();
    let side = |side| u32::try_from(side).map_err(|_| broken("a side is too long for a PNG"));
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, side(width)?, side(height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (key, value) in metadata.iter() {
        encoder.add_itxt_chunk(key.to_owned(), value.to_owned()).map_err(refused)?;
    }
    let mut writer = encoder.write_header().map_err(refused)?;
    writer.write_image_data(clip.frame(0)).map_err(refused)?;
    writer.finish().map_err(refused)?;
    Ok(out)
}

/// Opens a JPEG.
pub(crate) fn open_jpeg(mut file: Box<dyn ReadSeek>, max_pixels: u64) -> Outcome<Stream> {
    let length = file.seek(SeekFrom::End(0))?;
    if length > MOST_BYTES {
        return Err(Fault::TooBig(format!("it has {length} bytes, more than {MOST_BYTES}")));
    }
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // The decoder paints what is missing grey; a set to train on should not be painted.
    if !bytes.windows(2).rev().take(1 << 16).any(|marker| marker == [0xff, 0xd9]) {
        return Err(broken("the file ends in the middle of its picture"));
    }
    guard("JPEG", || {
        let refused = |error| match error {
            DecodeErrors::Unsupported(_) => Fault::Foreign("it is a JPEG of a rare kind".into()),
            _ => broken("its JPEG data are damaged"),
        };
        let options = DecoderOptions::default()
            .set_max_width(1 << 16)
            .set_max_height(1 << 16)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(&bytes), options);
        decoder.decode_headers().map_err(refused)?;
        let header = decoder.info().ok_or_else(|| broken("it has no JPEG header"))?;
        let (height, width) = (usize::from(header.height), usize::from(header.width));
        check_size(height, width, max_pixels)?;
        let pixels = decoder.decode().map_err(refused)?;
        let orientation = decoder.exif().map_or(Orientation::default(), |exif| exif_orientation(exif));
        still(Format::Jpeg, "JPEG", [height, width], orientation, pixels)
    })
}

fn webp_refused(error: image_webp::DecodingError) -> Fault {
    match error {
        image_webp::DecodingError::IoError(error) => error.into(),
        _ => broken("its WebP data are damaged"),
    }
}

/// An animated WebP.
struct Animation {
    file: Shared,
    max_pixels: u64,
    decoder: image_webp::WebPDecoder<BufReader<Shared>>,
    buffer: Vec<u8>,
    index: usize,
    count: usize,
}

/// Opens a WebP, still or animated.
pub(crate) fn open_webp(mut file: Box<dyn ReadSeek>, max_pixels: u64) -> Outcome<Stream> {
    let durations = webp_durations(&mut file)?;
    let file = Shared::new(file);
    guard("WebP", || {
        let mut decoder = webp_decoder(&file, max_pixels)?;
        let (width, height) = decoder.dimensions();
        let stored = [height as usize, width as usize];
        check_size(stored[0], stored[1], max_pixels)?;
        let size = decoder.output_buffer_size().ok_or_else(|| broken("its size is out of range"))?;
        if decoder.is_animated() {
            let count = decoder.num_frames() as usize;
            if count == 0 || count > durations.len() {
                return Err(broken("its pictures are not those that it lists"));
            }
            let mut end = 0;
            let mut starts = Vec::with_capacity(count);
            for milliseconds in &durations[..count] {
                starts.push(end);
                end += milliseconds.max(&1);
            }
            let schedule = Schedule::of(crate::timeline::Timeline { scale: 1000, starts, end })?;
            let info = info(Format::WebP, "WebP", stored, Orientation::default(), &schedule);
            let source = Animation { file: file.clone(), max_pixels, decoder, buffer: vec![0; size], index: 0, count };
            return Ok(Stream { info, schedule, source: Box::new(source) });
        }
        let mut pixels = vec![0; size];
        decoder.read_image(&mut pixels).map_err(webp_refused)?;
        let exif = decoder.exif_metadata().map_err(webp_refused)?;
        let orientation = exif.as_deref().map_or(Orientation::default(), exif_orientation);
        let pixels = to_rgb(&pixels, if decoder.has_alpha() { 4 } else { 3 });
        still(Format::WebP, "WebP", stored, orientation, pixels)
    })
}

/// From the start of the file, with nothing on the canvas. What a picture leaves free is transparent again, not what stood there
/// before, which is the crate's default.
fn webp_decoder(file: &Shared, max_pixels: u64) -> Outcome<image_webp::WebPDecoder<BufReader<Shared>>> {
    let mut file = file.clone();
    file.seek(SeekFrom::Start(0))?;
    let mut decoder = image_webp::WebPDecoder::new(BufReader::new(file)).map_err(webp_refused)?;
    decoder.set_memory_limit(usize::try_from(max_pixels.saturating_mul(8)).unwrap_or(usize::MAX));
    if decoder.is_animated() {
        decoder.set_background_color([0; 4]).map_err(webp_refused)?;
    }
    Ok(decoder)
}

/// Milliseconds of each picture of an animation: a walk over the chunks (RIFF container, `ANMF`).
fn webp_durations(file: &mut Box<dyn ReadSeek>) -> Outcome<Vec<u64>> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut durations = Vec::new();
    let mut at = 12;
    while at + 8 <= length && durations.len() < 1 << 20 {
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0; 8];
        file.read_exact(&mut head)?;
        let size = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
        if &head[..4] == b"ANMF" {
            let mut frame = [0; 16];
            file.read_exact(&mut frame)?;
            durations.push(u64::from(u32::from_le_bytes([frame[12], frame[13], frame[14], 0])));
        }
        at += 8 + size + size % 2;
    }
    Ok(durations)
}

impl Source for Animation {
    fn next(&mut self, into: Option<&mut Vec<u8>>) -> Outcome<bool> {
        if self.index >= self.count {
            return Ok(false);
        }
        let Self { decoder, buffer, .. } = self;
        guard("WebP", || decoder.read_frame(buffer).map_err(webp_refused))?;
        self.index += 1;
        if let Some(pixels) = into {
            *pixels = to_rgb(&self.buffer, if self.decoder.has_alpha() { 4 } else { 3 });
        }
        Ok(true)
    }

    fn seek(&mut self, picture: usize) -> Outcome<usize> {
        if picture < self.index {
            // From an empty canvas again.
            self.decoder = guard("WebP", || webp_decoder(&self.file, self.max_pixels))?;
            self.index = 0;
        }
        Ok(self.index)
    }
}

/// Tag 274 of the first directory of an EXIF block (a TIFF header and its tags); upright where the
/// block is damaged, since a photograph is worth more than its tags.
fn exif_orientation(exif: &[u8]) -> Orientation {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let big = exif.starts_with(b"MM");
    let u16_at = |at: usize| -> Option<u16> {
        let bytes = exif.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let u32_at = |at: usize| -> Option<usize> {
        let bytes = exif.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) } as usize)
    };
    let find = || -> Option<u16> {
        let directory = u32_at(4)?;
        let entries = usize::from(u16_at(directory)?);
        (0..entries)
            .map(|entry| directory + 2 + 12 * entry)
            .find(|&at| u16_at(at) == Some(274))
            .and_then(|at| u16_at(at + 8))
    };
    find().map_or(Orientation::default(), Orientation::from_exif)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orientation_is_found_in_either_byte_order() {
        let little = b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
        let big = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0";
        for exif in [&little[..], big] {
            assert_eq!(exif_orientation(exif), Orientation::from_exif(6));
            for length in 0..exif.len() - 4 {
                assert_eq!(exif_orientation(&exif[..length]), Orientation::default());
            }
        }
    }

    /// A chunk of a RIFF file.
    fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        [&name[..], &length, body, &vec![0; body.len() % 2]].concat()
    }

    /// A picture of an animation, 2×2 pixels of one colour from `left` on, after which its place is cleared.
    fn picture(left: u8, colour: [u8; 4]) -> Vec<u8> {
        let mut file = Vec::new();
        let pixels = [colour; 4].concat();
        image_webp::WebPEncoder::new(&mut file).encode(&pixels, 2, 2, image_webp::ColorType::Rgba8).unwrap();
        // Its place and size as they are written (half, half, less one, less one), 100 ms, cleared afterwards.
        let head = [left / 2, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 100, 0, 0, 1];
        chunk(b"ANMF", &[&head[..], &file[12..]].concat())
    }

    #[test]
    fn what_an_animated_webp_leaves_free_is_white_and_not_what_stood_there_before() {
        let head = chunk(b"VP8X", &[0x12, 0, 0, 0, 3, 0, 0, 1, 0, 0]);
        let animation = chunk(b"ANIM", &[0; 6]);
        let body =
            [&b"WEBP"[..], &head, &animation, &picture(0, [255, 0, 0, 255]), &picture(2, [0, 0, 255, 128])].concat();
        let file = chunk(b"RIFF", &body);
        let mut stream = open_webp(Box::new(std::io::Cursor::new(file)), 1 << 20).unwrap();
        let (red, white, blue) = ([255, 0, 0], [255; 3], [127, 127, 255]);
        let wanted = [[red, red, white, white], [white, white, blue, blue]].map(|row| [row, row].concat().concat());
        for _ in 0..2 {
            stream.source.seek(0).unwrap();
            for picture in &wanted {
                let mut pixels = Vec::new();
                assert!(stream.source.next(Some(&mut pixels)).unwrap());
                // The crate blends in whole numbers, rounded down.
                let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 1;
                assert!(pixels.len() == picture.len() && pixels.iter().zip(picture).all(near), "{pixels:?}");
            }
        }
    }
}
