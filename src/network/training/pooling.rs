//! What steps do beside convolutions: pooling, products, concatenation and softmax, one sample at a time.

use crate::graph::{Margins, Window};
use crate::kernels::blocked::{Frame, Slide};
use crate::kernels::lanes::{LANES, Lane};

/// One over the pixels of each window; margins do not count.
pub(super) fn shares(slide: &Slide) -> Vec<f32> {
    let count = |axis: usize, at: usize| {
        let side = slide.window.sides()[axis];
        let pixel = |tap: &usize| (at * side.stride + tap).checked_sub(side.padding);
        (0..side.kernel).filter(|tap| pixel(tap).is_some_and(|pixel| pixel < slide.input[axis])).count()
    };
    let [rows, columns] = slide.output;
    let all = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    all.map(|(row, column)| ((count(0, row) * count(1, column)) as f32).recip()).collect()
}

/// Whether `x` takes the place of the maximum so far: NaN does, and then stays.
fn exceeds(x: f32, max: f32) -> bool {
    (x > max) | x.is_nan()
}

/// Calls with each window's place in the map of the outputs and its taps' places in the frame, in reading order.
fn for_each_window(slide: &Slide, mut f: impl FnMut(usize, &mut dyn Iterator<Item = usize>)) {
    let (Window { rows: of_rows, columns: of_columns }, pitch) = (slide.window, slide.inputs().sides[1]);
    let [rows, columns] = slide.output;
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let first = row * of_rows.stride * pitch + column * of_columns.stride;
        let mut taps = (0..of_rows.kernel).flat_map(|y| (0..of_columns.kernel).map(move |x| first + y * pitch + x));
        f(row * columns + column, &mut taps);
    }
}

/// The maximum of each window of a frame with margins of -∞.
pub(super) fn maxima(slide: &Slide, frame: &[Lane], out: &mut [Lane]) {
    let planes = out.chunks_exact_mut(slide.output[0] * slide.output[1]);
    for (out, frame) in planes.zip(frame.chunks_exact(slide.inputs().area())) {
        for_each_window(slide, |window, taps| {
            let mut max = Lane([f32::NEG_INFINITY; LANES]);
            taps.for_each(|tap| {
                let pairs = max.0.iter_mut().zip(frame[tap].0);
                pairs.for_each(|(max, x)| *max = if exceeds(x, *max) { x } else { *max });
            });
            out[window] = max;
        });
    }
}

/// Gives the gradient of each window's maximum to the first pixel that has it: adds to `out`, the image.
pub(super) fn maxima_gradient(slide: &Slide, frame: &[Lane], gradient: &[Lane], out: &mut [Lane]) {
    let (inputs, [height, width]) = (slide.inputs(), slide.input);
    let (outs, windows) = (out.chunks_exact_mut(height * width), slide.output[0] * slide.output[1]);
    for ((out, frame), gradient) in outs.zip(frame.chunks_exact(inputs.area())).zip(gradient.chunks_exact(windows)) {
        for_each_window(slide, |window, taps| {
            let (mut max, mut place) = ([f32::NEG_INFINITY; LANES], [usize::MAX; LANES]);
            taps.filter_map(|tap| Some((frame[tap].0, pixel(inputs, tap)?))).for_each(|(values, at)| {
                for lane in 0..LANES {
                    // Of windows all of whose pixels are -∞, too, the first is chosen.
                    if exceeds(values[lane], max[lane]) || place[lane] == usize::MAX {
                        (max[lane], place[lane]) = (values[lane], at);
                    }
                }
            });
            place.iter().enumerate().for_each(|(lane, &at)| out[at].0[lane] += gradient[window].0[lane]);
        });
    }
}

/// The image's pixel at a place of the frame; none in the margins.
fn pixel(frame: Frame, place: usize) -> Option<usize> {
    let row = (place / frame.sides[1]).checked_sub(frame.margin[0]).filter(|&row| row < frame.size[0])?;
    let column = (place % frame.sides[1]).checked_sub(frame.margin[1]).filter(|&column| column < frame.size[1])?;
    Some(row * frame.size[1] + column)
}

/// `out (+)= a · b`, pixel by pixel; where one has a pixel a block alone, with that.
pub(super) fn add_product(a: &[Lane], b: &[Lane], pixels: [usize; 2], out: &mut [Lane]) {
    for (block, out) in out.chunks_exact_mut(pixels[0].max(pixels[1])).enumerate() {
        for (pixel, out) in out.iter_mut().enumerate() {
            let of = |lanes: &[Lane], pixels: usize| lanes[block * pixels + pixel.min(pixels - 1)].0;
            let (a, b) = (of(a, pixels[0]), of(b, pixels[1]));
            (0..LANES).for_each(|lane| out.0[lane] += a[lane] * b[lane]);
        }
    }
}

/// Adds `Σ_pixel a · b` of each block to `out`.
pub(super) fn add_dot(a: &[Lane], b: &[Lane], pixels: usize, out: &mut [Lane]) {
    for ((a, b), out) in a.chunks_exact(pixels).zip(b.chunks_exact(pixels)).zip(out) {
        for (a, b) in a.iter().zip(b) {
            (0..LANES).for_each(|lane| out.0[lane] += a.0[lane] * b.0[lane]);
        }
    }
}

/// Copies `count` channels from channel `from` on to channel `to` on, or adds them.
pub(super) fn move_channels(
    source: &[Lane],
    from: usize,
    out: &mut [Lane],
    to: usize,
    [count, pixels]: [usize; 2],
    add: bool,
) {
    for at in 0..count {
        let ((from, from_lane), (to, to_lane)) =
            (((from + at) / LANES, (from + at) % LANES), ((to + at) / LANES, (to + at) % LANES));
        let pairs = out[to * pixels..][..pixels].iter_mut().zip(&source[from * pixels..][..pixels]);
        match add {
            true => pairs.for_each(|(out, x)| out.0[to_lane] += x.0[from_lane]),
            false => pairs.for_each(|(out, x)| out.0[to_lane] = x.0[from_lane]),
        }
    }
}

/// Writes or adds the blocks of a map of `size` with margins around it, or without what they cut off; zeros stay as they are.
/// With [`Margins::back`] it is the gradient's way.
pub(super) fn pad(map: &[Lane], size: [usize; 2], margins: Margins, out: &mut [Lane], add: bool) {
    let to = margins.output(size).expect("a graph's margins leave a map");
    // Of both sides: the first pixel that is kept, where it lies, and how many are.
    let kept = [0, 1].map(|axis| {
        let (before, after) = (margins.before[axis], margins.after[axis]);
        let cut = before.min(0).unsigned_abs();
        (cut, before.max(0).unsigned_abs(), size[axis] - cut - after.min(0).unsigned_abs())
    });
    let [(y, to_y, rows), (x, to_x, columns)] = kept;
    for (out, map) in out.chunks_exact_mut(to[0] * to[1]).zip(map.chunks_exact(size[0] * size[1])) {
        let lines = out.chunks_exact_mut(to[1]).skip(to_y).zip(map.chunks_exact(size[1]).skip(y)).take(rows);
        for (out, line) in lines {
            let (out, line) = (&mut out[to_x..][..columns], &line[x..][..columns]);
            match add {
                false => out.copy_from_slice(line),
                true => out.iter_mut().zip(line).for_each(|(out, from)| {
                    (0..LANES).for_each(|lane| out.0[lane] += from.0[lane]);
                }),
            }
        }
    }
}

/// 1 / (1 + e⁻ˣ) of every number.
pub(super) fn sigmoid(map: &mut [Lane]) {
    map.iter_mut().flat_map(|lane| &mut lane.0).for_each(|x| *x = (1.0 + (-*x).exp()).recip());
}

/// Adds the way back through a sigmoid whose results are `y`.
pub(super) fn add_sigmoid_gradient(y: &[Lane], gradient: &[Lane], out: &mut [Lane]) {
    for ((out, y), g) in out.iter_mut().zip(y).zip(gradient) {
        (0..LANES).for_each(|lane| out.0[lane] += g.0[lane] * y.0[lane] * (1.0 - y.0[lane]));
    }
}

/// Softmax over the first `features` of a vector; the others become 0.
pub(super) fn softmax(vector: &mut [Lane], features: usize) {
    let values = || (0..features).map(|at| (at / LANES, at % LANES));
    let max = values().fold(f32::NEG_INFINITY, |max, (block, lane)| max.max(vector[block].0[lane]));
    let sum: f32 = values().map(|(block, lane)| (vector[block].0[lane] - max).exp()).sum();
    for at in 0..vector.len() * LANES {
        let value = &mut vector[at / LANES].0[at % LANES];
        *value = if at < features { (*value - max).exp() / sum } else { 0.0 };
    }
}

/// Adds the way back through a softmax whose results are `y`: `y · (g - Σ g·y)`.
pub(super) fn add_softmax_gradient(y: &[Lane], gradient: &[Lane], out: &mut [Lane]) {
    let pairs = y.iter().zip(gradient).flat_map(|(y, g)| y.0.into_iter().zip(g.0));
    let along: f32 = pairs.map(|(y, g)| y * g).sum();
    for ((out, y), g) in out.iter_mut().zip(y).zip(gradient) {
        (0..LANES).for_each(|lane| out.0[lane] += y.0[lane] * (g.0[lane] - along));
    }
}
