//! The Kafka log against a real broker, which every test shares.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use yagura_kafka::{KafkaLog, KafkaOptions, Mechanism, Sasl};
use yagura_log::contract::{Subject, run};
use yagura_log::{Log, LogError, Record};
use yagura_testkit::kafka::{Broker, PASSWORD, USER};

/// One broker for the whole file; the last test to finish does not end it, so each takes a
/// share and the last share's drop does.
fn broker() -> Arc<Broker> {
    static SHARED: OnceLock<Mutex<std::sync::Weak<Broker>>> = OnceLock::new();
    let mut shared = SHARED.get_or_init(Mutex::default).lock().unwrap();
    shared.upgrade().unwrap_or_else(|| {
        let broker = Arc::new(Broker::start().expect("a broker"));
        *shared = Arc::downgrade(&broker);
        broker
    })
}

struct OnKafka {
    broker: Arc<Broker>,
    log: Option<Arc<KafkaLog>>,
}

impl OnKafka {
    fn options(&self) -> KafkaOptions {
        let mut options = KafkaOptions::new(self.broker.address());
        options.record_bytes_max = 2 << 20;
        options
    }
}

impl Subject for OnKafka {
    fn log(&self) -> Arc<dyn Log> {
        self.log.clone().expect("open")
    }

    fn reopen(&mut self) {
        self.log = None;
        self.log = Some(Arc::new(KafkaLog::connect(self.options()).expect("connect")));
    }

    fn forget(&mut self, topic: &str, partition: u32) {
        let mut config = rdkafka::ClientConfig::new();
        let admin: AdminClient<DefaultClientContext> =
            config.set("bootstrap.servers", self.broker.address()).create().expect("admin");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition as i32, Offset::Offset(50)).expect("list");
        drop(admin.delete_records(&list, &AdminOptions::new()));
        for _ in 0..100 {
            if self.log().held(topic, partition).expect("held").start == 50 {
                return;
            }
        }
        panic!("the records are still there");
    }

    fn record_bytes_max(&self) -> usize {
        2 << 20
    }
}

#[test]
fn kafka_keeps_the_contract() {
    let mut subject = OnKafka { broker: broker(), log: None };
    subject.reopen();
    run(&mut subject);
}

#[test]
fn plain_kafka_tools_read_the_records() {
    let broker = broker();
    let log = KafkaLog::connect(KafkaOptions::new(broker.address())).expect("connect");
    log.ensure_topic("plain", 1).expect("topic");
    let mut appender = log.appender("plain").expect("appender");
    for n in 0..3 {
        let value = Bytes::from(format!("row {n}"));
        appender
            .append(Record {
                key: Bytes::from_static(b"etch"),
                header: Bytes::from_static(b"envelope"),
                value,
            })
            .expect("append");
    }
    appender.flush().expect("flush");
    let address = broker.address();
    let arguments = [
        "--bootstrap-server",
        &address,
        "--topic",
        "plain",
        "--from-beginning",
        "--max-messages",
        "3",
        "--timeout-ms",
        "20000",
        "--formatter-property",
        "print.key=true",
        "--formatter-property",
        "print.headers=true",
    ];
    let output =
        broker.java("org.apache.kafka.tools.consumer.ConsoleConsumer", &arguments).output().expect("java");
    let said = String::from_utf8_lossy(&output.stdout);
    for n in 0..3 {
        assert!(
            said.contains(&format!("yagura:envelope\tetch\trow {n}")),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn logging_in_works_and_a_wrong_password_is_said() {
    let broker = broker();
    let file = tempfile::NamedTempFile::new().expect("file");
    let connect = |mechanism, password: &str| {
        std::fs::write(file.path(), password).expect("password");
        let mut options = KafkaOptions::new(broker.sasl_address());
        options.security.sasl =
            Some(Sasl { mechanism, user: USER.to_owned(), password_file: file.path().to_owned() });
        KafkaLog::connect(options).map(|log| log.describe())
    };
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha512] {
        connect(mechanism, PASSWORD).expect("login");
        match connect(mechanism, "wrong") {
            Err(LogError::Unreachable { cause, .. }) => {
                assert!(cause.contains("uthentication"), "{cause}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nobody_there_is_said_within_seconds() {
    match KafkaLog::connect(KafkaOptions::new("127.0.0.1:1")).map(|log| log.describe()) {
        Err(LogError::Unreachable { brokers, cause }) => {
            assert_eq!(brokers, "127.0.0.1:1");
            assert!(cause.contains("refused"), "{cause}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_killed_broker_loses_nothing_that_was_acknowledged() {
    let mut broker = Broker::start().expect("a broker of its own");
    let log = KafkaLog::connect(KafkaOptions::new(broker.address())).expect("connect");
    log.ensure_topic("t", 1).expect("topic");
    let mut appender = log.appender("t").expect("appender");
    let append = |appender: &mut Box<dyn yagura_log::Appender>, numbers: std::ops::Range<u64>| {
        for n in numbers {
            let value = Bytes::copy_from_slice(&n.to_le_bytes());
            appender
                .append(Record { key: Bytes::from_static(b"k"), value, ..Record::default() })
                .expect("append");
        }
    };
    append(&mut appender, 0..500);
    appender.flush().expect("flush");
    append(&mut appender, 500..1000);
    broker.kill().expect("kill");
    append(&mut appender, 1000..1500);
    broker.restart().expect("restart");
    appender.flush().expect("the client tries again by itself");
    let mut reader = log.reader("t", 0, 0).expect("reader");
    let mut found = Vec::new();
    for _ in 0..100 {
        found.extend(reader.read(1 << 20, Duration::from_millis(200)).expect("read"));
        if found.len() == 1500 {
            break;
        }
    }
    let mut times = BTreeMap::new();
    for stored in &found {
        let number = u64::from_le_bytes(stored.record.value[..].try_into().expect("a number"));
        *times.entry(number).or_insert(0) += 1;
    }
    assert!((0..1500).all(|n| times.get(&n) == Some(&1)), "each once: {} of 1500", times.len());
}
