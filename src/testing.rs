//! What unit tests of several modules need.

pub(crate) mod arbitrary_json;
pub(crate) mod stub_server;
