//! What goes over the socket: a length of four bytes, then JSON.

use crate::ask::{Ask, Element};
use crate::call::{Failure, Returned, Wanted};
use crate::tables::Extras;
use musiva_abi::Status;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, ErrorKind, Read, Write};

/// No message is longer: the longest text that a call may give, however it has to be written.
const MOST: u32 = 128 << 20;

/// A tensor in the shared memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Placed {
    /// Of its elements.
    pub element: Element,
    /// Its sides.
    pub shape: Vec<i64>,
    /// Where its first byte is.
    pub start: usize,
    /// Bytes.
    pub length: usize,
}

/// From the host.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Make an instance, the only one.
    Create { id: String, kind: String, config: String },
    /// Ask it; what lies from `free` on is for outputs.
    Run { ask: Box<Ask<Placed>>, wanted: Vec<Wanted>, free: usize },
    /// Free it.
    Destroy,
}

/// From the child, one to each request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// There is an instance.
    Created(Extras),
    /// What the call gave; of an output, where it begins.
    Returned(Returned<usize>),
    /// Why it failed: its status, and in words.
    Failed(i32, String),
    /// There is no instance any more.
    Destroyed,
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.status.0, failure.message)
    }
}

/// A failure that was told.
pub fn failed(status: i32, message: String) -> Failure {
    Failure { status: Status(status), message }
}

/// Writes a message.
pub fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - 4).ok().filter(|&length| length <= MOST);
    let length = length.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the message is too long"))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    to.write_all(&bytes)
}

/// Reads a message.
pub fn receive<T: DeserializeOwned>(mut from: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MOST {
        return Err(io::Error::new(ErrorKind::InvalidData, "the message is too long"));
    }
    // Memory is taken as bytes come, not as they are promised.
    let mut bytes = Vec::new();
    if from.take(u64::from(length)).read_to_end(&mut bytes)? < length as usize {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_and_broken_ones_are_errors() {
        let mut bytes = Vec::new();
        let placed = Placed { element: Element::F32, shape: vec![3, 5], start: 64, length: 60 };
        send(&mut bytes, &Request::Run { ask: Box::new(Ask::Encode(placed)), wanted: Vec::new(), free: 128 }).unwrap();
        let Request::Run { ask, free: 128, .. } = receive(&bytes[..]).unwrap() else { panic!("another request") };
        let Ask::Encode(placed) = *ask else { panic!("another question") };
        assert_eq!((placed.shape, placed.start), (vec![3, 5], 64));
        let kind = |bytes: &[u8]| receive::<Request>(bytes).unwrap_err().kind();
        assert_eq!(kind(&bytes[..bytes.len() - 1]), ErrorKind::UnexpectedEof);
        assert_eq!(kind(&bytes[..3]), ErrorKind::UnexpectedEof);
        assert_eq!(kind(&[2, 0, 0, 0, b'{', b'}']), ErrorKind::InvalidData);
        assert_eq!(kind(&[255; 9]), ErrorKind::InvalidData);
    }
}
