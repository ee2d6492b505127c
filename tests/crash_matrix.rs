//! A bridge that dies at each named point of a request's life, starts again, and has done everything once.

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Mutex;

use guardrail::crash::POINTS;
use rustix::process::Signal;

use crate::fault_support::{End, Life, Observer, Phase, patience, soak};
use crate::support::{Anvil, Process, World, project};

/// Rows that run side by side.
const WORKERS: usize = 2;
/// Passes of a point that the long form dies at.
const HITS: u32 = 4;
/// Points that only a stuck transaction passes.
const STUCK: &str = "journal.replacement.";

#[derive(Clone, Copy, Debug)]
struct Row {
    point: &'static str,
    /// The pass at which it dies, from 1.
    hit: u32,
}

/// What became of a row.
#[derive(Clone, Debug)]
struct Verdict {
    /// What the bridge was in the middle of; nothing where a whole life passes the point less often.
    died: Option<Phase>,
    right: bool,
}

impl Row {
    fn failpoints(self) -> String {
        match self.hit {
            1 => format!("{}=return", self.point),
            hit => format!("{}={}*off->return", self.point, hit - 1),
        }
    }

    fn run(self) -> Option<Phase> {
        let world = World::on(Anvil::start());
        let stuck = self.point.starts_with(STUCK);
        if stuck {
            world.configure(&[("resubmit_interval_s", "1")]);
        }
        let mut bridge = Mortal::start(&world, &self.failpoints());
        let observer = Observer::new(&world);
        let mut life = Life::new(End::Recorded);
        if stuck {
            observer.rpc.automine(false);
            life = life.begin(&observer.channel);
            world.eventually("it dies over a stuck transaction", || bridge.dies(Phase::Request));
            observer.rpc.automine(true);
            observer.rpc.mine();
            bridge.start_again();
        } else {
            life = life.begin(&observer.channel);
        }
        world.eventually_within(patience(), &format!("{self:?}: the life comes to its end"), || {
            bridge.tend(life.phase);
            let done = life.advance(&observer, &observer.ledger());
            if done {
                life.phase = Phase::Tidying;
            }
            let tidy = ["requests", "votes", "claimed", "tmp"].iter().all(|name| world.files(name).is_empty());
            (done && tidy).then_some(())
        });
        let died = bridge.stop();
        let _bridge = world.bridge();
        observer.check(&world, std::slice::from_ref(&life));
        assert_eq!(world.quarantined(), []);
        died
    }
}

/// A bridge with a point to die at, started again without it when it did.
struct Mortal<'a> {
    world: &'a World,
    process: Process,
    died: Option<Phase>,
}

impl<'a> Mortal<'a> {
    fn start(world: &'a World, failpoints: &str) -> Self {
        match world.try_bridge(&[("FAILPOINTS", failpoints)]) {
            Ok(bridge) => Mortal { world, process: bridge.process, died: None },
            Err(ended) => {
                assert!(was_killed(ended.status), "{ended:#?}");
                Mortal { world, process: world.bridge(), died: Some(Phase::Start) }
            }
        }
    }

    fn tend(&mut self, phase: Phase) {
        if self.died.is_none() && self.dies(phase).is_some() {
            self.start_again();
        }
        assert!(self.process.alive(), "it died without a reason");
    }

    fn start_again(&mut self) {
        self.process = self.world.bridge();
    }

    /// Whether it has died at its point; nobody starts it again.
    fn dies(&mut self, phase: Phase) -> Option<()> {
        let status = self.process.0.try_wait().unwrap()?;
        assert!(was_killed(status), "it ended by itself: {status}");
        self.died = Some(phase);
        Some(())
    }

    /// Ends it; what it still passes on its way out counts.
    fn stop(mut self) -> Option<Phase> {
        self.process.signal(Signal::TERM);
        let status = self.process.ended();
        if was_killed(status) && self.died.is_none() {
            return Some(Phase::Tidying);
        }
        assert_eq!(status.code(), Some(0), "nothing was in hand");
        self.died
    }
}

fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

#[test]
fn a_bridge_that_dies_at_any_point_does_everything_once() {
    if !cfg!(feature = "failpoints") {
        panic!("built without its points: cargo test --features failpoints, as scripts/cargo-test.sh does");
    }
    let hits = if soak() { HITS } else { 1 };
    let rows: Vec<Row> = POINTS.iter().flat_map(|point| (1..=hits).map(|hit| Row { point, hit })).collect();
    let next = Mutex::new(rows.iter().enumerate());
    let verdicts: Mutex<Vec<Option<Verdict>>> = Mutex::new(vec![None; rows.len()]);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some((index, row)) = next.lock().unwrap().next() else { return };
                    // One row that fails keeps no other from being run.
                    let verdict = match catch_unwind(AssertUnwindSafe(|| row.run())) {
                        Ok(died) => Verdict { died, right: died.is_some() || row.hit > 1 },
                        Err(_) => Verdict { died: None, right: false },
                    };
                    eprintln!("{row:?}: {verdict:?}");
                    verdicts.lock().unwrap()[index] = Some(verdict);
                }
            });
        }
    });
    let verdicts: Vec<Verdict> = verdicts.into_inner().unwrap().into_iter().map(Option::unwrap).collect();
    if soak() || std::env::var_os("GUARDRAIL_WRITE_DOCS").is_some() {
        std::fs::write(page_path(), page(&rows, &verdicts)).unwrap();
    }
    let wrong: Vec<_> = rows.iter().zip(&verdicts).filter(|(_, verdict)| !verdict.right).collect();
    assert!(wrong.is_empty(), "died nowhere, or did not do everything once: {wrong:#?}");
}

#[test]
fn the_page_lists_every_point() {
    let page = std::fs::read_to_string(page_path()).unwrap();
    let listed: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut points = listed.clone();
    points.dedup();
    assert_eq!(points, POINTS);
}

fn page_path() -> PathBuf {
    project().join("docs/crash_matrix.md")
}

fn page(rows: &[Row], verdicts: &[Verdict]) -> String {
    let mut text = "# Crash matrix\n\n\
        Written by `tests/crash_matrix.rs` (`make soak`). Each row is a request's whole life on a chain of its own:\n\
        asked for, approved by a quorum, consumed, recorded. The bridge is killed (SIGKILL) at a named point of\n\
        `src/crash.rs`, at its first, second, … pass, and started again. Then chain, channel and journal are counted:\n\
        one request, one approval, one consumption and one record on the chain, one verified answer to each, nothing\n\
        open and no file left over. A point that one life does not pass so often is not died at.\n\n\
        | point | pass | the bridge died while | afterwards |\n|---|---|---|---|\n"
        .to_owned();
    for (Row { point, hit }, verdict) in rows.iter().zip(verdicts) {
        let died = verdict.died.map_or("it did not", Phase::as_str);
        let result = if verdict.right { "everything once" } else { "**wrong**" };
        writeln!(text, "| `{point}` | {hit} | {died} | {result} |").unwrap();
    }
    text
}
