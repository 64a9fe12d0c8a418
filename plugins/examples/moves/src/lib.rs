//! A metric in a plugin.
//!
//!   cargo build --release && cp target/release/libmoves.so .
//!   musiva plugin check . --allow-plugin org.musiva.moves

mod moves;

musiva_plugin::export_plugin!(moves::Moves: Metric);
