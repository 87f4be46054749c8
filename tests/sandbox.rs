//! What a worker that runs models of strangers is kept from (Linux: landlock and seccomp), and what it can still do.
#![cfg(target_os = "linux")]

use std::net::TcpListener;
use std::path::Path;
use tegu::device::{self, HardwareProfile, Job, OpenOptions, sandbox};

/// Measures a model that is such text by the mock runtime; the reason why it can't be.
fn measure(folder: &Path, confined: bool, model: &str) -> Result<(), String> {
    let text = "name: bench\ndescription: for tests\nruntime: mock\nprotocol: {warm_up_s: 0.0, min_round_s: 0.0, budget_s: 0.05}\n";
    let profile = HardwareProfile::parse(text, Path::new("bench.yaml")).unwrap();
    let executable = Some(env!("CARGO_BIN_EXE_tegu").into());
    let sandbox = confined.then(|| folder.to_owned());
    let mut device = device::open(profile, OpenOptions { executable, sandbox, ..OpenOptions::default() }).unwrap();
    let path = folder.join("m.onnx");
    std::fs::write(&path, model).unwrap();
    device.measure(&Job::of_model(path)).map(drop).map_err(|error| error.to_string())
}

#[test]
fn a_confined_worker_has_its_folder_and_nothing_else() {
    assert_eq!(sandbox::available().as_deref(), Ok("landlock, seccomp"), "this kernel can't be tested on");
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "credentials").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let (secret, outside) = (secret.display().to_string(), outside.path().join("new").display().to_string());
    let own = std::process::id();
    for attempt in [
        format!("read {secret}"),
        format!("write {outside}"),
        format!("connect {address}"),
        "execute /bin/true".to_owned(),
        format!("kill {own}"),
        format!("read /proc/{own}/environ"),
    ] {
        assert_eq!(measure(folder.path(), false, &attempt), Ok(()), "{attempt}: unconfined");
        let refused = measure(folder.path(), true, &attempt).expect_err(&attempt);
        assert!(refused.contains("ermi") || refused.contains("denied"), "{attempt}: {refused}");
    }
    let inside = folder.path().join("new");
    for allowed in [format!("write {}", inside.display()), "read /proc/cpuinfo".to_owned(), "sleep_us 10".to_owned()] {
        assert_eq!(measure(folder.path(), true, &allowed), Ok(()), "{allowed}");
    }
    // It ends as any other when it crashes.
    let crashed = measure(folder.path(), true, "crash").unwrap_err();
    assert!(crashed.contains("SIGABRT"), "{crashed}");
}
