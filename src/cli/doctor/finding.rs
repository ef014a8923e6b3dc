//! The result of a check: what is so, why it matters, and how to fix it.

use serde::Serialize;

/// The subjects of the checks, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Group {
    Settings,
    Machine,
    Database,
    Bigin,
    Sanity,
    Webhook,
    Leads,
    /// Bigin's automation, which no check can see.
    Live,
}

impl Group {
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Settings => "Settings",
            Self::Machine => "Machine",
            Self::Database => "Database",
            Self::Bigin => "Bigin",
            Self::Sanity => "Sanity",
            Self::Webhook => "Webhook",
            Self::Leads => "Leads",
            Self::Live => "Automation",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Outcome {
    Ok,
    /// Leads are sent, and something could be better.
    Warning,
    /// Leads are not sent, or not correctly.
    Failed,
    Skipped,
}

/// Contains names of settings and fields, and codes; never a lead's value or a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Finding {
    pub(in crate::cli) group: Group,
    pub(in crate::cli) check: &'static str,
    pub(in crate::cli) outcome: Outcome,
    pub(in crate::cli) what: String,
    /// `None` for `Ok` and `Skipped`.
    pub(in crate::cli) why: Option<String>,
    /// `None` for `Ok`.
    pub(in crate::cli) action: Option<String>,
}

/// Creates the findings of a check, which has a group and a stable name.
#[derive(Clone, Copy)]
pub(super) struct Check(pub(super) Group, pub(super) &'static str);

impl Check {
    pub(super) fn ok(self, what: impl Into<String>) -> Finding {
        let Self(group, check) = self;
        Finding {
            group,
            check,
            outcome: Outcome::Ok,
            what: what.into(),
            why: None,
            action: None,
        }
    }

    pub(super) fn skipped(self, what: impl Into<String>, action: impl Into<String>) -> Finding {
        Finding {
            outcome: Outcome::Skipped,
            action: Some(action.into()),
            ..self.ok(what)
        }
    }

    pub(super) fn warning(self, what: impl Into<String>, why: impl Into<String>, action: impl Into<String>) -> Finding {
        Finding {
            outcome: Outcome::Warning,
            why: Some(why.into()),
            ..self.skipped(what, action)
        }
    }

    pub(super) fn failed(self, what: impl Into<String>, why: impl Into<String>, action: impl Into<String>) -> Finding {
        Finding {
            outcome: Outcome::Failed,
            ..self.warning(what, why, action)
        }
    }
}
