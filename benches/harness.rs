//! Runs the metrics of every area: interleaved, each a ratio within one run, as a table and as JSON.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// Runs of each metric; each gives one ratio.
const RUNS: usize = 5;

/// Metrics that belong together, as `make bench AREA=…` names them.
pub struct Area {
    pub name: &'static str,
    pub groups: fn() -> Vec<Box<dyn Group>>,
}

/// Metrics that are measured by the same two programs.
pub trait Group {
    /// What is measured; every half gives one value for each, in this order.
    fn metrics(&self) -> &'static [Metric];

    /// Measures Guardrail once.
    ///
    /// # Errors
    /// Where something did not run; a slow result is none.
    fn ours(&mut self) -> Result<Vec<f64>>;

    /// Measures the least that does the same, once.
    ///
    /// # Errors
    /// As [`Group::ours`].
    fn baseline(&mut self) -> Result<Vec<f64>>;
}

#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    /// Of the two values; their ratio has none.
    pub unit: &'static str,
    pub target: f64,
    pub direction: Direction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    AtMost,
    AtLeast,
}

impl Direction {
    fn holds(self, value: f64, target: f64) -> bool {
        match self {
            Direction::AtMost => value <= target,
            Direction::AtLeast => value >= target,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::AtMost => "≤",
            Direction::AtLeast => "≥",
        })
    }
}

/// The least, the middle and the greatest of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

/// Values in ascending order, at least one.
pub struct Sorted(Vec<f64>);

impl Sorted {
    /// # Errors
    /// Where there are no values.
    pub fn new(mut values: Vec<f64>) -> Result<Self> {
        ensure!(!values.is_empty(), "nothing was measured");
        values.sort_unstable_by(f64::total_cmp);
        Ok(Sorted(values))
    }

    /// The nearest rank's value: the smallest that `percent` of the values do not exceed.
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0[rank - 1]
    }

    pub fn median(&self) -> f64 {
        self.percentile(50)
    }

    fn spread(&self) -> Spread {
        Spread { min: self.0[0], median: self.median(), max: self.0[self.0.len() - 1] }
    }
}

#[derive(Serialize)]
struct Measured {
    area: &'static str,
    name: &'static str,
    ratio: Spread,
    target: f64,
    direction: Direction,
    pass: bool,
    /// The medians of both sides over the runs, in `unit`.
    ours: f64,
    baseline: f64,
    unit: &'static str,
}

#[derive(Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
}

#[derive(Serialize)]
struct LoadAverage {
    start: [f64; 3],
    end: [f64; 3],
}

#[derive(Serialize)]
struct Results {
    machine: Machine,
    load_average: LoadAverage,
    metrics: Vec<Measured>,
}

/// Measures the areas, prints the table and writes the results, whatever the verdicts are.
///
/// # Errors
/// The first group that did not run; the others' results are printed and written all the same.
pub fn run(areas: &[&Area], results_file: &Path) -> Result<()> {
    let machine = Machine::read()?;
    let start = load_average()?;
    eprintln!("bench: {machine}; load average {}", shown(start));
    let mut metrics = Vec::new();
    let mut failed = None;
    for area in areas {
        for mut group in (area.groups)() {
            match measure(area.name, group.as_mut()) {
                Ok(measured) => metrics.extend(measured),
                Err(error) => {
                    eprintln!("bench: {}: {error:#}", group.metrics()[0].name);
                    failed.get_or_insert(error);
                }
            }
        }
    }
    let results = Results { machine, load_average: LoadAverage { start, end: load_average()? }, metrics };
    print!("{results}");
    results.write(results_file)?;
    eprintln!("bench: written to {}", results_file.display());
    failed.map_or(Ok(()), Err)
}

/// Ours, baseline, ours, baseline, …: what the machine does meanwhile meets both.
fn measure(area: &'static str, group: &mut dyn Group) -> Result<Vec<Measured>> {
    let metrics = group.metrics();
    let mut runs = vec![(Vec::new(), Vec::new()); metrics.len()];
    for run in 1..=RUNS {
        let (ours, baseline) = (group.ours()?, group.baseline()?);
        ensure!(ours.len() == metrics.len() && baseline.len() == metrics.len(), "a half gave another number of values");
        for (((metric, run_values), ours), baseline) in metrics.iter().zip(&mut runs).zip(ours).zip(baseline) {
            ensure!(baseline > 0.0, "the baseline of {} is {baseline}", metric.name);
            eprintln!(
                "bench: {area}, run {run} of {RUNS}: {}: {} ÷ {} {} = {:.2}",
                metric.name,
                short(ours),
                short(baseline),
                metric.unit,
                ours / baseline
            );
            run_values.0.push(ours);
            run_values.1.push(baseline);
        }
    }
    metrics.iter().zip(runs).map(|(metric, (ours, baseline))| Measured::of(area, metric, ours, baseline)).collect()
}

impl Measured {
    fn of(area: &'static str, metric: &Metric, ours: Vec<f64>, baseline: Vec<f64>) -> Result<Self> {
        let ratios = ours.iter().zip(&baseline).map(|(ours, baseline)| ours / baseline).collect();
        let ratio = Sorted::new(ratios)?.spread();
        let &Metric { name, unit, target, direction } = metric;
        Ok(Measured {
            area,
            name,
            ratio,
            target,
            direction,
            pass: direction.holds(ratio.median, target),
            ours: Sorted::new(ours)?.median(),
            baseline: Sorted::new(baseline)?.median(),
            unit,
        })
    }
}

impl Results {
    fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.metrics.iter().map(|metric| metric.name.chars().count()).max().unwrap_or_default();
        writeln!(f, "{}", self.machine)?;
        let LoadAverage { start, end } = self.load_average;
        writeln!(
            f,
            "load average {} at the start, {} at the end; {RUNS} interleaved runs, each one ratio",
            shown(start),
            shown(end)
        )?;
        writeln!(
            f,
            "\n{:<8} {:<width$} {:>8} {:>8} {:>8}  {:>8} {:<7} {:>10} {:>10} unit",
            "area", "ours ÷ baseline", "min", "median", "max", "target", "verdict", "ours", "baseline"
        )?;
        for Measured { area, name, ratio, target, direction, pass, ours, baseline, unit } in &self.metrics {
            let verdict = if *pass { "met" } else { "missed" };
            writeln!(
                f,
                "{area:<8} {name:<width$} {:>8.2} {:>8.2} {:>8.2}  {:>8} {verdict:<7} {:>10} {:>10} {unit}",
                ratio.min,
                ratio.median,
                ratio.max,
                format!("{direction} {target}"),
                short(*ours),
                short(*baseline)
            )?;
        }
        Ok(())
    }
}

impl Machine {
    fn read() -> Result<Self> {
        let cpus = read("/proc/cpuinfo")?;
        let models: Vec<&str> = cpus.lines().filter_map(|line| value_of(line, "model name")).collect();
        let memory = read("/proc/meminfo")?;
        let memory_kib =
            memory.lines().find_map(|line| value_of(line, "MemTotal")?.strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(Machine {
            cpu: models.first().copied().unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_mib: memory_kib.context("/proc/meminfo names no total")? / 1024,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, memory_mib, kernel } = self;
        write!(f, "{cpu}, {cores} cores, {memory_mib} MiB, Linux {kernel}")
    }
}

/// The value of a `name : value` line of a file in `/proc`.
pub fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::trim)
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

fn load_average() -> Result<[f64; 3]> {
    let text = read("/proc/loadavg")?;
    let mut numbers = text.split(' ').map(str::parse);
    let mut next = || Ok::<f64, anyhow::Error>(numbers.next().context("/proc/loadavg is short")??);
    Ok([next()?, next()?, next()?])
}

fn shown(load: [f64; 3]) -> String {
    load.map(|value| value.to_string()).join(" ")
}

pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Four digits are as many as a run repeats.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middle if middle >= 100.0 => format!("{value:.1}"),
        middle if middle >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
