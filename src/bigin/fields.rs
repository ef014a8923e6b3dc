//! The organisation's field metadata, as `settings/fields` gives it (recorded live traffic 2026-10-09).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::record::{Field, OrgFields};

/// Reads `{"fields":[{"api_name","field_label","data_type","length","unique","read_only","field_read_only",…}]}`; `None` where
/// it lists none, as no organisation does.
pub(super) fn parse(body: &Value) -> Option<OrgFields> {
    let fields: BTreeMap<_, _> = body.get("fields")?.as_array()?.iter().filter_map(field).collect();
    (!fields.is_empty()).then_some(OrgFields(fields))
}

fn field(metadata: &Value) -> Option<(String, Field)> {
    let text = |key: &str| metadata.get(key).and_then(Value::as_str);
    let flag = |key: &str| metadata.get(key).and_then(Value::as_bool).unwrap_or(false);
    let api_name = text("api_name")?;
    let label = text("field_label")
        .or_else(|| text("display_label"))
        .unwrap_or(api_name);
    let data_type = text("data_type").unwrap_or("text");
    let computed = matches!(data_type, "formula" | "autonumber" | "rollup_summary");
    let field = Field {
        label: label.to_owned(),
        data_type: data_type.to_owned(),
        length: metadata.get("length").and_then(length),
        // `{}` where duplicates are allowed, `{"casesensitive":"0"}` where they are not.
        unique: metadata
            .get("unique")
            .is_some_and(|unique| unique.as_object().map_or(unique == true, |how| !how.is_empty())),
        read_only: flag("read_only") || flag("field_read_only") || computed,
    };
    Some((api_name.to_owned(), field))
}

fn length(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok().filter(|length| *length > 0)
}
