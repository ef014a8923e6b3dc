//! Reads a query into a tree.

use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::Value;

use super::error::GroqError;
use super::lex::{Token, lex};

/// A query: `count(*[…])`, or `*[…] | order(…) [slice]{projection}` with every part but the star left out at will.
pub(super) struct Query {
    pub(super) count: bool,
    pub(super) filter: Option<Expr>,
    pub(super) order: Vec<(String, Direction)>,
    pub(super) slice: Option<Slice>,
    pub(super) projection: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Ascending,
    Descending,
}

/// Part of a list.
pub(super) enum Slice {
    One(Expr),
    /// From, to, and whether `to` is included.
    Range(Expr, Expr, bool),
}

pub(super) enum Expr {
    Field(String),
    Param(String),
    Literal(Value),
    List(Vec<Expr>),
    Now,
    DateTime(Box<Expr>),
    Defined(Box<Expr>),
    Minus(Box<Expr>, Box<Expr>),
    Compare(Box<Expr>, Comparison, Box<Expr>),
    InPath(Box<Expr>, Box<Expr>),
    In(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
}

#[derive(Clone, Copy)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Reads the whole text as one query.
pub(super) fn parse(text: &str) -> Result<Query, GroqError> {
    let mut parser = Parser {
        tokens: lex(text)?.into_iter().peekable(),
        end: text.len(),
    };
    let query = parser.query()?;
    match parser.tokens.next() {
        None => Ok(query),
        Some((at, _)) => Err(GroqError::at(at, "expected the end of the query")),
    }
}

struct Parser {
    tokens: Peekable<IntoIter<(usize, Token)>>,
    end: usize,
}

impl Parser {
    fn error(&mut self, why: &str) -> GroqError {
        let at = self.tokens.peek().map_or(self.end, |(at, _)| *at);
        GroqError::at(at, why)
    }

    fn is_next(&mut self, sign: &str) -> bool {
        matches!(self.tokens.peek(), Some((_, Token::Sign(next))) if *next == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.is_next(sign);
        if found {
            self.tokens.next();
        }
        found
    }

    fn require(&mut self, sign: &str) -> Result<(), GroqError> {
        match self.take(sign) {
            true => Ok(()),
            false => Err(self.error(&format!("expected '{sign}'"))),
        }
    }

    fn take_name(&mut self, name: &str) -> bool {
        let found = matches!(self.tokens.peek(), Some((_, Token::Name(next))) if next == name);
        if found {
            self.tokens.next();
        }
        found
    }

    fn name(&mut self) -> Result<String, GroqError> {
        match self.tokens.peek() {
            Some((_, Token::Name(name))) => {
                let name = name.clone();
                self.tokens.next();
                Ok(name)
            }
            _ => Err(self.error("expected the name of a field")),
        }
    }

    fn query(&mut self) -> Result<Query, GroqError> {
        let count = self.take_name("count");
        if count {
            self.require("(")?;
        }
        let query = self.list(count)?;
        if count {
            self.require(")")?;
        }
        Ok(query)
    }

    fn list(&mut self, count: bool) -> Result<Query, GroqError> {
        self.require("*")?;
        let mut query = Query {
            count,
            filter: None,
            order: Vec::new(),
            slice: None,
            projection: None,
        };
        if self.take("[") {
            query.filter = Some(self.expression()?);
            self.require("]")?;
        }
        if self.take("|") {
            query.order = self.order()?;
        }
        loop {
            if query.slice.is_none() && self.take("[") {
                query.slice = Some(self.slice()?);
            } else if query.projection.is_none() && self.take("{") {
                query.projection = Some(self.projection()?);
            } else {
                return Ok(query);
            }
        }
    }

    fn order(&mut self) -> Result<Vec<(String, Direction)>, GroqError> {
        if !self.take_name("order") {
            return Err(self.error("expected order(…)"));
        }
        self.require("(")?;
        let mut keys = Vec::new();
        loop {
            let field = self.name()?;
            let descending = !self.take_name("asc") && self.take_name("desc");
            keys.push((
                field,
                if descending {
                    Direction::Descending
                } else {
                    Direction::Ascending
                },
            ));
            if !self.take(",") {
                self.require(")")?;
                return Ok(keys);
            }
        }
    }

    fn slice(&mut self) -> Result<Slice, GroqError> {
        let from = self.atom()?;
        let inclusive = self.is_next("..");
        let slice = match inclusive || self.is_next("...") {
            true => {
                self.tokens.next();
                Slice::Range(from, self.atom()?, inclusive)
            }
            false => Slice::One(from),
        };
        self.require("]")?;
        Ok(slice)
    }

    fn projection(&mut self) -> Result<Vec<String>, GroqError> {
        let mut fields = vec![self.name()?];
        while self.take(",") {
            if self.is_next("}") {
                break;
            }
            fields.push(self.name()?);
        }
        self.require("}")?;
        Ok(fields)
    }

    fn expression(&mut self) -> Result<Expr, GroqError> {
        let mut left = self.conjunction()?;
        while self.take("||") {
            left = Expr::Or(left.into(), self.conjunction()?.into());
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expr, GroqError> {
        let mut left = self.comparison()?;
        while self.take("&&") {
            left = Expr::And(left.into(), self.comparison()?.into());
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expr, GroqError> {
        let left = self.sum()?;
        if self.take_name("in") {
            if !self.take_name("path") {
                return Ok(Expr::In(left.into(), self.atom()?.into()));
            }
            self.require("(")?;
            let pattern = self.atom()?;
            self.require(")")?;
            return Ok(Expr::InPath(left.into(), pattern.into()));
        }
        let signs = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (sign, comparison) in signs {
            if self.take(sign) {
                return Ok(Expr::Compare(left.into(), comparison, self.sum()?.into()));
            }
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expr, GroqError> {
        let mut left = self.atom()?;
        while self.take("-") {
            left = Expr::Minus(left.into(), self.atom()?.into());
        }
        Ok(left)
    }

    fn atom(&mut self) -> Result<Expr, GroqError> {
        if self.take("!") {
            return Ok(Expr::Not(self.atom()?.into()));
        }
        if self.take("(") {
            let inner = self.expression()?;
            self.require(")")?;
            return Ok(inner);
        }
        if self.take("[") {
            return self.literal_list();
        }
        let leaf = match self.tokens.peek().map(|(_, token)| token.clone()) {
            Some(Token::Name(name)) => {
                self.tokens.next();
                return self.named(name);
            }
            Some(Token::Param(name)) => Expr::Param(name),
            Some(Token::Text(text)) => Expr::Literal(text.into()),
            Some(Token::Number(number)) => Expr::Literal(number.into()),
            Some(Token::Sign(_)) | None => return Err(self.error("expected a value")),
        };
        self.tokens.next();
        Ok(leaf)
    }

    fn literal_list(&mut self) -> Result<Expr, GroqError> {
        let mut items = Vec::new();
        while !self.take("]") {
            items.push(self.atom()?);
            if !self.take(",") {
                self.require("]")?;
                break;
            }
        }
        Ok(Expr::List(items))
    }

    /// A field, a literal's name, or one of the functions.
    fn named(&mut self, name: String) -> Result<Expr, GroqError> {
        if self.take("(") {
            let call = match name.as_str() {
                "now" => Expr::Now,
                "dateTime" => Expr::DateTime(self.atom()?.into()),
                "defined" => Expr::Defined(self.atom()?.into()),
                _ => return Err(self.error(&format!("unknown function {name}()"))),
            };
            self.require(")")?;
            return Ok(call);
        }
        Ok(match name.as_str() {
            "true" => Expr::Literal(true.into()),
            "false" => Expr::Literal(false.into()),
            "null" => Expr::Literal(Value::Null),
            _ => Expr::Field(name),
        })
    }
}
