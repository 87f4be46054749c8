//! Windows of an image as columns of a matrix (`im2col`), so that a convolution is a product of matrices.
//!
//! `out[b, (c·h + i)·w + j, y·columns + x] = input[b, c, y·s + i·d - p, x·s + j·d - p]`, zero in the padding, for a kernel of
//! `h` rows and `w` columns; stride, dilation and padding are those of the side.

use super::{accelerated, covered, for_each_block, met, padded, taps, values, windows, with_values};
use crate::graph::Window;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// `[batch, channels, height, width]` to `[batch, channels · taps, rows · columns]`, as PyTorch's `unfold`.
///
/// # Errors
/// If the window does not fit the image.
pub fn unfold(input: &Tensor, window: Window) -> Result<Tensor> {
    let (batch, channels, height, width) = input.dims4()?;
    let (rows, columns) = windows(window, height, width)?;
    if accelerated(input) {
        return input.contiguous()?.apply_op1(Unfold { window, rows, columns });
    }
    taps(&padded(input, window)?, window, rows, columns)?.reshape((batch, channels * window.taps(), rows * columns))
}

struct Unfold {
    window: Window,
    rows: usize,
    columns: usize,
}

impl Unfold {
    fn taps(&self) -> usize {
        self.window.taps()
    }

    /// Calls with each run of windows in a row whose tap meets the image: the first pixel that is met, and where
    /// in the matrix the run lies.
    fn for_each_row(&self, height: usize, width: usize, mut f: impl FnMut(usize, std::ops::Range<usize>)) {
        let Window { rows: of_rows, columns: of_columns } = self.window;
        for tap in 0..self.taps() {
            let (row_tap, column_tap) = (tap / of_columns.kernel, tap % of_columns.kernel);
            let columns = covered(of_columns, column_tap, width, self.columns);
            if columns.is_empty() {
                continue;
            }
            for row in covered(of_rows, row_tap, height, self.rows) {
                let start = (tap * self.rows + row) * self.columns;
                let pixel = met(of_rows, row_tap, row) * width + met(of_columns, column_tap, columns.start);
                f(pixel, start + columns.start..start + columns.end);
            }
        }
    }
}

impl CustomOp1 for Unfold {
    fn name(&self) -> &'static str {
        "tegu-unfold"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let input = values(storage, layout)?;
        let (image, matrix) = (height * width, self.taps() * self.rows * self.columns);
        let mut out = vec![0.0; batch * channels * matrix];
        let work = out.len();
        for_each_block(
            &mut out,
            matrix,
            work,
            || (),
            |(), at, out| {
                let image = &input[at * image..][..image];
                self.for_each_row(height, width, |pixel, windows| {
                    let pixels = image[pixel..].iter().step_by(self.window.columns.stride);
                    out[windows].iter_mut().zip(pixels).for_each(|(to, from)| *to = *from);
                });
            },
        );
        Ok((CpuStorage::F32(out), (batch, channels * self.taps(), self.rows * self.columns).into()))
    }

    fn bwd(&self, input: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (batch, channels, height, width) = input.dims4()?;
        let (image, matrix) = (height * width, self.taps() * self.rows * self.columns);
        let mut out = vec![0.0; batch * channels * image];
        with_values(grad, |grad| {
            for_each_block(
                &mut out,
                image,
                grad.len(),
                || (),
                |(), at, out| {
                    let matrix = &grad[at * matrix..][..matrix];
                    self.for_each_row(height, width, |pixel, windows| {
                        let pixels = out[pixel..].iter_mut().step_by(self.window.columns.stride);
                        pixels.zip(&matrix[windows]).for_each(|(to, from)| *to += from);
                    });
                },
            );
            Ok(())
        })?;
        Ok(Some(Tensor::from_vec(out, input.shape(), input.device())?))
    }
}
