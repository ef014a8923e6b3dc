//! The tests of the whole package, in one crate so that they are linked once.

mod api;
mod fake_bigin;
mod fake_sanity;
mod intake;
mod journey;
mod world;
