//! A small honest part of COQL: `select … from Contacts where … [limit n]`, without the search index's lag (Zoho CRM
//! docs, search-records: "To fetch records without any delay, use the Query API").

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::model::{Contact, Model};
use super::read::value_of;
use super::reply::Reply;
use super::request::Request;

/// Values of one `in` (Zoho CRM docs, COQL limitations).
const MAX_IN: usize = 50;
/// Records of one answer, asked for or not.
const MAX_LIMIT: usize = 200;
/// Deep enough for 25 criteria, and for no stack to overflow.
const MAX_DEPTH: usize = 50;

/// `POST coql`
pub(super) fn query(model: &Model, request: &Request) -> Reply {
    let body = request.json();
    let text = body.as_ref().and_then(|body| body.get("select_query")?.as_str());
    let Some(text) = text else {
        return Reply::refusal(400, "MANDATORY_NOT_FOUND", json!({"api_name": "select_query"}));
    };
    let known = |name: &String| name == "id" || name == "Created_Time" || model.field(name).is_some();
    let parsed = tokens(text).and_then(|tokens| Parser { tokens, at: 0 }.query());
    let Some(query) = parsed.filter(|query| query.names().into_iter().all(known)) else {
        return Reply::refusal(400, "SYNTAX_ERROR", json!({}));
    };
    let mut found = model
        .contacts()
        .filter(|(id, contact)| query.condition.holds(model, id, contact));
    let rows: Vec<Value> = found
        .by_ref()
        .take(query.limit)
        .map(|(id, contact)| query.row(model, id, contact))
        .collect();
    if rows.is_empty() {
        return Reply::nothing();
    }
    let info = json!({"count": rows.len(), "more_records": found.next().is_some()});
    Reply::json(200, json!({"data": rows, "info": info}))
}

struct Query {
    fields: Vec<String>,
    condition: Condition,
    limit: usize,
}

enum Condition {
    /// The field has one of the values.
    In(String, Vec<String>),
    /// The field is empty.
    IsNull(String),
    /// A time, at this one or later.
    Since(String, Timestamp),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

impl Query {
    fn names(&self) -> Vec<&String> {
        let mut names: Vec<&String> = self.fields.iter().collect();
        self.condition.collect_names(&mut names);
        names
    }

    /// What was selected, and always the id.
    fn row(&self, model: &Model, id: &str, contact: &Contact) -> Value {
        let fields = self
            .fields
            .iter()
            .map(|name| (name.clone(), value_of(model, contact, name)));
        let mut row: Map<String, Value> = fields.collect();
        row.insert("id".to_owned(), json!(id));
        Value::Object(row)
    }
}

impl Condition {
    fn holds(&self, model: &Model, id: &str, contact: &Contact) -> bool {
        match self {
            Self::And(left, right) => left.holds(model, id, contact) && right.holds(model, id, contact),
            Self::Or(left, right) => left.holds(model, id, contact) || right.holds(model, id, contact),
            Self::IsNull(field) => value_of(model, contact, field).is_null(),
            // The one time that a query may ask for here.
            Self::Since(_, since) => contact.created_at >= *since,
            Self::In(field, values) if field == "id" => values.iter().any(|value| value == id),
            Self::In(field, values) => {
                let own = value_of(model, contact, field);
                let own = own.as_str().unwrap_or_default().to_lowercase();
                !own.is_empty() && values.iter().any(|value| value.to_lowercase() == own)
            }
        }
    }

    fn collect_names<'a>(&'a self, names: &mut Vec<&'a String>) {
        match self {
            Self::In(field, _) | Self::IsNull(field) | Self::Since(field, _) => names.push(field),
            Self::And(left, right) | Self::Or(left, right) => {
                left.collect_names(names);
                right.collect_names(names);
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\n' | '\t' => {}
            '(' | ')' | ',' | '=' | '>' => tokens.push(Token::Sign(c)),
            '\'' => tokens.push(Token::Text(literal(&mut chars)?)),
            _ if c.is_ascii_alphanumeric() => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
            _ => return None,
        }
    }
    Some(tokens)
}

/// The rest of a text whose opening quote has been read; a backslash takes the next character as it is.
fn literal(chars: &mut impl Iterator<Item = char>) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            '\'' => return Some(text),
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn query(mut self) -> Option<Query> {
        self.keyword("select")?;
        let mut fields = vec![self.name()?];
        while self.sign(',').is_some() {
            fields.push(self.name()?);
        }
        self.keyword("from")?;
        if self.name()? != "Contacts" {
            return None;
        }
        self.keyword("where")?;
        let condition = self.condition(0)?;
        let limit = match self.keyword("limit") {
            Some(()) => self
                .name()?
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))?,
            None => MAX_LIMIT,
        };
        let whole = self.at == self.tokens.len();
        whole.then_some(Query {
            fields,
            condition,
            limit,
        })
    }

    /// One criterion, or two that are joined. More than two want parentheres around each pair, as in every example of the
    /// docs.
    fn condition(&mut self, depth: usize) -> Option<Condition> {
        let left = Box::new(self.criterion(depth)?);
        if self.keyword("and").is_some() {
            Some(Condition::And(left, Box::new(self.criterion(depth)?)))
        } else if self.keyword("or").is_some() {
            Some(Condition::Or(left, Box::new(self.criterion(depth)?)))
        } else {
            Some(*left)
        }
    }

    fn criterion(&mut self, depth: usize) -> Option<Condition> {
        if depth > MAX_DEPTH {
            return None;
        }
        if self.sign('(').is_some() {
            let inner = self.condition(depth + 1)?;
            self.sign(')')?;
            return Some(inner);
        }
        let field = self.name()?;
        if self.sign('>').is_some() {
            self.sign('=')?;
            let since = self.value()?.parse().ok()?;
            return (field == "Created_Time").then_some(Condition::Since(field, since));
        }
        if self.keyword("is").is_some() {
            self.keyword("null")?;
            return Some(Condition::IsNull(field));
        }
        if self.sign('=').is_some() {
            return Some(Condition::In(field, vec![self.value()?]));
        }
        self.keyword("in")?;
        self.sign('(')?;
        let mut values = vec![self.value()?];
        while self.sign(',').is_some() {
            values.push(self.value()?);
        }
        self.sign(')')?;
        (values.len() <= MAX_IN).then_some(Condition::In(field, values))
    }

    fn next_if<T>(&mut self, read: impl FnOnce(&Token) -> Option<T>) -> Option<T> {
        let value = self.tokens.get(self.at).and_then(read)?;
        self.at += 1;
        Some(value)
    }

    fn keyword(&mut self, keyword: &str) -> Option<()> {
        self.next_if(|token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(keyword)).then_some(()))
    }

    fn sign(&mut self, sign: char) -> Option<()> {
        self.next_if(|token| (*token == Token::Sign(sign)).then_some(()))
    }

    fn name(&mut self) -> Option<String> {
        self.next_if(|token| match token {
            Token::Word(word) => Some(word.clone()),
            _ => None,
        })
    }

    /// A quoted text, or a bare number.
    fn value(&mut self) -> Option<String> {
        self.next_if(|token| match token {
            Token::Text(text) => Some(text.clone()),
            Token::Word(word) if word.bytes().all(|c| c.is_ascii_digit()) => Some(word.clone()),
            _ => None,
        })
    }
}
