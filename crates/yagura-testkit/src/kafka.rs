//! Apache Kafka from Maven Central: nodes that are broker and controller at once (KRaft), Java 17; one,
//! or three that keep each record three times.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::certificates::Certificates;
use crate::{free_port, maven};

/// The version that tests run against.
pub const VERSION: &str = "4.3.1";
/// What makes its log appear.
const LOG4J: &str = "2.24.3";

/// How long the broker may take to start.
const START: Duration = Duration::from_secs(60);
/// The user of the SASL listener.
pub const USER: &str = "yagura";
/// Its password.
pub const PASSWORD: &str = "fab-secret-42";

/// Fetches Kafka's jars into `build_dir/kafka` unless they are there; answers the folder that
/// holds them.
pub fn fetch(build_dir: &Path) -> Result<PathBuf> {
    maven::fetch(
        build_dir,
        "kafka",
        &[
            ("org.apache.kafka", "kafka_2.13", VERSION),
            ("org.apache.kafka", "kafka-tools", VERSION),
            ("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J),
        ],
    )
}

/// A running broker. Dropping it ends the process and deletes its files.
#[derive(Debug)]
pub struct Broker {
    libs: PathBuf,
    folder: tempfile::TempDir,
    ports: [u16; 4],
    /// Its number, and the controllers' ports of all nodes by number.
    node: usize,
    controllers: Vec<u16>,
    /// The namespace in which it runs, and its address there.
    host: Option<(String, Ipv4Addr)>,
    process: Option<Child>,
}

impl Broker {
    /// Fetches what is needed, formats the storage and starts; returns when it serves.
    pub fn start() -> Result<Self> {
        let libs = fetch(&crate::build_folder())?;
        let ports = free_ports()?;
        let mut broker = Broker::formatted(libs, 1, ports, vec![ports[1]], None)?;
        broker.restart()?;
        Ok(broker)
    }

    /// The same in a network namespace, at an address that it has there.
    pub fn start_in(namespace: &str, address: Ipv4Addr) -> Result<Self> {
        let libs = fetch(&crate::build_folder())?;
        let ports = free_ports()?;
        let host = Some((namespace.to_owned(), address));
        let mut broker = Broker::formatted(libs, 1, ports, vec![ports[1]], host)?;
        broker.restart()?;
        Ok(broker)
    }

    fn formatted(
        libs: PathBuf,
        node: usize,
        ports: [u16; 4],
        controllers: Vec<u16>,
        host: Option<(String, Ipv4Addr)>,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let broker = Broker { libs, folder, ports, node, controllers, host, process: None };
        broker.write_settings()?;
        let mut format = broker.java("kafka.tools.StorageTool", &["format", "-t", "eWFndXJhLXRlc3Qta2l0MA"]);
        if broker.controllers.len() == 1 {
            format.arg("--standalone");
        }
        format.arg("-c").arg(broker.settings());
        format.args(["--add-scram", &format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]")]);
        let output = format.output().context("starting java; install Java 17")?;
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "formatting Kafka's storage:\n{said}");
        Ok(broker)
    }

    /// `host:port` without encryption.
    pub fn address(&self) -> String {
        format!("{}:{}", self.ip(), self.ports[0])
    }

    fn ip(&self) -> Ipv4Addr {
        self.host.as_ref().map_or(Ipv4Addr::LOCALHOST, |(_, address)| *address)
    }

    /// `host:port` with a password (SASL PLAIN and SCRAM-SHA-512) and without encryption.
    pub fn sasl_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[2])
    }

    /// `host:port` with TLS, whose certificate [`Broker::authority`] vouches for.
    pub fn tls_address(&self) -> String {
        format!("localhost:{}", self.ports[3])
    }

    /// The file of the authority's certificate.
    pub fn authority(&self) -> String {
        Certificates::at(&self.tls()).file("ca.pem")
    }

    fn tls(&self) -> PathBuf {
        self.folder.path().join("tls")
    }

    /// The process's number while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Ends the process without warning, as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Starts it (again) with its files; returns when it serves.
    pub fn restart(&mut self) -> Result<()> {
        let started = self.spawn()?;
        self.until_it_serves(&started)
    }

    /// Starts it; what it returns says when it serves.
    fn spawn(&mut self) -> Result<Receiver<()>> {
        self.kill()?;
        let mut command = self.java("kafka.Kafka", &[]);
        let mut process =
            command.arg(self.settings()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = process.stdout.take().context("its output")?;
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        self.process = Some(process);
        let mut copy = File::create(self.server_log())?;
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The thread goes on reading so that the broker never blocks on its output.
                let _ = writeln!(copy, "{line}");
                if line.contains("Kafka Server started") {
                    let _ = ready.try_send(());
                }
            }
        });
        Ok(started)
    }

    fn until_it_serves(&self, started: &Receiver<()>) -> Result<()> {
        if started.recv_timeout(START).is_err() {
            let said = fs::read_to_string(self.server_log()).unwrap_or_default();
            bail!("Kafka did not start within {START:?}:\n{said}");
        }
        if self.host.is_none() {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[0]))
                .context("Kafka started and does not answer")?;
        }
        Ok(())
    }

    /// A Java program out of Kafka's jars, such as `org.apache.kafka.tools.consumer.ConsoleConsumer`.
    pub fn java(&self, class: &str, arguments: &[&str]) -> Command {
        let mut command = match &self.host {
            None => Command::new("java"),
            Some((namespace, _)) => {
                let mut inside = Command::new("ip");
                inside.args(["netns", "exec", namespace, "java"]);
                inside
            }
        };
        let heap = if self.controllers.len() == 1 { "-Xmx512m" } else { "-Xmx256m" };
        command.args([heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg(option("", &self.libs.join("*")));
        command.arg(option("-Dlog4j2.configurationFile=", &self.folder.path().join("log4j2.properties")));
        command.arg(class).args(arguments).stdin(Stdio::null());
        command
    }

    fn server_log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    fn write_settings(&self) -> Result<()> {
        let [plain, controller, sasl, tls] = self.ports;
        let ip = self.ip();
        let certificates = Certificates::make(&self.tls())?;
        let store = self.tls().join("store.pem");
        let part = |name: &str| fs::read_to_string(certificates.file(name));
        fs::write(&store, part("localhost.key")? + &part("localhost.pem")?)?;
        let data = self.folder.path().join("data");
        let login = format!("username=\"{USER}\" password=\"{PASSWORD}\"");
        let (node, nodes) = (self.node, self.controllers.len());
        let quorum = if nodes == 1 {
            format!("controller.quorum.bootstrap.servers=127.0.0.1:{controller}")
        } else {
            let voters = (1..).zip(&self.controllers).map(|(node, port)| format!("{node}@127.0.0.1:{port}"));
            format!("controller.quorum.voters={}", voters.collect::<Vec<_>>().join(","))
        };
        let in_sync = if nodes == 1 { 1 } else { nodes - 1 };
        let settings = format!(
            "process.roles=broker,controller\n\
             node.id={node}\n\
             {quorum}\n\
             listeners=PLAINTEXT://{ip}:{plain},CONTROLLER://127.0.0.1:{controller},SASL_PLAINTEXT://127.0.0.1:{sasl},SSL://127.0.0.1:{tls}\n\
             advertised.listeners=PLAINTEXT://{ip}:{plain},CONTROLLER://127.0.0.1:{controller},SASL_PLAINTEXT://127.0.0.1:{sasl},SSL://localhost:{tls}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL\n\
             ssl.keystore.type=PEM\n\
             ssl.keystore.location={}\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512\n\
             listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {login} user_{USER}=\"{PASSWORD}\";\n\
             listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             log.dirs={}\n\
             default.replication.factor={nodes}\n\
             min.insync.replicas={in_sync}\n\
             offsets.topic.replication.factor={nodes}\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor={nodes}\n\
             transaction.state.log.min.isr={in_sync}\n\
             share.coordinator.state.topic.replication.factor={nodes}\n\
             group.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\n\
             auto.create.topics.enable=false\n\
             message.max.bytes=20971520\n\
             replica.fetch.max.bytes=20971520\n",
            store.display(),
            data.display()
        );
        fs::write(self.settings(), settings)?;
        let log4j = "rootLogger.level=info\n\
                     rootLogger.appenderRef.out.ref=out\n\
                     appender.out.type=Console\n\
                     appender.out.name=out\n\
                     appender.out.layout.type=PatternLayout\n\
                     appender.out.layout.pattern=%p %m (%c)%n\n";
        fs::write(self.folder.path().join("log4j2.properties"), log4j)?;
        Ok(())
    }
}

/// Three nodes: each record is kept by all of them, and acknowledged when two have it.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Broker>,
}

impl Cluster {
    /// Starts all of them; returns when they serve.
    pub fn start() -> Result<Self> {
        let libs = fetch(&crate::build_folder())?;
        let ports = [free_ports()?, free_ports()?, free_ports()?];
        let controllers: Vec<u16> = ports.iter().map(|ports| ports[1]).collect();
        let mut nodes = Vec::new();
        for (node, ports) in (1..).zip(ports) {
            nodes.push(Broker::formatted(libs.clone(), node, ports, controllers.clone(), None)?);
        }
        // None of them serves before most of them run.
        let started = nodes.iter_mut().map(Broker::spawn).collect::<Result<Vec<_>>>()?;
        nodes.iter().zip(&started).try_for_each(|(node, started)| node.until_it_serves(started))?;
        Ok(Cluster { nodes })
    }

    /// `host:port` of every node, separated by commas.
    pub fn address(&self) -> String {
        self.nodes.iter().map(Broker::address).collect::<Vec<_>>().join(",")
    }

    /// The number of the node that leads a partition, from 1; `None` while nobody does.
    pub fn leader(&self, topic: &str, partition: u32) -> Result<Option<usize>> {
        let said = self.describe(&["--topic", topic])?;
        let wanted = format!("Partition: {partition}\tLeader: ");
        let leader = said.lines().find_map(|line| line.split_once(&wanted)?.1.split_whitespace().next());
        Ok(leader.and_then(|node| node.parse().ok()))
    }

    /// Ends the process of a node, from 1, without warning.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.nodes[node - 1].kill()
    }

    /// Starts a node again; returns when every node has every record again.
    pub fn restart(&mut self, node: usize) -> Result<()> {
        self.nodes[node - 1].restart()?;
        for _ in 0..60 {
            if !self.describe(&["--under-replicated-partitions"])?.contains("Partition: ") {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_millis(500));
        }
        bail!("node {node} did not catch up")
    }

    fn describe(&self, more: &[&str]) -> Result<String> {
        let address = self.address();
        let arguments = [&["--bootstrap-server", &address, "--describe"], more].concat();
        let output = self.nodes[0].java("org.apache.kafka.tools.TopicCommand", &arguments).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Its own process only; one that is gone already needs nothing.
        let _ = self.kill();
    }
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

fn free_ports() -> Result<[u16; 4]> {
    Ok([free_port()?, free_port()?, free_port()?, free_port()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_starts_dies_and_starts_again_with_its_files() -> Result<()> {
        let mut broker = Broker::start()?;
        let address = broker.address();
        let topics = |broker: &Broker, arguments: &[&str]| -> Result<String> {
            let mut command =
                broker.java("org.apache.kafka.tools.TopicCommand", &["--bootstrap-server", &address]);
            Ok(String::from_utf8(command.args(arguments).output()?.stdout)?)
        };
        topics(&broker, &["--create", "--topic", "here", "--partitions", "2"])?;
        broker.kill()?;
        assert!(TcpStream::connect(&address).is_err());
        broker.restart()?;
        assert!(topics(&broker, &["--list"])?.contains("here"));
        Ok(())
    }
}
