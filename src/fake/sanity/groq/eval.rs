//! Answers a query that was read.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::error::GroqError;
use super::parse::{Comparison, Direction, Expr, Query, Slice};
use crate::fake::sanity::document::Document;

/// Parameters by name, without the dollar.
pub(super) type Params = BTreeMap<String, Value>;

/// What a query is answered with.
pub(super) struct Evaluation<'a> {
    pub(super) params: &'a Params,
    pub(super) now: Timestamp,
}

/// A value as GROQ sees it: JSON, and times.
#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Time(Timestamp),
    List(Vec<Operand>),
    Other,
}

impl From<&Value> for Operand {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(value) => value.as_f64().map_or(Self::Null, Self::Number),
            Value::String(value) => Self::Text(value.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(_) => Self::Other,
        }
    }
}

impl From<Option<bool>> for Operand {
    fn from(value: Option<bool>) -> Self {
        value.map_or(Self::Null, Self::Bool)
    }
}

impl Operand {
    fn truth(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The order of two values of one type; there is none between types.
    fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.partial_cmp(b),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// The order of any two values in `order()`: numbers, text, truth values, all else.
    fn total_order(&self, other: &Self) -> Ordering {
        let rank = |operand: &Self| match operand {
            Self::Number(_) => 1,
            Self::Text(_) => 2,
            Self::Bool(_) => 3,
            _ => 4,
        };
        let by_rank = rank(self).cmp(&rank(other));
        by_rank.then_with(|| self.order(other).unwrap_or(Ordering::Equal))
    }
}

impl Evaluation<'_> {
    pub(super) fn answer<'a>(
        &self,
        query: &Query,
        documents: impl Iterator<Item = &'a Document>,
    ) -> Result<Value, GroqError> {
        let mut found = Vec::new();
        // Parameters are looked up even where there is no document to compare them with.
        query
            .filter
            .as_ref()
            .map(|filter| self.value(filter, &Document::new()))
            .transpose()?;
        for document in documents {
            let wanted = match &query.filter {
                Some(filter) => self.value(filter, document)?.truth() == Some(true),
                None => true,
            };
            if wanted {
                found.push(document);
            }
        }
        found.sort_by(|a, b| by_keys(&query.order, a, b));
        let show = |document: &Document| project(document, query.projection.as_deref());
        let found = match &query.slice {
            None => found,
            Some(Slice::One(at)) => {
                let at = self.index(at)?;
                return Ok(found.get(at).map_or(Value::Null, |document| show(document)));
            }
            Some(Slice::Range(from, to, inclusive)) => {
                let (from, to) = (self.index(from)?, self.index(to)? + usize::from(*inclusive));
                found.into_iter().take(to).skip(from).collect()
            }
        };
        match query.count {
            true => Ok(found.len().into()),
            false => Ok(found.into_iter().map(show).collect()),
        }
    }

    fn index(&self, expr: &Expr) -> Result<usize, GroqError> {
        let index = match self.value(expr, &Document::new())? {
            Operand::Number(number) => format!("{number}").parse().ok(),
            _ => None,
        };
        index.ok_or_else(|| GroqError::new("a slice wants constant numbers"))
    }

    fn value(&self, expr: &Expr, document: &Document) -> Result<Operand, GroqError> {
        let value = |expr: &Expr| self.value(expr, document);
        Ok(match expr {
            Expr::Field(name) => document.get(name).map_or(Operand::Null, Operand::from),
            Expr::Param(name) => {
                let given = self.params.get(name);
                let given =
                    given.ok_or_else(|| GroqError::new(&format!("param ${name} referenced, but not provided")))?;
                Operand::from(given)
            }
            Expr::Literal(literal) => Operand::from(literal),
            Expr::List(items) => Operand::List(items.iter().map(value).collect::<Result<_, _>>()?),
            // Text, as GROQ has it: only dateTime() makes a time of it that can be reckoned with.
            Expr::Now => Operand::Text(self.now.to_string()),
            Expr::DateTime(inner) => match value(inner)? {
                Operand::Text(text) => text.parse().map_or(Operand::Null, Operand::Time),
                Operand::Time(time) => Operand::Time(time),
                _ => Operand::Null,
            },
            Expr::Defined(inner) => Operand::Bool(value(inner)? != Operand::Null),
            Expr::Minus(a, b) => minus(&value(a)?, &value(b)?),
            Expr::Compare(a, comparison, b) => compare(&value(a)?, *comparison, &value(b)?).into(),
            Expr::InPath(id, pattern) => in_path(&value(id)?, &value(pattern)?).into(),
            Expr::In(item, list) => match (value(item)?, value(list)?) {
                (item, Operand::List(items)) => Operand::Bool(items.contains(&item)),
                _ => Operand::Null,
            },
            Expr::Not(inner) => value(inner)?.truth().map(|truth| !truth).into(),
            Expr::And(a, b) => and(value(a)?.truth(), value(b)?.truth()).into(),
            Expr::Or(a, b) => {
                let not = |truth: Option<bool>| truth.map(|truth| !truth);
                not(and(not(value(a)?.truth()), not(value(b)?.truth()))).into()
            }
        })
    }
}

/// False wins over unknown.
fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn minus(a: &Operand, b: &Operand) -> Operand {
    match (a, b) {
        (Operand::Number(a), Operand::Number(b)) => Operand::Number(a - b),
        (Operand::Time(a), Operand::Time(b)) => Operand::Number(a.duration_since(*b).as_secs_f64()),
        (Operand::Time(a), Operand::Number(seconds)) => {
            let by = SignedDuration::try_from_secs_f64(*seconds).ok();
            let moved = by.and_then(|by| a.checked_sub(by).ok());
            moved.map_or(Operand::Null, Operand::Time)
        }
        _ => Operand::Null,
    }
}

/// Values of different types are never equal, and neither less nor greater: that is unknown.
fn compare(a: &Operand, comparison: Comparison, b: &Operand) -> Option<bool> {
    match comparison {
        Comparison::Equal => Some(a == b),
        Comparison::NotEqual => Some(a != b),
        Comparison::Less => a.order(b).map(Ordering::is_lt),
        Comparison::LessOrEqual => a.order(b).map(Ordering::is_le),
        Comparison::Greater => a.order(b).map(Ordering::is_gt),
        Comparison::GreaterOrEqual => a.order(b).map(Ordering::is_ge),
    }
}

/// `*` stands for one part of an id between dots, `**` at the end for one or more.
fn in_path(id: &Operand, pattern: &Operand) -> Option<bool> {
    let (Operand::Text(id), Operand::Text(pattern)) = (id, pattern) else {
        return None;
    };
    let (start, open) = match pattern.strip_suffix("**") {
        Some(start) => (start.trim_end_matches('.'), true),
        None => (pattern.as_str(), false),
    };
    let wanted: Vec<&str> = start.split('.').filter(|part| !part.is_empty()).collect();
    let parts: Vec<&str> = id.split('.').collect();
    let length = if open {
        parts.len() > wanted.len()
    } else {
        parts.len() == wanted.len()
    };
    Some(
        length
            && wanted
                .iter()
                .zip(&parts)
                .all(|(wanted, part)| *wanted == "*" || wanted == part),
    )
}

fn by_keys(keys: &[(String, Direction)], a: &Document, b: &Document) -> Ordering {
    let field = |document: &Document, key: &str| document.get(key).map_or(Operand::Null, Operand::from);
    let by_key = |(key, direction): &(String, Direction)| {
        let order = field(a, key).total_order(&field(b, key));
        if *direction == Direction::Descending {
            order.reverse()
        } else {
            order
        }
    };
    keys.iter().map(by_key).fold(Ordering::Equal, Ordering::then)
}

/// A field that is not there is null.
fn project(document: &Document, fields: Option<&[String]>) -> Value {
    let field = |name: &String| (name.clone(), document.get(name).cloned().unwrap_or(Value::Null));
    match fields {
        Some(fields) => Value::Object(fields.iter().map(field).collect()),
        None => Value::Object(document.clone()),
    }
}
