//! Power cuts. A recorder in C (`recorder.c`), loaded before libc, records what the program writes to its database, WAL and
//! rollback journal, what it flushes, and when it answers. From the record come the files that a cut at any moment could have
//! left behind: all that was flushed, and of the rest any part.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rusqlite::Connection;
use serde_json::Value;

use super::plan::Dice;

/// What the database, its WAL and its rollback journal are called after the database's own name.
const SUFFIXES: [&str; 3] = ["", "-wal", "-journal"];

/// A disk writes so much at once; of more, any part may be missing.
const SECTOR: usize = 512;

/// Moments of each life of the program at which the power is cut.
const CUTS_A_LIFE: usize = 12;

/// What the files hold; `None` where there is none.
type Files = [Option<Vec<u8>>; 3];

/// A database whose program is recorded, from one power cut to the next.
pub struct Power {
    /// Beside the program's folder, whose files are looked through for what must not be in them.
    folder: tempfile::TempDir,
    database: PathBuf,
    dice: Dice,
    /// What was on the disk when the life of now began.
    before: Files,
    lives: usize,
    /// The syncs of the webhooks that were answered as stored, one for each answer.
    acknowledged: Vec<i64>,
    /// The files are left as the program left them.
    is_only_a_look: bool,
    pub report: Report,
}

/// What was seen in all lives.
#[derive(Debug, Default)]
pub struct Report {
    pub cuts: usize,
    /// Cuts at which something written was not flushed.
    pub unflushed: usize,
    /// Cuts that left a part of a write.
    pub torn: usize,
    /// Cuts in a checkpoint: the database itself had writes that were not flushed.
    pub in_checkpoint: usize,
    pub acknowledged: usize,
    /// Cuts that lost a webhook which had been answered.
    pub losses: Vec<String>,
    /// Cuts that left a database which is not in order.
    pub disorder: Vec<String>,
}

impl Power {
    /// For the database of this path, which need not be there yet.
    pub fn new(database: &Path, dice: Dice, is_only_a_look: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            database: database.to_owned(),
            dice,
            before: files_at(database),
            lives: 0,
            acknowledged: Vec::new(),
            is_only_a_look,
            report: Report::default(),
            folder,
        }
    }

    /// Environment variables for the program's next life, which is recorded from its beginning.
    pub fn begin_life(&mut self) -> [(String, String); 4] {
        self.before = files_at(&self.database);
        self.lives += 1;
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        [
            ("LD_PRELOAD", text(library())),
            ("RECORDER_LOG", text(&self.record())),
            ("RECORDER_DATABASE", text(&self.database)),
            ("DATABASE_URL", format!("sqlite://{}", text(&self.database))),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }

    fn record(&self) -> PathBuf {
        self.folder.path().join(format!("life-{}", self.lives))
    }

    /// The program has ended: cuts the power at moments of its life, each on a copy, and at its end.
    pub fn end_life(&mut self) {
        let record = std::fs::read(self.record()).unwrap_or_default();
        let entries = entries(&record);
        self.is_complete(&entries);
        let moments = self.moments(&entries);
        let mut disk = Disk::of(&self.before);
        let mut cut = moments.iter().peekable();
        for (place, entry) in entries.iter().enumerate() {
            disk.apply(entry);
            self.acknowledged.extend(acknowledged(entry));
            while cut.next_if(|moment| **moment == place).is_some() {
                let left = self.left(&disk);
                self.look(&left);
            }
        }
        self.report.acknowledged = self.acknowledged.len();
        if !self.is_only_a_look {
            let left = self.left(&disk);
            self.look(&left);
            write_files(&self.database, &left);
        }
    }

    /// Whether the files are what the record says: nothing that the program has done to them is unknown.
    fn is_complete(&self, entries: &[Entry<'_>]) {
        let after = |entries: &[Entry<'_>]| {
            let mut disk = Disk::of(&self.before);
            entries.iter().for_each(|entry| disk.apply(entry));
            disk.all()
        };
        let there = files_at(&self.database);
        let is_like = |files: Files| files == there;
        // The last write was recorded, and may not have been done.
        let but_one = entries.len().saturating_sub(1);
        let is_complete = is_like(after(entries)) || is_like(after(&entries[..but_one]));
        assert!(is_complete, "the record is not complete: {} entries", entries.len());
    }

    /// Moments right after an answer, whose lead must be on the disk; in a checkpoint, when the database itself is
    /// written; and any.
    fn moments(&mut self, entries: &[Entry<'_>]) -> Vec<usize> {
        let those = |is_one: fn(&Entry<'_>) -> bool| -> Vec<usize> {
            let places = entries.iter().enumerate().filter(|(_, entry)| is_one(entry));
            places.map(|(place, _)| place).collect()
        };
        let kinds = [
            those(|entry| entry.kind == b'a'),
            those(|entry| entry.kind == b'w' && entry.file == 0),
            those(|_| true),
        ];
        let mut moments = Vec::new();
        for kind in kinds
            .iter()
            .filter(|places| !places.is_empty())
            .cycle()
            .take(CUTS_A_LIFE)
        {
            moments.push(kind[self.dice.index(kind.len())]);
        }
        moments.sort_unstable();
        moments
    }

    /// What a cut leaves.
    fn left(&mut self, disk: &Disk) -> Files {
        let left = disk.left(&mut self.dice);
        self.report.cuts += 1;
        self.report.unflushed += usize::from(disk.is_unflushed());
        self.report.torn += usize::from(left.is_torn);
        self.report.in_checkpoint += usize::from(disk.is_in_checkpoint());
        left.files
    }

    /// Whether a database that a cut has left is in order, and has all that was acknowledged before.
    fn look(&mut self, files: &Files) {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("bigin-sync.db");
        write_files(&database, files);
        match self.missing(&database) {
            Ok(None) => {}
            Ok(Some(loss)) => self.report.losses.push(format!("cut {}: {loss}", self.report.cuts)),
            Err(error) => self.report.disorder.push(format!("cut {}: {error}", self.report.cuts)),
        }
    }

    /// What was acknowledged, and is not in the database.
    fn missing(&self, database: &Path) -> Result<Option<String>, String> {
        if self.acknowledged.is_empty() && !database.exists() {
            return Ok(None);
        }
        let told = |error: rusqlite::Error| error.to_string();
        let conn = Connection::open(database).map_err(told)?;
        let order: String = conn
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .map_err(told)?;
        if order != "ok" {
            return Err(order);
        }
        let ids = |sql: &str| -> Result<Vec<i64>, rusqlite::Error> {
            let mut query = conn.prepare(sql)?;
            let ids = query.query_map([], |row| row.get(0))?;
            ids.collect()
        };
        let tables = ids("SELECT 1 FROM sqlite_schema WHERE name = 'sync'").map_err(told)?;
        if tables.is_empty() {
            let all_lost = format!("all {} webhooks are lost", self.acknowledged.len());
            return Ok((!self.acknowledged.is_empty()).then_some(all_lost));
        }
        let syncs = ids("SELECT id FROM sync").map_err(told)?;
        let accepted = ids("SELECT value FROM counter WHERE name = 'accepted'").map_err(told)?;
        let accepted = accepted.first().map_or(0, |count| usize::try_from(*count).unwrap());
        let lost = self.acknowledged.iter().filter(|sync| !syncs.contains(sync)).count();
        let joined = self.acknowledged.len().saturating_sub(accepted);
        Ok((lost + joined > 0).then(|| format!("{lost} syncs and {joined} webhooks that were acknowledged are lost")))
    }
}

/// Something that the program did.
struct Entry<'a> {
    /// As `recorder.c` has it.
    kind: u8,
    file: usize,
    offset: usize,
    bytes: &'a [u8],
}

/// The entries of a record. The last may have been cut short with the program.
fn entries(mut record: &[u8]) -> Vec<Entry<'_>> {
    const HEAD: usize = 16;
    let mut entries = Vec::new();
    while record.len() >= HEAD {
        let (head, rest) = record.split_at(HEAD);
        let length = usize::try_from(u32::from_le_bytes(head[4..8].try_into().unwrap())).unwrap();
        if rest.len() < length {
            break;
        }
        let (bytes, rest) = rest.split_at(length);
        entries.push(Entry {
            kind: head[0],
            file: usize::from(head[1]),
            offset: usize::try_from(u64::from_le_bytes(head[8..16].try_into().unwrap())).unwrap(),
            bytes,
        });
        record = rest;
    }
    entries
}

/// The sync of the webhook that an answer acknowledges.
fn acknowledged(entry: &Entry<'_>) -> Option<i64> {
    if entry.kind != b'a' {
        return None;
    }
    let text = String::from_utf8_lossy(entry.bytes);
    let body: Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
    let is_stored = matches!(body.get("result")?.as_str()?, "created" | "coalesced");
    is_stored.then(|| body.get("sync")?.as_i64()).flatten()
}

/// A change of a file that was not flushed yet.
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

/// A file, whatever its name.
#[derive(Default)]
struct Content {
    flushed: Vec<u8>,
    since: Vec<Change>,
}

/// The files as the program sees them, and as the disk has them.
struct Disk {
    contents: Vec<Content>,
    /// Which of the contents each name has, as the program sees it.
    names: [Option<usize>; 3],
    /// The same as the disk has it, and the changes that were not flushed yet.
    flushed_names: [Option<usize>; 3],
    names_since: Vec<(usize, Option<usize>)>,
}

/// What a cut leaves.
struct Left {
    files: Files,
    is_torn: bool,
}

impl Disk {
    fn of(files: &Files) -> Self {
        let mut contents = Vec::new();
        let names = files.each_ref().map(|file| {
            let flushed = file.clone()?;
            contents.push(Content {
                flushed,
                since: Vec::new(),
            });
            Some(contents.len() - 1)
        });
        Self {
            contents,
            names,
            flushed_names: names,
            names_since: Vec::new(),
        }
    }

    fn apply(&mut self, entry: &Entry<'_>) {
        let named = self.names[entry.file];
        let content = || named.expect("a file of the record was there, or was created");
        match entry.kind {
            b'w' => self.contents[content()]
                .since
                .push(Change::Write(entry.offset, entry.bytes.to_vec())),
            b't' => self.contents[content()].since.push(Change::Truncate(entry.offset)),
            b'f' => self.contents[content()].flush(),
            b'c' => {
                self.contents.push(Content::default());
                self.rename(entry.file, Some(self.contents.len() - 1));
            }
            b'u' => self.rename(entry.file, None),
            b'd' => {
                for (file, content) in self.names_since.drain(..) {
                    self.flushed_names[file] = content;
                }
            }
            b'a' => {}
            kind => panic!("the record has an entry of the kind {kind}"),
        }
    }

    fn rename(&mut self, file: usize, content: Option<usize>) {
        self.names[file] = content;
        self.names_since.push((file, content));
    }

    /// The files as the program sees them.
    fn all(&self) -> Files {
        self.names.map(|content| {
            let content = &self.contents[content?];
            let mut bytes = content.flushed.clone();
            content.since.iter().for_each(|change| change.apply(&mut bytes));
            Some(bytes)
        })
    }

    fn is_unflushed(&self) -> bool {
        let named = self.names.into_iter().flatten();
        !self.names_since.is_empty()
            || named
                .into_iter()
                .any(|content| !self.contents[content].since.is_empty())
    }

    fn is_in_checkpoint(&self) -> bool {
        let [database, wal, _] = self.names;
        wal.is_some() && database.is_some_and(|content| !self.contents[content].since.is_empty())
    }

    /// All that was flushed and of the rest some: folders keep the order of their changes, files need not.
    fn left(&self, dice: &mut Dice) -> Left {
        let mut names = self.flushed_names;
        let renamed = dice.index(self.names_since.len() + 1);
        for (file, content) in &self.names_since[..renamed] {
            names[*file] = *content;
        }
        let mut is_torn = false;
        let files = names.map(|content| {
            let (bytes, torn) = self.contents[content?].left(dice);
            is_torn |= torn;
            Some(bytes)
        });
        Left { files, is_torn }
    }
}

impl Content {
    fn flush(&mut self) {
        for change in self.since.drain(..) {
            change.apply(&mut self.flushed);
        }
    }

    /// What was flushed and, of what was not, nothing, all, the first so many, or any; and whether part of a write is there.
    fn left(&self, dice: &mut Dice) -> (Vec<u8>, bool) {
        let mut bytes = self.flushed.clone();
        let number = self.since.len();
        let first = match dice.up_to(3) {
            0 => 0,
            1 => number,
            _ => dice.index(number + 1),
        };
        let any = dice.chance(0.3);
        let mut is_torn = false;
        for (place, change) in self.since.iter().enumerate() {
            let is_there = if any { dice.chance(0.5) } else { place < first };
            let may_be_torn = if any {
                dice.chance(0.3)
            } else {
                place == first && dice.chance(0.5)
            };
            if may_be_torn {
                is_torn |= change.tear(&mut bytes, dice);
            } else if is_there {
                change.apply(&mut bytes);
            }
        }
        (bytes, is_torn)
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => write_at(file, *offset, bytes),
            Self::Truncate(length) => file.resize(*length, 0),
        }
    }

    /// Writes some of the sectors; whether there was more than one.
    fn tear(&self, file: &mut Vec<u8>, dice: &mut Dice) -> bool {
        let Self::Write(offset, bytes) = self else { return false };
        let mut at = *offset;
        let end = offset + bytes.len();
        let mut sectors = 0;
        while at < end {
            let next = end.min((at / SECTOR + 1) * SECTOR);
            if dice.chance(0.5) {
                write_at(file, at, &bytes[at - offset..next - offset]);
            }
            at = next;
            sectors += 1;
        }
        sectors > 1
    }
}

fn write_at(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

fn paths(database: &Path) -> [PathBuf; 3] {
    SUFFIXES.map(|suffix| {
        let mut name = OsString::from(database);
        name.push(suffix);
        PathBuf::from(name)
    })
}

fn files_at(database: &Path) -> Files {
    paths(database).map(|path| std::fs::read(path).ok())
}

/// Puts files in the place of those that are there. What was in memory alone is gone.
fn write_files(database: &Path, files: &Files) {
    let mut memory = OsString::from(database);
    memory.push("-shm");
    for (path, file) in paths(database)
        .into_iter()
        .chain([memory.into()])
        .zip(files.iter().chain([&None]))
    {
        match file {
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
            None if path.exists() => std::fs::remove_file(path).unwrap(),
            None => {}
        }
    }
}

/// A copy of the files in a folder of its own: whoever opens them there changes nothing here.
pub fn copied(database: &Path) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("bigin-sync.db");
    write_files(&copy, &files_at(database));
    (folder, copy)
}

/// The recorder, made by the machine's C compiler.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/simulator/recorder.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let library = folder.join("recorder.so");
        let made = folder.join(format!("recorder-{}.so", std::process::id()));
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]);
        let output = cc.arg(&made).arg(source).arg("-ldl").output().expect("cc is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Other tests that run now may have loaded the one that is there.
        std::fs::rename(made, &library).unwrap();
        library
    })
}

/// A copy of the program with `synchronous = NORMAL`: one word of the statement that it opens the database with is another.
/// A recorder that overlooks flushes of the WAL would show something else: SQLite flushes it before a checkpoint all the same.
pub fn program_that_does_not_flush_commits(folder: &Path) -> PathBuf {
    let copy = folder.join("bigin-sync");
    let [full, normal] = ["PRAGMA synchronous = FULL;", "PRAGMA synchronous = 1   ;"];
    // By another process: a program that this one has open for writing cannot be started.
    let script = format!("LC_ALL=C sed 's/{full}/{normal}/' \"$1\" >\"$2\" && chmod +x \"$2\"");
    let mut sed = Command::new("/bin/sh");
    sed.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_bigin-sync")])
        .arg(&copy);
    assert!(sed.status().unwrap().success());
    let bytes = std::fs::read(&copy).unwrap();
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has(normal) && !has(full), "the program has no such statement");
    copy
}

#[test]
fn cuts_leave_what_was_flushed_and_any_part_of_the_rest() {
    let entry = |kind: u8, offset: usize, bytes: &'static [u8]| Entry {
        kind,
        file: 1,
        offset,
        bytes,
    };
    let mut disk = Disk::of(&[None, None, None]);
    for entry in [
        entry(b'c', 0, b""),
        entry(b'd', 0, b""),
        entry(b'w', 0, b"flushed"),
        entry(b'f', 0, b""),
        entry(b'w', 7, b" one"),
        entry(b'w', 11, b" two"),
    ] {
        disk.apply(&entry);
    }
    let mut dice = Dice::of(1);
    let left: BTreeSet<Vec<u8>> = (0..500)
        .map(|_| disk.left(&mut dice).files[1].clone().unwrap())
        .collect();
    let all: [&[u8]; 4] = [b"flushed", b"flushed one", b"flushed one two", b"flushed\0\0\0\0 two"];
    assert_eq!(left, all.map(<[u8]>::to_vec).into());

    disk.apply(&entry(b'u', 0, b""));
    let gone = |disk: &Disk, dice: &mut Dice| (0..100).filter(|_| disk.left(dice).files[1].is_none()).count();
    assert!(
        (1..100).contains(&gone(&disk, &mut dice)),
        "until the folder is flushed"
    );
    disk.apply(&entry(b'd', 0, b""));
    assert_eq!(gone(&disk, &mut dice), 100);
}
