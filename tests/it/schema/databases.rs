//! A database of each schema, as SQL: its rows, to be loaded into what the first steps make.
//!
//! There is one of each schema that was ever the newest, written by the program of that time, and never written again.

use std::path::PathBuf;

use bigin_sync::database::Database;
use rusqlite::Connection;
use secrecy::SecretString;

use super::story::fill;
use super::{Update, expect_file, newest, read, root, steps, update};
use crate::cluster::{self, Cluster};

/// When the story of the databases begins.
const BEGIN: &str = "2026-10-01T10:00:00Z";

fn path(engine: &str, schema: usize) -> PathBuf {
    root().join(format!("tests/it/schema/{engine}-{schema}.sql"))
}

/// Whether the database of the newest schema is to be written.
fn is_to_be_written(engine: &str) -> bool {
    let path = path(engine, newest());
    let writes = match update() {
        Update::No => false,
        Update::Add => !path.exists(),
        Update::Rewrite => true,
    };
    assert!(
        writes || path.exists(),
        "{}: see tests/it/schema/update",
        path.display()
    );
    writes
}

/// Loads the database of this schema into a new file.
pub fn load_sqlite(path_of_file: &std::path::Path, schema: usize) -> Database {
    let conn = Connection::open(path_of_file).unwrap();
    for step in &steps("sqlite")[..schema] {
        conn.execute_batch(step).unwrap();
    }
    conn.execute_batch(&read(&path("sqlite", schema))).unwrap();
    Database::Sqlite(path_of_file.to_owned())
}

/// Loads the database of this schema into a new one of the server.
pub fn load_postgres(cluster: &Cluster, schema: usize) -> Database {
    let url = cluster::make_database(&cluster.url("postgres"));
    for step in &steps("postgres")[..schema] {
        cluster::tell(&url, step);
    }
    cluster::tell(&url, &read(&path("postgres", schema)));
    Database::parse(&SecretString::from(url)).unwrap()
}

#[actix_web::test]
async fn sqlite_has_one_of_each_schema() {
    if is_to_be_written("sqlite") {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("story.db");
        drop(fill(&Database::Sqlite(file.clone()), BEGIN).await);
        expect_file(
            &path("sqlite", newest()),
            &dump_sqlite(&Connection::open(file).unwrap()),
        );
    }
    for schema in 1..=newest() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("story.db");
        load_sqlite(&file, schema);
        let conn = Connection::open(file).unwrap();
        assert_eq!(dump_sqlite(&conn), read(&path("sqlite", schema)), "it was loaded whole");
        let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn postgres_has_one_of_each_schema() {
    let cluster = Cluster::start();
    if is_to_be_written("postgres") {
        let url = cluster::make_database(&cluster.url("postgres"));
        let database = Database::parse(&SecretString::from(url.clone())).unwrap();
        drop(fill(&database, BEGIN).await);
        expect_file(&path("postgres", newest()), &dump_postgres(&url));
    }
    for schema in 1..=newest() {
        let Database::Postgres(address) = load_postgres(&cluster, schema) else {
            panic!("it is on the server");
        };
        assert!(address.to_string().contains("127.0.0.1"), "{address}");
    }
}

fn column_names(columns: &[String]) -> String {
    let quoted: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
    quoted.join(", ")
}

fn dump_sqlite(conn: &Connection) -> String {
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let schema = &texts("SELECT CAST(user_version AS TEXT) FROM pragma_user_version")[0];
    let mut dump = format!("PRAGMA user_version = {schema};\n");
    for table in texts(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name",
    ) {
        let columns = texts(&format!("SELECT name FROM pragma_table_info('{table}')"));
        let values: Vec<String> = columns.iter().map(|column| format!("quote(\"{column}\")")).collect();
        let rows = texts(&format!(
            "SELECT {} FROM {table} ORDER BY 1",
            values.join(" || ', ' || ")
        ));
        let insert = format!("INSERT INTO {table} ({}) VALUES", column_names(&columns));
        dump += &insert_rows(&insert, &rows);
    }
    dump
}

/// All values are written as texts, which every type reads.
fn dump_postgres(url: &str) -> String {
    let mut dump = String::from("CREATE TABLE schema_version (version BIGINT NOT NULL);\n");
    let tables =
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname";
    for table in cluster::ask(url, tables) {
        let columns = format!(
            "SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"
        );
        let columns = cluster::ask(url, &columns);
        let values: Vec<String> = columns
            .iter()
            .map(|column| format!("quote_nullable(\"{column}\"::text)"))
            .collect();
        let has_id = columns.iter().any(|column| column == "id");
        let order = if has_id { "id" } else { &columns[0] };
        let rows = cluster::ask(
            url,
            &format!("SELECT {} FROM {table} ORDER BY {order}", values.join(" || ', ' || ")),
        );
        let insert = format!(
            "INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE VALUES",
            column_names(&columns)
        );
        dump += &insert_rows(&insert, &rows);
        if has_id {
            dump += &format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table};\n");
        }
    }
    dump
}

fn insert_rows(insert: &str, rows: &[String]) -> String {
    match rows {
        [] => String::new(),
        rows => format!("{insert}\n    ({});\n", rows.join("),\n    (")),
    }
}
