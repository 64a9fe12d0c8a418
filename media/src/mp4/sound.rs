//! The sound of a movie: AAC, MP3 and FLAC, by our own index.

use super::{
    boxes::{Bytes, read_top},
    tables::{Edit, Found, Sample, find, in_fragments, media_scale, samples},
};
use crate::{
    fault::{Outcome, broken, silent},
    info::Format,
    sound::{
        SoundInfo,
        packets::{Coded, MOST_CHANNELS, Packets, foreign},
    },
    source::ReadSeek,
};
use musiva_core::Rate;
use std::io::SeekFrom;
use symphonia::core::{
    audio::Channels,
    codecs::audio::{
        AudioCodecId, AudioCodecParameters,
        well_known::{CODEC_ID_AAC, CODEC_ID_FLAC, CODEC_ID_MP3},
    },
    packet::Packet,
    units::{Duration, Timestamp},
};

/// The sound track of a file.
struct Movie {
    file: Box<dyn ReadSeek>,
    file_length: u64,
    packets: Vec<Sample>,
    /// Number of the sample of sound with which each packet starts; one more for the end.
    starts: Vec<i64>,
    /// The packet that comes next.
    next: usize,
    /// Packets in front of the one that is sought, which it needs.
    warm_up: usize,
}

/// Opens the first track of sound.
pub(crate) fn open(mut file: Box<dyn ReadSeek>) -> Outcome<Coded> {
    let file_length = file.seek(SeekFrom::End(0))?;
    let top = read_top(&mut file, file_length)?;
    let Found { trak, movie_scale } = find(Bytes(&top.moov), b"soun")?.ok_or_else(|| silent("it has no sound"))?;
    let mdia = trak.must(&[b"mdia"])?;
    let scale = media_scale(mdia.must(&[b"mdhd"])?)?;
    let stbl = mdia.must(&[b"minf", b"stbl"])?;
    let description = Description::parse(stbl.must(&[b"stsd"])?)?;
    let table = samples(stbl, file_length)?;
    if table.times.is_empty() {
        return Err(match in_fragments(&top)? {
            true => foreign("it is a fragmented MP4"),
            false => silent("its track of sound is empty"),
        });
    }
    let edit = Edit::of(trak, scale, movie_scale)?;
    let rate = description.rate;
    // Clocks of sound tick once a sample; should one not, the nearest sample is meant.
    let sample = |ticks: i64| {
        let exact = i128::from(ticks) * i128::from(rate) + i128::from(scale / 2);
        i64::try_from(exact.div_euclid(scale.into())).unwrap_or(i64::MAX)
    };
    let from = sample(edit.from);
    let clock_end = table.durations.iter().map(|&ticks| i64::from(ticks)).sum::<i64>();
    let mut end = sample(clock_end);
    // The movie's clock is often coarser than a sample: an end within one tick of it is the end.
    let tick = i64::from(rate.div_ceil(movie_scale.max(1)));
    if let Some(to) = edit.to.map(sample).filter(|to| to.saturating_add(tick) < end) {
        end = to;
    }
    // Packets that all hold equally much follow each other whatever the clock says: some recorders
    // write down when a packet came, not how long it is. One that lasts for several is followed by a gap.
    let starts: Vec<i64> = match description.each {
        Some(each) => {
            let lasts = |&ticks: &u32| match sample(ticks.into()) {
                long if long > 3 * each => long,
                _ => each,
            };
            let ends = table.durations.iter().scan(-from, |at, ticks| {
                *at = at.saturating_add(lasts(ticks));
                Some(*at)
            });
            let mut starts: Vec<i64> = std::iter::once(-from).chain(ends).collect();
            // Behind the last one there is nothing that a gap would part it from.
            if let [.., last, end] = &mut starts[..] {
                *end = last.saturating_add(each);
            }
            starts
        }
        None => {
            let ends = table.durations.iter().scan(0i64, |clock, &ticks| {
                *clock += i64::from(ticks);
                Some(*clock)
            });
            std::iter::once(0).chain(ends).map(|ticks| sample(ticks).saturating_sub(from)).collect()
        }
    };
    let last = starts.last().copied().unwrap_or(0);
    let length = usize::try_from(end.saturating_sub(from).min(last)).unwrap_or(0);
    if length == 0 {
        return Err(silent("its edit list plays none of its sound"));
    }
    let info = SoundInfo {
        format: Format::Mp4,
        codec: String::new(),
        channels: description.channels.into(),
        rate: Rate::whole(rate),
        length: Some(length),
        start: edit.wait,
    };
    let mut parameters = AudioCodecParameters::new();
    parameters
        .for_codec(description.codec)
        .with_sample_rate(rate)
        .with_channels(Channels::Discrete(description.channels))
        .with_extra_data(description.extra.into());
    let warm_up = description.warm_up;
    let packets = Movie { file, file_length, packets: table.times, starts, next: 0, warm_up };
    Ok(Coded { info, parameters, packets: Box::new(packets) })
}

impl Packets for Movie {
    fn next(&mut self) -> Outcome<Option<Packet>> {
        const LARGEST: u32 = 1 << 24;
        let Some(&Sample { offset, size, .. }) = self.packets.get(self.next) else { return Ok(None) };
        if offset.checked_add(size.into()).is_none_or(|end| end > self.file_length) {
            return Err(broken("the file ends before its last sound"));
        }
        if size > LARGEST {
            return Err(broken("one of its packets of sound is out of all proportion"));
        }
        let mut bytes = vec![0; size as usize];
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.read_exact(&mut bytes)?;
        let (start, end) = (self.starts[self.next], self.starts[self.next + 1]);
        self.next += 1;
        let duration = Duration::new(end.saturating_sub(start).max(0) as u64);
        Ok(Some(Packet::new(0, Timestamp::new(start), duration, bytes)))
    }

    fn seek(&mut self, index: usize) -> Outcome<bool> {
        let behind = self.starts.partition_point(|&start| start <= index as i64);
        self.next = behind.saturating_sub(1 + self.warm_up);
        Ok(behind < self.starts.len())
    }

    fn start_of(&self, packet: &Packet) -> i64 {
        packet.pts.get()
    }
}

/// What the sample description says.
struct Description {
    codec: AudioCodecId,
    channels: u16,
    rate: u32,
    /// What the decoder wants to know.
    extra: Vec<u8>,
    /// Samples of a packet, where all have equally many.
    each: Option<i64>,
    warm_up: usize,
}

impl Description {
    fn parse(mut stsd: Bytes) -> Outcome<Self> {
        stsd.take(8)?;
        let (kind, mut entry) = stsd.boxes().next().ok_or_else(|| broken("its sample description is empty"))??;
        entry.take(8)?;
        let version = entry.u16()?;
        entry.take(6)?;
        let channels = entry.u16()?;
        entry.take(6)?;
        let rate = entry.u32()? >> 16;
        // QuickTime's longer descriptions.
        entry.take(match version {
            1 => 16,
            2 => 36,
            _ => 0,
        })?;
        let description = match &kind {
            b"mp4a" => Self::elementary(entry, channels, rate)?,
            b".mp3" => Self::mp3(channels, rate),
            b"fLaC" => Self::flac(entry)?,
            _ => return Err(foreign(&format!("its sound is `{}`, none of AAC, MP3 and FLAC", kind.escape_ascii()))),
        };
        if description.rate == 0 || description.channels == 0 || usize::from(description.channels) > MOST_CHANNELS {
            let Self { channels, rate, .. } = description;
            return Err(broken(format!("its sound has {channels} channels at {rate} Hz")));
        }
        Ok(description)
    }

    /// MPEG-4's own way to name a codec (ISO/IEC 14496-1 §7.2.6): descriptors within descriptors.
    fn elementary(entry: Bytes, channels: u16, rate: u32) -> Outcome<Self> {
        let mut esds = match (entry.find(b"esds")?, entry.find(b"wave")?) {
            (Some(esds), _) => esds,
            (None, Some(wave)) => wave.must(&[b"esds"])?,
            (None, None) => return Err(broken("the box `esds` is missing")),
        };
        esds.take(4)?;
        let mut stream = descriptor(&mut esds, 3)?;
        stream.take(2)?;
        let flags = stream.u8()?;
        if flags & 0x80 != 0 {
            stream.take(2)?;
        }
        if flags & 0x40 != 0 {
            let length = stream.u8()?.into();
            stream.take(length)?;
        }
        if flags & 0x20 != 0 {
            stream.take(2)?;
        }
        let mut config = descriptor(&mut stream, 4)?;
        let kind = config.u8()?;
        config.take(12)?;
        match kind {
            0x40 | 0x66..=0x68 => Self::aac(descriptor(&mut config, 5)?.0),
            0x69 | 0x6b => Ok(Self::mp3(channels, rate)),
            other => Err(foreign(&format!("its sound is of MPEG's kind {other:#x}, not AAC or MP3"))),
        }
    }

    /// By the AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1): what the container says about AAC is
    /// often wrong.
    fn aac(config: &[u8]) -> Outcome<Self> {
        const RATES: [u32; 13] =
            [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
        let bits = config.iter().take(8).fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
        let bits = bits << (8 * (8 - config.len().min(8)));
        let field = |at: u32, width: u32| (bits << at >> (64 - width)) as u32;
        let (kind, index) = (field(0, 5), field(5, 4));
        if config.len() < 2 || index == 15 && config.len() < 5 {
            return Err(broken("its AAC has no parameters"));
        }
        let (rate, at) =
            if index == 15 { (field(9, 24), 33) } else { (RATES.get(index as usize).copied().unwrap_or(0), 9) };
        let (channels, short) = (field(at, 4), field(at + 4, 1));
        if kind != 2 || short == 1 || channels == 0 || channels > 7 {
            return Err(foreign(&format!(
                "its AAC is of kind {kind}, layout {channels}: not AAC-LC of 1 to 8 channels"
            )));
        }
        let channels = if channels == 7 { 8 } else { channels as u16 };
        Ok(Self { codec: CODEC_ID_AAC, channels, rate, extra: config.to_vec(), each: Some(1024), warm_up: 2 })
    }

    fn mp3(channels: u16, rate: u32) -> Self {
        // MPEG-2 and 2.5, of the lower rates, have one granule a packet instead of two.
        let each = if rate < 32_000 { 576 } else { 1152 };
        Self { codec: CODEC_ID_MP3, channels, rate, extra: Vec::new(), each: Some(each), warm_up: 12 }
    }

    /// By STREAMINFO in `dfLa` ("Encapsulation of FLAC in ISO Base Media File Format" §3.3.2).
    fn flac(entry: Bytes) -> Outcome<Self> {
        let mut info = entry.must(&[b"dfLa"])?;
        info.take(8)?;
        let info = info.array::<34>()?;
        // 20 bits of rate, 3 of channels less one.
        let bits = u32::from_be_bytes([info[10], info[11], info[12], info[13]]);
        let (rate, channels) = (bits >> 12, (bits >> 9 & 7) as u16 + 1);
        Ok(Self { codec: CODEC_ID_FLAC, channels, rate, extra: info.to_vec(), each: None, warm_up: 0 })
    }
}

/// The payload of a descriptor with `tag`, which must come next.
fn descriptor<'a>(bytes: &mut Bytes<'a>, tag: u8) -> Outcome<Bytes<'a>> {
    if bytes.u8()? != tag {
        return Err(broken("the descriptors of its sound are out of order"));
    }
    let mut size = 0;
    for _ in 0..4 {
        let byte = bytes.u8()?;
        size = size << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    bytes.take(size).map(Bytes)
}
