//! The one project, its dataset and its tokens, and what makes a document a lead that is to be sent.

/// The type of a lead's document.
pub const LEAD_TYPE: &str = "dbrLead";
/// The value of `crmStatus` that requests a sync.
pub(super) const REQUESTED: &str = "REQUESTED";
pub(super) const PROJECT_ID: &str = "inv3nted";
pub(super) const DATASET: &str = "production";
/// Of the role Editor, which may not see webhooks.
pub(super) const TOKEN: &str = "skInventedRobotTokenOfTheFake";
/// Of the role Developer, which may.
pub(super) const MANAGEMENT_TOKEN: &str = "skInventedDeveloperTokenOfTheFake";
pub(super) const WEBHOOK_SECRET: &str = "invented webhook secret";
