//! The templates of a mapping: a minijinja environment that can only compute, checked as a whole before its first lead.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::tz::TimeZone;
use minijinja::machinery::{Instruction, get_compiled_template};
use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Template, UndefinedBehavior, Value};
use serde_json::{Map, Value as Json};

use super::MappingProblem;
use crate::domain::conversation::{self, conversation};
use crate::domain::datetime::moment;
use crate::domain::phone;

/// What one field of one lead may cost. A million steps or 64 MB take well under a second, and no honest template comes
/// near: the largest lead the webhook accepts is 8 MiB.
const FUEL: u64 = 1_000_000;

/// Depth of nested blocks and recursive loops.
const DEPTH: usize = 50;

/// The variable the `conversation` filter takes its limit from; a template may set its own.
const CONVERSATION_LIMIT: &str = "conversation_limit";

/// A filter was given an argument that no lead can make right. Its text holds nothing of the lead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misuse(&'static str);

/// The templates by name of the field.
pub(super) struct Templates {
    env: Environment<'static>,
    fields: Vec<String>,
}

impl Templates {
    /// An environment with our filters and without anything that reads beyond the lead: no loader, no `include` (the
    /// crate is built without it), no clock, no chance.
    pub(super) fn new(zone: TimeZone, region: &str) -> Self {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Chainable);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_formatter(|out, state, value| {
            let shown = if value.is_none() { &Value::UNDEFINED } else { value };
            minijinja::escape_formatter(out, state, shown)
        });
        env.set_fuel(Some(FUEL));
        env.set_recursion_limit(DEPTH);
        // It prints every variable there is.
        env.remove_global("debug");
        let region = region.to_owned();
        env.add_filter(
            "e164",
            move |state: &mut State, number: Value, other: Option<String>| {
                e164(state, &number, other.as_deref(), &region)
            },
        );
        let dates = zone.clone();
        env.add_filter("date", move |at: Value, format: Option<String>| {
            date(at, format.as_deref(), &dates)
        });
        env.add_filter("conversation", move |state: &State, value: Value| {
            let limit = state.lookup(CONVERSATION_LIMIT).and_then(|limit| limit.as_usize());
            conversation(
                &json(&value),
                &zone,
                limit.unwrap_or(conversation::LIMIT).min(conversation::LIMIT),
            )
        });
        Self {
            env,
            fields: Vec::new(),
        }
    }

    /// Takes in a field's template.
    pub(super) fn add(&mut self, field: &str, source: &str) -> Result<(), Vec<MappingProblem>> {
        self.fields.push(field.to_owned());
        let broken = |error: Error| vec![described(&error)];
        self.env
            .add_template_owned(field.to_owned(), source.to_owned())
            .map_err(broken)?;
        let template = self.env.get_template(field).map_err(broken)?;
        // Names are looked up when they are met, which may be in a branch that no lead takes for months.
        let unknown = unknown_names(&self.env, &template);
        if !unknown.is_empty() {
            return Err(unknown);
        }
        match template.render(Variables::of(Map::new()).with_limit(conversation::LIMIT)) {
            Err(error) if is_fault(&error) => Err(broken(error)),
            _ => Ok(()),
        }
    }

    /// The names of the fields, in their order.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(String::as_str)
    }

    /// What a field's template makes of a lead; the error is a reason that holds nothing of the lead.
    pub(super) fn render(&self, field: &str, variables: &Value) -> Result<Rendered, String> {
        let rendered = self
            .env
            .get_template(field)
            .and_then(|template| template.render_captured(variables));
        let mut rendered = rendered.map_err(|error| reason(&error))?;
        let number = rendered.with_state_mut(|state| state.get_extension_mut::<Canonical>().map(std::mem::take));
        let text = rendered.into_output();
        Ok(Rendered {
            is_canonical_phone: number.is_some_and(|Canonical(number)| number == text.trim()),
            text,
        })
    }
}

/// The text of a field.
pub(super) struct Rendered {
    pub(super) text: String,
    /// Without the blanks around it, it is a number that `e164` has made, and its own canonical form in the mapping's region.
    pub(super) is_canonical_phone: bool,
}

/// The last number that `e164` has made in a rendering, so that it need not be parsed again: that takes as long as half of
/// the other fields of a lead.
#[derive(Default)]
struct Canonical(String);

/// The variables of a lead's templates: the document's own fields, and the whole of it as `lead`.
pub(super) struct Variables(Value);

impl Variables {
    /// Takes the document apart, so that no more than a part of it is in memory twice.
    pub(super) fn of(document: Map<String, Json>) -> Self {
        Self(value(Json::Object(document)))
    }

    /// With the limit of the `conversation` filter. The document is shared, not copied.
    pub(super) fn with_limit(&self, conversation_limit: usize) -> Value {
        let lead = self.0.clone();
        Value::from_object(Scope {
            lead,
            conversation_limit,
        })
    }
}

/// What a template finds by name.
#[derive(Debug)]
struct Scope {
    lead: Value,
    conversation_limit: usize,
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "lead" => Some(self.lead.clone()),
            CONVERSATION_LIMIT => Some(self.conversation_limit.into()),
            // A field that is null is there all the same: it hides a function of its name.
            _ => self.lead.as_object()?.get_value(key),
        }
    }
}

/// A part of the document as a template sees it. Null is undefined, so that it renders as nothing, also in `a ~ b`.
fn value(json: Json) -> Value {
    match json {
        Json::Null => Value::UNDEFINED,
        Json::Bool(flag) => flag.into(),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(signed), _) => signed.into(),
            (None, Some(unsigned)) => unsigned.into(),
            (None, None) => number.as_f64().map_or(Value::UNDEFINED, Value::from),
        },
        Json::String(text) => text.into(),
        Json::Array(_) => Value::from_object(List(json)),
        Json::Object(parts) => Value::from_pairs(parts.into_iter().map(|(key, part)| (key, value(part)))),
    }
}

/// A list of the document. It stays as it was parsed: a conversation may be megabytes, and templates seldom look at more of it
/// than the `conversation` filter, which takes it as it is.
#[derive(Debug)]
struct List(Json);

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned().map(value)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.as_array().map_or(0, Vec::len))
    }
}

fn json(value: &Value) -> Cow<'_, Json> {
    match value.downcast_object_ref::<List>() {
        Some(List(list)) => Cow::Borrowed(list),
        None => Cow::Owned(serde_json::to_value(value).unwrap_or_default()),
    }
}

fn e164(state: &mut State, number: &Value, region: Option<&str>, default: &str) -> Result<String, Error> {
    let region = region
        .map(str::trim)
        .filter(|region| !region.is_empty())
        .unwrap_or(default);
    if !phone::is_region(region) {
        return Err(misuse("e164 takes the two letters of a region, like \"GB\""));
    }
    let text = if number.is_none() {
        String::new()
    } else {
        number.to_string()
    };
    let Some((number, is_for_good)) = phone::canonical_for_good(&text, region) else {
        return Ok(text.trim().to_owned());
    };
    if is_for_good && region == default {
        state
            .get_or_insert_extension(Canonical::default())
            .0
            .clone_from(&number);
    }
    Ok(number)
}

fn date(at: Value, format: Option<&str>, zone: &TimeZone) -> Result<Value, Error> {
    let write = |at| jiff::fmt::strtime::format(format.unwrap_or("%d/%m/%Y"), at);
    let wrong = |_| misuse("date takes a strftime format, like \"%d/%m/%Y\"");
    match moment(&json(&at), zone) {
        Some(at) => write(&at).map(Value::from).map_err(wrong),
        // The format is tried all the same, so that a wrong one is found without a lead.
        None => write(&jiff::Timestamp::UNIX_EPOCH.to_zoned(zone.clone()))
            .map(|_| at)
            .map_err(wrong),
    }
}

fn misuse(text: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, text).with_source(Misuse(text))
}

fn as_misuse(error: &Error) -> Option<&Misuse> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Filters, tests, functions and methods that a template names and that do not exist.
fn unknown_names(env: &Environment<'_>, template: &Template<'_, '_>) -> Vec<MappingProblem> {
    let mut state = env.empty_state();
    let mut knows = |kind: &str, name: &str| state.perform_test(kind, &[name.into()]).unwrap_or(false);
    let is_global = |name: &str| env.globals().any(|(global, _)| global == name);
    let instructions = &get_compiled_template(template).instructions;
    let mut unknown = Vec::new();
    for instruction in (0..).map_while(|at| instructions.get(at)) {
        let (kind, name) = match *instruction {
            Instruction::ApplyFilter(name, ..) if !knows("filter", name) => ("filter", name),
            Instruction::PerformTest(name, ..) if !knows("test", name) => ("test", name),
            Instruction::CallFunction(name, _) if name != "loop" && !is_global(name) => ("function", name),
            Instruction::CallMethod(name, _) if !matches!(name, "cycle" | "changed") => ("method", name),
            _ => continue,
        };
        let problem = MappingProblem::Unknown {
            kind,
            name: name.to_owned(),
        };
        if !unknown.contains(&problem) {
            unknown.push(problem);
        }
    }
    unknown
}

/// Whether a template that failed on an empty lead would fail on every lead. Others may be right to fail: `{{ a + b }}`.
fn is_fault(error: &Error) -> bool {
    as_misuse(error).is_some()
        || matches!(
            error.kind(),
            ErrorKind::UnknownFilter
                | ErrorKind::UnknownTest
                | ErrorKind::UnknownFunction
                | ErrorKind::TooManyArguments
                | ErrorKind::MissingArgument
                | ErrorKind::OutOfFuel
        )
}

/// The error of a template, for the operator.
fn described(error: &Error) -> MappingProblem {
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    MappingProblem::Template {
        line: error.line(),
        message: format!("{}{detail}", error.kind()),
    }
}

/// The error of a template on a lead. Only its kind: minijinja's details quote values.
fn reason(error: &Error) -> String {
    match (as_misuse(error), error.kind()) {
        (Some(misuse), _) => misuse.to_string(),
        (None, ErrorKind::OutOfFuel) => "its template takes too many steps".to_owned(),
        (None, kind) => match error.line() {
            Some(line) => format!("{kind} in line {line} of its template"),
            None => format!("{kind} in its template"),
        },
    }
}
