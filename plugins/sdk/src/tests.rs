//! A library called in process by a host of a few lines.

use crate::schemars::{self, JsonSchema};
use crate::*;
use musiva_abi::{Call, DType, Entry, Instance, Status, Str, Table};
use serde::Deserialize;
use std::ffi::c_void;
use std::sync::Mutex;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Which step panics.
    panics: i64,
}

struct Doubler(i64);

impl Plugin for Doubler {
    const ID: &'static str = "org.example.doubler";
    const VERSION: &'static str = "1.2.3";
    const SUMMARY: &'static str = "twice the clean vectors";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        if config.panics < 0 { Err(Error::config("`panics` is below zero")) } else { Ok(Self(config.panics)) }
    }
}

impl Sampler for Doubler {
    fn spec(&self) -> SamplerSpec {
        SamplerSpec { drives: Drives::Field, guidance: 1.0 }
    }

    fn begin(&mut self) -> Result<Vec<f32>> {
        Ok(vec![1.0, 0.0])
    }

    fn step(&mut self, cx: &mut Context, index: usize, x: Tensor, clean: Tensor) -> Result<()> {
        assert_ne!(index as i64, self.0, "asked to");
        let out = cx.output::<f32>(0, x.shape())?;
        out.iter_mut().zip(clean.as_slice::<f32>()?).for_each(|(out, clean)| *out = 2.0 * clean);
        Ok(())
    }
}

static ENTRY: Entry = entry!(Doubler: Sampler);

/// What a call left behind.
#[derive(Default)]
struct Left {
    numbers: Vec<f32>,
    shape: Vec<i64>,
    tensor: Option<Box<abi::Tensor>>,
    text: String,
    message: String,
}

unsafe extern "C" fn output(
    call: *const Call,
    _: u32,
    dtype: DType,
    ndim: i32,
    shape: *const i64,
    out: *mut *mut abi::Tensor,
) -> Status {
    let mut left = unsafe { &*(*call).host_data.cast::<Mutex<Left>>() }.lock().unwrap();
    let left = &mut *left;
    left.shape = unsafe { std::slice::from_raw_parts(shape, ndim as usize) }.to_vec();
    left.numbers = vec![0.0; left.shape.iter().product::<i64>() as usize];
    let tensor = left.tensor.insert(Box::new(tensor(&left.numbers, &left.shape)));
    tensor.dtype = dtype;
    unsafe { out.write(&mut **tensor) };
    Status::OK
}

unsafe extern "C" fn text(call: *const Call, _: u32, text: Str) -> Status {
    let left = unsafe { &*(*call).host_data.cast::<Mutex<Left>>() };
    left.lock().unwrap().text = String::from_utf8(unsafe { text.bytes() }.to_vec()).unwrap();
    Status::OK
}

unsafe extern "C" fn fail(call: *const Call, message: Str) {
    let left = unsafe { &*(*call).host_data.cast::<Mutex<Left>>() };
    left.lock().unwrap().message = String::from_utf8(unsafe { message.bytes() }.to_vec()).unwrap();
}

fn run(body: impl FnOnce(*const Call) -> Status) -> (Status, Left) {
    let left = Mutex::new(Left::default());
    let host_data = (&raw const left).cast_mut().cast::<c_void>();
    let call = Call {
        struct_size: size_of::<Call>(),
        host_data,
        seed: 0,
        output: Some(output),
        text: Some(text),
        fail: Some(fail),
        cancelled: None,
    };
    let status = body(&call);
    (status, left.into_inner().unwrap())
}

fn tensor(values: &[f32], shape: &[i64]) -> abi::Tensor {
    abi::Tensor {
        data: values.as_ptr().cast_mut().cast(),
        device: abi::Device { device_type: abi::DEVICE_CPU, device_id: 0 },
        ndim: shape.len() as i32,
        dtype: DType::F32,
        shape: shape.as_ptr(),
        strides: std::ptr::null(),
        byte_offset: 0,
    }
}

fn create(config: &'static str) -> (Status, *mut Instance, Left) {
    let mut instance = std::ptr::null_mut();
    let (id, config) = (Str::new(Doubler::ID), Str::new(config));
    let (status, left) =
        run(|call| unsafe { ENTRY.create.unwrap()(std::ptr::null(), call, id, config, &mut instance) });
    (status, instance, left)
}

#[test]
fn what_a_library_holds_can_be_read_without_running_it() {
    let descriptor = unsafe { &**ENTRY.descriptors };
    let text = |text: Str| std::str::from_utf8(unsafe { text.bytes() }).unwrap();
    assert_eq!(ENTRY.descriptor_count, 1);
    assert_eq!([text(descriptor.id), text(descriptor.kind)], ["org.example.doubler", "sampler"]);
    let (status, left) = run(|call| unsafe { ENTRY.config_schema.unwrap()(call, Str::new(Doubler::ID)) });
    let schema: serde_json::Value = serde_json::from_str(&left.text).unwrap();
    assert_eq!((status, &schema["properties"]["panics"]["type"]), (Status::OK, &"integer".into()));
}

#[test]
fn a_configuration_that_does_not_fit_is_told_in_words() {
    for (config, words) in [
        (r#"{"panics": -1}"#, "`panics` is below zero"),
        (r#"{"panic": 1}"#, "unknown field `panic`"),
        ("nonsense", "expected"),
    ] {
        let (status, _, left) = create(config);
        assert_eq!(status, Status::INVALID_CONFIG);
        assert!(left.message.contains(words), "{}", left.message);
    }
}

#[test]
fn a_call_runs_and_a_panic_is_a_status_and_the_end_of_the_instance() {
    let (status, instance, _) = create(r#"{"panics": 7}"#);
    assert_eq!(status, Status::OK);
    let interface = |id| unsafe { ENTRY.get_interface.unwrap()(instance, Str::new(id)) };
    assert!(interface("musiva.metric/1").is_null());
    let table = unsafe { &*interface(abi::Sampler::ID).cast::<abi::Sampler>() };
    let (shape, values) = ([1, 3, 1], [1.0, 2.5, -3.0]);
    let x = tensor(&values, &shape);
    let step = |index| run(|call| unsafe { table.step.unwrap()(instance, call, index, &x, &x) });
    let (status, left) = step(6);
    assert_eq!((status, &left.numbers[..], &left.shape[..]), (Status::OK, &[2.0, 5.0, -6.0][..], &shape[..]));
    let (status, left) = step(7);
    assert_eq!(status, Status::PANICKED);
    assert!(left.message.contains("asked to"), "{}", left.message);
    let (status, left) = step(6);
    assert_eq!(status, Status::PANICKED);
    assert!(left.message.contains("earlier call"), "{}", left.message);
    unsafe { ENTRY.destroy.unwrap()(instance) };
}

#[test]
fn a_tensor_of_another_kind_is_an_error() {
    let (_, instance, _) = create(r#"{"panics": 7}"#);
    let table = unsafe { &*ENTRY.get_interface.unwrap()(instance, Str::new(abi::Sampler::ID)).cast::<abi::Sampler>() };
    let x = tensor(&[1.0; 6], &[1, 3, 2]);
    let strides = [6, 1, 3];
    for (other, words) in [
        (abi::Tensor { dtype: DType::I64, ..x }, "expected f32"),
        (abi::Tensor { strides: strides.as_ptr(), ..x }, "not contiguous"),
        (abi::Tensor { device: abi::Device { device_type: 2, device_id: 0 }, ..x }, "memory of the CPU"),
        (abi::Tensor { data: x.data.wrapping_byte_add(1), ..x }, "not where they should be"),
    ] {
        let (status, left) = run(|call| unsafe { table.step.unwrap()(instance, call, 0, &x, &other) });
        assert_eq!(status, Status::INVALID_INPUT);
        assert!(left.message.contains(words), "{}", left.message);
    }
    unsafe { ENTRY.destroy.unwrap()(instance) };
}
