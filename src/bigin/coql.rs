//! Finding contacts through COQL, which has no index lag (docs of Zoho CRM, search-records: "To fetch records
//! without any delay, use the Query API").

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{Bigin, answer, call, item};
use crate::clock::until;
use crate::domain::failure::CallError;
use crate::domain::lead::ContactId;
use crate::http_client::Operation;

/// A contact with one of the phone numbers asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    pub contact: ContactId,
    /// Its `Phone` and `Mobile`, as Bigin spells them, where it has them.
    pub phones: Vec<String>,
}

impl std::fmt::Debug for Found {
    /// Leaves the numbers out: they are personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found")
            .field("contact", &self.contact)
            .finish_non_exhaustive()
    }
}

/// A contact that has neither email nor phone.
#[derive(Clone, PartialEq, Eq)]
pub struct Bare {
    pub contact: ContactId,
    /// Empty where it has none.
    pub first_name: String,
    /// Every contact has one.
    pub last_name: String,
}

impl std::fmt::Debug for Bare {
    /// Leaves the names out: they are personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bare")
            .field("contact", &self.contact)
            .finish_non_exhaustive()
    }
}

/// Besides a scope for the module, COQL needs its own (official docs, get-records-using-coql-query).
const SCOPE: &str = "ZohoBigin.coql.READ";

/// Most values of one `in` (docs of Zoho CRM, COQL).
const VALUES: usize = 50;

/// Most rows of one answer, and COQL's default (docs of Zoho CRM, COQL).
const ROWS: usize = 200;

#[derive(Serialize)]
struct QueryBody<'a> {
    select_query: &'a str,
}

impl Bigin {
    /// Finds the contacts whose `Phone` or `Mobile` is spelled in one of these ways: `POST /bigin/v2/coql`.
    ///
    /// Bigin does not normalise numbers, so the caller lists the spellings and compares what comes back. At most 50
    /// spellings go into one call; more make more calls. Spellings that no phone number has (quotes, backslashes, control
    /// characters, more than 50 characters) are left out. Where a call has 200 matches, the most there can be, its spellings are
    /// asked for in halves, so that no contact is overlooked beside a number that many have.
    ///
    /// # Errors
    /// [`CallError`]; a missing scope is `OAUTH_SCOPE_MISMATCH`. The call changes nothing.
    pub async fn find_by_phone(&self, spellings: &[String], deadline: Duration) -> Result<Vec<Found>, CallError> {
        let started = self.clock.now();
        let mut spellings: Vec<&str> = spellings
            .iter()
            .map(String::as_str)
            .filter(|text| is_plain(text))
            .collect();
        spellings.sort_unstable();
        spellings.dedup();
        let mut found = BTreeMap::new();
        let mut waiting: Vec<&[&str]> = spellings.chunks(VALUES).collect();
        while let Some(chunk) = waiting.pop() {
            let left = deadline.saturating_sub(until(started, self.clock.now()));
            let rows = self.rows(&by_phone(chunk), left).await?;
            if rows.len() >= ROWS && chunk.len() > 1 {
                let (one, other) = chunk.split_at(chunk.len() / 2);
                waiting.extend([one, other]);
            }
            for row in rows {
                found.insert(contact_of(&row)?, phones(&row));
            }
        }
        let found = found.into_iter().map(|(contact, phones)| Found { contact, phones });
        Ok(found.collect())
    }

    /// Finds the contacts that have neither email nor phone and were made at `since` or later. Of more than 200 the first
    /// 200 are returned.
    ///
    /// # Errors
    /// [`CallError`]; a missing scope is `OAUTH_SCOPE_MISMATCH`. The call changes nothing.
    pub async fn find_bare(&self, since: Timestamp, deadline: Duration) -> Result<Vec<Bare>, CallError> {
        let rows = self.rows(&bare_since(since), deadline).await?;
        let text = |row: &Value, field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let bare = rows.iter().map(|row| {
            Ok(Bare {
                contact: contact_of(row)?,
                first_name: text(row, "First_Name"),
                last_name: text(row, "Last_Name"),
            })
        });
        bare.collect()
    }

    async fn rows(&self, query: &str, deadline: Duration) -> Result<Vec<Value>, CallError> {
        let body = QueryBody { select_query: query };
        let answer = self
            .ask(deadline, call(Operation::Coql, 0), 1, |base| {
                self.http.post(format!("{base}/bigin/v2/coql")).json(&body)
            })
            .await?;
        let Some(body) = answer::body(&answer, SCOPE)? else {
            return Ok(Vec::new());
        };
        let rows = body.get("data").and_then(Value::as_array);
        rows.cloned()
            .ok_or_else(|| CallError::unreadable("Bigin's answer to a query has no rows"))
    }
}

fn contact_of(row: &Value) -> Result<ContactId, CallError> {
    item::contact_id(row).ok_or_else(|| CallError::unreadable("a row of Bigin's answer has no id"))
}

/// `is null` and times like this one are in the docs of Zoho CRM (COQL overview); more than two criteria want brackets.
fn bare_since(since: Timestamp) -> String {
    let since = since.strftime("%Y-%m-%dT%H:%M:%S+00:00");
    format!(
        "select id, First_Name, Last_Name from Contacts where ((Email is null and Phone is null) and (Mobile is null and Created_Time >= '{since}')) limit {ROWS}"
    )
}

fn by_phone(spellings: &[&str]) -> String {
    let values: Vec<String> = spellings.iter().map(|text| format!("'{text}'")).collect();
    let values = values.join(",");
    format!("select id, Phone, Mobile from Contacts where Phone in ({values}) or Mobile in ({values}) limit {ROWS}")
}

/// Refusing quotes is safer than to escape them: the docs do not say how COQL escapes.
fn is_plain(text: &str) -> bool {
    let strange = |c: char| matches!(c, '\'' | '"' | '\\') || c.is_control();
    (1..=50).contains(&text.chars().count()) && !text.chars().any(strange)
}

fn phones(row: &Value) -> Vec<String> {
    ["Phone", "Mobile"]
        .iter()
        .filter_map(|name| row.get(*name).and_then(Value::as_str))
        .filter(|text| !text.trim().is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spelling_cannot_leave_its_quotes() {
        for bad in ["", "'", "07700' or id > '0", "\\", "\"", "077\n00", &"1".repeat(51)] {
            assert!(!is_plain(bad), "{bad:?}");
        }
        for good in ["+447700900123", "07700 900123", "(0770) 0900-123 ext. 4"] {
            assert!(is_plain(good), "{good:?}");
        }
    }

    #[test]
    fn a_query_for_bare_contacts_has_nothing_of_a_lead_in_it() {
        assert_eq!(
            bare_since("2026-11-22T10:00:00.5Z".parse().unwrap()),
            "select id, First_Name, Last_Name from Contacts where ((Email is null and Phone is null) and (Mobile is null and Created_Time >= '2026-11-22T10:00:00+00:00')) limit 200"
        );
    }

    #[test]
    fn a_query_asks_for_both_numbers() {
        assert_eq!(
            by_phone(&["+44", "044"]),
            "select id, Phone, Mobile from Contacts where Phone in ('+44','044') or Mobile in ('+44','044') limit 200"
        );
    }
}
