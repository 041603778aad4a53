//! Instructions that the parts of a request take, counted by callgrind and compared with
//! `baseline/instructions.json`: `make bench-counts`, and `make bench-counts UPDATE=1` to write that anew.
//!
//! A count does not depend on how busy the machine is, nor on which x86-64 it is; on the compiler it does, and a little
//! on the C library (malloc, memcpy). The crates that count with callgrind are not used: gungraun needs a newer
//! compiler than Debian's, its older releases a crate that is not maintained, and its baselines are not files to commit.
//!
//! `cargo bench --bench instructions -- NAME` counts one.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cases;

use std::{
    collections::BTreeMap,
    env::{self, consts::ARCH},
    error::Error,
    fs,
    process::{Command, ExitCode},
};

use serde::{Deserialize, Serialize};

const BASELINE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/baseline/instructions.json"
);

/// How much above the baseline a count may be, in percent.
const TOLERANCE: f64 = 10.0;

/// How much, when the baseline was made with another compiler, which inlines other things.
const TOLERANCE_BETWEEN_COMPILERS: f64 = 30.0;

const RENEW: &str = "make bench-counts UPDATE=1";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        [] => Counts::take().and_then(|counts| counts.check()),
        ["--update"] => Counts::take().and_then(|counts| counts.save()),
        ["--run", name] => run(name),
        [name] => count(name).map(|count| println!("{name} {count}")),
        _ => Err("usage: instructions [NAME | --update]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The counts, and what they depend on.
#[derive(Deserialize, Serialize)]
struct Counts {
    architecture: String,
    rustc: String,
    instructions: BTreeMap<String, u64>,
}

impl Counts {
    fn take() -> Result<Self, Box<dyn Error>> {
        let mut instructions = BTreeMap::new();
        for case in cases::all() {
            instructions.insert(case.name.to_owned(), count(case.name)?);
        }
        Ok(Self {
            architecture: ARCH.to_owned(),
            rustc: rustc()?,
            instructions,
        })
    }

    fn save(&self) -> Result<(), Box<dyn Error>> {
        fs::write(BASELINE, serde_json::to_string_pretty(self)? + "\n")?;
        println!("written: {BASELINE}");
        Ok(())
    }

    /// Prints the counts beside the baseline's. An error names each that is worse than it allows.
    fn check(&self) -> Result<(), Box<dyn Error>> {
        let baseline = Self::baseline().map_err(|error| format!("{BASELINE}: {error}: {RENEW}"))?;
        println!("{:20} {:>8} {:>8}", "instructions", "now", "baseline");
        for (name, now) in &self.instructions {
            match baseline.instructions.get(name) {
                Some(before) => {
                    println!(
                        "{name:20} {now:8} {before:8} {:+7.1} %",
                        rise(*before, *now)
                    )
                }
                None => println!("{name:20} {now:8}        -"),
            }
        }
        if self.architecture != baseline.architecture {
            println!(
                "NOT COMPARED: the baseline is of {}, this is {}",
                baseline.architecture, self.architecture
            );
            return Ok(());
        }
        let mut tolerance = TOLERANCE;
        if self.rustc != baseline.rustc {
            tolerance = TOLERANCE_BETWEEN_COMPILERS;
            println!(
                "COMPARED LOOSELY: rustc {} made the baseline, {} what was counted now: {tolerance} % more are \
                 allowed instead of {TOLERANCE}. Use that compiler, or renew the baseline: {RENEW}",
                baseline.rustc, self.rustc
            );
        }
        let mut wrong = self.against(&baseline, tolerance);
        if wrong.is_empty() {
            let gained = |(name, before): (&String, &u64)| {
                let now = self.instructions.get(name);
                now.is_some_and(|now| rise(*before, *now) < -TOLERANCE)
            };
            if baseline.instructions.iter().any(gained) {
                println!("Keep what was gained by renewing the baseline: {RENEW}");
            }
            return Ok(());
        }
        wrong.push(format!(
            "if that is meant, say why and renew the baseline: {RENEW}"
        ));
        Err(wrong.join("\ninstructions: ").into())
    }

    fn baseline() -> Result<Self, Box<dyn Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(BASELINE)?)?)
    }

    /// What is wrong, a line each.
    fn against(&self, baseline: &Self, tolerance: f64) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, before) in &baseline.instructions {
            match self.instructions.get(name) {
                Some(now) if rise(*before, *now) > tolerance => wrong.push(format!(
                    "{name} takes {now} instructions, {:.1} % more than the {before} of the baseline; {tolerance} % \
                     are allowed",
                    rise(*before, *now)
                )),
                Some(_) => {}
                None => wrong.push(format!("{name} is in the baseline and was not counted")),
            }
        }
        for name in self.instructions.keys() {
            if !baseline.instructions.contains_key(name) {
                wrong.push(format!("{name} is not in the baseline"));
            }
        }
        wrong
    }
}

/// In percent.
fn rise(before: u64, now: u64) -> f64 {
    (now as f64 / before as f64 - 1.0) * 100.0
}

/// The instructions that one run of a case takes.
fn count(name: &str) -> Result<u64, Box<dyn Error>> {
    let valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*counted_by_callgrind*")
        .arg(env::current_exe()?)
        .args(["--run", name])
        .output()
        .map_err(|error| format!("valgrind does not run: {error} (apt-get install valgrind)"))?;
    let said = String::from_utf8_lossy(&valgrind.stderr);
    said.lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        .filter(|count| valgrind.status.success() && *count > 0)
        .ok_or_else(|| format!("valgrind counted nothing of {name}: {said}").into())
}

/// What valgrind runs. The first time is not counted: it sets up malloc and what is made once in a process.
fn run(name: &str) -> Result<(), Box<dyn Error>> {
    let case = cases::all().into_iter().find(|case| case.name == name);
    let mut run = case.ok_or_else(|| format!("{name}: no such case"))?.runs(2);
    run();
    counted_by_callgrind(&mut *run);
    Ok(())
}

#[inline(never)]
fn counted_by_callgrind(run: &mut dyn FnMut()) {
    run();
}

/// The version of the compiler, of which cargo and rustup have made sure that it is the one that built this.
fn rustc() -> Result<String, Box<dyn Error>> {
    let said = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
        .arg("--version")
        .output()
        .map_err(|error| format!("rustc --version: {error}"))?;
    let said = String::from_utf8(said.stdout)?;
    let version = said.split(' ').nth(1);
    Ok(version.ok_or("rustc says no version")?.to_owned())
}
