//! bigin-sync: carries leads from Sanity into Zoho Bigin and loses none.

pub mod clock;
pub mod domain;
pub mod outbound;
