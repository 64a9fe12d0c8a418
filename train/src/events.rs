//! Events as TensorBoard reads them: the few protocol-buffer messages that scalars, pictures, sounds, text and
//! hyperparameters are made of.
//!
//! Fields and their numbers are those of `tensorflow/core/framework/summary.proto`, `tensor.proto`,
//! `tensorflow/core/util/event.proto` and `tensorboard/plugins/hparams/plugin_data.proto`.

use serde_json::{Map, Value as Json};

/// `DataType.DT_STRING`.
const STRING: u64 = 7;

/// An event: the time in seconds, the step, and a summary of values.
pub fn event(time: f64, step: u64, values: &[Vec<u8>]) -> Vec<u8> {
    let summary: Vec<u8> = values.iter().flat_map(|value| bytes(1, value)).collect();
    [double(1, time), varint(2, step), bytes(5, &summary)].concat()
}

/// The first event of a file.
pub fn version(time: f64) -> Vec<u8> {
    [double(1, time), bytes(3, b"brain.Event:2")].concat()
}

/// A number.
pub fn scalar(tag: &str, value: f32) -> Vec<u8> {
    [bytes(1, tag.as_bytes()), float(2, value)].concat()
}

/// A picture, as the bytes of a PNG or GIF.
pub fn image(tag: &str, [height, width]: [usize; 2], encoded: &[u8]) -> Vec<u8> {
    // The colours are RGB: three channels.
    let image = [varint(1, height as u64), varint(2, width as u64), varint(3, 3), bytes(4, encoded)].concat();
    [bytes(1, tag.as_bytes()), bytes(4, &image)].concat()
}

/// A sound, as the bytes of a WAV.
pub fn audio(tag: &str, rate: f32, channels: usize, length: usize, encoded: &[u8]) -> Vec<u8> {
    let counts = [float(1, rate), varint(2, channels as u64), varint(3, length as u64)].concat();
    let audio = [counts, bytes(4, encoded), bytes(5, b"audio/wav")].concat();
    [bytes(1, tag.as_bytes()), bytes(6, &audio)].concat()
}

/// A text, in Markdown.
pub fn text(tag: &str, text: &str) -> Vec<u8> {
    // One string in a tensor of shape [1].
    let shape = bytes(2, &varint(1, 1));
    let tensor = [varint(1, STRING), bytes(2, &shape), bytes(8, text.as_bytes())].concat();
    [bytes(1, tag.as_bytes()), bytes(8, &tensor), of_plugin("text", &[])].concat()
}

/// Hyperparameters: numbers, words and truths by name; all else is left out.
pub fn hyperparameters(all: &Map<String, Json>) -> Vec<u8> {
    let entries = all.iter().filter_map(|(name, value)| {
        let value = match value {
            Json::Number(number) => double(2, number.as_f64()?),
            Json::String(text) => bytes(3, text.as_bytes()),
            Json::Bool(truth) => varint(4, u64::from(*truth)),
            _ => return None,
        };
        Some(bytes(1, &[bytes(1, name.as_bytes()), bytes(2, &value)].concat()))
    });
    let session: Vec<u8> = entries.flatten().collect();
    let content = bytes(3, &session);
    [bytes(1, b"_hparams_/session_start_info"), of_plugin("hparams", &content)].concat()
}

/// Which part of TensorBoard a value is for.
fn of_plugin(name: &str, content: &[u8]) -> Vec<u8> {
    let content = if content.is_empty() { Vec::new() } else { bytes(2, content) };
    let plugin = [bytes(1, name.as_bytes()), content].concat();
    bytes(9, &bytes(1, &plugin))
}

fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn varint(field: u64, value: u64) -> Vec<u8> {
    [number(field << 3), number(value)].concat()
}

fn double(field: u64, value: f64) -> Vec<u8> {
    [number(field << 3 | 1), value.to_le_bytes().to_vec()].concat()
}

fn float(field: u64, value: f32) -> Vec<u8> {
    [number(field << 3 | 5), value.to_le_bytes().to_vec()].concat()
}

fn bytes(field: u64, bytes: &[u8]) -> Vec<u8> {
    [number(field << 3 | 2), number(bytes.len() as u64), bytes.to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_what_the_protocol_buffers_library_writes() {
        // By the classes of tensorboard 2.21.0 (`tensorboard.compat.proto`): `SerializeToString(deterministic=True).hex()`.
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(scalar("loss", 0.5)), "0a046c6f7373150000003f");
        assert_eq!(hex(image("a", [2, 300], b"xy")), "0a0161220b080210ac02180322027879");
        let wanted = "0a016132180d0000fa4510011803220278792a09617564696f2f776176";
        assert_eq!(hex(audio("a", 8000.0, 1, 3, b"xy")), wanted);
        assert_eq!(hex(text("t", "hi")), "0a0174420c0807120412020801420268694a080a060a0474657874");
        let all = serde_json::json!({ "lr": 0.5, "none": null });
        let wanted = "0a1c5f68706172616d735f2f73657373696f6e5f73746172745f696e666f4a200a1e0a0768706172616d7312131a110a0f0a026c\
                      72120911000000000000e03f";
        assert_eq!(hex(hyperparameters(all.as_object().unwrap())), wanted);
    }
}
