//! bigin-sync: carries leads from Sanity into Zoho Bigin and loses none.
//!
//! `docs/ARCHITECTURE.md` has the map, the invariants and the life of a lead.

// Here and not in Cargo.toml: the crate of the tests exports nothing, so that there every `pub` would be one too many.
#![warn(unreachable_pub)]
#![cfg_attr(
    test,
    expect(
        clippy::too_many_lines,
        reason = "a long table of cases is easier to read than two short ones"
    )
)]

mod api_types;
pub mod app;
pub mod bigin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod database;
pub mod domain;
#[cfg(feature = "demo")]
pub mod fake;
pub mod http;
pub mod http_client;
pub mod metrics;
pub mod random;
pub mod sanity;
pub mod signature;
pub mod store;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod workers;
