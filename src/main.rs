//! The program `bigin-sync`.

fn main() {}
