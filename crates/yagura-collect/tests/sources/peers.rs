//! Processes of others that sources talk to.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rig::{free_port, wait};

/// What a lock holds, whatever became of others.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until somebody listens at a port of this machine.
pub fn listening(port: u16) {
    wait("listening", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// A script of `tests/peers`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// Python with the equipment of others: secsgem, asyncua, pymodbus, pysparkplug.
pub fn python(script_name: &str) -> Command {
    let folder = match std::env::var_os("YAGURA_EQUIPMENT") {
        Some(folder) => PathBuf::from(folder),
        None => yagura_testkit::peers::equipment(&yagura_testkit::build_folder()),
    };
    let python = folder.join("bin/python");
    assert!(
        python.exists(),
        "{} is absent: `cargo xtask test` installs it, or YAGURA_EQUIPMENT names another environment",
        python.display()
    );
    let mut command = Command::new(python);
    command.arg(script(script_name));
    command
}

/// Node with node-opcua-server.
pub fn node(script_name: &str) -> Command {
    let folder = yagura_testkit::peers::opcua_node(&yagura_testkit::build_folder());
    let installed = folder.join("node_modules/node-opcua-server");
    assert!(installed.exists(), "{} is absent; `cargo xtask test` installs it", installed.display());
    let mut command = Command::new("node");
    command.arg(script(script_name)).current_dir(folder);
    command
}

/// A process that takes commands, one a line, and says lines. It ends with its handle.
pub struct Peer {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Peer {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?} does not start: {e}; `cargo xtask test` installs it"));
        let out = child.stdout.take().expect("its output");
        let said = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                lock(&to).push(line);
            }
        });
        Peer { child, said, reader: Some(reader) }
    }

    /// Tells it something.
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its input");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("it listens");
    }

    /// All that it said.
    pub fn said(&self) -> Vec<String> {
        lock(&self.said).clone()
    }

    /// Waits until it said a line.
    pub fn wait_for(&mut self, line: &str) {
        let begun = Arc::clone(&self.said);
        wait(line, || {
            let ended = self.child.try_wait().expect("a child");
            let there = lock(&begun).iter().any(|said| said == line);
            assert!(there || ended.is_none(), "the peer ended ({ended:?}) before it said `{line}`");
            there
        });
    }

    /// Tells it something, and answers the next line that it says.
    pub fn ask(&mut self, line: &str) -> String {
        let before = lock(&self.said).len();
        self.tell(line);
        wait(line, || lock(&self.said).len() > before);
        lock(&self.said)[before].clone()
    }

    /// Asks the system to end it, and waits.
    pub fn end(&mut self) {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        wait("a process ends", || self.child.try_wait().expect("a child").is_some());
    }

    /// Kills it; answers all that it had said.
    pub fn kill(mut self) -> Vec<String> {
        self.reap();
        self.said()
    }

    fn reap(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.reap();
    }
}

/// mosquitto, of Debian. Its folder survives a restart.
pub struct Mosquitto {
    /// Where it listens.
    pub port: u16,
    file: PathBuf,
    process: Option<Peer>,
}

impl Mosquitto {
    /// Starts one with further settings; its files are in the folder.
    pub fn start(folder: &Path, settings: &str) -> Self {
        let port = free_port();
        let file = folder.join(format!("mosquitto-{port}.conf"));
        let text = format!(
            "user root\nlistener {port} 127.0.0.1\npersistence true\npersistence_location {}/\n\
             max_queued_messages 0\n{settings}\n",
            folder.display()
        );
        std::fs::write(&file, text).expect("a file");
        let mut broker = Mosquitto { port, file, process: None };
        broker.run();
        broker
    }

    /// Starts it again.
    pub fn run(&mut self) {
        self.process = Some(Peer::start(Command::new("/usr/sbin/mosquitto").arg("-c").arg(&self.file)));
        listening(self.port);
    }

    /// Stops it in order: without a farewell it would lose what it has not written yet.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.end();
        }
    }
}

/// The network before a peer: passes connections on, and cuts them when told.
pub struct Network {
    /// Where collectors connect to.
    pub port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Network {
    /// Before a port of this machine.
    pub fn before(peer: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let open = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&open);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(("127.0.0.1", peer)) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) =
                        (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                        let _ = from.shutdown(Shutdown::Both);
                    });
                }
                lock(&all).extend([near, far]);
            }
        });
        Network { port, open }
    }

    /// Cuts every connection; the next ones pass.
    pub fn cut(&self) {
        for stream in lock(&self.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
