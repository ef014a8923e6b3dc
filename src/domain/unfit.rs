//! Why a lead is rejected although none of its fields is wrong.

/// What keeps a lead from being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// With its drafts and versions it exceeds the limit of an answer of Sanity.
    TooLarge,
    /// The token may read others and not this one.
    Unreadable,
    /// The mapping made the program panic.
    Unrenderable,
}

impl Unfit {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TooLarge, Self::Unreadable, Self::Unrenderable];

    /// The stable name in logs and in the history.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "lead_too_large",
            Self::Unreadable => "unreadable_lead",
            Self::Unrenderable => "lead_not_rendered",
        }
    }

    /// The reason for editors, with what to do.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => {
                "The lead is too large: with its drafts and versions it has more than 8 MB, or too many parts. Remove what is not needed, publish it, and ask again"
            }
            Self::Unreadable => {
                "Sanity does not let bigin-sync read the lead. Ask an administrator to give SANITY_API_WRITE_TOKEN the Editor role, then ask again"
            }
            Self::Unrenderable => {
                "The mapping failed on this lead because of a defect in bigin-sync. Ask an administrator to look at its log"
            }
        }
    }

    /// What an operator can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::TooLarge => {
                "Shorten the lead in Sanity, or delete drafts and versions of it that are not needed, publish it, then try it again."
            }
            Self::Unreadable => {
                "Give SANITY_API_WRITE_TOKEN the Editor role, or a custom role that may read every lead; then try it again."
            }
            Self::Unrenderable => {
                "The log has a line \"a defect\" with the place in the source: report it. Another template in [mapping] may avoid it; then try it again."
            }
        }
    }

    /// The inverse of [`Unfit::reason`].
    pub fn from_reason(reason: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unfit| unfit.reason() == reason)
    }
}
