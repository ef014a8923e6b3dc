//! What a check has found: what is so, why it matters, and what to do about it.

use serde::Serialize;

/// What the checks are about, in the order they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Group {
    /// The file, `.env` and the environment.
    Settings,
    /// The machine that this runs on.
    Machine,
    /// Where syncs are kept.
    Database,
    /// Where leads go.
    Bigin,
    /// Where they come from.
    Sanity,
    /// How Sanity tells of them.
    Webhook,
    /// The leads themselves.
    Leads,
    /// What only the organisation itself can show.
    Live,
}

impl Group {
    /// The heading above its findings.
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Settings => "Settings",
            Self::Machine => "Machine",
            Self::Database => "Database",
            Self::Bigin => "Bigin",
            Self::Sanity => "Sanity",
            Self::Webhook => "Webhook",
            Self::Leads => "Leads",
            Self::Live => "What only your organisation can show",
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Outcome {
    /// All is well.
    Ok,
    /// Leads are sent, and something could be better.
    Warning,
    /// Leads are not sent, or not rightly.
    Failed,
    /// It was not looked at.
    Skipped,
}

/// What a check has found. Names settings, fields and codes, and nothing of a lead or of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Finding {
    /// What it is about.
    pub(in crate::cli) group: Group,
    /// A short stable name, the same in every run.
    pub(in crate::cli) check: &'static str,
    /// How it ended.
    pub(in crate::cli) outcome: Outcome,
    /// What is so.
    pub(in crate::cli) what: String,
    /// Why it matters; `None` where all is well.
    pub(in crate::cli) why: Option<String>,
    /// What to do; `None` where there is nothing to be done.
    pub(in crate::cli) todo: Option<String>,
}

impl Finding {
    pub(super) fn ok(group: Group, check: &'static str, what: impl Into<String>) -> Self {
        Self {
            group,
            check,
            outcome: Outcome::Ok,
            what: what.into(),
            why: None,
            todo: None,
        }
    }

    pub(super) fn warning(
        group: Group,
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self {
            outcome: Outcome::Warning,
            why: Some(why.into()),
            todo: Some(todo.into()),
            ..Self::ok(group, check, what)
        }
    }

    pub(super) fn failed(
        group: Group,
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self {
            outcome: Outcome::Failed,
            ..Self::warning(group, check, what, why, todo)
        }
    }

    pub(super) fn skipped(group: Group, check: &'static str, what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Skipped,
            todo: Some(todo.into()),
            ..Self::ok(group, check, what)
        }
    }
}
