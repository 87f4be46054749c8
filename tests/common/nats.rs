//! A NATS server of a test's own, on loopback, and agents.
#![allow(dead_code)]

use crate::study::Workplace;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// `nats-server` from Debian's package, which puts it where only root looks.
fn server() -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&paths).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    let found = folders.map(|folder| folder.join("nats-server")).find(|path| path.is_file());
    found.expect("nats-server is missing: run tests/setup.sh nats")
}

/// A server with JetStream, whose streams are on disk.
pub struct Nats {
    pub port: u16,
    folder: tempfile::TempDir,
    more: String,
    child: Child,
}

impl Nats {
    pub fn start() -> Self {
        Self::with("")
    }

    /// A server with more of a config.
    pub fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (child, port) = start(None, folder.path(), more);
        Self { port, folder, more: more.to_owned(), child }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn restart(&mut self) {
        self.child = start(Some(self.port), self.folder.path(), &self.more).0;
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server, at a port that it finds itself where none is said.
fn start(port: Option<u16>, folder: &Path, more: &str) -> (Child, u16) {
    let config = folder.join("nats.conf");
    let listen = port.map_or("-1".to_owned(), |port| port.to_string());
    let text = format!(
        "listen: 127.0.0.1:{listen}\nports_file_dir: {folder:?}\njetstream: {{store_dir: {:?}}}\n{more}\n",
        folder.join("store")
    );
    std::fs::write(&config, text).unwrap();
    let log = std::fs::File::create(folder.join("nats.log")).unwrap();
    let mut command = Command::new(server());
    command.arg("-c").arg(config).stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let ports = folder.join(format!("nats-server_{}.ports", child.id()));
    let begun = Instant::now();
    loop {
        let said = std::fs::read_to_string(&ports).unwrap_or_default();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
        if let Some(url) = said["nats"][0].as_str() {
            return (child, url.rsplit(':').next().unwrap().parse().unwrap());
        }
        assert!(child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(folder.join("nats.log")).unwrap());
        assert!(begun.elapsed() < Duration::from_secs(20), "nats-server does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An agent, and what it says.
pub struct Agent {
    pub name: String,
    child: Child,
    events: Arc<Mutex<Vec<serde_json::Value>>>,
    errors: Arc<Mutex<String>>,
}

impl Agent {
    /// `tegu agent` with these arguments, quick to give signs of life and to be missed. It takes turns with nobody.
    pub fn start(place: &Workplace, url: &str, name: &str, args: &[&str]) -> Self {
        let turn = place.path(&format!("{name}.turn"));
        let quick = ["--heartbeat", "0.1", "--ack-wait", "1", "--json", "--turn", turn.to_str().unwrap()];
        let mut command = place.tegu(&["agent", "--nats", url, "--name", name]);
        command.args(quick).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (events, errors) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<String>>::default());
        let (said, output) = (Arc::clone(&events), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                said.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        let (said, output) = (Arc::clone(&errors), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                *said.lock().unwrap() += &format!("{line}\n");
            }
        });
        Self { name: name.to_owned(), child, events, errors }
    }

    /// As [`start`](Self::start), ready for jobs.
    pub fn ready(place: &Workplace, url: &str, name: &str, args: &[&str]) -> Self {
        let mut agent = Self::start(place, url, name, args);
        agent.wait_for("ready", 1);
        agent
    }

    pub fn count(&self, event: &str) -> usize {
        self.events.lock().unwrap().iter().filter(|one| one.get(event).is_some()).count()
    }

    pub fn events(&self) -> Vec<serde_json::Value> {
        self.events.lock().unwrap().clone()
    }

    /// Waits until it has said so often that this happened.
    pub fn wait_for(&mut self, event: &str, times: usize) {
        let begun = Instant::now();
        while self.count(event) < times {
            let ended = self.child.try_wait().unwrap();
            let said = || format!("{:?} {}", self.events.lock().unwrap(), self.errors.lock().unwrap());
            assert!(ended.is_none(), "{} ended: {}", self.name, said());
            assert!(begun.elapsed() < Duration::from_secs(60), "{}: no {times} of `{event}`: {}", self.name, said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Waits for its end: the exit code, and what it wrote to standard error.
    pub fn end(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(begun.elapsed() < Duration::from_secs(60), "{} does not end", self.name),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        // Its end of the pipe is closed.
        std::thread::sleep(Duration::from_millis(50));
        let errors = self.errors.lock().unwrap().clone();
        (status.code(), errors)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A way to the server that can be cut.
pub struct Cable {
    pub port: u16,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, open) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let (is_cut, ends) = (Arc::clone(&cut), Arc::clone(&open));
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                ends.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                pump(near.try_clone().unwrap(), far.try_clone().unwrap());
                pump(far, near);
            }
        });
        Self { port, cut, open }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.open.lock().unwrap().drain(..).for_each(|end| {
            let _ = end.shutdown(Shutdown::Both);
        });
    }

    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let mut block = [0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut block) {
            if to.write_all(&block[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
