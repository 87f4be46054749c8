//! An agent that is fed with broken models and messages answers or buries each, and goes on.
//!
//! `TEGU_FUZZ` models and as many messages (1,000 where nothing is said), the same ones for the same number.

#[path = "common/nats.rs"]
mod nats;
#[path = "common/study.rs"]
mod study;

use async_nats::jetstream;
use futures_util::StreamExt;
use nats::{Agent, Nats};
use prost::Message;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};
use study::{LIVING, Workplace};
use tract_onnx::pb::ModelProto;

const PROFILE: &str = "\
name: board
description: short measurements, tight limits
runtime: tract
protocol: {warm_up_s: 0.0, rounds: 5, max_rounds: 5, runs_per_round: 1, min_round_s: 0.0, budget_s: 0.01, reference: false}
limits: {time_s: 5, memory_mib: 600}
";

fn cases() -> usize {
    std::env::var("TEGU_FUZZ").map_or(1000, |count| count.parse().unwrap())
}

/// Some bytes changed, cut off, doubled or exchanged.
fn mutated(bytes: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..bytes.len().max(1));
        let to = (at + rng.random_range(1..=32)).min(bytes.len());
        match rng.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => bytes[at..to].iter_mut().for_each(|byte| *byte = rng.random()),
            2 => bytes[at..to].iter_mut().for_each(|byte| *byte ^= 1 << rng.random_range(0..8)),
            3 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
            4 => drop(bytes.drain(at..to)),
            _ => bytes[at..to].fill(0xff),
        }
        if bytes.is_empty() {
            bytes.push(rng.random());
        }
    }
    bytes
}

/// A model that is one, of which something is not as it should be: so that it gets to the runtime.
fn twisted_model(bytes: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut model = ModelProto::decode(bytes).unwrap();
    let graph = model.graph.as_mut().unwrap();
    const ODD: [i64; 8] = [-1, 0, 2, 7, 1 << 20, 1 << 40, i64::MAX, i64::MIN];
    for _ in 0..rng.random_range(1..=3) {
        let odd = ODD[rng.random_range(0..ODD.len())];
        let (node, other) = (rng.random_range(0..graph.node.len()), rng.random_range(0..graph.node.len()));
        let tensor = rng.random_range(0..graph.initializer.len());
        match rng.random_range(0..8) {
            0 => graph.initializer[tensor].dims.iter_mut().for_each(|dim| *dim = odd),
            1 => graph.initializer[tensor].data_type = rng.random_range(0..20),
            2 => {
                let kept = graph.initializer[tensor].raw_data.len() / 2;
                graph.initializer[tensor].raw_data.truncate(kept);
            }
            3 => {
                graph.node[node].op_type =
                    ["Loop", "If", "Resize", "Gather", "Expand", "Nothing"][rng.random_range(0..6)].into()
            }
            4 => graph.node[node].input = graph.node[other].output.clone(),
            5 => {
                let attributes = graph.node[node].attribute.iter_mut();
                attributes.for_each(|attribute| attribute.ints.iter_mut().for_each(|int| *int = odd));
            }
            6 => graph.node[node].output = graph.node[other].output.clone(),
            _ => {
                graph.initializer.remove(tensor);
            }
        }
    }
    model.encode_to_vec()
}

/// A job as the agent expects it.
fn job(id: &str, fingerprint: &str, model_sha256: &str) -> Value {
    let protocol = json!({
        "warm_up_s": 0.0, "rounds": 5, "max_rounds": 5, "runs_per_round": 1, "min_round_s": 0.0, "budget_s": 0.01, "reference": false
    });
    let work = json!({"model_sha256": model_sha256, "arch_id": null, "input_dims": {}, "protocol": protocol});
    json!({
        "version": 1, "tegu": env!("CARGO_PKG_VERSION"), "id": id, "client": "fuzz", "fingerprint": fingerprint,
        "work": {"measure": work}
    })
}

/// A value of the message changed to another type, or to a number that nobody expects; or a field more or less.
fn twisted(message: &Value, rng: &mut ChaCha8Rng) -> Value {
    let mut message = message.clone();
    let pointers = [
        "/version",
        "/tegu",
        "/id",
        "/client",
        "/fingerprint",
        "/work",
        "/work/measure",
        "/work/measure/model_sha256",
        "/work/measure/arch_id",
        "/work/measure/input_dims",
        "/work/measure/protocol",
        "/work/measure/protocol/rounds",
        "/work/measure/protocol/budget_s",
        "/work/measure/protocol/reference",
    ];
    let odd = [
        json!(null),
        json!(-1),
        json!(1e308),
        json!(u64::MAX),
        json!("../../etc/passwd"),
        json!("a.b.>"),
        json!([]),
        json!({}),
        json!({"input": [1_000_000_000_000_u64, 3]}),
        json!({"score": {}}),
        json!("x".repeat(100_000)),
        json!(true),
    ];
    let pointer = pointers[rng.random_range(0..pointers.len())];
    *message.pointer_mut(pointer).unwrap() = odd[rng.random_range(0..odd.len())].clone();
    if rng.random_bool(0.2) {
        message["more"] = json!(1);
    }
    message
}

#[test]
fn broken_models_and_messages_do_not_take_an_agent_down() {
    let (place, nats) = (Workplace::new(), Nats::start());
    place.write("board.yaml", PROFILE);
    let mut agent = Agent::ready(&place, &nats.url(), "a", &["--profile", "board.yaml"]);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let exported = place.run(&["export", "tiny.yaml", LIVING, "-o", "m.onnx"]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let good = std::fs::read(place.path("m.onnx")).unwrap();
    let ready = agent.events().into_iter().find(|event| event.get("ready").is_some()).unwrap();
    let fingerprint = ready["ready"]["fingerprint"].as_str().unwrap().to_owned();
    let sandbox = ready["ready"]["sandbox"].as_str().unwrap();
    if cfg!(target_os = "linux") {
        assert!(sandbox.contains("landlock") && sandbox.contains("seccomp"), "{sandbox}");
    }

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let jetstream = runtime.block_on(async { jetstream::new(async_nats::connect(nats.url()).await.unwrap()) });
    let publish = |id: &str, message: Vec<u8>| {
        runtime.block_on(async {
            jetstream.publish(format!("tegu.jobs.board.{id}"), message.into()).await.unwrap().await.unwrap();
        })
    };
    for case in 0..cases() {
        let model = if case % 2 == 0 { mutated(&good, &mut rng) } else { twisted_model(&good, &mut rng) };
        let digest: String = Sha256::digest(&model).iter().map(|byte| format!("{byte:02x}")).collect();
        runtime.block_on(async {
            let store = jetstream.get_object_store("tegu-models").await.unwrap();
            store.put(digest.as_str(), &mut model.as_slice()).await.unwrap();
        });
        let id = format!("model{case}");
        publish(&id, job(&id, &fingerprint, &digest).to_string().into_bytes());
        let id = format!("message{case}");
        let message = job(&id, &fingerprint, &digest);
        let message = match rng.random_bool(0.5) {
            true => twisted(&message, &mut rng).to_string().into_bytes(),
            false => mutated(message.to_string().as_bytes(), &mut rng),
        };
        publish(&id, message);
    }
    // The whole model is measured after all of them.
    std::fs::write(place.path("good.onnx"), &good).unwrap();
    let profiled = place.tegu(&["profile", "good.onnx", "--device", "agent:board", "--json"]);
    let profiled = { profiled }.env("TEGU_NATS_URL", nats.url()).output().unwrap();
    assert!(profiled.status.success(), "{}", String::from_utf8_lossy(&profiled.stderr));
    assert!(agent.is_alive());
    let (answered, dead) = (agent.count("answered"), agent.count("dead"));
    let failed = agent.events().iter().filter(|event| event["answered"]["failed"].is_string()).count();
    let parsed = |event: &Value| {
        event["answered"]["failed"]
            .as_str()
            .is_some_and(|reason| !["valid ONNX", "asked for"].iter().any(|part| reason.contains(part)))
    };
    let parsed = agent.events().into_iter().filter(parsed).count();
    println!("{parsed} of the models were ONNX to the last byte, and failed in the worker or at a limit");
    println!("{answered} answered, {failed} of them with a reason why not; {dead} buried");
    assert_eq!(answered + dead, 2 * cases() + 1);
    assert!(failed > cases() / 4 && dead > cases() / 4);
    // Each model has an answer, and nothing is left in the queue.
    let begun = Instant::now();
    let left = || {
        runtime.block_on(async { jetstream.get_stream("TEGU_JOBS_board").await.unwrap().cached_info().state.messages })
    };
    while left() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} jobs are left", left());
    }
    runtime.block_on(async {
        let stream = jetstream.get_stream("TEGU_RESULTS").await.unwrap();
        let mut subjects = stream.info_with_subjects("tegu.results.fuzz.>").await.unwrap();
        let mut models = 0;
        while let Some(Ok((subject, _))) = subjects.next().await {
            models += usize::from(subject.contains(".model"));
        }
        assert_eq!(models, cases());
    });
}
