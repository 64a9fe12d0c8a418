//! The mirror is the headers: every size, offset and constant, as a C compiler sees them.

#![allow(clippy::unwrap_used)]

use musiva_abi::*;
use std::fmt::Write;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

const HEADERS: [&str; 7] =
    ["plugin.h", "tokenizer.h", "backbone.h", "conditioner.h", "sampler.h", "metric.h", "dataset.h"];

fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../include")
}

fn compile(arguments: &[&str], source: &str, name: &str, extension: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (file, out) = (folder.join(format!("{name}.{extension}")), folder.join(name));
    std::fs::write(&file, source).unwrap();
    let strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-I"];
    let made = Command::new("cc").args(arguments).args(strict).arg(include()).arg("-o").arg(&out).arg(&file).output();
    let made = made.expect("a C compiler called cc");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    out
}

/// Both sides of each struct: the mirror's numbers, and a C program that prints the headers'. The pattern without `..`
/// makes sure that no field of the mirror is left out; equal sizes, that none of the headers is.
macro_rules! layouts {
    ($($rust:ident $c:literal { $($field:ident $(= $name:literal)?),+ })+) => {{
        let (mut ours, mut program) = (String::new(), String::new());
        $(
            let _ = |all: $rust| { let $rust { $($field: _),+ } = all; };
            writeln!(ours, "{} {}", $c, size_of::<$rust>()).unwrap();
            writeln!(program, "printf(\"{0} %zu\\n\", sizeof({0}));", $c).unwrap();
            $(
                let field = [$($name,)? stringify!($field)][0];
                writeln!(ours, "{}.{field} {}", $c, offset_of!($rust, $field)).unwrap();
                writeln!(program, "printf(\"{0}.{field} %zu\\n\", offsetof({0}, {field}));", $c).unwrap();
            )+
        )+
        (ours, program)
    }};
}

#[test]
fn sizes_offsets_and_constants_are_those_of_the_headers() {
    let (mut ours, mut program) = layouts! {
        Str "musiva_str" { ptr, len }
        Device "musiva_device" { device_type, device_id }
        DType "musiva_dtype" { code, bits, lanes }
        Tensor "musiva_tensor" { data, device, ndim, dtype, shape, strides, byte_offset }
        Call "musiva_call" { struct_size, host_data, seed, output, text, fail, cancelled }
        Host "musiva_host" { struct_size, host_data, name, version, threads, log, get_extension }
        Descriptor "musiva_descriptor" { struct_size, id, kind, version, summary, license, flags }
        Entry "musiva_entry" {
            struct_size, abi_major, abi_minor, descriptor_count, reserved, descriptors, config_schema, create, destroy,
            get_interface
        }
        Tokenizer "musiva_tokenizer_1" { struct_size, describe, shape, encode, decode }
        TokenizerStreaming "musiva_tokenizer_streaming_1" { struct_size, reset, encode_step, decode_step }
        Canvas "musiva_canvas" { struct_size, prompt, words, grid, entries, channels }
        BackboneInput "musiva_backbone_input" { struct_size, canvas, theta, prompt, x, times, at, guess }
        Backbone "musiva_backbone_1" { struct_size, describe, parameters, forward }
        BackboneVjp "musiva_backbone_vjp_1" { struct_size, vjp }
        BackboneCache "musiva_backbone_cache_1" { struct_size, begin, step }
        Conditioner "musiva_conditioner_1" { struct_size, describe, encode }
        Sampler "musiva_sampler_1" { struct_size, describe, begin, step, pick }
        Metric "musiva_metric_1" { struct_size, reset, update, result }
        Dataset "musiva_dataset_1" { struct_size, describe, read }
    };
    let numbers = [
        ("MUSIVA_ABI_MAJOR", i64::from(ABI_MAJOR)),
        ("MUSIVA_ABI_MINOR", i64::from(ABI_MINOR)),
        ("MUSIVA_OK", i64::from(Status::OK.0)),
        ("MUSIVA_INVALID_CONFIG", i64::from(Status::INVALID_CONFIG.0)),
        ("MUSIVA_INVALID_INPUT", i64::from(Status::INVALID_INPUT.0)),
        ("MUSIVA_UNSUPPORTED", i64::from(Status::UNSUPPORTED.0)),
        ("MUSIVA_OUT_OF_MEMORY", i64::from(Status::OUT_OF_MEMORY.0)),
        ("MUSIVA_CANCELLED", i64::from(Status::CANCELLED.0)),
        ("MUSIVA_INTERNAL", i64::from(Status::INTERNAL.0)),
        ("MUSIVA_PANICKED", i64::from(Status::PANICKED.0)),
        ("MUSIVA_LOG_ERROR", i64::from(LOG_ERROR)),
        ("MUSIVA_LOG_WARN", i64::from(LOG_WARN)),
        ("MUSIVA_LOG_INFO", i64::from(LOG_INFO)),
        ("MUSIVA_LOG_DEBUG", i64::from(LOG_DEBUG)),
        ("MUSIVA_LOG_TRACE", i64::from(LOG_TRACE)),
        ("MUSIVA_DEVICE_CPU", i64::from(DEVICE_CPU)),
        ("MUSIVA_DTYPE_INT", i64::from(DType::INT)),
        ("MUSIVA_DTYPE_UINT", i64::from(DType::UINT)),
        ("MUSIVA_DTYPE_FLOAT", i64::from(DType::FLOAT)),
        ("MUSIVA_DTYPE_BFLOAT", i64::from(DType::BFLOAT)),
        ("MUSIVA_DTYPE_BOOL", i64::from(DType::BOOL)),
        ("sizeof(musiva_status)", size_of::<Status>() as i64),
    ];
    for (name, value) in numbers {
        writeln!(ours, "{name} {value}").unwrap();
        writeln!(program, "printf(\"{name} %lld\\n\", (long long)({name}));").unwrap();
    }
    let ids = [
        ("MUSIVA_TOKENIZER", Tokenizer::ID),
        ("MUSIVA_TOKENIZER_STREAMING", TokenizerStreaming::ID),
        ("MUSIVA_BACKBONE", Backbone::ID),
        ("MUSIVA_BACKBONE_VJP", BackboneVjp::ID),
        ("MUSIVA_BACKBONE_CACHE", BackboneCache::ID),
        ("MUSIVA_CONDITIONER", Conditioner::ID),
        ("MUSIVA_SAMPLER", Sampler::ID),
        ("MUSIVA_METRIC", Metric::ID),
        ("MUSIVA_DATASET", Dataset::ID),
    ];
    for (name, id) in ids {
        writeln!(ours, "{name} {id}").unwrap();
        writeln!(program, "printf(\"{name} %s\\n\", {name});").unwrap();
    }
    let includes: String = HEADERS.iter().map(|header| format!("#include <musiva/{header}>\n")).collect();
    let source = format!("{includes}#include <stdio.h>\nint main(void) {{\n{program}return 0;\n}}\n");
    for (arguments, name, extension) in
        [(["-std=c99", "-x", "c"], "layout99", "c"), (["-std=c++17", "-x", "c++"], "layout17", "cc")]
    {
        let out = Command::new(compile(&arguments, &source, name, extension)).output().unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), ours, "{name}");
    }
}

/// Each header stands alone, twice, and in both languages.
#[test]
fn each_header_compiles_alone_and_twice() {
    for header in HEADERS {
        let source =
            format!("#include <musiva/{header}>\n#include <musiva/{header}>\nint main(void) {{ return 0; }}\n");
        let name = header.replace(".h", "");
        compile(&["-std=c99", "-x", "c"], &source, &format!("{name}99"), "c");
        compile(&["-std=c++17", "-x", "c++"], &source, &format!("{name}17"), "cc");
    }
}

/// A constant of the headers that the mirror lacks would be missed by the comparison above.
#[test]
fn every_constant_of_the_headers_is_compared() {
    let test = include_str!("layout.rs");
    for header in HEADERS {
        let text = std::fs::read_to_string(include().join("musiva").join(header)).unwrap();
        for name in text.lines().filter_map(|line| line.strip_prefix("#define ")?.split_whitespace().next()) {
            let no_constants = ["_H", "MUSIVA_EXPORT"];
            assert!(
                no_constants.iter().any(|end| name.ends_with(end)) || test.contains(&format!("\"{name}\"")),
                "{name}"
            );
        }
    }
}
