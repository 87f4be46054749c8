//! Parity with the original TEG-NAS code, on its own weights and inputs.
//!
//! `tests/data/teg/fixture.safetensors` was made by running the released code (PyTorch) on one supernet's
//! weights: `net.*` and `thin.*` are those weights, `x`, `xv`, `region_x` the inputs, `y`, `yv` the labels; for each
//! architecture A0..A7 it has logits, K, Kcell, Kyx, and in the metadata κ, the eigenvalues, MSE and regions.

use super::*;
use crate::graph::{Graph, Role};
use crate::network::{Init, PerSampleGradients, Weights};
use crate::space::Scale;
use candle_core::{DType, Device, Tensor};
use nalgebra::DMatrix;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use std::path::PathBuf;

struct Fixture {
    tensors: HashMap<String, Tensor>,
    architectures: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    arch: String,
    cond: f64,
    lmin: f64,
    lmax: f64,
    mse: f64,
    regions: f64,
}

impl Fixture {
    fn read() -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/teg/fixture.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let facts = metadata.metadata().as_ref().unwrap();
        let architectures = (0..8).map(|i| serde_json::from_str(&facts[&format!("A{i}")]).unwrap()).collect();
        Self { tensors: candle_core::safetensors::load(path, &Device::Cpu).unwrap(), architectures }
    }

    fn matrix(&self, name: &str) -> DMatrix<f64> {
        let tensor = self.tensors[name].to_dtype(DType::F64).unwrap();
        let (rows, columns) = tensor.dims2().unwrap();
        DMatrix::from_row_slice(rows, columns, &tensor.flatten_all().unwrap().to_vec1().unwrap())
    }

    fn labels(&self, name: &str) -> Vec<usize> {
        self.tensors[name].to_vec1::<f32>().unwrap().into_iter().map(|label| label as usize).collect()
    }

    /// The weights of `graph`, out of the supernet `net` or `thin`.
    fn weights(&self, supernet: &str, graph: &Graph) -> Weights {
        let mut named = HashMap::new();
        for parameter in graph.parameters() {
            let tensor = match parameter.role {
                Role::RunningMean => Tensor::zeros(parameter.dims, DType::F32, &Device::Cpu).unwrap(),
                Role::RunningVariance => Tensor::ones(parameter.dims, DType::F32, &Device::Cpu).unwrap(),
                _ => self.tensors[&format!("{supernet}.{}", released_name(&parameter.name))].clone(),
            };
            named.insert(parameter.name, tensor);
        }
        Weights::from_tensors(graph, named).unwrap()
    }
}

/// The released code's name of our parameter.
fn released_name(name: &str) -> String {
    let (layer, suffix) = name.rsplit_once('.').unwrap();
    let parts: Vec<&str> = layer.split('.').collect();
    let number = |text: &str, prefix: &str| text.strip_prefix(prefix).unwrap().parse::<usize>().unwrap();
    let layer = match parts[..] {
        ["stem", "conv"] => "stem.0".into(),
        ["stem", "batch_norm"] => "stem.1".into(),
        ["head", "batch_norm"] => "lastact.0".into(),
        ["head", "linear"] => "classifier".into(),
        [stage, "cell0", edge, operator, layer] => {
            let (from, to) = edge.strip_prefix("edge").unwrap().split_once('_').unwrap();
            let operator = match operator {
                "nor_conv_1x1" => 2,
                "nor_conv_3x3" => 3,
                other => panic!("{other} has no weights"),
            };
            let place = if layer == "conv" { 1 } else { 2 };
            format!("cells.{}.edges.{to}<-{from}.{operator}.op.{place}", 2 * number(stage, "stage"))
        }
        [reduction, "residual", "shortcut", "conv"] => {
            format!("cells.{}.downsample.1", 2 * number(reduction, "reduction") - 1)
        }
        [reduction, "residual", "body", layer] => {
            let place = match layer {
                "conv" => "conv_a.op.1",
                "batch_norm" => "conv_a.op.2",
                "conv2" => "conv_b.op.1",
                "batch_norm2" => "conv_b.op.2",
                other => panic!("no such layer: {other}"),
            };
            format!("cells.{}.{place}", 2 * number(reduction, "reduction") - 1)
        }
        _ => panic!("no such parameter: {name}"),
    };
    format!("{layer}.{suffix}")
}

fn check(what: &str, arch: &str, ours: f64, theirs: f64) {
    let off = (ours - theirs).abs() / theirs.abs();
    assert!(off < 1e-3, "{what} of {arch}: {ours}, the original has {theirs} ({off:.1e} apart)");
}

fn check_matrix(what: &str, arch: &str, ours: &DMatrix<f64>, theirs: &DMatrix<f64>) {
    let off = (ours - theirs).norm() / theirs.norm();
    assert!(off < 1e-3, "{what} of {arch} is {off:.1e} apart from the original's");
}

/// A ReLU whose input is zero but for rounding may be on here and off there; on these inputs that moves single
/// elements of the small K_yx of A0 and A6 (by up to 1.4 %), while the others agree to 1e-5.
fn check_most(what: &str, arch: &str, ours: &DMatrix<f64>, theirs: &DMatrix<f64>) {
    let mut off: Vec<f64> = (ours - theirs).iter().map(|difference| difference.abs() / theirs.amax()).collect();
    off.sort_by(f64::total_cmp);
    let (most, worst) = (off[off.len() * 9 / 10], off[off.len() - 1]);
    assert!(most < 1e-3 && worst < 2e-2, "{what} of {arch}: 90 % are within {most:.1e}, all within {worst:.1e}");
}

#[test]
fn kernels_condition_and_regression_are_the_originals() {
    let fixture = Fixture::read();
    let space = SearchSpace::open("nas-bench-201").unwrap();
    for (index, expected) in fixture.architectures.iter().enumerate() {
        let arch = expected.arch.as_str();
        let genotype = space.parse_arch(arch).unwrap();
        // The live graph has the whole's kernel: what leads nowhere has no gradient.
        let graph = space.lower(&genotype, Scale::Probe).unwrap().live().unwrap();
        let weights = fixture.weights("net", &graph);
        let (x, xv) = (&fixture.tensors["x"], &fixture.tensors["xv"]);

        let logits = PerSampleGradients::new(&graph, &weights, x).unwrap().outputs().to_dtype(DType::F64).unwrap();
        let (rows, columns) = logits.dims2().unwrap();
        let logits = DMatrix::from_row_slice(rows, columns, &logits.flatten_all().unwrap().to_vec1().unwrap());
        check_matrix("logits", arch, &logits, &fixture.matrix(&format!("A{index}.logits")));

        let kernels = ntk::ntk(&graph, &weights, x, Some(xv)).unwrap();
        check_matrix("K", arch, &kernels.all, &fixture.matrix(&format!("A{index}.K")));
        check_matrix("K of the cells", arch, &kernels.body, &fixture.matrix(&format!("A{index}.Kcell")));
        let cross = kernels.body_cross.unwrap();
        check_most("K across the batches", arch, &cross, &fixture.matrix(&format!("A{index}.Kyx")));

        let (kappa, low, high) = ntk::condition(&kernels.all);
        check("κ", arch, kappa, expected.cond);
        check("λ_min", arch, low, expected.lmin);
        check("λ_max", arch, high, expected.lmax);
        let error = ntk_regression::error(&kernels.body, &cross, &fixture.labels("y"), &fixture.labels("yv")).unwrap();
        check("MSE", arch, error, expected.mse);
    }
}

#[test]
fn linear_regions_are_the_originals() {
    let fixture = Fixture::read();
    let space = SearchSpace::open("nas-bench-201").unwrap();
    let images = &fixture.tensors["region_x"];
    let batches: Vec<Tensor> = (0..3).map(|i| images.narrow(0, 1000 * i, 1000).unwrap()).collect();
    for expected in &fixture.architectures {
        let genotype = space.parse_arch(&expected.arch).unwrap();
        let graph = space.lower(&genotype, Scale::Thin).unwrap();
        let weights = fixture.weights("thin", &graph);
        let regions = linear_regions::count(&graph, &weights, &batches).unwrap();
        assert_eq!(regions as f64, expected.regions.round(), "regions of {}", expected.arch);
    }
}

/// The gradients in lanes, as a CPU computes them, are those of the rules for any device, on architectures of every
/// space.
#[test]
fn gradients_in_lanes_are_the_folded_ones() {
    for name in [
        "nas-bench-201",
        "mobilenet-macro",
        "mobilenet-v3",
        "resnet",
        "regnet",
        "tabular",
        "darts",
        "nasnet",
        "signals-1d",
        "vit",
        "vit-stages",
    ] {
        let space = SearchSpace::open(name).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for scale in [Scale::Probe, Scale::Thin, Scale::Probe] {
            let genotype = space.sample(&mut rng);
            let arch = space.arch(&genotype);
            let Ok(graph) = space.lower(&genotype, scale).unwrap().live() else { continue };
            let weights = Weights::random(&graph, Init::TorchDefault, 1, &Device::Cpu).unwrap();
            let dims = graph.input_shape().dims();
            let images = Images::WhiteNoise.draw(4, [dims[0], dims[1], dims[2]], 5);
            let images = Tensor::from_vec(images, [vec![4], dims].concat(), &Device::Cpu).unwrap();
            let all = |gradients: PerSampleGradients| -> Vec<Vec<f32>> {
                gradients.map(|layer| layer.unwrap().gradient.flatten_all().unwrap().to_vec1().unwrap()).collect()
            };
            let lanes = all(PerSampleGradients::new(&graph, &weights, &images).unwrap());
            let folded = all(PerSampleGradients::folded(&graph, &weights, &images).unwrap());
            assert_eq!(lanes.len(), folded.len(), "{arch}");
            let largest = |values: &[f32]| values.iter().fold(0f32, |most, value| value.abs().max(most));
            let most = folded.iter().map(|layer| largest(layer)).fold(0.0, f32::max);
            // Where little but rounding is left of a gradient, it is held against the network's.
            let off = |one: &[f32], other: &[f32]| {
                let apart: Vec<f32> = one.iter().zip(other).map(|(a, b)| a - b).collect();
                largest(&apart) / largest(other).max(1e-2 * most)
            };
            let exact = std::cell::LazyCell::new(|| {
                let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
                let weights = weights.map(|_, tensor| double(tensor)).unwrap();
                let gradients = PerSampleGradients::folded(&graph, &weights, &double(&images).unwrap()).unwrap();
                let values = |gradient: Tensor| gradient.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1();
                gradients.map(|layer| values(layer.unwrap().gradient).unwrap()).collect::<Vec<Vec<f32>>>()
            });
            for (at, (lanes, folded)) in lanes.iter().zip(&folded).enumerate() {
                assert_eq!(lanes.len(), folded.len(), "{arch}");
                let apart = off(lanes, folded);
                // A statistic of few pixels makes rounding large: neither way is to be further from twice the digits.
                let allowed = if apart < 1e-4 { 1e-4 } else { 2.0 * off(folded, &exact[at]) + 1e-4 };
                let found = if apart < 1e-4 { apart } else { off(lanes, &exact[at]) };
                assert!(found < allowed, "layer {at} of {arch}, {scale:?}: {apart:.1e} apart, {found:.1e} from exact");
            }
        }
    }
}
