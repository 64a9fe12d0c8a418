//! Which plugins are loaded: by pin, by consent, from paths that nobody else can write.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod common;

use common::Shelf;
use musiva_core::recipe::PluginPin;
use musiva_plugin_host::{Consent, Loader, platform};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

const ID: &str = "org.example.malformed";

fn shelf() -> Shelf {
    let shelf = Shelf::default();
    shelf.compile("a", "tests/plugins/malformed.c", &[]);
    shelf.manifest("a", ID, "tokenizer", "1.0.0");
    shelf
}

fn pin(shelf: &Shelf) -> PluginPin {
    PluginPin { id: ID.into(), version: "1.0".into(), sha256: [(platform(), shelf.sha256("a"))].into() }
}

#[track_caller]
fn refused(loader: &Loader, pin: &PluginPin, words: &str) {
    let error = loader.load(pin).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn a_pin_names_bytes_and_a_version() {
    let shelf = shelf();
    let (loader, good) = (shelf.loader(&[ID]), pin(&shelf));
    let loaded = loader.load(&good).unwrap();
    assert!(loaded.origin().contains(&format!("{ID} 1.0.0 (sha256 {}", shelf.sha256("a"))));
    let other = PluginPin { sha256: [(platform(), "0".repeat(64))].into(), ..good.clone() };
    refused(&loader, &other, &format!("its sha256 is {}, the recipe requires 0000", shelf.sha256("a")));
    let elsewhere = PluginPin { sha256: [("m68k-amigaos".into(), "0".repeat(64))].into(), ..good.clone() };
    refused(&loader, &elsewhere, "only for m68k-amigaos");
    refused(&loader, &PluginPin { version: "1.1".into(), ..good.clone() }, "asks for version 1.1, there is 1.0.0");
    refused(&loader, &PluginPin { id: "org.example.b".into(), ..good }, "there is no such plugin in");
}

#[test]
fn its_own_manifest_pins_too() {
    let shelf = shelf();
    let path = shelf.folder("a").join("plugin.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}sha256 = \"{}\"\n", "ab".repeat(32))).unwrap();
    refused(&shelf.loader(&[ID]), &pin(&shelf), "its own plugin.toml requires abab");
}

#[test]
fn a_recipe_alone_is_no_consent() {
    let shelf = shelf();
    let good = pin(&shelf);
    let loader = shelf.loader(&[]);
    refused(&loader, &good, "it is not trusted yet");
    refused(&loader, &good, &format!("musiva plugin trust {}", shelf.sha256("a")));
    refused(&shelf.loader(&["org.example.other"]), &good, "not trusted");
    // Nothing was copied, probed or loaded.
    assert!(!loader.store.exists());
    let trusting = Consent { trusted: [shelf.sha256("a")].into(), ..Consent::default() };
    Loader { consent: trusting, ..loader }.load(&good).unwrap();
}

#[test]
fn paths_that_others_can_write_are_refused() {
    let shelf = shelf();
    let (loader, good) = (shelf.loader(&[ID]), pin(&shelf));
    let (folder, file) = (shelf.folder("a"), shelf.folder("a").join("libplugin.so"));
    for (path, mode, words) in
        [(&file, 0o666, "may write this file"), (&folder, 0o777, "may write this folder"), (&folder, 0o775, "mode 775")]
    {
        let before = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        refused(&loader, &good, words);
        fs::set_permissions(path, before).unwrap();
    }
    let moved = shelf.folder("a").join("other.so");
    fs::rename(&file, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &file).unwrap();
    refused(&loader, &good, "it is a link");
}

#[test]
fn two_plugins_of_one_id_are_refused_and_two_of_equal_symbols_are_not() {
    let shelf = shelf();
    shelf.compile("b", "tests/plugins/malformed.c", &["-DID=\"org.example.b\"", "-DCODE=3"]);
    shelf.manifest("b", "org.example.b", "tokenizer", "1.0.0");
    let (a, b) = (shelf.load("a", ID).unwrap(), shelf.load("b", "org.example.b").unwrap());
    assert_eq!(a.library.described()[0].id, ID);
    assert_eq!(b.library.described()[0].id, "org.example.b");
    shelf.manifest("b", ID, "tokenizer", "1.0.3");
    refused(&shelf.loader(&[ID]), &pin(&shelf), "there are two plugins of this id");
    shelf.loader(&[ID]).load(&PluginPin { version: "1.0.0".into(), ..pin(&shelf) }).unwrap();
}

#[test]
fn a_probe_is_made_once_for_each_library() {
    let shelf = shelf();
    let mut loader = shelf.loader(&[ID]);
    loader.load(&pin(&shelf)).unwrap();
    loader.prober.command = vec!["/no/such/program".into()];
    loader.load(&pin(&shelf)).unwrap();
    fs::remove_dir_all(&loader.store).unwrap();
    refused(&loader, &pin(&shelf), "/no/such/program");
}
