//! What database statements do.

/// What was found in a text of statements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statements {
    /// Removes a table, a database, a column, everything.
    pub destructive: bool,
    /// Changes every row: no condition, or one that is always true.
    pub unbounded: bool,
    /// Changes who may do what.
    pub privilege: bool,
    /// Reaches files or programs of the server.
    pub escape: bool,
    /// Changes rows or shapes, with a condition.
    pub write: bool,
}

impl Statements {
    pub fn is_harmful(self) -> bool {
        self.destructive || self.unbounded || self.privilege || self.escape
    }
}

/// Reads SQL: comments and strings are taken out, then each statement is looked at by its words.
pub fn read(text: &str) -> Statements {
    let mut found = Statements::default();
    for statement in plain(text).split(';') {
        let upper = statement.to_ascii_uppercase();
        let words: Vec<&str> = upper
            .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '=' | '\'' | '#' | '$')))
            .filter(|w| !w.is_empty())
            .collect();
        read_statement(&words, &mut found);
    }
    read_documents(text, &mut found);
    found
}

fn read_statement(words: &[&str], found: &mut Statements) {
    let Some(first) = words.first() else { return };
    let follows = |a: &str, b: &[&str]| words.windows(2).any(|pair| pair[0] == a && b.contains(&pair[1]));
    let has = |word: &str| words.contains(&word);
    const THINGS: [&str; 17] = [
        "TABLE",
        "DATABASE",
        "SCHEMA",
        "VIEW",
        "INDEX",
        "COLUMN",
        "KEYSPACE",
        "ROLE",
        "USER",
        "TRIGGER",
        "PARTITION",
        "SEQUENCE",
        "TABLESPACE",
        "MATERIALIZED",
        "CONSTRAINT",
        "EXTENSION",
        "OWNED",
    ];
    let conditional = has("WHERE") && !always_true(words);
    match *first {
        "DROP" => found.destructive |= follows("DROP", &THINGS),
        "TRUNCATE" => found.destructive |= words.len() > 1,
        "ALTER" => {
            found.destructive |= follows("DROP", &THINGS) || (has("DROP") && has("TABLE") && !has("DEFAULT"));
            found.privilege |= follows("ALTER", &["USER", "ROLE", "LOGIN", "SYSTEM"]);
            found.write |= words.len() > 2;
        }
        "DELETE" => {
            found.unbounded |= has("FROM") && !conditional;
            found.write |= has("FROM");
        }
        "UPDATE" => {
            found.unbounded |= has("SET") && !conditional;
            found.write |= has("SET");
        }
        "PURGE" | "KILL" | "RESET" => found.destructive |= words.len() > 1,
        "GRANT" | "REVOKE" => found.privilege |= has("TO") || has("FROM"),
        "CREATE" => {
            found.privilege |= follows("CREATE", &["USER", "ROLE", "LOGIN"]);
            found.write |= words.len() > 2;
        }
        "SET" => found.privilege |= words.get(1) == Some(&"PASSWORD"),
        "INSERT" | "REPLACE" | "MERGE" | "UPSERT" => found.write |= words.len() > 2,
        "WITH" | "BEGIN" | "EXPLAIN" | "START" | "DO" | "EXEC" | "EXECUTE" | "CALL" | "IF" | "SELECT" | "USE" => {
            // What stands inside counts as if it stood alone.
            for (at, word) in words.iter().enumerate().skip(1) {
                if matches!(*word, "DROP" | "TRUNCATE" | "DELETE" | "UPDATE")
                    && words.get(at + 1).is_some_and(|next| THINGS.contains(next) || matches!(*next, "FROM"))
                {
                    read_statement(&words[at..], found);
                    break;
                }
            }
        }
        _ => {}
    }
    found.escape |= [
        "XP_CMDSHELL",
        "PG_READ_FILE",
        "LO_EXPORT",
        "LO_IMPORT",
        "LOAD_FILE",
        "PG_TERMINATE_BACKEND",
        "LOAD_EXTENSION",
    ]
    .iter()
    .any(|name| has(name))
        || (first == &"COPY" && has("PROGRAM"))
        || follows("INTO", &["OUTFILE", "DUMPFILE"])
        || *first == "SHUTDOWN";
}

/// Strings stand as `''`, so `'a'='a'` reads `''=''`.
fn always_true(words: &[&str]) -> bool {
    let Some(at) = words.iter().position(|word| *word == "WHERE") else { return false };
    let tail = words[at + 1..].concat();
    matches!(tail.as_str(), "1=1" | "TRUE" | "''=''" | "1" | "2=2" | "0=0")
        || tail.ends_with("OR1=1")
        || tail.ends_with("ORTRUE")
        || tail.ends_with("OR''=''")
        || words[at + 1..].windows(1).any(|w| w[0] == "1=1")
}

/// The text without comments, each string as `''`.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                out.push_str("''");
                while let Some(inner) = chars.next() {
                    if inner == '\'' && chars.peek() != Some(&'\'') {
                        break;
                    }
                    if inner == '\'' {
                        chars.next();
                    }
                }
            }
            '-' if chars.peek() == Some(&'-') => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            '/' if chars.peek() == Some(&'*') => {
                chars.next();
                let mut last = ' ';
                for inner in chars.by_ref() {
                    if last == '*' && inner == '/' {
                        break;
                    }
                    last = inner;
                }
                out.push(' ');
            }
            '"' | '`' => {}
            c => out.push(c),
        }
    }
    out
}

/// Document stores: calls in their shells' JavaScript.
fn read_documents(text: &str, found: &mut Statements) {
    if !text.contains('(') {
        return;
    }
    let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    found.destructive |= [
        ".dropDatabase(",
        ".drop()",
        ".dropAllUsers",
        ".shutdownServer(",
        ".stepDown(",
        "shutdown:1",
        "dropDatabase:1",
        "dropCollection(",
        ".dropIndexes(",
    ]
    .iter()
    .any(|call| dense.contains(call));
    found.unbounded |= ["deleteMany({})", "remove({})", "deleteMany()", "updateMany({},", ".flushall(", ".flushdb("]
        .iter()
        .any(|call| dense.contains(call));
    found.privilege |= [".createUser(", ".dropUser(", ".grantRolesToUser(", ".changeUserPassword(", ".updateUser("]
        .iter()
        .any(|call| dense.contains(call));
    found.write |= ["deleteMany(", "deleteOne(", "updateMany(", "insertMany(", "insertOne(", "updateOne("]
        .iter()
        .any(|call| dense.contains(call));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_read_by_what_they_do() {
        for text in [
            "DROP TABLE users",
            "drop  database x;",
            "TRUNCATE orders",
            "select 1; drop schema public cascade",
            "ALTER TABLE a DROP COLUMN b",
            "/* x */ DROP/**/TABLE t",
            "db.dropDatabase()",
            "BEGIN; DROP TABLE t; COMMIT",
        ] {
            assert!(read(text).destructive, "{text}");
        }
        for text in [
            "DELETE FROM users",
            "delete from users where 1=1",
            "UPDATE users SET admin = true",
            "DELETE FROM t WHERE 'a'='a'",
            "db.users.deleteMany({})",
        ] {
            assert!(read(text).unbounded, "{text}");
        }
        for text in ["GRANT ALL ON x TO bob", "ALTER USER a WITH PASSWORD 'x'", "CREATE USER eve"] {
            assert!(read(text).privilege, "{text}");
        }
        for text in [
            "SELECT * FROM t WHERE name = 'DROP TABLE users'",
            "select deleted from t",
            "-- DROP TABLE x\nselect 1",
            "SHOW TABLES",
            "\\dt",
            "INSERT INTO t VALUES ('TRUNCATE x')",
            "DELETE FROM t WHERE id = 7",
            "CREATE TABLE t (id int)",
            "SELECT count(*) FROM users",
        ] {
            assert!(!read(text).is_harmful(), "{text}: {:?}", read(text));
        }
    }
}
