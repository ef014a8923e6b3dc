//! The tests of the whole package, in one crate so that they are linked once.

mod fake_bigin;
mod fake_sanity;
