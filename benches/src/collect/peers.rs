//! Others at the same work: the senders of the examples speak to rsyslog and to Telegraf, which write what they take
//! into a file. Neither waits until it is durable, as the collector does.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use yagura_testkit::{build_folder, free_port, peers};

use crate::common::processor_of;
use crate::report::Figure;

/// What a peer is measured at.
struct Work {
    /// The run of the table that it stands beside.
    run: &'static str,
    /// The example whose senders speak to it, and what they are told after the port.
    example: &'static str,
    arguments: &'static [&'static str],
    start: fn(&Path, u16) -> Result<Command>,
    name: &'static str,
}

const WORKS: &[Work] = &[
    Work {
        run: "syslog 5424 over TCP",
        example: "rate_syslog",
        arguments: &["10", "tcp", "2", "5424"],
        start: rsyslog,
        name: "rsyslog",
    },
    Work {
        run: "syslog 5424 over TCP",
        example: "rate_syslog",
        arguments: &["10", "tcp", "2", "5424"],
        start: telegraf_syslog,
        name: "Telegraf",
    },
    Work {
        run: "http, JSON array",
        example: "rate_http",
        arguments: &["10", "16", "array"],
        start: telegraf_http,
        name: "Telegraf",
    },
];

/// How long the file may stand still before all that was taken is in it.
const STILL: Duration = Duration::from_secs(3);

/// Measures all of them; `ours` has the figures that they stand beside.
pub fn all(examples: &Path, ours: &[Figure]) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for work in WORKS {
        let measured = measure(work, examples).with_context(|| format!("{} at {}", work.name, work.run))?;
        let own = ours.iter().find(|figure| figure.is(&format!("{}: rows", work.run)));
        let own = own.with_context(|| format!("{} was not measured", work.run))?;
        let about = format!("{}: beside {}", work.run, work.name);
        figures.push(own.of(&about).beside(measured.rate));
        figures.push(Figure::new(format!("{about}, its cores"), measured.cores, "cores"));
        figures.push(Figure::new(format!("{about}, it lost of a thousand"), measured.lost * 1e3, "rows"));
    }
    Ok(figures)
}

struct Measured {
    /// Rows a second in its file.
    rate: f64,
    cores: f64,
    /// Share of what it took that is not in its file.
    lost: f64,
}

fn measure(work: &Work, examples: &Path) -> Result<Measured> {
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let mut peer =
        Running((work.start)(folder.path(), port)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    // A connection that says nothing tells that it listens.
    let patience = now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(now() < patience && peer.0.try_wait()?.is_none(), "it does not listen");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let (began, busy) = (now(), peer.busy()?);
    let output = Command::new(examples.join(work.example))
        .args(["send", &port.to_string()])
        .args(work.arguments)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8(output.stdout)?;
    let sent = said.lines().find_map(|line| line.strip_prefix("sent ")?.parse::<u64>().ok());
    let sent = sent.with_context(|| format!("{said}{}", String::from_utf8_lossy(&output.stderr)))?;
    let out = folder.path().join("out");
    let (mut size, mut grew) = (0, now());
    while grew.elapsed() < STILL {
        std::thread::park_timeout(Duration::from_millis(50));
        let is = std::fs::metadata(&out).map_or(0, |about| about.len());
        if std::mem::replace(&mut size, is) != is {
            grew = now();
        }
    }
    let seconds = (grew - began).as_secs_f64();
    let cores = (peer.busy()? - busy) / seconds;
    drop(peer);
    let rows = BufReader::new(File::open(&out)?).split(b'\n').count() as u64;
    ensure!(rows > 0, "it wrote nothing");
    Ok(Measured { rate: rows as f64 / seconds, cores, lost: 1.0 - rows.min(sent) as f64 / sent as f64 })
}

fn rsyslog(folder: &Path, port: u16) -> Result<Command> {
    let config = format!(
        "global(workDirectory=\"{place}\" maxMessageSize=\"64k\")\nmodule(load=\"imtcp\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\naction(type=\"omfile\" file=\"{place}/out\")\n",
        place = folder.display()
    );
    let file = folder.join("rsyslog.conf");
    std::fs::write(&file, config)?;
    let mut command = Command::new("/usr/sbin/rsyslogd");
    command.args(["-n", "-f"]).arg(file).arg("-i").arg(folder.join("pid"));
    Ok(command)
}

fn telegraf_syslog(folder: &Path, port: u16) -> Result<Command> {
    telegraf(folder, &format!("[[inputs.syslog]]\nserver = \"tcp://127.0.0.1:{port}\"\n"))
}

fn telegraf_http(folder: &Path, port: u16) -> Result<Command> {
    let input = format!(
        "[[inputs.http_listener_v2]]\nservice_address = \"tcp://127.0.0.1:{port}\"\npaths = [\"/v1/rows\"]\n\
         http_success_code = 200\ndata_format = \"json\"\njson_time_key = \"time\"\n\
         json_time_format = \"2006-01-02T15:04:05.999999Z07:00\"\n\
         tag_keys = [\"tool\", \"chamber\", \"signal\", \"unit\"]\n"
    );
    telegraf(folder, &input)
}

/// Telegraf as its documents say for much load: large batches, and a buffer that holds what comes between two flushes.
fn telegraf(folder: &Path, input: &str) -> Result<Command> {
    let config = format!(
        "[agent]\nmetric_batch_size = 10000\nmetric_buffer_limit = 5000000\nflush_interval = \"1s\"\n\
         omit_hostname = true\nquiet = true\n{input}[[outputs.file]]\nfiles = [\"{}\"]\ndata_format = \"influx\"\n",
        folder.join("out").display()
    );
    let file = folder.join("telegraf.conf");
    std::fs::write(&file, config)?;
    let mut command = Command::new(built()?);
    command.arg(file);
    Ok(command)
}

/// Telegraf with the plugins that are wanted, built by Go out of its modules.
fn built() -> Result<PathBuf> {
    let folder = peers::telegraf(&build_folder());
    let program = folder.join("telegraf");
    if !program.exists() {
        std::fs::create_dir_all(&folder)?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/telegraf");
        for file in ["main.go", "go.mod", "go.sum"] {
            std::fs::copy(source.join(file), folder.join(file))?;
        }
        let status = Command::new("go").args(["build", "-o", "telegraf", "."]).current_dir(&folder).status();
        ensure!(status.context("Go is needed to build Telegraf")?.success(), "Telegraf could not be built");
    }
    Ok(program)
}

struct Running(Child);

impl Running {
    /// Seconds of processor that it has had.
    fn busy(&self) -> Result<f64> {
        processor_of(&Path::new("/proc").join(self.0.id().to_string()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "this measures time")]
fn now() -> Instant {
    Instant::now()
}
