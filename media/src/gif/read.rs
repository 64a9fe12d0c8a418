//! Pictures out of a GIF, each drawn over what the ones before it left.

use super::blocks::survey;
use crate::{
    fault::{Fault, Outcome, broken, guard},
    info::{Format, Matrix, Orientation, Range, SourceInfo, Transfer},
    source::{BACKGROUND, ReadSeek, Shared, Source, Stream},
    timeline::{Schedule, Timeline},
};
use gif::{ColorOutput, DecodeOptions, DecodingError, DisposalMethod, MemoryLimit};
use std::{
    io::{BufReader, Seek, SeekFrom},
    num::NonZeroU64,
};

struct Animation {
    file: Shared,
    size: [usize; 2],
    decoder: gif::Decoder<BufReader<Shared>>,
    /// Index of the picture that comes next.
    index: usize,
    count: usize,
    /// Pixels `[H, W, 3]`; white where nothing was drawn, as where a picture is transparent.
    canvas: Vec<u8>,
    /// What to do to the canvas before the next picture is drawn.
    disposal: Disposal,
}

enum Disposal {
    Keep,
    Clear(Area),
    Restore(Vec<u8>),
}

#[derive(Clone, Copy)]
struct Area {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

/// Opens a GIF. A delay of 0 or 1 hundredths is taken for 10, as browsers take it.
pub(crate) fn open(mut file: Box<dyn ReadSeek>, max_pixels: u64) -> Outcome<Stream> {
    let survey = survey(&mut file)?;
    let [height, width] = survey.size;
    if (height * width) as u64 > max_pixels {
        return Err(Fault::TooBig(format!(
            "its pictures have {width}×{height} pixels, more than the limit of {max_pixels}"
        )));
    }
    let schedule = match survey.delays[..] {
        [] => return Err(broken("it holds no pictures")),
        // Of one picture the delay says nothing.
        [_] => Schedule::still(),
        _ => {
            let mut end = 0;
            let mut starts = Vec::with_capacity(survey.delays.len());
            for &delay in &survey.delays {
                starts.push(end);
                end += u64::from(if delay < 2 { 10 } else { delay });
            }
            Schedule::of(Timeline { scale: 100, starts, end })?
        }
    };
    let info = SourceInfo {
        format: Format::Gif,
        codec: "GIF".into(),
        matrix: Matrix::Rgb,
        range: Range::Full,
        transfer: Transfer::Sdr,
        colour_stated: true,
        orientation: Orientation::default(),
        stored: survey.size,
        pixel_aspect: (1, 1),
        rate: schedule.rate,
        constant_rate: schedule.is_even(),
        frames: schedule.frames,
        still: schedule.is_still(),
        start: 0.0,
    };
    let file = Shared::new(file);
    let decoder = decoder(&file)?;
    let source = Animation {
        size: survey.size,
        decoder,
        index: 0,
        count: survey.delays.len(),
        canvas: vec![BACKGROUND; height * width * 3],
        disposal: Disposal::Keep,
        file,
    };
    Ok(Stream { info, schedule, source: Box::new(source) })
}

fn refused(error: DecodingError) -> Fault {
    match error {
        DecodingError::Io(error) => error.into(),
        _ => broken("its GIF data are damaged"),
    }
}

fn decoder(file: &Shared) -> Outcome<gif::Decoder<BufReader<Shared>>> {
    file.clone().seek(SeekFrom::Start(0))?;
    guard("GIF", || {
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::RGBA);
        // A picture may not be larger than the canvas, and the canvas was checked.
        options.check_frame_consistency(true);
        options.set_memory_limit(NonZeroU64::new(1 << 30).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes));
        options.read_info(BufReader::new(file.clone())).map_err(refused)
    })
}

impl Source for Animation {
    fn next(&mut self, into: Option<&mut Vec<u8>>) -> Outcome<bool> {
        if self.index >= self.count {
            return Ok(false);
        }
        match std::mem::replace(&mut self.disposal, Disposal::Keep) {
            Disposal::Keep => {}
            Disposal::Clear(area) => {
                for row in self.rows(area) {
                    self.canvas[row].fill(BACKGROUND);
                }
            }
            Disposal::Restore(canvas) => self.canvas = canvas,
        }
        let Self { decoder, .. } = self;
        let frame = guard("GIF", || decoder.read_next_frame().map_err(refused))?
            .ok_or_else(|| broken("the file ends before its last picture"))?;
        let area = Area {
            left: frame.left.into(),
            top: frame.top.into(),
            width: frame.width.into(),
            height: frame.height.into(),
        };
        if area.left + area.width > self.size[1] || area.top + area.height > self.size[0] {
            return Err(broken("one of its pictures lies outside of the canvas"));
        }
        if frame.buffer.len() != area.width * area.height * 4 {
            return Err(broken("one of its pictures is cut off"));
        }
        let (pixels, dispose) = (frame.buffer.to_vec(), frame.dispose);
        self.disposal = match dispose {
            DisposalMethod::Background => Disposal::Clear(area),
            DisposalMethod::Previous => Disposal::Restore(self.canvas.clone()),
            DisposalMethod::Any | DisposalMethod::Keep => Disposal::Keep,
        };
        if area.width > 0 {
            for (row, line) in self.rows(area).into_iter().zip(pixels.chunks_exact(area.width * 4)) {
                for (under, over) in self.canvas[row].chunks_exact_mut(3).zip(line.chunks_exact(4)) {
                    if over[3] != 0 {
                        under.copy_from_slice(&over[..3]);
                    }
                }
            }
        }
        self.index += 1;
        if let Some(pixels) = into {
            pixels.clone_from(&self.canvas);
        }
        Ok(true)
    }

    fn seek(&mut self, picture: usize) -> Outcome<usize> {
        if picture < self.index {
            self.decoder = decoder(&self.file)?;
            self.index = 0;
            self.canvas.fill(BACKGROUND);
            self.disposal = Disposal::Keep;
        }
        Ok(self.index)
    }
}

impl Animation {
    /// The bytes of each row of `area` on the canvas.
    fn rows(&self, area: Area) -> Vec<std::ops::Range<usize>> {
        let width = self.size[1];
        (area.top..area.top + area.height)
            .map(|row| (row * width + area.left) * 3..(row * width + area.left + area.width) * 3)
            .collect()
    }
}
