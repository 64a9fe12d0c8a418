//! The blocks of a GIF (GIF89a specification, §§17–27), without decoding a picture: sizes, delays
//! and comments are known, and can be refused, before a byte is allocated for pixels.

use crate::{
    fault::{Outcome, broken},
    metadata::{Metadata, is_key},
    source::ReadSeek,
};
use std::io::{BufRead, BufReader, Read, SeekFrom};

/// What a GIF holds.
pub(crate) struct Survey {
    /// Height and width.
    pub size: [usize; 2],
    /// Delay of each picture as stated, in hundredths of a second.
    pub delays: Vec<u16>,
    /// Comments.
    pub metadata: Metadata,
}

/// Key of a comment that is no `key=value` of ours.
const COMMENT: &str = "comment";
const MOST_PICTURES: usize = 1 << 20;
const MOST_COMMENT_BYTES: usize = 16 << 20;

/// Walks over all blocks, from the start of the file.
pub(crate) fn survey(file: &mut dyn ReadSeek) -> Outcome<Survey> {
    file.seek(SeekFrom::Start(0))?;
    let mut file = BufReader::new(file);
    let header: [u8; 13] = bytes(&mut file)?;
    if !header.starts_with(b"GIF8") {
        return Err(broken("it does not start as a GIF does"));
    }
    let width = usize::from(u16::from_le_bytes([header[6], header[7]]));
    let height = usize::from(u16::from_le_bytes([header[8], header[9]]));
    skip_table(&mut file, header[10])?;
    let (mut delays, mut metadata) = (Vec::new(), Metadata::new());
    let (mut delay, mut comment_bytes) = (0, 0);
    loop {
        match bytes::<1>(&mut file)?[0] {
            0x21 => match bytes::<1>(&mut file)?[0] {
                0xf9 => {
                    let data = sub_blocks(&mut file)?;
                    if let [_, low, high, ..] = data[..] {
                        delay = u16::from_le_bytes([low, high]);
                    }
                }
                0xfe => {
                    let text = sub_blocks(&mut file)?;
                    comment_bytes += text.len();
                    if comment_bytes > MOST_COMMENT_BYTES {
                        return Err(broken("it consists of comments"));
                    }
                    push_comment(&mut metadata, &String::from_utf8_lossy(&text));
                }
                _ => skip_sub_blocks(&mut file)?,
            },
            0x2c => {
                let descriptor: [u8; 9] = bytes(&mut file)?;
                skip_table(&mut file, descriptor[8])?;
                bytes::<1>(&mut file)?;
                skip_sub_blocks(&mut file)?;
                delays.push(std::mem::take(&mut delay));
                if delays.len() > MOST_PICTURES {
                    return Err(broken("it has too many pictures"));
                }
            }
            0x3b => break,
            other => return Err(broken(format!("it holds a block of unknown kind {other:#04x}"))),
        }
    }
    Ok(Survey { size: [height, width], delays, metadata })
}

fn push_comment(metadata: &mut Metadata, text: &str) {
    match text.split_once('=').filter(|(key, _)| is_key(key)) {
        Some((key, value)) => metadata.push_found(key.to_owned(), value.to_owned()),
        None => metadata.push_found(COMMENT.to_owned(), text.to_owned()),
    }
}

fn bytes<const N: usize>(file: &mut impl Read) -> Outcome<[u8; N]> {
    let mut array = [0; N];
    file.read_exact(&mut array)?;
    Ok(array)
}

/// A colour table of 2^(n+1) colours follows where the top bit of `flags` is set.
fn skip_table(file: &mut impl BufRead, flags: u8) -> Outcome<()> {
    if flags & 0x80 != 0 {
        skip(file, 3 << ((flags & 7) + 1))?;
    }
    Ok(())
}

fn skip(file: &mut impl BufRead, count: u64) -> Outcome<()> {
    match std::io::copy(&mut file.take(count), &mut std::io::sink())? == count {
        true => Ok(()),
        false => Err(broken("the file ends in the middle of its data")),
    }
}

fn sub_blocks(file: &mut impl BufRead) -> Outcome<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let [length] = bytes(file)?;
        if length == 0 {
            return Ok(data);
        }
        if data.len() > MOST_COMMENT_BYTES {
            return Err(broken("it consists of comments"));
        }
        let start = data.len();
        data.resize(start + usize::from(length), 0);
        file.read_exact(&mut data[start..])?;
    }
}

fn skip_sub_blocks(file: &mut impl BufRead) -> Outcome<()> {
    loop {
        match bytes(file)? {
            [0] => return Ok(()),
            [length] => skip(file, length.into())?,
        }
    }
}
