//! Plugins that are wrong, each in its own way: what can be survived is survived, and each has its own words.

#![allow(clippy::unwrap_used)]

mod common;

use common::Shelf;
use musiva_core::{Clip, Hosted, Make, Media, MediaShape, Rate, Registry, Result, Role, WeightInit};
use musiva_plugin_host::{Loaded, check, register};
use serde_json::json;
use std::time::Duration;

const ID: &str = "org.example.malformed";
const SOURCE: &str = "tests/plugins/malformed.c";

/// How far a plugin gets: loading, making, encoding and decoding; or the words that end it.
fn run(loaded: Result<Loaded>) -> Result<()> {
    let loaded = loaded?;
    let mut registry = Registry::default();
    register(&mut registry, &loaded)?;
    let component = registry.get(Role::Tokenizer, ID).expect("registered a moment ago");
    let Make::Hosted(Hosted::Tokenizer(make)) = &component.make else { panic!("a tokenizer") };
    let said =
        |error: serde_json::Error| musiva_core::Error::new(musiva_core::ErrorKind::Plugin, "", error.to_string());
    let config = make(json!({})).map_err(said)?;
    let flawed =
        |error: musiva_core::ConfigError| musiva_core::Error::new(musiva_core::ErrorKind::Plugin, "", error.message);
    let rate = Rate::whole(8);
    config.shape(&MediaShape::Clip { frames: 2, height: 3, width: 5, rate }).map_err(flawed)?;
    let tokenizer = config.build(&burn::tensor::Device::flex(), &WeightInit::Seed(0))?;
    let pixels = (0..2 * 3 * 5 * 3).map(|i| (i * 7 % 256) as u8).collect();
    let clip = Clip::new([2, 3, 5], rate, pixels)?;
    let tokens = tokenizer.encode(&Media::Clip(clip))?;
    assert_eq!(tokens.grid(), [2, 3, 5]);
    assert_eq!(tokenizer.decode(&tokens)?.clip("the plugin")?.shape(), [2, 3, 5]);
    Ok(())
}

/// Defines on the command line of the compiler, and the words of the error; no words: it works.
const CASES: &[(&str, &[&str], &str)] = &[
    ("in order", &[], ""),
    ("newer minor, longer structs", &["-DLONGER_STRUCTS", "-DMINOR=7"], ""),
    ("outputs from a thread of its own", &["-DOUTPUT_FROM_A_THREAD"], ""),
    // What a library exports.
    ("no symbol", &["-DNO_SYMBOL"], "it exports no symbol `musiva_plugin_entry`"),
    ("undefined function", &["-DUNDEFINED_FUNCTION"], "no shared library of this machine"),
    ("another major", &["-DMAJOR=2"], "built for version 2.0 of the plugin ABI"),
    ("major 0", &["-DMAJOR=0"], "built for version 0.0 of the plugin ABI"),
    ("no size", &["-DENTRY_SIZE=0"], "0 bytes long, too short for a version"),
    ("entry cut off", &["-DENTRY_SIZE=24"], "its entry says it is 24 bytes long"),
    ("no create", &["-DCREATE=NULL"], "lacks `create`"),
    ("no destroy", &["-DDESTROY=NULL"], "`destroy`"),
    ("no get_interface", &["-DGET_INTERFACE=NULL"], "`get_interface`"),
    // What it holds.
    ("holds nothing", &["-DCOUNT=0"], "it says it holds 0 things"),
    ("holds too much", &["-DCOUNT=4000000000u"], "it says it holds 4000000000 things"),
    ("no descriptors", &["-DNULL_DESCRIPTORS"], "its descriptors are no pointer"),
    ("null descriptor", &["-DNULL_DESCRIPTOR"], "descriptor 0 is no pointer"),
    ("descriptor cut off", &["-DDESCRIPTOR_SIZE=16"], "descriptor 0 says it is 16 bytes long"),
    ("twice the same", &["-DCOUNT=2"], "it holds `org.example.malformed` twice"),
    ("id not UTF-8", &["-DID=\"org.\\xff\\xfe\""], "the id of descriptor 0 is not UTF-8"),
    ("id with a newline", &["-DID=\"org.example\\n.a\""], "the id of descriptor 0 is not UTF-8"),
    ("id without a domain", &["-DID=\"dct\""], "\"dct\" is no id"),
    ("id in capitals", &["-DID=\"org.Example\""], "is no id"),
    ("id of a gigabyte", &["-DID_LENGTH=1073741824"], "the id of descriptor 0"),
    ("unknown kind", &["-DKIND=\"tokeniser\""], "of kind \"tokeniser\""),
    ("no version", &["-DVERSION=\"\""], "of version \"\""),
    (
        "another id",
        &["-DID=\"org.example.other\""],
        "the library holds no `org.example.malformed`, only org.example.other",
    ),
    ("another kind than the manifest", &["-DKIND=\"metric\""], "plugin.toml says `kind = \"tokenizer\"`"),
    ("another version than the manifest", &["-DVERSION=\"2.0.0\""], "plugin.toml says `version = \"1.0.0\"`"),
    ("schema not JSON", &["-DSCHEMA=\"{\""], "config_schema: its answer is not as the header says"),
    ("schema of no object", &["-DSCHEMA=\"{}\""], "no schema of an object"),
    ("schema fails", &["-DSCHEMA_FAILS"], "config_schema: it failed without a word"),
    // What it does while it is loaded.
    ("crash at load", &["-DCRASH_AT_LOAD"], "loading it crashes: signal 11 (segmentation fault)"),
    ("abort at load", &["-DABORT_AT_LOAD"], "loading it crashes: signal 6 (abort)"),
    ("exit at load", &["-DEXIT_AT_LOAD"], "ended the process before it could be looked at"),
    // Making an instance.
    ("create fails in silence", &["-DCREATE_STATUS=-1"], "create: it failed without a word (invalid configuration)"),
    ("create refuses", &["-DCREATE_WORDS=\"`frames` is odd\""], "create: `frames` is odd"),
    ("create gives nothing", &["-DCREATE_NOTHING"], "it reports success and gives no instance"),
    ("create succeeds after an error", &["-DCREATE_OK_AFTER_FAIL"], "reports success, but had said: it has no licence"),
    ("no interface", &["-DNO_INTERFACE"], "it does not have the interface musiva.tokenizer/1"),
    ("table at an odd address", &["-DINTERFACE_ODD"], "its musiva_tokenizer_1 is no pointer to a struct"),
    ("table cut off", &["-DTABLE_SIZE=24"], "its musiva_tokenizer_1 says it is 24 bytes long"),
    ("null function", &["-DNO_ENCODE"], "lacks the function `encode`"),
    // What it says of itself.
    ("describes nothing", &["-DDESCRIBE_NOTHING"], "describe: text 0 is missing"),
    ("describes in prose", &["-DDESCRIBE=\"a tokenizer\""], "describe: its answer is not as the header says"),
    ("description not UTF-8", &["-DDESCRIBE=\"\\xff\""], "describe: text 0 is not UTF-8"),
    ("text of another number", &["-DTEXT_INDEX=3"], "it gives text 3"),
    (
        "no entries",
        &[
            "-DDESCRIBE=\"{\\\"modality\\\":\\\"video\\\",\\\"tokens\\\":{\\\"kind\\\":\\\"codes\\\",\\\"entries\\\":0},\\\"strides\\\":[1,1,1],\\\"causal\\\":true}\"",
        ],
        "a codebook of 0 entries",
    ),
    (
        "bits that are not the entries",
        &[
            "-DDESCRIBE=\"{\\\"modality\\\":\\\"video\\\",\\\"tokens\\\":{\\\"kind\\\":\\\"codes\\\",\\\"entries\\\":4,\\\"bits\\\":70},\\\"strides\\\":[1,1,1],\\\"causal\\\":true}\"",
        ],
        "4 entries of 70 bits",
    ),
    (
        "strides of zero",
        &[
            "-DDESCRIBE=\"{\\\"modality\\\":\\\"video\\\",\\\"tokens\\\":{\\\"kind\\\":\\\"codes\\\",\\\"entries\\\":4},\\\"strides\\\":[0,1,1],\\\"causal\\\":true}\"",
        ],
        "strides of [0, 1, 1]",
    ),
    // Shapes.
    ("takes nothing", &["-DREFUSES_ALL"], "it takes no media at all"),
    ("empty grid", &["-DGRID={0, 3, 5}"], "a grid of [0, 3, 5]"),
    ("negative grid", &["-DGRID={-2, 3, 5}"], "a grid of [-2, 3, 5]"),
    ("endless grid", &["-DGRID={4611686018427387904, 4611686018427387904, 4}"], "a grid of [4611686018427387904"),
    // Outputs.
    ("output missing", &["-DOUTPUT_MISSING"], "encode: output 0 (the tokens) is missing"),
    ("output twice", &["-DOUTPUT_TWICE"], "encode: it makes the tokens twice"),
    ("output of another number", &["-DOUTPUT_INDEX=1"], "it asks for output 1"),
    ("output of another rank", &["-DOUTPUT_RANK=4"], "it makes the tokens of i64 [2, 3, 5, 1], expected i64 [2, 3, 5]"),
    ("output of no rank", &["-DOUTPUT_RANK=-1"], "without a shape"),
    ("output of a billion ranks", &["-DOUTPUT_RANK=1000000000"], "without a shape"),
    ("output without a shape", &["-DOUTPUT_NO_SHAPE"], "without a shape"),
    ("output nowhere", &["-DOUTPUT_NO_ROOM"], "gives no room for it"),
    ("output of another type", &["-DOUTPUT_BITS=32"], "it makes the tokens of i32"),
    ("output of an unknown type", &["-DOUTPUT_CODE=99"], "it makes the tokens of type 64"),
    ("output of vectors", &["-DOUTPUT_LANES=4"], "i64×4"),
    ("output of another shape", &["-DOUTPUT_SIDE=4"], "it makes the tokens of i64 [2, 4, 5]"),
    (
        "output of a petabyte",
        &["-DOUTPUT_SIDE=1125899906842624"],
        "it makes the tokens of i64 [2, 1125899906842624, 5]",
    ),
    ("output of a negative side", &["-DOUTPUT_SIDE=-3"], "it makes the tokens of i64 [2, -3, 5]"),
    ("success after a refusal", &["-DOUTPUT_SIDE=4", "-DIGNORES_REFUSAL"], "it reports success, but had said"),
    (
        "media of a petabyte",
        &["-DDECODE_SIDE=1125899906842624"],
        "decode: it makes the media of [2, 1125899906842624, 5, 3]: more than",
    ),
    ("media of an overflow", &["-DDECODE_SIDE=9223372036854775807"], "more than 1073741824 bytes"),
    ("media of no height", &["-DDECODE_SIDE=0"], "decode: it makes the media of u8 [2, 0, 5, 3]"),
    ("media of another length", &["-DDECODE_FRAMES=3"], "its grid is another"),
    ("media in grey", &["-DDECODE_CHANNELS=1"], "expected u8 [·, ·, ·, 3]"),
    // Values.
    ("code out of range", &["-DCODE=4"], "encode: it makes the code 4, its codebook has 4 entries"),
    ("negative code", &["-DCODE=-1"], "encode: it makes the code -1"),
    ("code of 2^32", &["-DCODE=4294967296"], "encode: it makes the code 4294967296"),
    (
        "latents that are no numbers",
        &[
            "-DLATENTS=(0.0f/0.0f)",
            "-DDESCRIBE=\"{\\\"modality\\\":\\\"video\\\",\\\"tokens\\\":{\\\"kind\\\":\\\"latents\\\",\\\"channels\\\":1},\\\"strides\\\":[1,1,1],\\\"causal\\\":true}\"",
        ],
        "encode: a vector holds NaN, which is not a finite number",
    ),
    // Calls.
    ("fails in silence", &["-DSTATUS=-6"], "encode: it failed without a word (internal error)"),
    ("unknown status", &["-DSTATUS=77"], "encode: it failed without a word (status 77)"),
    ("says it panicked", &["-DSTATUS=-7"], "encode: it failed without a word (panicked)"),
    ("words that are not UTF-8", &["-DFAIL_NOT_UTF8"], "bad \u{fffd}\u{fffd}  [31m words"),
    ("success after an error", &["-DOK_AFTER_FAIL"], "it reports success, but had said: something went wrong"),
    #[cfg(target_arch = "x86_64")]
    ("flushes to zero", &["-DFLUSH_TO_ZERO"], "it changed the floating-point mode"),
    #[cfg(target_arch = "x86_64")]
    ("rounds down", &["-DROUND_DOWN"], "it changed the floating-point mode"),
    ("changes the locale", &["-DLOCALE"], "it changed the locale"),
];

#[test]
fn each_is_named_and_none_is_fatal() {
    let shelf = Shelf::default();
    let mut wrong = Vec::new();
    for (name, defines, words) in CASES {
        let folder = name.replace(|c: char| !c.is_alphanumeric(), "-");
        shelf.compile(&folder, SOURCE, defines);
        shelf.manifest(&folder, ID, "tokenizer", "1.0.0");
        let mut said = vec![run(shelf.load(&folder, ID))];
        // In a process of its own it says the very same.
        #[cfg(target_os = "linux")]
        said.push(run(shelf.isolate(&folder, ID, Duration::from_secs(30))));
        let said: Vec<_> = said.into_iter().map(|one| one.err().map(|error| error.to_string())).collect();
        let good = |one: &Option<String>| match one {
            Some(error) => !words.is_empty() && error.contains(words),
            None => words.is_empty(),
        };
        if !said.iter().all(good) || said.first() != said.last() {
            wrong.push(format!("{name}: {said:?}"));
        }
        println!("| {name} | {} |", said[0].as_deref().unwrap_or("works").replace("\n  hint: ", "; hint: "));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(CASES.len() > 80 && shelf.count() == CASES.len());
}

/// What no guard can catch in one process, a process of its own does.
#[cfg(target_os = "linux")]
#[test]
fn isolated_a_crash_within_a_call_is_an_error() {
    let segfault = "*(volatile int *)16 = 1";
    let shelf = Shelf::default();
    for (name, define, words) in [
        ("segfault", format!("-DENCODE_FATE={segfault}"), "encode: it crashes: signal 11 (segmentation fault)"),
        ("abort", "-DENCODE_FATE=abort()".into(), "encode: it crashes: signal 6 (abort)"),
        ("exit", "-DENCODE_FATE=exit(3)".into(), "encode: it ends the process: exit status: 3"),
        ("quiet exit", "-DENCODE_FATE=_exit(0)".into(), "encode: it ends the process: exit status: 0"),
        ("hang", "-DENCODE_FATE=for (;;) sleep(1)".into(), "encode: it takes longer than 1.5 seconds"),
        ("stack", "-DOVERFLOW -DENCODE_FATE=overflow(0)".into(), "encode: it crashes: signal"),
        ("no way back", "-DENCODE_FATE=for (int i = 3; i < 64; i++) close(i)".into(), "encode: it ends the process"),
        ("create", format!("-DCREATE_FATE={segfault}"), "create: it crashes: signal 11 (segmentation fault)"),
        // These two are told in the log, or to nobody: the plugin has done its work.
        ("destroy", format!("-DDESTROY_FATE={segfault}"), ""),
        ("noise", "-DENCODE_FATE=puts(\"{}\"); fflush(stdout); getchar()".into(), ""),
    ] {
        let defines: Vec<&str> = match define.split_once(" -D") {
            Some((first, _)) => vec![first, &define[first.len() + 1..]],
            None => vec![&define],
        };
        shelf.compile(name, SOURCE, &defines);
        shelf.manifest(name, ID, "tokenizer", "1.0.0");
        let said = run(shelf.isolate(name, ID, Duration::from_millis(1500)));
        let said = said.map_or_else(|error| error.to_string(), |()| String::new());
        assert!(said.contains(words) && said.is_empty() == words.is_empty(), "{name}: {said:?}");
        println!("| {name}, isolated | {said} |");
    }
}

/// The instance is lost, its library is not.
#[cfg(target_os = "linux")]
#[test]
fn isolated_a_crash_is_one_instances_own() {
    let shelf = Shelf::default();
    let crash = "-DENCODE_FATE=if (media->shape[0] == 1) abort()";
    shelf.compile("brittle", SOURCE, &[crash]);
    shelf.manifest("brittle", ID, "tokenizer", "1.0.0");
    let loaded = shelf.isolate("brittle", ID, Duration::from_secs(30)).unwrap();
    let mut registry = Registry::default();
    register(&mut registry, &loaded).unwrap();
    let Make::Hosted(Hosted::Tokenizer(make)) = &registry.get(Role::Tokenizer, ID).unwrap().make else {
        panic!("a tokenizer")
    };
    let config = make(json!({})).unwrap();
    let build = || config.build(&burn::tensor::Device::flex(), &WeightInit::Seed(0)).unwrap();
    let clip = |frames| Media::Clip(Clip::new([frames, 2, 3], Rate::whole(8), vec![9; frames * 18]).unwrap());
    let (one, other) = (build(), build());
    one.encode(&clip(2)).unwrap();
    assert!(one.encode(&clip(1)).unwrap_err().to_string().contains("signal 6 (abort)"));
    assert!(one.encode(&clip(2)).unwrap_err().to_string().contains("the process that it ran in has ended"));
    other.encode(&clip(2)).unwrap();
    build().encode(&clip(2)).unwrap();
}

#[test]
fn a_library_that_hangs_is_given_up() {
    let shelf = Shelf::default();
    shelf.compile("hangs", SOURCE, &["-DHANG_AT_LOAD"]);
    shelf.manifest("hangs", ID, "tokenizer", "1.0.0");
    let mut loader = shelf.loader(&[ID]);
    loader.prober.limit = Duration::from_millis(300);
    let manifest = musiva_plugin_host::Manifest::read(&shelf.folder("hangs")).unwrap();
    let error = loader.load_folder(&shelf.folder("hangs"), &manifest, None).unwrap_err().to_string();
    assert!(error.contains("longer than 0.3 seconds"), "{error}");
}

#[test]
fn files_that_are_no_libraries() {
    let shelf = Shelf::default();
    for (name, bytes) in [("empty", &b""[..]), ("text", b"int main(void) {}"), ("head", b"\x7fELF\x02\x01\x01\0\0\0")] {
        shelf.manifest(name, ID, "tokenizer", "1.0.0");
        std::fs::write(shelf.folder(name).join("libplugin.so"), bytes).unwrap();
        let error = shelf.load(name, ID).unwrap_err().to_string();
        assert!(error.contains("no shared library of this machine"), "{name}: {error}");
    }
}

/// What a single call cannot show, the conformance kit does.
#[test]
fn the_conformance_kit_sees_what_a_call_does_not() {
    let shelf = Shelf::default();
    for (name, defines, finding) in
        [("random", &["-DRANDOM_CODES"][..], "encode again"), ("leaks", &["-DLEAKS"], "leaks"), ("order", &[], "")]
    {
        shelf.compile(name, SOURCE, defines);
        shelf.manifest(name, ID, "tokenizer", "1.0.0");
        check_finds(&shelf.load(name, ID).unwrap(), name, finding);
        #[cfg(target_os = "linux")]
        check_finds(&shelf.isolate(name, ID, Duration::from_secs(30)).unwrap(), name, finding);
    }
}

#[track_caller]
fn check_finds(loaded: &Loaded, name: &str, finding: &str) {
    let findings = check(loaded, &json!({}));
    let failed: Vec<_> = findings
        .iter()
        .filter(|finding| matches!(finding.outcome, musiva_plugin_host::Outcome::Fails(_)))
        .map(|finding| finding.name.as_str())
        .collect();
    match finding {
        "" => assert!(failed.is_empty(), "{findings:?}"),
        finding => assert!(failed.contains(&finding), "{name}: {findings:?}"),
    }
}
