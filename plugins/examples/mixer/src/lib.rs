//! A backbone in a plugin that trains under the host's optimizer.
//!
//!   cargo build --release && cp target/release/libmixer.so .
//!   musiva plugin check . --allow-plugin org.musiva.mixer

mod matrix;
mod mixer;

musiva_plugin::export_plugin!(mixer::Mixer: Backbone + Vjp);
