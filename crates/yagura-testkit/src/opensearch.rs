//! A real OpenSearch, one node on loopback, in clear.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{http, maven};

/// Its version: the newest that runs on Java 17, which Kafka needs as well.
const VERSION: &str = "2.19.6";

/// The logging library beside the interface that OpenSearch brings.
const LOG4J: &str = "2.25.4";

/// A running OpenSearch; dropping it ends the process.
pub struct OpenSearch {
    /// Where it listens.
    pub web: SocketAddr,
    folder: std::path::PathBuf,
    child: Child,
}

/// Fetches it unless it is there.
pub fn fetch() -> Result<std::path::PathBuf> {
    maven::fetch(
        &crate::build_folder(),
        "opensearch",
        &[
            ("org.opensearch", "opensearch", VERSION),
            ("org.opensearch", "opensearch-plugin-classloader", VERSION),
            ("org.opensearch.plugin", "transport-netty4-client", VERSION),
            ("org.apache.logging.log4j", "log4j-core", LOG4J),
        ],
    )
}

impl OpenSearch {
    /// Starts it with its data in `folder`, which is empty, or that of one that ended.
    pub fn start(folder: &Path) -> Result<Self> {
        let web = SocketAddr::from(([127, 0, 0, 1], crate::free_port()?));
        let transport = crate::free_port()?;
        lay_out(folder)?;
        fs::write(
            folder.join("config/opensearch.yml"),
            format!(
                "cluster.name: yagura-test\nnode.name: one\nnetwork.host: 127.0.0.1\nhttp.port: {}\n\
                 transport.port: {transport}\ndiscovery.type: single-node\nnode.store.allow_mmap: false\n",
                web.port()
            ),
        )?;
        let mut opensearch = Self { web, folder: folder.to_owned(), child: spawn(folder)? };
        opensearch.until_it_answers()?;
        Ok(opensearch)
    }

    fn until_it_answers(&mut self) -> Result<()> {
        for _ in 0..900 {
            if http::get(self.web, "/").is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("OpenSearch ended with {status}: {}", self.said());
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        bail!("OpenSearch did not answer within 90 s: {}", self.said())
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.join("said")).unwrap_or_default()
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again after [`OpenSearch::kill`].
    pub fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.folder)?;
        self.until_it_answers()
    }
}

impl Drop for OpenSearch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a distribution would have unpacked: jars, and HTTP as a module with its description.
fn lay_out(folder: &Path) -> Result<()> {
    let module = folder.join("modules/transport-netty4");
    for made in [&module, &folder.join("lib"), &folder.join("config"), &folder.join("plugins")] {
        fs::create_dir_all(made)?;
    }
    for jar in fs::read_dir(fetch()?)? {
        let jar = jar?.path();
        let name = jar.file_name().context("a jar has a name")?;
        let text = name.to_string_lossy();
        let is_http = text.starts_with("netty-") || text.starts_with("transport-netty4");
        let place = if is_http { module.join(name) } else { folder.join("lib").join(name) };
        if !place.exists() {
            fs::hard_link(&jar, &place).or_else(|_| fs::copy(&jar, &place).map(drop))?;
        }
    }
    fs::write(
        module.join("plugin-descriptor.properties"),
        format!(
            "name=transport-netty4\ndescription=HTTP\nversion={VERSION}\nopensearch.version={VERSION}\n\
             java.version=11\nclassname=org.opensearch.transport.Netty4Plugin\n"
        ),
    )?;
    fs::write(
        module.join("plugin-security.policy"),
        "grant {\n  permission java.net.SocketPermission \"*\", \"accept,connect,resolve,listen\";\n\
         permission java.lang.RuntimePermission \"*\";\n\
         permission java.lang.reflect.ReflectPermission \"suppressAccessChecks\";\n\
         permission java.util.PropertyPermission \"*\", \"read,write\";\n};\n",
    )?;
    fs::write(
        folder.join("config/log4j2.properties"),
        "status = error\nappender.console.type = Console\nappender.console.name = console\n\
         appender.console.layout.type = PatternLayout\nappender.console.layout.pattern = %p %c %m%n\n\
         rootLogger.level = warn\nrootLogger.appenderRef.console.ref = console\n",
    )?;
    Ok(())
}

fn spawn(folder: &Path) -> Result<Child> {
    let folder = fs::canonicalize(folder)?;
    let said = File::options().create(true).append(true).open(folder.join("said"))?;
    Command::new("java")
        .args(["-Xms256m", "-Xmx256m", "-Djava.security.manager=allow"])
        // Its native calls would only refuse to run as root, in a container that is thrown away.
        .args(["-Djna.nosys=true", "-Djna.nounpack=true"])
        .arg(format!("-Dopensearch.path.home={}", folder.display()))
        .arg(format!("-Dopensearch.path.conf={}", folder.join("config").display()))
        .args(["-Dopensearch.distribution.type=tar", "-cp"])
        .arg(folder.join("lib").join("*"))
        .arg("org.opensearch.bootstrap.OpenSearch")
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said)
        .spawn()
        .context("starting java; install Java 17")
}
