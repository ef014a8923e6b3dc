//! Reading leads with all their copies: `GET /data/doc/{dataset}/{ids}?includeAllVersions=true`, which "cuts through any
//! caching/indexing" (Sanity's docs, HTTP doc).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{Sanity, answer, unreadable};
use crate::domain::failure::{CallError, Pause, PauseKind, Remote};
use crate::domain::lead::{Lead, LeadId, LeadRead};
use crate::outbound::{Answer, Deadline, Operation};

/// Most bytes of ids in one URL: Sanity takes 15 KB of headers (Sanity's docs, technical limits), many proxies 8 KiB.
const IDS_IN_URL: usize = 7500;

impl Sanity {
    /// Reads leads as they are at this moment. Every id asked for is in the answer: a lead that was deleted, unpublished, or
    /// has another `_type`, has no [`LeadRead::published`]. Many ids take more than one call, so that leads of one answer may
    /// be of different moments.
    ///
    /// # Errors
    /// [`CallError`]; it is [`PauseKind::Refused`] where the token may not read one of them.
    pub async fn read(&self, ids: &[LeadId], deadline: Duration) -> Result<BTreeMap<LeadId, LeadRead>, CallError> {
        let deadline = Deadline::new(&self.clock, deadline);
        let mut leads: BTreeMap<LeadId, LeadRead> = ids.iter().map(|id| (id.clone(), LeadRead::default())).collect();
        let distinct: Vec<String> = leads.keys().map(LeadId::to_string).collect();
        for ids in chunks(&distinct) {
            let url = format!("{}/doc/{}/{ids}", self.base, self.dataset);
            let request = self.http.get(url).query(&[("includeAllVersions", "true")]);
            let of = ids.split(',').count();
            let label = |answer: &Answer| answer::label(answer, &self.dataset);
            let answer = self.send(Operation::Doc, of, request, &deadline, label).await?;
            answer::judge(&answer, &self.dataset)?;
            sort_in(answer.json.unwrap_or_default(), &self.lead_type, &mut leads)?;
        }
        Ok(leads)
    }
}

/// Joins ids with commas, in texts of at most [`IDS_IN_URL`] bytes. Ids need no escaping.
fn chunks(ids: &[String]) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    for id in ids {
        match chunks.last_mut() {
            Some(chunk) if chunk.len() + 1 + id.len() <= IDS_IN_URL => {
                chunk.push(',');
                chunk.push_str(id);
            }
            _ => chunks.push(id.clone()),
        }
    }
    chunks
}

/// Sorts an answer's documents under the leads they belong to.
///
/// `{"documents":[…],"omitted":[{"id","reason":"existence"|"permission"}]}` (source of @sanity/client): what does not exist is
/// omitted with 200.
fn sort_in(mut body: Value, lead_type: &str, leads: &mut BTreeMap<LeadId, LeadRead>) -> Result<(), CallError> {
    let Some(Value::Array(documents)) = body.get_mut("documents").map(Value::take) else {
        return Err(unreadable("Sanity's answer has no documents"));
    };
    let omitted = body
        .get("omitted")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if omitted.iter().any(|entry| entry["reason"] == "permission") {
        return Err(CallError::Unavailable(Pause {
            remote: Remote::Sanity,
            kind: PauseKind::Refused,
            code: "permission".to_owned(),
            message:
                "SANITY_API_WRITE_TOKEN may not read all leads, their drafts and versions; give it the Editor role"
                    .to_owned(),
            retry_after: None,
        }));
    }
    for document in documents {
        let Value::Object(document) = document else {
            continue;
        };
        let Some(id) = document.get("_id").and_then(Value::as_str) else {
            continue;
        };
        let is_lead = document.get("_type").and_then(Value::as_str) == Some(lead_type);
        let published = published_id(id);
        let Some(read) = published
            .as_ref()
            .and_then(|lead| leads.get_mut(lead))
            .filter(|_| is_lead)
        else {
            continue;
        };
        if published.is_some_and(|lead| lead.as_str() == id) {
            let lead = Lead::from_document(document);
            read.published = Some(lead.ok_or_else(|| unreadable("a document of Sanity lacks its own fields"))?);
        } else {
            read.copies.push(id.to_owned());
        }
    }
    Ok(())
}

/// `X` for `X`, `drafts.X` and `versions.{release}.X`.
fn published_id(id: &str) -> Option<LeadId> {
    let rest = id.strip_prefix("drafts.").or_else(|| {
        let version = id.strip_prefix("versions.")?;
        version.split_once('.').map(|(_release, rest)| rest)
    });
    LeadId::parse(rest.unwrap_or(id)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    use super::*;
    use crate::domain::lead::is_copy;
    use crate::strange;

    #[test]
    fn ids_are_split_before_the_url_grows_too_long() {
        let ids: Vec<String> = (0..100).map(|n| format!("{n:0128}")).collect();
        let chunks = chunks(&ids);
        assert_eq!(chunks.len(), 2);
        assert!(chunks.iter().all(|chunk| chunk.len() <= IDS_IN_URL));
        assert_eq!(chunks.join(","), ids.join(","));
        assert!(super::chunks(&[]).is_empty());
    }

    #[test]
    fn a_copy_names_the_lead_it_is_of() {
        let cases = [
            ("lead-1", Some("lead-1")),
            ("drafts.lead-1", Some("lead-1")),
            ("drafts.a.b", Some("a.b")),
            ("versions.rSpring.lead-1", Some("lead-1")),
            ("versions.rSpring.a.b", Some("a.b")),
            ("versions.lead-1", None),
            ("drafts.drafts.x", None),
        ];
        for (id, lead) in cases {
            assert_eq!(published_id(id).as_ref().map(LeadId::as_str), lead, "{id}");
        }
    }

    const KEYS: &[&str] = &[
        "documents",
        "omitted",
        "_id",
        "_type",
        "_rev",
        "_updatedAt",
        "reason",
        "crmStatus",
        "biginContactId",
    ];

    const TEXTS: &[&str] = &[
        "a",
        "b",
        "drafts.a",
        "versions.r1.b",
        "drafts.versions.a",
        "dbrLead",
        "page",
        "2026-11-22T09:00:00Z",
        "permission",
        "existence",
        "REQUESTED",
    ];

    /// Documents that have most of what a document has, and some that have not.
    fn bodies() -> impl Strategy<Value = Value> {
        let document = (select(TEXTS), select(TEXTS), strange::json(KEYS, TEXTS)).prop_map(|(id, kind, mut other)| {
            if let Some(parts) = other.as_object_mut() {
                let own = [
                    ("_id", id),
                    ("_type", kind),
                    ("_rev", "r1"),
                    ("_updatedAt", "2026-11-22T09:00:00Z"),
                ];
                for (key, text) in own {
                    parts.entry(key).or_insert_with(|| text.into());
                }
            }
            other
        });
        let documents = prop::collection::vec(document, 0..6);
        let framed = documents.prop_map(|documents| json!({ "documents": documents }));
        prop_oneof![4 => framed, 1 => strange::json(KEYS, TEXTS)]
    }

    proptest! {
        #![proptest_config(strange::config())]

        #[test]
        fn a_lead_gets_its_own_document_and_its_own_copies_and_no_other(body in bodies()) {
            let ids = ["a", "b"].map(|id| LeadId::parse(id).unwrap());
            let mut leads: BTreeMap<_, _> = ids.into_iter().map(|id| (id, LeadRead::default())).collect();
            match sort_in(body.clone(), "dbrLead", &mut leads) {
                Ok(()) => prop_assert!(body["documents"].is_array()),
                Err(error) => {
                    let shown = format!("{error} {error:?}");
                    prop_assert!(!strange::tells(&shown), "{}", shown);
                }
            }
            prop_assert_eq!(leads.len(), 2);
            for (id, read) in leads {
                if let Some(lead) = read.published {
                    prop_assert_eq!((&lead.id, lead.document_type.as_str()), (&id, "dbrLead"));
                }
                let mut copies = read.copies.iter();
                let end = format!(".{id}");
                prop_assert!(copies.all(|copy| is_copy(copy) && copy.ends_with(&end)), "{:?}", read.copies);
            }
        }
    }
}
