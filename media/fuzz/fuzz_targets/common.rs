use musiva_media::{ReadOptions, SoundOptions, SoundReader, VideoReader, metadata_of_bytes};

/// Reads `data`, made to start as its format does, all through and once more from the middle. Small
/// limits, so that the fuzzer spends its time in the parsers.
pub fn read(magic: &[u8], at: usize, data: &[u8]) {
    let mut bytes = data.to_vec();
    if bytes.len() < at + magic.len() {
        return;
    }
    bytes[at..at + magic.len()].copy_from_slice(magic);
    let options = ReadOptions { max_pixels: 1 << 16, max_frames: 64, max_bytes: 1 << 24, ..Default::default() };
    let _ = metadata_of_bytes(bytes.clone());
    listen(bytes.clone());
    let Ok(mut reader) = VideoReader::from_bytes(bytes, options.max_pixels) else { return };
    let _ = reader.read(&options);
    if reader.seek(reader.info().frames / 2).is_ok() {
        let _ = reader.next_frame();
    }
}

/// Reads the sound of `bytes` all through and once more from the middle.
fn listen(bytes: Vec<u8>) {
    let Ok(mut reader) = SoundReader::from_bytes(bytes) else { return };
    let _ = reader.read(&SoundOptions { max_samples: 1 << 20, ..Default::default() });
    if reader.seek(reader.info().length.unwrap_or(10_000) / 2).is_ok() {
        let _ = reader.next(&mut vec![0.0; 1000 * reader.info().channels]);
    }
}
