//! Simulated Sanity and Bigin: models in memory, served over real HTTP on loopback. The demo runs on them, and so do the
//! tests. Of the product they know the clock only: a fake that shared its code would share its mistakes.

pub mod bigin;
pub mod sanity;
mod server;

pub use server::Answered;
