//! Attributes of a node, and the windows that they describe.

use crate::graph::{Margins, Window};
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

/// A node's attributes by name.
pub(super) struct Attributes<'a>(&'a [AttributeProto]);

/// A window, and what is added around the map before it slides.
pub(super) struct Slide {
    pub(super) window: Window,
    /// Zeros beyond the window's own padding.
    pub(super) margins: Option<Margins>,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(node: &'a NodeProto) -> Self {
        Self(&node.attribute)
    }

    fn get(&self, name: &str) -> Option<&'a AttributeProto> {
        self.0.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.get(name).map(|attribute| attribute.i)
    }

    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.get(name).map(|attribute| attribute.f)
    }

    pub(super) fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.get(name).map(|attribute| attribute.ints.clone())
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.get(name)?.t.as_ref()
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|attribute| String::from_utf8_lossy(&attribute.s).into_owned())
    }

    fn pair(&self, name: &str) -> Result<Option<[usize; 2]>, String> {
        let Some(ints) = self.ints(name) else { return Ok(None) };
        match ints[..] {
            [rows, columns] if rows > 0 && columns > 0 => Ok(Some([rows as usize, columns as usize])),
            _ => Err(format!("{name} {ints:?}, expected those of rows and columns")),
        }
    }

    /// The window over a map of `size`; `kernel` where the weight says it. Padding that differs from side to side, and that by
    /// which `ceil_mode` makes room for one more window, is left to the margins, and all of it where `outside`.
    pub(super) fn slide(&self, kernel: Option<[usize; 2]>, size: [usize; 2], outside: bool) -> Result<Slide, String> {
        let kernel = match self.pair("kernel_shape")?.or(kernel) {
            Some(kernel) => kernel,
            None => return Err("it has no kernel_shape".into()),
        };
        let stride = self.pair("strides")?.unwrap_or([1; 2]);
        let dilation = self.pair("dilations")?.unwrap_or([1; 2]);
        let reach = [0, 1].map(|side| dilation[side] * (kernel[side] - 1) + 1);
        let (mut before, mut after) = match self.text("auto_pad").unwrap_or_default().as_str() {
            "" | "NOTSET" => match self.ints("pads") {
                None => ([0; 2], [0; 2]),
                Some(pads) => match pads[..] {
                    [a, b, c, d] if pads.iter().all(|&pad| pad >= 0) => {
                        ([a as usize, b as usize], [c as usize, d as usize])
                    }
                    _ => return Err(format!("pads {pads:?}, expected 4 of 0 or more")),
                },
            },
            "VALID" => ([0; 2], [0; 2]),
            mode @ ("SAME_UPPER" | "SAME_LOWER") => {
                let whole = [0, 1].map(|side| {
                    let windows = size[side].div_ceil(stride[side]);
                    ((windows - 1) * stride[side] + reach[side]).saturating_sub(size[side])
                });
                let (less, more) = (whole.map(|pad| pad / 2), whole.map(|pad| pad.div_ceil(2)));
                if mode == "SAME_UPPER" { (less, more) } else { (more, less) }
            }
            mode => return Err(format!("auto_pad {mode}, expected NOTSET, VALID or SAME")),
        };
        if self.int("ceil_mode").unwrap_or(0) != 0 {
            for side in [0, 1] {
                let padded = size[side] + before[side] + after[side];
                let rest = padded.saturating_sub(reach[side]) % stride[side];
                // A window that would begin behind the map and its padding before it is none.
                let next = padded.saturating_sub(reach[side]) / stride[side] * stride[side] + stride[side];
                if rest != 0 && next < size[side] + before[side] {
                    after[side] += stride[side] - rest;
                }
            }
        }
        let even = (before == after || [0, 1].iter().all(|&side| before[side] == after[side])) && !outside;
        if even {
            return Ok(Slide { window: Window::new(kernel, stride, before, dilation), margins: None });
        }
        let own = if outside { [0; 2] } else { [0, 1].map(|side| before[side].min(after[side])) };
        let rest = |of: [usize; 2]| [0, 1].map(|side| (of[side] - own[side]) as isize);
        let margins = Margins::new(rest(before), rest(after));
        before = own;
        let adds = margins != Margins::new([0; 2], [0; 2]);
        Ok(Slide { window: Window::new(kernel, stride, before, dilation), margins: adds.then_some(margins) })
    }
}
