//! Packets a second of one core over a mix of a plant's protocols, from the bytes of a capture file
//! to the log's Arrow batches, beside tshark and (where it is installed) Suricata on the same file.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use yagura_capture::{Engine, EngineOptions, Limits, PacketFile};
use yagura_collect::writer::RowWriter;
use yagura_dissect::Settings;
use yagura_event::AssetTable;

use crate::report::{Figure, Report};

/// Folders of the captures that make the mix.
const FOLDERS: [&str; 20] = [
    "bacnet",
    "beckhoff_ads",
    "dnp3",
    "enip_cip",
    "ethercat",
    "goose_sv",
    "hart_ip",
    "hsms",
    "iec104",
    "melsec",
    "mixed_plant",
    "mms",
    "modbus",
    "mqtt",
    "omron_fins",
    "opcua",
    "profinet",
    "s7comm",
    "s7comm_plus",
    "synchrophasor",
];
/// Most packets of one folder in one round, so that no protocol is the whole of the mix.
const FOLDER_PACKETS: usize = 5_000;
/// The mix is repeated until it has as many packets.
const PACKETS: usize = 400_000;
/// Between two rounds, longer than a silent connection lives, in microseconds.
const PAUSE: i64 = 3 * 3600 * 1_000_000;
/// The records of so many packets are taken at a time.
const TAKE_PACKETS: usize = 1_000;
/// Link type of the file: Ethernet.
const ETHERNET: u16 = 1;

/// Measures the mix.
pub fn mix() -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("mix.pcap");
    let packets = write_mix(&file)?;
    let bytes = std::fs::metadata(&file)?.len() as f64;
    let mut seconds = Vec::new();
    for _ in 0..5 {
        seconds.push(ours(&file, packets)?);
    }
    seconds.sort_by(f64::total_cmp);
    let rate = packets as f64 / seconds[2];
    let mut figures = vec![
        Figure::new("packets a second, median of 5", rate, "1/s"),
        Figure::new("packets a second, slowest of 5", packets as f64 / seconds[4], "1/s"),
        Figure::new("bytes of the file a second", bytes / seconds[2], "B/s"),
        Figure::new("most memory", peak_memory()?, "MiB"),
    ];
    for (name, command) in peers(&file, folder.path())? {
        if let Some(peer) = theirs(command, packets)? {
            figures.push(Figure::new(format!("beside {name}"), rate, "1/s").beside(peer));
        }
    }
    Ok(Report {
        input: format!("one core, {packets} packets of {} folders, {:.0} MB", FOLDERS.len(), bytes / 1e6),
        figures,
    })
}

/// The captures one after the other, again and again, in a classic pcap file.
pub(crate) fn write_mix(to: &Path) -> Result<usize> {
    let shared = std::env::var_os("YAGURA_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let captures = shared.join("captures");
    let mut out = BufWriter::new(std::fs::File::create(to)?);
    let header: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, u32::from(ETHERNET)];
    header.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))?;
    let mut round: Vec<(i64, u32, Vec<u8>)> = Vec::new();
    for folder in FOLDERS {
        let path = captures.join(folder);
        let files = std::fs::read_dir(&path).with_context(|| {
            format!(
                "{}: the captures are no part of the repository; name their folder in YAGURA_SHARED",
                path.display()
            )
        })?;
        let mut files: Vec<PathBuf> = files.map(|f| f.map(|f| f.path())).collect::<Result<_, _>>()?;
        files.sort();
        let before = round.len();
        for file in files {
            // Other files lie there too.
            let Ok(mut file) = PacketFile::open(&file) else { continue };
            let (mut first, start) = (None, round.last().map_or(0, |(time, ..)| *time + 1));
            while round.len() - before < FOLDER_PACKETS
                && let Ok(Some(packet)) = file.next_packet()
            {
                if packet.link == ETHERNET {
                    let first = *first.get_or_insert(packet.time);
                    let time = start + (packet.time - first).clamp(0, 3600 * 1_000_000);
                    round.push((time, packet.original, packet.data.to_vec()));
                }
            }
        }
    }
    ensure!(round.len() > 10_000, "only {} packets in {}", round.len(), captures.display());
    let (mut packets, mut start) = (0, 1_760_000_000_000_000);
    while packets < PACKETS {
        let mut last = start;
        for (time, original, data) in &round {
            let time = start + time;
            last = last.max(time);
            let head = [(time / 1_000_000) as u32, (time % 1_000_000) as u32, data.len() as u32, *original];
            head.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))?;
            out.write_all(data)?;
        }
        packets += round.len();
        start = last + PAUSE;
    }
    out.flush()?;
    Ok(packets)
}

/// Seconds from the file's bytes to records of Arrow batches, in this thread.
fn ours(file: &Path, packets: usize) -> Result<f64> {
    let assets = Arc::new(AssetTable::default());
    let mut engine = Engine::new(EngineOptions {
        assets: assets.clone(),
        settings: Arc::new(Settings::default()),
        limits: Limits::default(),
    });
    let mut rows = RowWriter::new("bench", 1, assets);
    let mut records = 0;
    let mut captured = PacketFile::open(file)?;
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let began = Instant::now();
    // As a collector does: records are handed over in between, so memory holds some of them only.
    for read in 1_usize.. {
        let Some(packet) = captured.next_packet()? else { break };
        engine.packet(&packet, &mut rows);
        if read.is_multiple_of(TAKE_PACKETS) {
            records += std::hint::black_box(rows.take()?).len();
        }
    }
    engine.finish(&mut rows);
    rows.close(i64::MAX);
    records += std::hint::black_box(rows.take()?).len();
    let seconds = began.elapsed().as_secs_f64();
    ensure!(engine.stats().packets == packets as u64, "{} packets were read", engine.stats().packets);
    ensure!(records > 0, "there are no records");
    Ok(seconds)
}

/// The most memory of this process so far, in MiB.
fn peak_memory() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// What Suricata writes when it is to say what the messages said, as Yagura does: its own
/// configuration, joined in the middle of connections, with all of its event types that are messages.
const SURICATA: &str = "%YAML 1.1
---
include: /etc/suricata/suricata.yaml
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: eve.json
      types: [ALERT dns, tls, smtp, ftp, rdp, nfs, smb, tftp, ike, dcerpc, krb5, snmp, sip, dhcp, ssh,
        mqtt, http, dnp3, modbus, flow]
";

/// Other tools, and what each is told to do.
fn peers(file: &Path, folder: &Path) -> Result<Vec<(&'static str, Command)>> {
    let tshark = |output: &[&str]| {
        let mut tshark = Command::new("tshark");
        tshark.arg("-n").args(output).arg("-r").arg(file);
        tshark
    };
    let suricata = |arguments: &[&str]| {
        let mut suricata = Command::new("suricata");
        suricata.args(["--runmode", "single", "-k", "none", "-l"]).arg(folder).arg("-r").arg(file);
        // Plant protocols that it knows and that Debian's configuration leaves off.
        for protocol in ["modbus", "dnp3", "enip"] {
            suricata.args(["--set", &format!("app-layer.protocols.{protocol}.enabled=yes")]);
        }
        suricata.args(arguments);
        suricata
    };
    let configured = |name: &str, alert: &str| -> Result<String> {
        let path = folder.join(name);
        std::fs::write(&path, SURICATA.replace("ALERT ", alert))?;
        Ok(path.display().to_string())
    };
    let (messages, alerts) =
        (configured("messages.yaml", "")?, configured("alerts.yaml", "alert, anomaly, ")?);
    let midway = ["--set", "stream.midstream=true"];
    let own_rules = ["-S", "/etc/suricata/rules/*.rules"];
    Ok(vec![
        // A column of each packet: it dissects fully and hardly prints.
        ("tshark, one column", tshark(&["-T", "fields", "-e", "_ws.col.protocol"])),
        ("tshark, fields as JSON", tshark(&["-T", "ek"])),
        // As packaged: its rules are to be fetched from the internet, and it looks for nothing.
        ("suricata, flows", suricata(&[])),
        ("suricata, messages", suricata(&[&["-c", &messages], &midway[..]].concat())),
        ("suricata, messages and alerts", suricata(&[&["-c", &alerts], &midway[..], &own_rules].concat())),
    ])
}

/// Packets a second of another tool; `None`, said on the screen, where it is not installed.
fn theirs(mut command: Command, packets: usize) -> Result<Option<f64>> {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let began = Instant::now();
    match command.stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(Some(packets as f64 / began.elapsed().as_secs_f64())),
        Ok(status) => bail!("{command:?}: {status}"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            #[expect(clippy::print_stderr, reason = "a peer that is left out is named")]
            {
                eprintln!("left out: {} is not installed", command.get_program().display());
            }
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("{command:?}")),
    }
}
