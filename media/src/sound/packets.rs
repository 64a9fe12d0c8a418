//! Coded packets out of files of sound, by Symphonia's readers.

use super::read::SoundInfo;
use crate::{
    fault::{Fault, Outcome, broken, guard, silent},
    info::Format,
    source::ReadSeek,
};
use musiva_core::Rate;
use std::{
    io::{self, Read, Seek, SeekFrom},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use symphonia::core::{
    codecs::audio::AudioCodecParameters,
    errors::{Error, SeekErrorKind},
    formats::{FormatOptions, FormatReader, SeekMode, SeekTo, TrackType, probe::Hint},
    io::{MediaSource, MediaSourceStream},
    meta::MetadataOptions,
    packet::Packet,
    units::Timestamp,
};

/// Coded packets, in order.
pub(crate) trait Packets: Send {
    /// The next one; `None` at the end.
    fn next(&mut self) -> Outcome<Option<Packet>>;

    /// Goes where a packet comes next from which on sample `index` can be decoded as it would be when
    /// read from the start; `false` where the sound is known to end before.
    fn seek(&mut self, index: usize) -> Outcome<bool>;

    /// Number of the sample that `packet` starts with, below zero for what an encoder puts in front.
    fn start_of(&self, packet: &Packet) -> i64;

    /// Whether `packet` is there only so that later ones can be decoded, from sample `index` on.
    fn warms_up(&self, packet: &Packet, index: usize) -> bool {
        let end = self.start_of(packet).saturating_add_unsigned(packet.dur.get());
        end <= index as i64
    }
}

/// An opened file.
pub(crate) struct Coded {
    pub info: SoundInfo,
    pub parameters: AudioCodecParameters,
    pub packets: Box<dyn Packets>,
}

/// More channels than any microphone array; less than memory can be filled with.
pub(crate) const MOST_CHANNELS: usize = 64;

/// Samples before the one that is sought, with which decoding starts: MP3 looks back through nine
/// packets at most, Vorbis and AAC through one.
const WARM_UP: usize = 16_384;

struct File {
    /// There, unless opening the file once more has failed.
    reader: Option<Box<dyn FormatReader>>,
    track: u32,
    /// Time stamp of sample 0.
    base: i64,
}

/// Bytes for Symphonia. It wants `Sync`, which a mutex gives and nobody ever locks.
struct Bytes {
    inner: Mutex<Box<dyn ReadSeek>>,
    length: u64,
    seekable: Arc<AtomicBool>,
}

/// Nothing that we know; ffmpeg may.
pub(crate) fn foreign(found: &str) -> Fault {
    Fault::Foreign(found.to_owned())
}

/// What our decoder does not know, or what is damaged: it cannot tell which.
pub(crate) fn undecoded(what: &str) -> Fault {
    Fault::Undecoded(format!("its {what} is not decoded by our own decoder"))
}

/// What Symphonia says, in our words.
pub(crate) fn fault(error: Error, what: &str) -> Fault {
    match error {
        Error::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            broken("the file ends in the middle of its data")
        }
        // Symphonia's own readers of bits use it, over bytes that are in memory.
        Error::IoError(error) if error.kind() == io::ErrorKind::Other => undecoded(what),
        Error::IoError(error) => Fault::Io(error),
        Error::Unsupported(_) => foreign(&format!("its {what} is of a kind that is not ours")),
        Error::LimitError(_) => Fault::TooBig(format!("its {what} is out of all proportion")),
        Error::ResetRequired => foreign("several streams follow each other in it"),
        _ => undecoded(what),
    }
}

/// Opens the first track of sound of a WAV, FLAC, Ogg or MPEG file.
pub(crate) fn open(mut file: Box<dyn ReadSeek>, format: Format) -> Outcome<Coded> {
    if format == Format::Wav {
        file = super::riff::with_known_size(file)?;
    }
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    // Where an MPEG file does not state its length, Symphonia would take an estimate for it and cut
    // the sound there, but only if it could seek while it looks.
    let seekable = Arc::new(AtomicBool::new(format != Format::Mpeg));
    let bytes = Bytes { inner: Mutex::new(file), length, seekable: seekable.clone() };
    let reader = guard("sound", || probe(MediaSourceStream::new(Box::new(bytes), Default::default())))?;
    seekable.store(true, Ordering::Relaxed);
    let track = reader.default_track(TrackType::Audio).ok_or_else(|| silent("it has no sound"))?;
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.ok_or_else(|| foreign("its sound is of an unknown codec"))?.clone();
    let rate = parameters.sample_rate.and_then(|rate| Rate::new(rate, 1).ok());
    let rate = rate.ok_or_else(|| broken("it states no sample rate"))?;
    let ticks = track.time_base.map(|base| (u64::from(base.denom.get()), u64::from(base.numer.get())));
    if ticks.is_none_or(|(ticks, seconds)| ticks != u64::from(rate.numerator) * seconds) {
        return Err(foreign("its clock does not tick once a sample"));
    }
    let channels = parameters.channels.as_ref().map_or(0, |channels| channels.count());
    if channels == 0 || channels > MOST_CHANNELS {
        return Err(Fault::TooBig(format!("it has {channels} channels, not 1 to {MOST_CHANNELS}")));
    }
    let base = track.start_ts.get().max(0);
    let length = track.num_frames.filter(|_| base == 0);
    let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if length == Some(0) {
        return Err(broken("it holds no samples"));
    }
    let info = SoundInfo { format, codec: String::new(), channels, rate, length, start: 0.0 };
    let track = track.id;
    Ok(Coded { info, parameters, packets: Box::new(File { reader: Some(reader), track, base }) })
}

/// Symphonia's reader for what `stream` holds.
fn probe(stream: MediaSourceStream<'static>) -> Outcome<Box<dyn FormatReader>> {
    let (format, metadata) = (FormatOptions::default(), MetadataOptions::default());
    let opened = symphonia::default::get_probe().probe(&Hint::new(), stream, format, metadata);
    opened.map_err(|error| match error {
        // It looked for a format that it knows to the end of the file.
        Error::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => broken("it is cut off or damaged"),
        error => fault(error, "container"),
    })
}

impl File {
    fn reader(&mut self) -> Outcome<&mut Box<dyn FormatReader>> {
        self.reader.as_mut().ok_or_else(|| broken("it could not be read from its start again"))
    }

    /// Goes back to the first packet.
    fn rewind(&mut self) -> Outcome<()> {
        let Some(reader) = self.reader.take() else { return Ok(()) };
        self.reader = Some(guard("sound", || {
            let mut stream = reader.into_inner();
            stream.seek(SeekFrom::Start(0))?;
            probe(stream)
        })?);
        Ok(())
    }
}

impl Packets for File {
    fn next(&mut self) -> Outcome<Option<Packet>> {
        let track = self.track;
        let reader = self.reader()?;
        loop {
            let packet = guard("sound", || reader.next_packet().map_err(|error| fault(error, "container")))?;
            if packet.as_ref().is_none_or(|packet| packet.track_id == track) {
                return Ok(packet);
            }
        }
    }

    fn seek(&mut self, index: usize) -> Outcome<bool> {
        let Ok(index) = i64::try_from(index.saturating_sub(WARM_UP)) else { return Ok(false) };
        let to = SeekTo::Timestamp { ts: Timestamp::new(self.base.saturating_add(index)), track_id: self.track };
        let reader = self.reader()?;
        let found = guard("sound", || match reader.seek(SeekMode::Accurate, to) {
            Ok(_) => Ok(Some(true)),
            Err(Error::SeekError(SeekErrorKind::OutOfRange)) => Ok(Some(false)),
            // Halving a FLAC, Symphonia 0.6 gives up where it lands inside the last frame. From the
            // start, every sample is found.
            Err(Error::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(fault(error, "container")),
        })?;
        match found {
            Some(found) => Ok(found),
            None => self.rewind().map(|()| true),
        }
    }

    fn start_of(&self, packet: &Packet) -> i64 {
        packet.pts.get().saturating_add_unsigned(packet.trim_start.get()).saturating_sub(self.base)
    }
}

impl Bytes {
    fn inner(&mut self) -> &mut dyn ReadSeek {
        self.inner.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut()
    }
}

impl Read for Bytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.inner().read(into)
    }
}

impl Seek for Bytes {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner().seek(to)
    }
}

impl MediaSource for Bytes {
    fn is_seekable(&self) -> bool {
        self.seekable.load(Ordering::Relaxed)
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length)
    }
}
