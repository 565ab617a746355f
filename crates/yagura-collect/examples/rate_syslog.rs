//! How many syslog messages a second come into an embedded log: `rate_syslog [SECONDS] [tcp|udp] [CONNECTIONS] [5424|3164]`.
//!
//! Senders are a child process; messages, of 50 hosts and 150 bytes on average, are made before time is taken. Over
//! TCP they are pushed back and wait at the end until everything was read; over UDP they send as fast as they can.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::json;
use yagura_event::{Kind, clock};

mod rate_web;

/// Messages that a sender sends again and again.
const MESSAGES: usize = 20_000;

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [send, port, seconds, transport, connections, form] = arguments.as_slice()
        && send == "send"
    {
        return senders(port.parse()?, seconds.parse()?, transport == "udp", connections.parse()?, form);
    }
    let or = |place: usize, default: &str| arguments.get(place).map_or(default, String::as_str).to_string();
    let (port, transport) = (rate_web::free_port()?, or(1, "tcp"));
    let mut settings = json!({ "name": "syslog", "kind": "syslog" });
    settings[&transport] = format!("127.0.0.1:{port}").into();
    let child = ["send".into(), port.to_string(), or(0, "10"), transport, or(2, "2"), or(3, "5424")];
    rate_web::measure(settings, Kind::Log, &child)
}

fn senders(port: u16, seconds: u64, udp: bool, connections: usize, form: &str) -> Result<(), Failed> {
    let messages = messages(form == "3164");
    let until = rate_web::now() + Duration::from_secs(seconds);
    let sent = std::thread::scope(|scope| {
        let messages = &messages;
        let one = move || if udp { datagrams(port, messages, until) } else { lines(port, messages, until) };
        let all: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
        let sent = all.into_iter().map(|one| one.join().map_err(|_| Failed::from("a sender panicked"))?);
        sent.sum::<Result<u64, Failed>>()
    })?;
    rate_web::told(sent);
    Ok(())
}

fn lines(port: u16, messages: &[String], until: std::time::Instant) -> Result<u64, Failed> {
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) => std::thread::park_timeout(Duration::from_millis(10)),
        }
    };
    // As senders do: many messages a write.
    let writes: Vec<Vec<u8>> = messages
        .chunks(200)
        .map(|some| some.iter().flat_map(|text| format!("{} {text}", text.len()).into_bytes()).collect())
        .collect();
    let mut sent = 0;
    for (write, some) in writes.iter().zip(messages.chunks(200)).cycle() {
        if rate_web::now() >= until {
            break;
        }
        stream.write_all(write)?;
        sent += some.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(sent)
}

fn datagrams(port: u16, messages: &[String], until: std::time::Instant) -> Result<u64, Failed> {
    // The collector listens before long; what was sent before would be refused.
    std::thread::park_timeout(Duration::from_millis(300));
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(("127.0.0.1", port))?;
    let mut sent = 0;
    for text in messages.iter().cycle() {
        if sent % 256 == 0 && rate_web::now() >= until {
            break;
        }
        socket.send(text.as_bytes())?;
        sent += 1;
    }
    Ok(sent)
}

fn messages(old: bool) -> Vec<String> {
    let now = clock::now();
    (0..MESSAGES)
        .map(|n| {
            let mut text = String::new();
            let (host, user) = (n % 50, fastrand::u32(0..200));
            let _ = match old {
                true => write!(text, "<{}>Nov {:2} 22:00:01 etch-{host:02} sshd[{}]: ", 32 + n % 8, 1 + n % 28, 4000 + host),
                false => write!(
                    text,
                    "<{}>1 {} etch-{host:02} sshd {} ID{} [auth@32473 user=\"op{user}\" result=\"accepted\"] ",
                    32 + n % 8,
                    clock::rfc3339(now + n as i64),
                    4000 + host,
                    n % 7
                ),
            };
            let _ = write!(text, "Accepted publickey for op{user} from 10.3.{host}.{} port {}", n % 250, fastrand::u16(1024..));
            text
        })
        .collect()
}
