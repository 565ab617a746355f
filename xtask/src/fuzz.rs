//! Coverage-guided fuzzing: a target for every registered protocol, and one for whole packets.
//!
//! Only the crates under test are compiled with coverage, everything else is that of ordinary builds:
//! this program puts itself between cargo and the compiler (`RUSTC_WORKSPACE_WRAPPER`) and adds what
//! libFuzzer needs. No nightly compiler is wanted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};

/// Set for the compiler only: this program is a wrapper then.
const WRAPS: &str = "YAGURA_FUZZ_COVERAGE";
/// The crates whose code is to be covered.
const COVERED: [&str; 3] = ["yagura_dissect", "yagura_capture", "yagura_fuzz"];
/// What libFuzzer counts: edges, and what is compared with what.
const COVERAGE: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Copt-level=2",
    "-Ccodegen-units=4",
];
/// An input that takes longer is a hang, in seconds.
const HANG_SECONDS: u32 = 10;
/// An input that makes the process take more is a leak, in MiB.
const MEMORY_MIB: u32 = 1024;
/// Longest input.
const INPUT_BYTES_MAX: u32 = 16 << 10;

/// What is to be fuzzed.
pub struct Wanted<'a> {
    /// One target; all of them when there is none.
    pub target: Option<&'a str>,
    /// For each target.
    pub effort: Effort,
}

/// How long a target is fuzzed.
#[derive(Clone, Copy)]
pub enum Effort {
    /// Seconds, going on from what was found before.
    Seconds(u32),
    /// So many inputs from the seeds alone, the same ones each time: for tests, which must not differ
    /// from run to run.
    Inputs(u32),
}

/// Stands for the compiler when cargo calls this program as one.
pub fn as_compiler() -> Option<ExitCode> {
    std::env::var_os(WRAPS)?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (compiler, rest) = arguments.split_first()?;
    let mut command = Command::new(compiler);
    command.args(rest);
    let name = rest.iter().position(|a| a == "--crate-name").and_then(|at| rest.get(at + 1));
    if name.is_some_and(|name| COVERED.contains(&name.as_str())) {
        command.args(COVERAGE);
    }
    let done = command.status().ok().and_then(|s| s.code()).unwrap_or(1);
    Some(ExitCode::from(done as u8))
}

/// Fuzzes, and says of each target what came of it. Inputs that were found stay in
/// `target/fuzz/corpus`, those that fail are in `target/fuzz/failures`.
pub fn run(wanted: &Wanted<'_>) -> Result<()> {
    let folder = root().join("target/fuzz");
    let program = build()?;
    let list = output(Command::new(&program).env("YAGURA_FUZZ", "list"))?;
    let all: Vec<&str> = list.lines().collect();
    let targets: Vec<&str> = match wanted.target {
        Some(one) => vec![
            *all.iter()
                .find(|t| **t == one)
                .with_context(|| format!("there is no target `{one}`; there are {}", all.join(", ")))?,
        ],
        None => all,
    };
    seeds(&program, &folder)?;
    println(&format!("{:<20} {:>9} {:>9} {:>9} {:>9}", "target", "inputs", "edges", "corpus", "execs/s"));
    let queue = Mutex::new(targets.iter().rev().copied().collect::<Vec<_>>());
    let failed = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(targets.len()) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().ok().and_then(|mut queue| queue.pop());
                    let Some(target) = next else { break };
                    if let Err(error) = one(&program, &folder, target, wanted.effort)
                        && let Ok(mut failed) = failed.lock()
                    {
                        println(&format!("{target}: {error:#}"));
                        failed.push(target);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    ensure!(failed.is_empty(), "the fuzzer found failures in {}", failed.join(", "));
    Ok(())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The program, with coverage. The whole workspace is named, so that the features of what it
/// depends on are those of ordinary builds and nothing else is compiled anew.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let arguments =
        ["build", "--locked", "--workspace", "--bin", "yagura-fuzz", "--features", "yagura-fuzz/libfuzzer"];
    let wrapper = std::env::current_exe().context("this program has no path")?;
    crate::run(
        Command::new(cargo)
            .args(arguments)
            .current_dir(root())
            .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
            .env(WRAPS, "1"),
    )?;
    Ok(root().join("target/debug/yagura-fuzz"))
}

/// Inputs to begin with: the conversations that the protocols' contract has, and what is in captures.
fn seeds(program: &Path, folder: &Path) -> Result<()> {
    let shared = std::env::var_os("YAGURA_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let (captures, seeds) = (shared.join("captures"), folder.join("seeds"));
    if captures.is_dir() && !seeds.is_dir() {
        let mut command = Command::new(program);
        command.env("YAGURA_FUZZ", "seeds").env("YAGURA_CAPTURES", captures).env("YAGURA_SEEDS", &seeds);
        output(&mut command).context("the captures cannot be made into inputs")?;
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--quiet", "--locked", "--workspace", "--lib", "contract::samples_are_seeds"]);
    command.current_dir(root()).env("YAGURA_SEEDS", &seeds);
    output(&mut command).context("the samples cannot be made into inputs")?;
    Ok(())
}

fn one(program: &Path, folder: &Path, target: &str, effort: Effort) -> Result<()> {
    let place = |kind: &str| folder.join(kind).join(target);
    let (seeds, failures) = (place("seeds"), place("failures"));
    let (corpus, effort) = match effort {
        Effort::Seconds(seconds) => (place("corpus"), vec![format!("-max_total_time={seconds}")]),
        Effort::Inputs(inputs) => {
            let corpus = place("tested");
            if corpus.is_dir() {
                std::fs::remove_dir_all(&corpus).with_context(|| corpus.display().to_string())?;
            }
            (corpus, vec![format!("-runs={inputs}"), "-seed=1".into()])
        }
    };
    for path in [&corpus, &seeds, &failures] {
        std::fs::create_dir_all(path).with_context(|| path.display().to_string())?;
    }
    let done = Command::new(program)
        .env("YAGURA_FUZZ", target)
        .args(effort)
        .args([
            format!("-timeout={HANG_SECONDS}"),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            format!("-max_len={INPUT_BYTES_MAX}"),
            format!("-artifact_prefix={}/", failures.display()),
            "-print_final_stats=1".into(),
        ])
        .args([&corpus, &seeds])
        .output()
        .with_context(|| program.display().to_string())?;
    let log = String::from_utf8_lossy(&done.stderr);
    let path = folder.join(format!("{target}.log"));
    std::fs::write(&path, log.as_bytes())?;
    if !done.status.success() {
        let why = log.lines().find(|l| l.contains("panicked") || l.contains("ERROR: libFuzzer"));
        let input = log.lines().find(|l| l.contains("Test unit written to"));
        bail!("{}; {}; see {}", why.unwrap_or("it failed"), input.unwrap_or_default(), path.display());
    }
    let number = |key: &str| {
        log.lines().rev().find_map(|l| Some(l.split(key).nth(1)?.split_whitespace().next()?.to_string()))
    };
    let edges = number("cov: ").unwrap_or_default();
    ensure!(edges.parse::<u64>().is_ok_and(|n| n > 50), "there is no coverage; see {}", path.display());
    let shown = |key| number(key).unwrap_or_default();
    println(&format!(
        "{target:<20} {:>9} {edges:>9} {:>9} {:>9}",
        shown("stat::number_of_executed_units:"),
        shown("corp: ").split('/').next().unwrap_or_default(),
        shown("stat::average_exec_per_sec:"),
    ));
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("{command:?} cannot be started"))?;
    ensure!(
        done.status.success(),
        "{command:?} ended with {}: {}",
        done.status,
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(String::from_utf8(done.stdout)?)
}

fn println(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
