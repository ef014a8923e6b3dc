//! The tests of the whole package, in one crate so that they are linked once.

mod api;
mod cli;
mod demo;
mod fake_bigin;
mod fake_sanity;
mod intake;
mod journey;
mod process;
mod recovery;
mod store_contract;
mod trouble;
mod world;
