//! A reader of datasets in a plugin.
//!
//!   cargo build --release && cp target/release/liby4m.so .
//!   musiva plugin check . --allow-plugin org.musiva.y4m --config '{"path": "/where/clips/are"}'

mod dataset;
mod y4m;

musiva_plugin::export_plugin!(dataset::Y4m: Dataset);
