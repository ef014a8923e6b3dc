//! The fields of the Contacts module, as `settings/fields` shows them.

use serde_json::{Value, json};

/// One field of Contacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldMeta {
    pub api_name: String,
    /// The label people see.
    pub label: String,
    /// `text`, `email`, `phone`, `textarea`, `boolean`, `integer`, `double`, `date`, `datetime`, `picklist`, …
    pub data_type: String,
    /// Longest text in UTF-16 code units; for `Tag` the length the metadata shows.
    pub length: usize,
    /// Whether an insert must have it, and an update must not clear it.
    pub mandatory: bool,
    /// Whether what is written to it has no effect.
    pub read_only: bool,
    /// Whether two contacts may share a value.
    pub unique: Unique,
    /// Added by the organisation.
    pub custom: bool,
}

/// Whether two contacts may share a value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unique {
    /// They may.
    No,
    /// They may not, and case makes no difference: Email (recorded live traffic, 2026-10-09).
    IgnoringCase,
    /// They may not, and case makes a difference.
    ByCase,
}

impl Unique {
    /// The form of a value that is compared.
    pub(super) fn key(self, value: &str) -> String {
        match self {
            Self::IgnoringCase => value.to_lowercase(),
            Self::No | Self::ByCase => value.to_owned(),
        }
    }
}

impl FieldMeta {
    /// The field as the API shows it, `place` being its place in the list.
    fn to_json(&self, place: usize) -> Value {
        let unique = match self.unique {
            Unique::No => json!({}),
            Unique::IgnoringCase => json!({"casesensitive": "0"}),
            Unique::ByCase => json!({"casesensitive": "1"}),
        };
        json!({
            "id": format!("7618134000000{:06}", 2000 + place),
            "api_name": self.api_name,
            "field_label": self.label,
            "data_type": self.data_type,
            "json_type": json_type(&self.data_type),
            "length": self.length,
            "system_mandatory": self.mandatory,
            "read_only": self.read_only,
            "field_read_only": self.read_only,
            "unique": unique,
            "visible": true,
            "custom_field": self.custom,
            "pick_list_values": [],
        })
    }
}

/// The answer of `settings/fields`.
pub(super) fn list(fields: &[FieldMeta]) -> Value {
    let fields = fields.iter().enumerate().map(|(place, field)| field.to_json(place));
    json!({"fields": fields.collect::<Vec<_>>()})
}

fn json_type(data_type: &str) -> &'static str {
    match data_type {
        "boolean" => "boolean",
        "integer" | "bigint" => "integer",
        "double" | "currency" => "double",
        "lookup" | "ownerlookup" => "jsonobject",
        "jsonarray" | "multiselectpicklist" => "jsonarray",
        _ => "string",
    }
}

/// The default layout of Contacts, complete (recorded live traffic, 2026-10-09). It has no `Lead_Status` and no
/// `Lead_Source`, and the address fields begin with `Mailing_`.
pub(super) fn recorded() -> Vec<FieldMeta> {
    let writable = [
        ("Owner", "Contact Owner", "ownerlookup", 120),
        ("First_Name", "First Name", "text", 40),
        ("Last_Name", "Last Name", "text", 80),
        ("Account_Name", "Company Name", "lookup", 120),
        ("Title", "Title", "text", 100),
        ("Email", "Email", "email", 100),
        ("Phone", "Phone", "phone", 50),
        ("Home_Phone", "Home Phone", "phone", 30),
        ("Mobile", "Mobile", "phone", 30),
        ("Email_Opt_Out", "Email Opt Out", "boolean", 5),
        ("Mailing_Street", "Mailing Street", "text", 250),
        ("Mailing_City", "Mailing City", "text", 100),
        ("Mailing_State", "Mailing State", "text", 100),
        ("Mailing_Zip", "Mailing Zip", "text", 30),
        ("Mailing_Country", "Mailing Country", "text", 100),
        ("Description", "Description", "textarea", 32000),
        ("Tag", "Tag", "jsonarray", 2000),
    ];
    let read_only = [
        ("Full_Name", "Full Name", "text", 120),
        ("Record_Image", "Contact Image", "profileimage", 255),
        ("Created_By", "Created By", "ownerlookup", 120),
        ("Modified_By", "Modified By", "ownerlookup", 120),
        ("Created_Time", "Created Time", "datetime", 120),
        ("Modified_Time", "Modified Time", "datetime", 120),
        ("Last_Activity_Time", "Last Activity Time", "datetime", 120),
        ("Unsubscribed_Mode", "Unsubscribed Mode", "picklist", 120),
        ("Unsubscribed_Time", "Unsubscribed Time", "datetime", 120),
        (
            "Record_Creation_Source_ID__s",
            "Record Creation Source ID",
            "bigint",
            19,
        ),
    ];
    let writable = writable.map(|row| (row, false));
    let read_only = read_only.map(|row| (row, true));
    writable.into_iter().chain(read_only).map(standard).collect()
}

fn standard(((api_name, label, data_type, length), read_only): ((&str, &str, &str, usize), bool)) -> FieldMeta {
    FieldMeta {
        api_name: api_name.to_owned(),
        label: label.to_owned(),
        data_type: data_type.to_owned(),
        length,
        mandatory: api_name == "Last_Name",
        read_only,
        unique: if api_name == "Email" {
            Unique::IgnoringCase
        } else {
            Unique::No
        },
        custom: false,
    }
}
