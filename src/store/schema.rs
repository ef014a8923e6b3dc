//! The schema that a database has, and how it differs from the one that the steps of `migrations.rs` make.
//!
//! Only what is missing or different counts. Further tables, columns and indexes are a newer version's, or an operator's.

use std::collections::BTreeMap;
use std::fmt;

use super::db::{Db, Result, Row, corrupt};

/// What the steps make on SQLite, as [`text`] writes it.
const SQLITE: &str = include_str!("migrations/sqlite-schema.txt");

/// The same on PostgreSQL, as version 15 says it, after a line on the steps that made it.
const POSTGRES: &str = include_str!("migrations/postgres-schema.txt");

/// Differences that a message names. More of them are counted.
const MAX_NAMED: usize = 3;

/// The tables, columns and indexes of a database.
pub(super) type Schema = BTreeMap<Object, Definition>;

/// What a schema consists of. A table comes before what it has.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Object {
    table: String,
    kind: Kind,
    /// Empty for a table.
    name: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Table,
    Column,
    Index,
}

pub(super) struct Definition {
    text: String,
    /// Of a column: no row can be added without a value for it.
    is_required: bool,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Column => "column",
            Self::Index => "index",
        }
    }

    fn from_label(label: &str) -> Option<Self> {
        let all = [Self::Table, Self::Column, Self::Index];
        all.into_iter().find(|kind| kind.label() == label)
    }
}

impl Object {
    fn table(&self) -> Self {
        Self {
            table: self.table.clone(),
            kind: Kind::Table,
            name: String::new(),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}", self.table)?;
        match self.kind {
            Kind::Table => Ok(()),
            Kind::Column | Kind::Index => write!(f, ", {} {}", self.kind.label(), self.name),
        }
    }
}

/// The schema that the database has, from its catalog.
pub(super) fn read(db: Db<'_>) -> Result<Schema> {
    let sql = match db {
        Db::Sqlite(_) => IN_SQLITE,
        Db::Postgres(_) => IN_POSTGRES,
    };
    Ok(db.query(sql, &[], object_of)?.into_iter().collect())
}

fn object_of(row: &Row<'_>) -> Result<(Object, Definition)> {
    let kind: String = row.get("kind")?;
    let object = Object {
        table: row.get("table_name")?,
        kind: Kind::from_label(&kind).ok_or_else(|| corrupt("kind", &kind))?,
        name: row.get("name")?,
    };
    let text: String = row.get("definition")?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let definition = Definition {
        text: words.join(" "),
        is_required: row.get("is_required")?,
    };
    Ok((object, definition))
}

/// A line for each object: table, kind, name, definition.
pub(super) fn text(schema: &Schema) -> String {
    let line = |(Object { table, kind, name }, Definition { text, .. }): (&Object, &Definition)| {
        format!("{table}|{}|{name}|{text}\n", kind.label())
    };
    schema.iter().map(line).collect()
}

/// The inverse of [`text`].
fn expected(text: &str) -> BTreeMap<Object, &str> {
    text.lines().filter_map(parsed).collect()
}

fn parsed(line: &str) -> Option<(Object, &str)> {
    let mut parts = line.splitn(4, '|');
    let object = Object {
        table: parts.next()?.to_owned(),
        kind: Kind::from_label(parts.next()?)?,
        name: parts.next()?.to_owned(),
    };
    Some((object, parts.next()?))
}

/// What is missing in the database or different, in words for people; `None` where it has all that the steps make.
pub(super) fn difference(db: Db<'_>) -> Result<Option<String>> {
    let made = match db {
        Db::Sqlite(_) => SQLITE,
        Db::Postgres(_) => POSTGRES,
    };
    Ok(in_words(&differences(&expected(made), &read(db)?)))
}

fn differences(expected: &BTreeMap<Object, &str>, found: &Schema) -> Vec<String> {
    let mut differences = Vec::new();
    for (object, text) in expected {
        match found.get(object) {
            // What a missing table had is missing with it.
            None if object.kind == Kind::Table || found.contains_key(&object.table()) => {
                differences.push(format!("{object}: missing"));
            }
            Some(found) if bare(&found.text) != bare(text) => {
                differences.push(format!("{object}: \"{}\" instead of \"{text}\"", found.text));
            }
            None | Some(_) => {}
        }
    }
    // No row could be added to a table with a column that has to be filled and that this version does not know.
    for (object, definition) in found {
        if definition.is_required && !expected.contains_key(object) && expected.contains_key(&object.table()) {
            differences.push(format!("{object}: unknown, required and without a default"));
        }
    }
    differences
}

/// A definition without what versions of PostgreSQL may write differently: blanks, parentheses, casts of texts.
fn bare(definition: &str) -> String {
    let definition = definition.replace("::text", "");
    definition.split([' ', '(', ')']).collect()
}

fn in_words(differences: &[String]) -> Option<String> {
    let named = differences.get(..MAX_NAMED).unwrap_or(differences).join("; ");
    match differences.len() {
        0 => None,
        1..=MAX_NAMED => Some(named),
        all => Some(format!("{named}; {} more", all - MAX_NAMED)),
    }
}

const IN_SQLITE: &str = "-- schema::read()
    WITH ours AS (
        SELECT name, strict, wr FROM pragma_table_list
        WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'
    )
    SELECT name AS table_name, 'table' AS kind, '' AS name,
        CASE WHEN strict THEN 'strict' ELSE 'not strict' END || CASE WHEN wr THEN ', without rowid' ELSE '' END AS definition, 0 AS is_required
    FROM ours
    UNION ALL
    SELECT ours.name, 'column', info.name,
        info.type || CASE WHEN pk > 0 THEN ' primary key' ELSE '' END || coalesce(' default ' || dflt_value, '')
            || CASE WHEN \"notnull\" THEN ' not null' ELSE '' END,
        \"notnull\" AND dflt_value IS NULL
    FROM ours, pragma_table_info(ours.name) AS info
    UNION ALL
    SELECT tbl_name, 'index', name, sql, 0 FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL";

/// Of the tables that a statement means by their bare names, whatever the search path. Any role may read the catalog.
const IN_POSTGRES: &str = "-- schema::read()
    WITH ours AS (
        SELECT oid, CAST(relname AS TEXT) AS table_name, relpersistence FROM pg_class
        WHERE relkind IN ('r', 'p') AND relpersistence <> 't' AND pg_table_is_visible(oid)
            AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname IN ('pg_catalog', 'information_schema'))
    )
    SELECT table_name, 'table' AS kind, '' AS name, CASE relpersistence WHEN 'u' THEN 'unlogged' ELSE 'logged' END AS definition,
        CAST(0 AS BIGINT) AS is_required
    FROM ours
    UNION ALL
    SELECT table_name, 'column', CAST(attname AS TEXT),
        format_type(atttypid, atttypmod) || coalesce(' collate ' || collname, '') || CASE WHEN attidentity <> '' THEN ' identity' ELSE '' END
            || coalesce(' default ' || pg_get_expr(adbin, adrelid), '') || CASE WHEN attnotnull THEN ' not null' ELSE '' END,
        CASE WHEN attnotnull AND adbin IS NULL AND attidentity = '' THEN 1 ELSE 0 END
    FROM ours JOIN pg_attribute ON attrelid = ours.oid AND attnum > 0 AND NOT attisdropped
        LEFT JOIN pg_attrdef ON adrelid = ours.oid AND adnum = attnum
        LEFT JOIN pg_collation ON pg_collation.oid = attcollation AND collname <> 'default'
    UNION ALL
    SELECT table_name, 'index', CAST(relname AS TEXT),
        CASE WHEN indisunique THEN 'unique ' ELSE '' END
            || '(' || (SELECT string_agg(pg_get_indexdef(indexrelid, place, true), ', ' ORDER BY place) FROM generate_series(1, indnkeyatts) AS place) || ')'
            || coalesce(' where ' || pg_get_expr(indpred, indrelid), '') || CASE WHEN indisvalid THEN '' ELSE ' invalid' END,
        0
    FROM ours JOIN pg_index ON indrelid = ours.oid JOIN pg_class AS index ON index.oid = indexrelid";
