//! The CPU kernels against PyTorch's numbers, central differences, Candle's own operators, and themselves
//! on other numbers of threads.

use candle_core::{DType, Device, Result, Tensor, Var};
use std::collections::HashMap;
use tegu::graph::Window;
use tegu::kernels::*;

type Operator = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

const EPS: f64 = 1e-5;
const CPU: &Device = &Device::Cpu;

fn window(kernel: usize, stride: usize, padding: usize, dilation: usize) -> Window {
    Window::new([kernel; 2], [stride; 2], [padding; 2], [dilation; 2])
}

/// Numbers in -1..1 that are all different and lie at least 2/4093 apart.
fn numbers(dims: &[usize], seed: usize) -> Tensor {
    let count: usize = dims.iter().product();
    assert!(count < 4093, "more numbers than there are different ones");
    let value = |at: usize| (((at + 1) * (1097 + 2 * seed)) % 4093) as f32 / 2046.5 - 1.0;
    Tensor::from_vec((0..count).map(value).collect::<Vec<f32>>(), dims, CPU).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims(), "{what}: shape");
    let (found, expected) = (flat(found), flat(expected));
    let scale = expected.iter().fold(1.0, |scale: f64, value| scale.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let close = (found - expected).abs() <= tolerance * scale;
        assert!(close, "{what}: element {at} is {found}, expected {expected}");
    }
}

/// The output, and the gradients of `Σ out · grad` with respect to all operands.
fn run(operands: &[Tensor], grad: &Tensor, f: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> Result<(Tensor, Vec<Tensor>)> {
    let vars = operands.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let out = f(&tracked)?;
    let grads = out.mul(grad)?.sum_all()?.backward()?;
    let of = |tensor: &Tensor| grads.get(tensor).cloned().expect("every operand has a gradient");
    Ok((out.detach(), tracked.iter().map(of).collect()))
}

#[test]
fn outputs_and_gradients_are_pytorchs() {
    let tensors = candle_core::safetensors::load("tests/data/kernels.safetensors", CPU).unwrap();
    let mut names: Vec<&str> = tensors.keys().filter_map(|key| key.strip_suffix(".window")).collect();
    names.sort_unstable();
    assert_eq!(names.len(), 24, "cases");
    for name in names {
        check_golden(name, &tensors);
    }
}

fn check_golden(name: &str, tensors: &HashMap<String, Tensor>) {
    let get = |part: &str| &tensors[&format!("{name}.{part}")];
    let sizes: Vec<usize> = get("window").to_vec1::<i64>().unwrap().iter().map(|&size| size as usize).collect();
    let (window, groups) = (window(sizes[0], sizes[1], sizes[2], sizes[3]), sizes[4]);
    let operator = name.split('.').next().unwrap();
    let (operands, f): (&[&str], Operator) = match operator {
        "conv2d" => (&["input", "weight"], Box::new(move |t| conv2d(&t[0], &t[1], window, groups))),
        "unfold" => (&["input"], Box::new(move |t| unfold(&t[0], window))),
        "max_pool2d" => (&["input"], Box::new(move |t| max_pool2d(&t[0], window))),
        "avg_pool2d" => (&["input"], Box::new(move |t| avg_pool2d(&t[0], window))),
        "batch_norm" => (&["input", "scale", "shift"], Box::new(|t| batch_norm(&t[0], &t[1], &t[2], EPS))),
        "relu" => (&["input"], Box::new(|t| relu(&t[0]))),
        other => panic!("no operator {other}"),
    };
    let values: Vec<Tensor> = operands.iter().map(|operand| get(operand).clone()).collect();
    for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F64, 2e-6)] {
        let values: Vec<Tensor> = values.iter().map(|value| value.to_dtype(dtype).unwrap()).collect();
        let (out, grads) = run(&values, &get("grad").to_dtype(dtype).unwrap(), &f).unwrap();
        assert_close(&format!("{name} {dtype:?}"), &out, get("out"), tolerance);
        for (operand, grad) in operands.iter().zip(&grads) {
            let what = format!("{name} {dtype:?} d_{operand}");
            assert_close(&what, grad, get(&format!("d_{operand}")), tolerance);
        }
    }
}

/// Gradients of the kernels (f32) and of the compositions for other devices (f64) against each other and
/// against central differences of the composition, each with all operands.
fn check(what: &str, operands: &[Tensor], f: &dyn Fn(&[Tensor]) -> Result<Tensor>) {
    const STEP: f64 = 1e-5;
    let double: Vec<Tensor> = operands.iter().map(|operand| operand.to_dtype(DType::F64).unwrap()).collect();
    let grad = numbers(f(operands).unwrap().dims(), 7);
    let grad_double = grad.to_dtype(DType::F64).unwrap();
    let (out, grads) = run(operands, &grad, f).unwrap();
    let (out_double, grads_double) = run(&double, &grad_double, f).unwrap();
    assert_close(&format!("{what}: output"), &out, &out_double, 2e-6);
    for (at, operand) in double.iter().enumerate() {
        let loss = |index: usize, step: f64| {
            let mut values = flat(operand);
            values[index] += step;
            let mut operands = double.clone();
            operands[at] = Tensor::from_vec(values, operand.shape(), CPU).unwrap();
            f(&operands).unwrap().mul(&grad_double).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
        };
        let slope = |index| (loss(index, STEP) - loss(index, -STEP)) / (2.0 * STEP);
        let slopes: Vec<f64> = (0..operand.elem_count()).map(slope).collect();
        let slopes = Tensor::from_vec(slopes, operand.shape(), CPU).unwrap();
        assert_close(&format!("{what}: operand {at}, composition"), &grads_double[at], &slopes, 1e-6);
        assert_close(&format!("{what}: operand {at}, kernel"), &grads[at], &slopes, 5e-6);
    }
}

#[test]
fn gradients_are_the_slopes() {
    // batch, in, height = width, out, groups, window
    let convolutions = [
        (2, 3, 6, 5, 1, window(3, 1, 1, 1)),
        (2, 4, 7, 12, 2, window(3, 2, 1, 1)),
        (1, 2, 9, 3, 1, window(3, 2, 3, 2)),
        (2, 4, 5, 3, 1, window(1, 1, 0, 1)),
        (2, 2, 5, 2, 1, window(1, 1, 1, 1)),
        (2, 4, 6, 4, 1, window(1, 3, 0, 1)),
        (2, 5, 7, 5, 5, window(5, 1, 2, 1)),
        (2, 3, 8, 6, 3, window(3, 2, 2, 2)),
        (1, 2, 8, 2, 2, window(2, 3, 1, 3)),
        (3, 1, 4, 9, 1, window(4, 1, 0, 1)),
        (2, 3, 7, 5, 1, Window::new([1, 7], [1; 2], [0, 3], [1; 2])),
        (2, 4, 7, 4, 4, Window::new([3, 1], [1, 2], [1, 0], [2, 1])),
        (2, 4, 8, 6, 2, Window::new([2, 3], [3, 1], [1, 2], [1, 2])),
        (1, 3, 6, 4, 1, Window::new([1; 2], [1, 3], [0, 1], [1; 2])),
        (1, 2, 5, 3, 1, Window::new([5, 2], [1; 2], [0, 1], [1, 3])),
    ];
    for (batch, ins, side, outs, groups, window) in convolutions {
        let [rows, columns] = window.kernel();
        let operands = [numbers(&[batch, ins, side, side], 1), numbers(&[outs, ins / groups, rows, columns], 2)];
        let what = format!("conv2d {ins} -> {outs} in {groups} groups, {side} pixels, {window:?}");
        check(&what, &operands, &|t| conv2d(&t[0], &t[1], window, groups));
    }
    let squares = [window(3, 1, 1, 1), window(2, 2, 0, 1), window(3, 2, 1, 1), window(3, 3, 1, 1), window(2, 1, 1, 1)];
    let rectangles = [Window::new([1, 3], [1, 2], [0, 1], [1; 2]), Window::new([3, 2], [2, 1], [1, 0], [1; 2])];
    for window in squares.into_iter().chain(rectangles) {
        for [height, width] in [[6, 6], [7, 5], [3, 8]] {
            let operands = [numbers(&[2, 2, height, width], 3)];
            check(&format!("max_pool2d {height}x{width} {window:?}"), &operands, &|t| max_pool2d(&t[0], window));
            check(&format!("avg_pool2d {height}x{width} {window:?}"), &operands, &|t| avg_pool2d(&t[0], window));
            check(&format!("unfold {height}x{width} {window:?}"), &operands, &|t| unfold(&t[0], window));
        }
    }
    let operands = [numbers(&[3, 2, 4, 5], 4), numbers(&[2], 5), numbers(&[2], 6)];
    check("batch_norm", &operands, &|t| batch_norm(&t[0], &t[1], &t[2], EPS));
    check("relu", &operands[..1], &|t| relu(&t[0]));
}

#[test]
fn a_view_gives_what_its_copy_gives() {
    let (input, weight) = (numbers(&[6, 2, 5, 4], 1), numbers(&[3, 6, 3, 3], 2));
    let (view, window) = (input.transpose(0, 1).unwrap(), window(3, 1, 1, 1));
    let copy = view.force_contiguous().unwrap();
    let both = |f: &dyn Fn(&Tensor) -> Result<Tensor>| assert_eq!(flat(&f(&view).unwrap()), flat(&f(&copy).unwrap()));
    both(&|input| conv2d(input, &weight, window, 1));
    both(&|input| max_pool2d(&input.narrow(0, 1, 1)?, window));
    both(&|input| avg_pool2d(input, window));
    both(&|input| unfold(input, window));
    both(&relu);
    both(&|input| Ok(batch_statistics(input)?.1));
}

#[test]
fn gradients_of_many_cotangents_fold_into_the_batch() {
    let (input, pool) = (numbers(&[2, 3, 7, 6], 1), window(3, 2, 1, 1));
    let grads: Vec<Tensor> = (0..3).map(|seed| numbers(&[2, 3, 4, 3], seed)).collect();
    let all = Tensor::cat(&grads, 0).unwrap();
    let cat = |f: &dyn Fn(&Tensor) -> Result<Tensor>| {
        Tensor::cat(&grads.iter().map(f).collect::<Result<Vec<_>>>().unwrap(), 0).unwrap()
    };
    for dtype in [DType::F32, DType::F64] {
        let (input, all) = (input.to_dtype(dtype).unwrap(), all.to_dtype(dtype).unwrap());
        let each = cat(&|grad| {
            Ok(run(std::slice::from_ref(&input), &grad.to_dtype(dtype)?, &|t| max_pool2d(&t[0], pool))?.1.remove(0))
        });
        assert_close("max", &max_pool2d_input_gradient(&input, &all, pool).unwrap(), &each, 1e-6);
        let each = cat(&|grad| {
            Ok(run(std::slice::from_ref(&input), &grad.to_dtype(dtype)?, &|t| avg_pool2d(&t[0], pool))?.1.remove(0))
        });
        assert_close("avg", &avg_pool2d_input_gradient(&all, pool, 7, 6).unwrap(), &each, 1e-6);
    }
}

/// Each kernel for many cotangents against one backward pass for each cotangent.
#[test]
fn weights_scales_and_slopes_take_many_cotangents() {
    let cat = |parts: &[Tensor]| Tensor::cat(parts, 0).unwrap();
    // Some have more samples than are summed together, and more cotangents than are held together.
    let cases = [
        (2, 3, [4, 4, 8, 7], 6, window(3, 2, 1, 1)),
        (1, 10, [5, 3, 4, 4], 5, window(3, 1, 1, 1)),
        (4, 9, [3, 4, 9, 6], 4, window(5, 1, 2, 1)),
        (1, 2, [2, 3, 8, 8], 4, window(1, 1, 0, 1)),
        (2, 3, [3, 4, 6, 9], 4, Window::new([1, 5], [2, 1], [0, 2], [1; 2])),
    ];
    for (groups, cotangents, dims, outs, window) in cases {
        let weight = numbers(&[outs, dims[1] / groups, window.rows.kernel, window.columns.kernel], 2);
        let (input, scale) = (numbers(&dims, 1), numbers(&[dims[1]], 4));
        let out = conv2d(&input, &weight, window, groups).unwrap();
        let grads = |like: &Tensor| -> Vec<Tensor> { (0..cotangents).map(|n| numbers(like.dims(), n)).collect() };
        let (of_conv, of_input) = (grads(&out), grads(&input));
        let conv = |t: &[Tensor]| conv2d(&t[0], &t[1], window, groups);
        let norm = |t: &[Tensor]| batch_norm(&t[0], &t[1], &t[1].zeros_like()?, EPS);
        let all = |operands: [&Tensor; 2], grads: &[Tensor], f: &dyn Fn(&[Tensor]) -> Result<Tensor>, of: usize| {
            let one = |grad| run(&operands.map(Clone::clone), grad, f).unwrap().1.remove(of);
            cat(&grads
                .iter()
                .map(|grad| if of == 0 { one(grad) } else { one(grad).flatten_all().unwrap().unsqueeze(0).unwrap() })
                .collect::<Vec<_>>())
        };
        for dtype in [DType::F32, DType::F64] {
            let what = format!("{groups} groups, {dims:?}, {window:?}, {dtype:?}");
            let as_type = |tensor: &Tensor| tensor.to_dtype(dtype).unwrap();
            let (x, gamma) = (as_type(&input), as_type(&scale));
            let found = conv2d_weight_gradients(&x, &as_type(&cat(&of_conv)), window, groups).unwrap();
            assert_close(&what, &found, &all([&input, &weight], &of_conv, &conv, 1), 1e-6);
            let (down, along) = batch_norm_gradients(&x, &gamma, &as_type(&cat(&of_input)), EPS).unwrap();
            assert_close(&what, &down, &all([&input, &scale], &of_input, &norm, 0), 2e-6);
            assert_close(&what, &along, &all([&input, &scale], &of_input, &norm, 1), 2e-6);
            let found = times_shared(&as_type(&cat(&of_input)), &x).unwrap();
            let times: Vec<Tensor> = of_input.iter().map(|grad| grad.mul(&input).unwrap()).collect();
            assert_close(&what, &found, &cat(&times), 1e-6);
        }
    }
}

#[test]
fn input_gradient_alone_is_that_of_the_convolution() {
    // The sides differ, so the rests of pixels that no window meets do, too.
    for (groups, window) in [(1, window(3, 2, 1, 1)), (2, window(3, 3, 0, 1)), (4, window(2, 2, 0, 1))] {
        let (input, weight) =
            (numbers(&[2, 4, 8, 7], 1), numbers(&[8, 4 / groups, window.rows.kernel, window.columns.kernel], 2));
        let out = conv2d(&input, &weight, window, groups).unwrap();
        let grad = numbers(out.dims(), 3);
        let (_, expected) = run(&[input, weight.clone()], &grad, &|t| conv2d(&t[0], &t[1], window, groups)).unwrap();
        for dtype in [DType::F32, DType::F64] {
            let (grad, weight) = (grad.to_dtype(dtype).unwrap(), weight.to_dtype(dtype).unwrap());
            let found = conv2d_input_gradient(&grad, &weight, window, groups, 8, 7).unwrap();
            assert_close(&format!("{groups} groups, {window:?}, {dtype:?}"), &found, &expected[0], 1e-6);
        }
    }
}

#[test]
fn statistics_normalise_and_keep_their_digits() {
    // A mean of 10⁴ and a deviation near 1/2: squares of the numbers themselves would lose the variance in f32.
    let numbers = numbers(&[4, 3, 8, 8], 1);
    let input = (&numbers + 1e4).unwrap();
    let (mean, variance) = batch_statistics(&input).unwrap();
    let (mean_double, variance_double) = batch_statistics(&input.to_dtype(DType::F64).unwrap()).unwrap();
    assert_close("mean", &mean, &mean_double, 1e-7);
    assert_close("variance", &variance, &variance_double, 1e-6);
    let (ones, zeros) = (mean.ones_like().unwrap(), mean.zeros_like().unwrap());
    let (mean, variance) = batch_statistics(&numbers).unwrap();
    let trained = batch_norm(&numbers, &ones, &zeros, EPS).unwrap();
    let inferred = batch_norm_inference(&numbers, &ones, &zeros, &mean, &variance, EPS).unwrap();
    assert_close("training mode with its own statistics", &inferred, &trained, 1e-6);
}

#[test]
fn nan_is_not_hidden() {
    let mut values = flat(&numbers(&[1, 1, 4, 4], 1));
    values[5] = f64::NAN;
    let input = Tensor::from_vec(values, (1, 1, 4, 4), CPU).unwrap().to_dtype(DType::F32).unwrap();
    let one = Tensor::ones(1, DType::F32, CPU).unwrap();
    let outs = [
        relu(&input),
        max_pool2d(&input, window(2, 2, 0, 1)),
        avg_pool2d(&input, window(2, 2, 0, 1)),
        batch_norm(&input, &one, &one, EPS),
    ];
    for (at, out) in outs.into_iter().enumerate() {
        assert!(flat(&out.unwrap())[0..].iter().any(|value| value.is_nan()), "operator {at}");
    }
}

#[test]
fn bits_do_not_depend_on_the_threads() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(everything)
    };
    let one = on(1);
    assert_eq!(one, on(4), "4 threads");
    assert_eq!(one, on(3), "3 threads");
}

/// Bits of outputs and gradients of work that is worth several threads.
fn everything() -> Vec<u32> {
    let input = Tensor::cat(&(0..70).map(|seed| numbers(&[1, 8, 16, 15], seed)).collect::<Vec<_>>(), 0).unwrap();
    let (dense, depthwise) = (numbers(&[12, 8, 3, 3], 1), numbers(&[12, 1, 3, 3], 2));
    let (product, channels) = (numbers(&[8, 12, 1, 1], 3), numbers(&[12], 4));
    let f = |t: &[Tensor]| {
        let x = conv2d(&t[0], &t[1], window(3, 1, 1, 1), 1)?;
        let x = relu(&batch_norm(&x, &t[4], &t[4], EPS)?)?;
        let x = avg_pool2d(&conv2d(&x, &t[2], window(3, 2, 1, 1), 12)?, window(3, 1, 1, 1))?;
        let x = conv2d(&max_pool2d(&x, window(2, 2, 0, 1))?, &t[3], window(1, 1, 0, 1), 1)?;
        unfold(&x, window(2, 1, 0, 1))
    };
    let operands = [input, dense, depthwise, product, channels];
    let ones = f(&operands).unwrap().ones_like().unwrap();
    let (out, grads) = run(&operands, &ones, &f).unwrap();
    let bits = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits);
    // Seventy images as ten cotangents of seven.
    let (batch, all) = (operands[0].narrow(0, 0, 7).unwrap(), &operands[0]);
    let weights = conv2d_weight_gradients(&batch, all, window(1, 1, 0, 1), 1).unwrap();
    let (down, along) = batch_norm_gradients(&batch, &numbers(&[8], 5), all, EPS).unwrap();
    let many = [weights, down, along, times_shared(all, &batch).unwrap()];
    std::iter::once(&out).chain(&grads).chain(&many).flat_map(bits).collect()
}

#[test]
fn what_does_not_fit_is_an_error() {
    let (input, weight) = (numbers(&[1, 4, 3, 3], 1), numbers(&[6, 2, 3, 3], 2));
    let cases = [
        (conv2d(&input, &weight, window(3, 1, 1, 1), 1), "does not fit 4 channels in 1 groups"),
        (conv2d(&input, &weight, window(5, 1, 1, 1), 2), "does not fit"),
        (conv2d(&input, &weight, window(3, 1, 0, 2), 2), "no room"),
        (conv2d(&input, &weight, window(3, 0, 0, 2), 2), "at least 1"),
        (max_pool2d(&input, window(2, 2, 2, 1)), "half the kernel"),
        (avg_pool2d_input_gradient(&input, window(2, 2, 0, 1), 8, 8), "expected 4x4"),
        (batch_norm(&input, &numbers(&[3], 1), &numbers(&[4], 1), EPS), "over 4 channels"),
    ];
    for (result, expected) in cases {
        let message = result.expect_err(expected).to_string();
        assert!(message.contains(expected), "`{message}` does not say `{expected}`");
    }
}
