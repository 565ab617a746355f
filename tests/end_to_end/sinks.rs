//! `yagura sink`: whether receivers take alerts, and what they refused.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::{configure, folder, run_to_the_end, scene, text, yagura};

/// A receiver that refuses everything that it is sent by HTTP until it is mended; it ends with the test's process.
fn refusing(mended: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mended = Arc::clone(mended);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, mended) = (stream.expect("a connection"), Arc::clone(&mended));
            std::thread::spawn(move || while answer(&stream, &mended).is_ok() {});
        }
    });
    address
}

fn answer(mut stream: &TcpStream, mended: &AtomicBool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(bytes) = line.to_lowercase().strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    if mended.load(Ordering::SeqCst) {
        return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    stream.write_all(b"HTTP/1.1 422 Unprocessable\r\nContent-Length: 11\r\n\r\nnot for me\x1b")
}

#[test]
fn sinks_are_tried_and_what_they_refuse_is_listed() {
    let folder = folder();
    let scene = scene(folder.path());
    let run = folder.path().join("run");
    let mended = Arc::<AtomicBool>::default();
    let sinks = format!(
        "sinks:
- {{ name: local, kind: file, path: alerts.jsonl, when: {{ queues: [security] }} }}
- {{ name: hook, kind: webhook, url: 'http://{}', tls: false, secret_file: hook.secret }}
- {{ name: old, kind: syslog, address: '127.0.0.1:9', tls: false, when: {{ cells: [nowhere] }} }}",
        refusing(&mended)
    );
    std::fs::create_dir_all(&run).expect("a folder");
    std::fs::write(run.join("hook.secret"), "0123456789abcdef").expect("a secret");
    let config = configure(&run, &scene, &sinks);
    let config_text = config.display().to_string();

    let out = yagura(&["sink", "test", "local", "-c", &config_text]);
    let said = text(&out.stdout);
    assert!(out.status.success(), "{said}{}", text(&out.stderr));
    assert!(said.contains("local  file ") && said.contains(": acknowledged"), "{said}");
    assert!(said.contains("on the disk of this machine"), "{said}");
    let out = yagura(&["sink", "test", "-c", &config_text, "--format", "json"]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("2 of 3 sinks"), "{}", text(&out.stderr));
    let told: Vec<Value> =
        text(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let acknowledged: Vec<bool> = told.iter().map(|sink| sink["acknowledged"] == true).collect();
    assert_eq!(acknowledged, [true, false, false]);
    assert!(told[1]["said"].as_str().is_some_and(|said| said.contains("422 not for me")), "{}", told[1]);
    assert!(
        told[2]["said"].as_str().is_some_and(|said| said.contains("cannot reach 127.0.0.1:9")),
        "{}",
        told[2]
    );
    let out = yagura(&["sink", "test", "nobody", "-c", &config_text]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("local, hook, old"), "{}", text(&out.stderr));

    std::fs::remove_file(run.join("alerts.jsonl")).expect("the tests' alerts");
    run_to_the_end(&config);
    let written = std::fs::read_to_string(run.join("alerts.jsonl")).expect("alerts");
    let events: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(!events.is_empty() && events.iter().all(|event| event["unmapped"]["queue"] == "security"));
    let out = yagura(&["sink", "refused", "hook", "-c", &config_text, "--format", "json"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let refused: Vec<Value> =
        text(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    // The log is let go: it has one owner.
    assert_eq!(refused.len(), crate::alerts_of(&crate::embedded(&run)).len(), "every alert, of every queue");
    assert!(refused[0]["reason"].as_str().is_some_and(|reason| reason.starts_with("422 not for me")));
    let out = yagura(&["sink", "refused", "-c", &config_text]);
    assert!(
        text(&out.stdout).contains(&format!("{} alerts refused", refused.len())),
        "{}",
        text(&out.stdout)
    );
    assert!(!text(&out.stdout).contains('\u{1b}'), "what came over the wire writes no commands");

    let still = |all: &[&str]| {
        let out =
            yagura(&[&["sink", "refused", "hook", "-c", &config_text, "--format", "json"], all].concat());
        text(&out.stdout).lines().count()
    };
    let out = yagura(&["sink", "resend", "hook", "-c", &config_text]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stdout));
    let said = text(&out.stdout);
    assert!(said.contains("REFUSED again") && said.contains("422 not for me"), "{said}");
    assert_eq!(still(&[]), refused.len());
    mended.store(true, Ordering::SeqCst);
    let first = refused[0]["revision_uid"].as_str().expect("an id");
    let out = yagura(&["sink", "resend", "hook", "-c", &config_text, "--id", first]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("1 of 1 taken"), "{}", text(&out.stdout));
    assert_eq!((still(&[]), still(&["--all"])), (refused.len() - 1, refused.len()));
    let out = yagura(&["sink", "resend", "hook", "-c", &config_text, "--id", first]);
    assert_eq!(out.status.code(), Some(2), "it has been taken: {}", text(&out.stdout));
    let out = yagura(&["sink", "resend", "hook", "-c", &config_text]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!((still(&[]), still(&["--all"])), (0, refused.len()));
}
