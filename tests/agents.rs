//! Searches over agents: whatever happens to agents, connections and the server, the archive is that of the undisturbed run.
//! Needs `nats-server` (tests/setup.sh nats).

#[path = "common/nats.rs"]
mod nats;
#[path = "common/study.rs"]
mod study;

use async_nats::jetstream;
use futures_util::StreamExt;
use nats::{Agent, Cable, Nats};
use serde_json::Value;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use study::Workplace;
use tegu::study::store::{Store, TrialRecord};

/// The device of the study `small`.
const DEVICE: &str = "host-cpu-tract";

/// How long a connection is cut, in seconds; agents are missed after one.
fn cut_s() -> f64 {
    std::env::var("TEGU_CUT_S").map_or(3.0, |seconds| seconds.parse().unwrap())
}

/// Runs `small` here and keeps what was measured, for agents that answer with it.
fn recorded() -> Workplace {
    let place = Workplace::new();
    place.search("small");
    let store = Store::open_read_only(&place.folder("small").join("study.sqlite")).unwrap();
    store.export_measurements(DEVICE, &place.path("measurements.jsonl")).unwrap();
    let replay = |pause: u64| {
        format!(
            "name: board\ndescription: records\nlocation: {{replay: {{study: measurements.jsonl, pause_ms: {pause}}}}}\n"
        )
    };
    place.write("board.yaml", replay(120));
    place
}

/// Writes the study `name`, measured by agents of `board` at `url`.
fn write_study(place: &Workplace, name: &str, url: &str, more: &str) {
    place.write_study(name, &[(DEVICE, "board")]);
    let config = std::fs::read_to_string(place.path(&format!("{name}.yaml"))).unwrap();
    place.write(
        &format!("{name}.yaml"),
        format!("{config}devices: [{{agent: board}}]\nnats: {{url: \"{url}\"}}\n{more}"),
    );
}

/// The trials of a study: all that does not depend on the clock or the study's name.
fn archive(place: &Workplace, name: &str) -> Vec<TrialRecord> {
    let store = Store::open_read_only(&place.folder(name).join("study.sqlite")).unwrap();
    let mut trials: Vec<TrialRecord> =
        ["nsga2", "random"].into_iter().flat_map(|sampler| store.trials(sampler).unwrap()).collect();
    assert_eq!(trials.len(), 40, "{name}");
    for trial in &mut trials {
        (trial.model_sha256, trial.seconds) = (None, Default::default());
    }
    trials
}

fn search(place: &Workplace, name: &str) -> std::process::Child {
    let mut command = place.tegu(&["search", &format!("{name}.yaml"), "--json", "--quiet"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(child: std::process::Child, name: &str) {
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{name}: {errors}");
}

/// Delivers every answer again, twice: at once, and when the client has likely taken it.
fn deliver_twice(url: String, delivered: Arc<AtomicUsize>) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = async_nats::connect(url).await.unwrap();
            let mut answers = client.subscribe("tegu.results.>").await.unwrap();
            let jetstream = jetstream::new(client.clone());
            let mut again = std::collections::HashSet::new();
            while let Some(answer) = answers.next().await {
                if answer.reply.is_none() || !again.insert(answer.payload.clone()) {
                    continue;
                }
                for wait_ms in [0, 300] {
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                    if let Ok(sent) = jetstream.publish(answer.subject.clone(), answer.payload.clone()).await
                        && sent.await.is_ok()
                    {
                        delivered.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        });
    });
}

/// The state of an agent as `tegu devices` shows it.
fn devices(place: &Workplace, url: &str) -> Value {
    let listed = place.run(&["devices", "--nats", url, "--json"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    serde_json::from_str(&listed.stdout).unwrap()
}

fn wait_until_at_work(place: &Workplace, url: &str, agent: &str) {
    let begun = Instant::now();
    loop {
        let found = devices(place, url);
        let agents = found[0]["agents"].as_array().unwrap().clone();
        if agents.iter().any(|one| one["name"] == agent && one["state"] == "working") {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{agent} never works: {found}");
    }
}

#[test]
fn a_disturbed_search_over_agents_ends_as_the_undisturbed_one() {
    let place = recorded();
    let mut nats = Nats::start();
    let profile = ["--profile", "board.yaml", "--together", "4"];
    {
        let _only = Agent::ready(&place, &nats.url(), "only", &profile);
        write_study(&place, "calm", &nats.url(), "");
        finish(search(&place, "calm"), "calm");
    }
    let calm = archive(&place, "calm");

    let delivered = Arc::<AtomicUsize>::default();
    deliver_twice(nats.url(), Arc::clone(&delivered));
    let cable = Cable::to(nats.port);
    write_study(&place, "stormy", &nats.url(), "");
    let mut first = Agent::ready(&place, &nats.url(), "first", &profile);
    let stormy = search(&place, "stormy");
    // An agent is killed in the middle of a measurement …
    wait_until_at_work(&place, &nats.url(), "first");
    first.kill();
    let mut second = Agent::ready(&place, &cable.url(), "second", &profile);
    let mut third = Agent::ready(&place, &nats.url(), "third", &profile);
    // … another one's connection is cut while it measures …
    second.wait_for("answered", 1);
    cable.cut();
    std::thread::sleep(Duration::from_secs_f64(cut_s()));
    cable.mend();
    // … and the server is killed.
    nats.kill();
    std::thread::sleep(Duration::from_secs(1));
    nats.restart();
    finish(stormy, "stormy");
    assert!(second.is_alive() && third.is_alive());
    assert_eq!(archive(&place, "stormy"), calm);
    let (done, copies) = (second.count("answered") + third.count("answered"), delivered.load(Ordering::SeqCst));
    println!(
        "answered: first {}, second and third {done}; copies taken by the server {copies}",
        first.count("answered")
    );
    assert!(copies > 0, "no answer was delivered twice");
    // The finished study asks nobody.
    drop((second, third));
    finish(search(&place, "stormy"), "stormy again");
    let listed = devices(&place, &nats.url());
    assert_eq!((&listed[0]["waiting"], &listed[0]["held"], &listed[0]["dead"]), (&0.into(), &0.into(), &0.into()));
}

#[test]
fn a_killed_search_finds_the_answers_that_came_meanwhile() {
    let place = recorded();
    let nats = Nats::start();
    write_study(&place, "killed", &nats.url(), "");
    let mut agent = Agent::ready(&place, &nats.url(), "only", &["--profile", "board.yaml", "--together", "2"]);
    let mut running = search(&place, "killed");
    agent.wait_for("answered", 3);
    running.kill().unwrap();
    running.wait().unwrap();
    // What it had asked is answered all the same, once.
    let begun = Instant::now();
    while devices(&place, &nats.url())[0]["waiting"] != 0 || devices(&place, &nats.url())[0]["held"] != 0 {
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    finish(search(&place, "killed"), "killed");
    let jobs: Vec<Value> =
        agent.events().iter().filter_map(|event| Some(event.get("answered")?["job"].clone())).collect();
    let distinct: std::collections::HashSet<String> = jobs.iter().map(ToString::to_string).collect();
    assert_eq!(jobs.len(), distinct.len(), "a job was done twice");
    archive(&place, "killed");
}

#[test]
fn scores_of_agents_are_those_of_this_machine() {
    let place = recorded();
    let nats = Nats::start();
    let _board = Agent::ready(&place, &nats.url(), "board1", &["--profile", "board.yaml"]);
    write_study(&place, "here", &nats.url(), "");
    finish(search(&place, "here"), "here");
    let mut scorers = ["one", "two"].map(|name| Agent::ready(&place, &nats.url(), name, &["--score"]));
    write_study(&place, "there", &nats.url(), "scoring: agents\n");
    finish(search(&place, "there"), "there");
    assert_eq!(archive(&place, "there"), archive(&place, "here"));
    assert!(scorers.iter_mut().all(|agent| agent.is_alive()));
    assert!(scorers.iter().map(|agent| agent.count("answered")).sum::<usize>() >= 6);
    let listed = devices(&place, &nats.url());
    assert_eq!(listed[1]["device"], "score");
}

#[test]
fn agents_that_do_not_fit_are_refused_with_the_reason() {
    let place = recorded();
    let nats = Nats::start();
    let url = nats.url();
    let mut first = Agent::ready(&place, &url, "first", &["--profile", "board.yaml"]);
    let refused = |name: &str, profile: &str, more: &[&str], expected: &str| {
        let args: Vec<&str> = ["--profile", profile].into_iter().chain(more.iter().copied()).collect();
        let (code, errors) = Agent::start(&place, &url, name, &args).end();
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    };
    // Of the same name, of another profile, under a name that is none.
    refused("first", "board.yaml", &[], "agent board.first is at work already");
    place.write("other.yaml", std::fs::read_to_string(place.path("board.yaml")).unwrap() + "batch: 2\n");
    refused(
        "second",
        "other.yaml",
        &[],
        "device `board` is registered as another one: profile.batch: 1 registered, 2 here",
    );
    refused("a.b", "board.yaml", &[], "--name: `a.b`, expected letters, digits, - and _");
    refused("third", "board.yaml", &["--device", "score"], "`score` is the name of agents that score");
    // A device that nobody serves is named with those that are there.
    write_study(&place, "study", &url, "");
    let config = std::fs::read_to_string(place.path("study.yaml")).unwrap().replace("board", "bord");
    place.write("bord.yaml", config);
    let finished = place.run(&["search", "bord.yaml"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("no agent has registered it (there are board)"), "{finished:?}");
    // The device is replaced: the agent that served it ends and says so, and a study that began with it goes no further.
    let mut replaced = Agent::ready(&place, &url, "second", &["--profile", "other.yaml", "--replace"]);
    let begun = Instant::now();
    while first.is_alive() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the replaced agent goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (code, errors) = first.end();
    assert!(code == Some(2) && errors.contains("another agent has replaced what was registered"), "{code:?} {errors}");
    assert!(replaced.is_alive());
    // An agent of another version.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let jetstream = jetstream::new(async_nats::connect(&url).await.unwrap());
        let store = jetstream.get_key_value("tegu-devices").await.unwrap();
        let mut registered: Value = serde_json::from_slice(&store.get("board").await.unwrap().unwrap()).unwrap();
        registered["tegu"] = "9.9.9".into();
        store.put("board", registered.to_string().into()).await.unwrap();
    });
    refused("fourth", "other.yaml", &[], "tegu: \"9.9.9\" registered, \"");
    let finished = place.run(&["search", "study.yaml"]);
    assert!(finished.stderr.contains("its agents are Tegu 9.9.9, this is"), "{finished:?}");
}

#[test]
fn a_job_that_nobody_survives_is_given_up() {
    let place = recorded();
    // Whatever is measured takes longer than the agents live.
    place.write(
        "slow.yaml",
        "name: board\ndescription: slow\nlocation: {replay: {study: measurements.jsonl, pause_ms: 60000}}\n",
    );
    let nats = Nats::start();
    let profile = ["--profile", "slow.yaml", "--together", "1", "--tries", "2"];
    let mut agent = Agent::ready(&place, &nats.url(), "a0", &profile);
    place.write("tegu.onnx", "not read by a replay");
    let exported = place.run(&["export", "tiny.yaml", study::LIVING, "-o", "m.onnx"]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let mut command = place.tegu(&["profile", "m.onnx", "--device", "agent:board"]);
    let profiled =
        command.env("TEGU_NATS_URL", nats.url()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for next in ["a1", "a2"] {
        wait_until_at_work(&place, &nats.url(), &agent.name);
        agent.kill();
        agent = Agent::ready(&place, &nats.url(), next, &profile);
    }
    let output = profiled.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("given up after 2 tries"), "{errors}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(devices(&place, &nats.url())[0]["dead"], 1);
    assert!(agent.is_alive());
}

#[test]
fn credentials_open_the_server_and_are_not_told() {
    let place = recorded();
    let nats = Nats::with("authorization: {user: lab, password: \"open-sesame\"}");
    let strangers = place.run(&["devices", "--nats", &nats.url(), "-vv"]);
    assert_eq!(strangers.code, Some(1), "{strangers:?}");
    assert!(strangers.stderr.contains("authorization violation"), "{strangers:?}");
    let wrong = place.tegu(&["devices", "--nats", &nats.url(), "-vv"]).env("TEGU_NATS_USER", "lab").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2), "a user without a password");

    let secrets = [("TEGU_NATS_USER", "lab"), ("TEGU_NATS_PASSWORD", "open-sesame")];
    let mut command = place.tegu(&["agent", "-vv", "--profile", "board.yaml", "--name", "a", "--nats", &nats.url()]);
    let mut agent = command.envs(secrets).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    write_study(&place, "secret", &nats.url(), "");
    let config = std::fs::read_to_string(place.path("secret.yaml")).unwrap();
    let credentials = format!("{{url: \"{}\", user: lab, password: open-sesame}}", nats.url());
    place.write("secret.yaml", config.replace(&format!("{{url: \"{}\"}}", nats.url()), &credentials));
    // The agent may still be on its way.
    let begun = Instant::now();
    let said = loop {
        let finished = place.run(&["search", "secret.yaml", "-vv"]);
        if finished.code == Some(0) {
            break finished;
        }
        assert!(finished.stderr.contains("no agent has registered it"), "{finished:?}");
        assert!(begun.elapsed() < Duration::from_secs(30));
    };
    agent.kill().unwrap();
    let output = agent.wait_with_output().unwrap();
    let mut told = vec![said.stdout.into_bytes(), said.stderr.into_bytes(), output.stdout, output.stderr];
    for file in std::fs::read_dir(place.folder("secret")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.is_file() {
            told.push(std::fs::read(file).unwrap());
        }
    }
    let secret = b"open-sesame".as_slice();
    assert!(told.iter().all(|text| text.windows(secret.len()).all(|window| window != secret)));
}

/// Runs openssl, which the tests of TLS need.
fn openssl(folder: &std::path::Path, args: &str) {
    let output = std::process::Command::new("openssl").args(args.split(' ')).current_dir(folder).output();
    let output = output.expect("openssl is missing: run tests/setup.sh nats");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn tls_and_nkeys_open_the_server() {
    let place = recorded();
    let folder = place.path("tls");
    std::fs::create_dir(&folder).unwrap();
    let subject = "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1";
    openssl(&folder, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca");
    openssl(&folder, &format!("req -newkey rsa:2048 -nodes -keyout server.key -out server.csr {subject}"));
    openssl(
        &folder,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -copy_extensions copy",
    );
    let key = nkeys::KeyPair::new_user();
    let files = |name: &str| folder.join(name).display().to_string();
    let nats = Nats::with(&format!(
        "tls: {{cert_file: {:?}, key_file: {:?}}}\nauthorization: {{users: [{{nkey: {}}}]}}",
        files("server.pem"),
        files("server.key"),
        key.public_key()
    ));
    let url = format!("tls://localhost:{}", nats.port);
    let seed = key.seed().unwrap();
    let devices = |with: &[(&str, &str)]| {
        let mut command = place.tegu(&["devices", "--nats", &url]);
        let output = command.envs(with.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let ca = files("ca.pem");
    assert_eq!(devices(&[("TEGU_NATS_CA", &ca), ("TEGU_NATS_NKEY", &seed)]), (Some(0), String::new()));
    let (code, unknown) = devices(&[("TEGU_NATS_NKEY", &seed)]);
    assert!(code == Some(1) && unknown.contains("certificate"), "{unknown}");
    let (code, other) =
        devices(&[("TEGU_NATS_CA", &ca), ("TEGU_NATS_NKEY", &nkeys::KeyPair::new_user().seed().unwrap())]);
    assert!(code == Some(1) && other.contains("authorization"), "{other}");
    let (code, missing) = devices(&[("TEGU_NATS_CA", "nosuch.pem")]);
    assert!(code == Some(2) && missing.contains("nats.ca: nosuch.pem: "), "{missing}");
}

#[test]
fn two_searches_share_a_device_fairly() {
    let place = recorded();
    let nats = Nats::start();
    let mut agent = Agent::ready(&place, &nats.url(), "only", &["--profile", "board.yaml", "--together", "1"]);
    let names = ["left", "right"];
    names.iter().for_each(|name| write_study(&place, name, &nats.url(), ""));
    let running: Vec<_> = names.iter().map(|name| search(&place, name)).collect();
    running.into_iter().zip(names).for_each(|(child, name)| finish(child, name));
    assert_eq!(archive(&place, "left"), archive(&place, "right"));
    assert!(agent.is_alive());
    // Neither waited for the end of the other: the studies' last trials are close to each other.
    let ended = names.map(|name| std::fs::metadata(place.folder(name).join("front.json")).unwrap().modified().unwrap());
    let apart = ended[0].max(ended[1]).duration_since(ended[0].min(ended[1])).unwrap();
    let answers = agent.count("answered") as f64;
    assert!(apart.as_secs_f64() < 0.12 * answers / 3.0, "{apart:?} apart, {answers} answers of .12 s");
}
