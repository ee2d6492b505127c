use super::*;
use std::os::unix::fs::PermissionsExt;

fn thread(name: &str) -> ThreadId {
    name.parse().unwrap()
}

fn state(name: &str, prompt: &str) -> AgentState {
    let mut state = AgentState::new(thread(name));
    state.begin_turn(prompt);
    state
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

fn new<'a>(parent: Option<u32>, state: &'a AgentState) -> NewCheckpoint<'a> {
    NewCheckpoint {
        parent,
        node: Some(Node::Reasoning),
        next: Target::Node(Node::RiskAssessment),
        state,
        now: at(1_000),
    }
}

#[test]
fn what_was_put_is_there_after_reopening_without_closing() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (state("t", "one"), state("t", "two"));
    let store = CheckpointStore::open(dir.path()).unwrap();
    let lock = store.lock_thread(&thread("t")).unwrap();
    let first = store
        .put(
            &lock,
            NewCheckpoint { parent: None, node: None, next: Target::Node(Node::Reasoning), state: &one, now: at(5) },
        )
        .unwrap();
    assert_eq!(store.next_number(&lock).unwrap(), 2);
    let second = store.put(&lock, new(Some(1), &two)).unwrap();
    // A killed process closes nothing.
    std::mem::forget(store);

    let store = CheckpointStore::open(dir.path()).unwrap();
    assert_eq!((first.to_string().as_str(), second.to_string().as_str()), ("t/000001", "t/000002"));
    let expected = Checkpoint {
        id: second,
        parent: Some(1),
        node: Some(Node::Reasoning),
        next: Target::Node(Node::RiskAssessment),
        created_at: at(1_000),
        state: two,
    };
    assert_eq!(store.latest(&thread("t")).unwrap(), Some(expected));
    let first = store.get(&first).unwrap();
    assert_eq!((first.parent, first.node, first.next, first.state), (None, None, Target::Node(Node::Reasoning), one));
}

#[test]
fn a_fork_goes_on_counting_and_names_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(dir.path()).unwrap();
    let (t, other) = (store.lock_thread(&thread("t")).unwrap(), store.lock_thread(&thread("other")).unwrap());
    for parent in [None, Some(1), Some(2), Some(1)] {
        store.put(&t, new(parent, &state("t", "x"))).unwrap();
    }
    store.put(&other, new(None, &state("other", "x"))).unwrap();
    let lines = store.list(&thread("t")).unwrap();
    assert_eq!(
        lines.iter().map(|line| (line.id.number, line.parent)).collect::<Vec<_>>(),
        [(1, None), (2, Some(1)), (3, Some(2)), (4, Some(1))]
    );
    let bytes = serde_json::to_string(&state("t", "x")).unwrap().len() as u64;
    assert!(lines.iter().all(|line| line.version == STATE_VERSION && line.state_bytes == bytes));
    assert_eq!(store.threads().unwrap(), BTreeMap::from([(thread("other"), 1), (thread("t"), 4)]));
    assert_eq!(store.latest(&thread("none")).unwrap(), None);
    assert!(matches!(store.get(&"t/000009".parse().unwrap()), Err(StoreError::NoCheckpoint(_))));
}

#[test]
fn unknown_versions_and_damage_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(dir.path()).unwrap();
    let lock = store.lock_thread(&thread("t")).unwrap();
    let id = store.put(&lock, new(None, &state("t", "x"))).unwrap();
    let change = |sql: &str| {
        assert_eq!(store.connection().execute(sql, []).unwrap(), 1);
        store.get(&id).unwrap_err().to_string()
    };
    assert_eq!(
        change("UPDATE checkpoints SET version = 99"),
        "checkpoint t/000001 has version 99; this program knows 1"
    );
    assert_eq!(store.list(&thread("t")).unwrap()[0].version, 99);
    assert!(change("UPDATE checkpoints SET version = 1, state = '{'").starts_with("checkpoint t/000001 is damaged: "));
    let foreign = serde_json::to_string(&state("other", "x")).unwrap();
    assert_eq!(
        change(&format!("UPDATE checkpoints SET state = '{foreign}'")),
        "checkpoint t/000001 is damaged: its state is of other"
    );
    assert_eq!(
        change("UPDATE checkpoints SET next = 'nowhere'"),
        "checkpoint t/000001 is damaged: there is no target \"nowhere\""
    );
    store.connection().pragma_update(None, "user_version", 7).unwrap();
    assert!(matches!(CheckpointStore::open(dir.path()), Err(StoreError::UnknownLayout { found: 7, .. })));
}

#[test]
fn one_process_at_a_time_holds_a_thread() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (CheckpointStore::open(dir.path()).unwrap(), CheckpointStore::open(dir.path()).unwrap());
    let held = one.lock_thread(&thread("t")).unwrap();
    match two.lock_thread(&thread("t")) {
        Err(StoreError::InUse { thread: name, pid }) => {
            assert_eq!((name, pid), (thread("t"), Some(std::process::id())));
        }
        other => panic!("expected InUse, found {other:?}"),
    }
    two.lock_thread(&thread("other")).unwrap();
    drop(held);
    assert_eq!(two.lock_thread(&thread("t")).unwrap().thread(), &thread("t"));
}

#[test]
fn a_start_is_noted_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(dir.path()).unwrap();
    let lock = store.lock_thread(&thread("t")).unwrap();
    assert_eq!(store.mark_started(&lock, 3, at(1)).unwrap(), Started::Now);
    assert_eq!(store.mark_started(&lock, 4, at(1)).unwrap(), Started::Now);
    assert_eq!(CheckpointStore::open(dir.path()).unwrap().mark_started(&lock, 3, at(2)).unwrap(), Started::Before);
}

#[test]
fn nobody_else_may_read_the_files() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/state");
    let store = CheckpointStore::open(&dir).unwrap();
    let lock = store.lock_thread(&thread("t")).unwrap();
    store.put(&lock, new(None, &state("t", "x"))).unwrap();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(dir.clone()), mode(dir.join("locks"))), (0o700, 0o700));
    for name in ["checkpoints.db", "checkpoints.db-wal", "checkpoints.db-shm", "locks/t.lock"] {
        assert_eq!(mode(dir.join(name)), 0o600, "{name}");
    }
}
