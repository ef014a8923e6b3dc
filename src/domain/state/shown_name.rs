//! The names of the states that people read: on the dashboard, in the CLI, in the docs and in alerts.

use super::State;

impl State {
    /// Each label with its shown name, in the order of [`State::LABELS`].
    pub const SHOWN_NAMES: [(&str, &str); 8] = [
        ("requested", "Queued"),
        ("upserted", "Waiting to tag"),
        ("tagged", "Writing back"),
        ("rejected", "Writing back (failed)"),
        ("sent", "Sent"),
        ("failed", "Failed"),
        ("lead_deleted", "Lead deleted"),
        ("cancelled", "Cancelled"),
    ];

    /// The name of this state that people read.
    pub fn shown_name(&self) -> &'static str {
        shown_name(self.label()).unwrap_or_default()
    }
}

/// The shown name of the state with this label; `None` where there is no such state.
pub fn shown_name(label: &str) -> Option<&'static str> {
    let mut names = State::SHOWN_NAMES.into_iter();
    names.find(|(known, _)| *known == label).map(|(_, name)| name)
}
