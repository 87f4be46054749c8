//! Sliding windows, and what is added around or cut off a map.

use serde::de::{Error, IntoDeserializer, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// How a window slides along one side of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Side {
    /// Taps.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros added before the first and behind the last pixel.
    pub padding: usize,
    /// Distance between taps.
    pub dilation: usize,
}

impl Side {
    /// Dilation 1, and the padding that keeps the size at stride 1.
    pub const fn same(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: kernel / 2, dilation: 1 }
    }

    /// Pixels from the first tap to the last, both included.
    pub fn reach(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    /// Number of windows along a side of `size` pixels; `None` where not even one fits.
    pub fn output(&self, size: usize) -> Option<usize> {
        let room = (size + 2 * self.padding).checked_sub(self.reach())?;
        Some(room / self.stride + 1)
    }
}

/// A sliding window.
///
/// As JSON `{"kernel", "stride", "padding", "dilation"}`, each a number for both sides or `[rows, columns]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// From row to row.
    pub rows: Side,
    /// From column to column.
    pub columns: Side,
}

impl Window {
    /// Each of rows and columns.
    pub const fn new(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2]) -> Self {
        let ([rows, columns], [down, right]) = (kernel, stride);
        Self {
            rows: Side { kernel: rows, stride: down, padding: padding[0], dilation: dilation[0] },
            columns: Side { kernel: columns, stride: right, padding: padding[1], dilation: dilation[1] },
        }
    }

    /// The same along both sides.
    pub const fn square(side: Side) -> Self {
        Self { rows: side, columns: side }
    }

    /// A square window with dilation 1 and the padding that keeps the size at stride 1.
    pub const fn same(kernel: usize, stride: usize) -> Self {
        Self::square(Side::same(kernel, stride))
    }

    /// Rows and columns.
    pub const fn sides(&self) -> [Side; 2] {
        [self.rows, self.columns]
    }

    /// Something of both sides.
    pub fn each<T>(&self, of: impl FnMut(Side) -> T) -> [T; 2] {
        self.sides().map(of)
    }

    /// Rows and columns of taps.
    pub fn kernel(&self) -> [usize; 2] {
        self.each(|side| side.kernel)
    }

    /// Number of taps.
    pub fn taps(&self) -> usize {
        self.rows.kernel * self.columns.kernel
    }

    /// Whether each window is the pixel of its own place.
    pub fn is_pointwise(&self) -> bool {
        self.sides().iter().all(|side| (side.kernel, side.stride, side.padding) == (1, 1, 0))
    }

    /// Windows along a map's rows and columns; `None` where not even one fits.
    pub fn output(&self, [height, width]: [usize; 2]) -> Option<[usize; 2]> {
        Some([self.rows.output(height)?, self.columns.output(width)?])
    }

    /// Kernel, stride, padding and dilation by name, of rows and columns.
    fn fields(&self) -> [(&'static str, [usize; 2]); 4] {
        [
            ("kernel", self.kernel()),
            ("stride", self.each(|side| side.stride)),
            ("padding", self.each(|side| side.padding)),
            ("dilation", self.each(|side| side.dilation)),
        ]
    }
}

/// Ids of architectures are of this text: what is square reads as it did before there were other windows.
impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Window");
        for (name, [rows, columns]) in self.fields() {
            match rows == columns {
                true => text.field(name, &rows),
                false => text.field(name, &[rows, columns]),
            };
        }
        text.finish()
    }
}

/// `kernel=1x7, stride=1, padding=0x3, dilation=1`
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.fields().map(|(name, [rows, columns])| match rows == columns {
            true => format!("{name}={rows}"),
            false => format!("{name}={rows}x{columns}"),
        });
        f.write_str(&text.join(", "))
    }
}

/// One number for both sides, or `[rows, columns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair<T>(pub [T; 2]);

impl<T: PartialEq + Serialize> Serialize for Pair<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [rows, columns] = &self.0;
        if rows == columns { rows.serialize(serializer) } else { self.0.serialize(serializer) }
    }
}

impl<'de, T: Deserialize<'de> + Clone> Deserialize<'de> for Pair<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PairVisitor(PhantomData))
    }
}

struct PairVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Clone> PairVisitor<T> {
    fn both<E: Error>(one: impl IntoDeserializer<'de, E>) -> Result<Pair<T>, E> {
        T::deserialize(one.into_deserializer()).map(|one| Pair([one.clone(), one]))
    }
}

impl<'de, T: Deserialize<'de> + Clone> Visitor<'de> for PairVisitor<T> {
    type Value = Pair<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or [rows, columns]")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Self::both(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Self::both(number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Self::both(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::with_capacity(2);
        while let Some(one) = list.next_element::<T>()? {
            found.push(one);
        }
        let count = found.len();
        <[T; 2]>::try_from(found).map(Pair).map_err(|_| A::Error::invalid_length(count, &self))
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("Window", 4)?;
        for (name, pair) in self.fields() {
            map.serialize_field(name, &Pair(pair))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Window", deny_unknown_fields)]
        struct Fields {
            kernel: Pair<usize>,
            stride: Pair<usize>,
            padding: Pair<usize>,
            dilation: Pair<usize>,
        }
        let Fields { kernel, stride, padding, dilation } = Fields::deserialize(deserializer)?;
        Ok(Self::new(kernel.0, stride.0, padding.0, dilation.0))
    }
}

/// Zeros around a map; where negative, pixels that are cut off.
///
/// As JSON `{"before", "after"}`, each a number for both sides or `[rows, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Margins {
    /// Rows above and columns on the left.
    pub before: [isize; 2],
    /// Rows below and columns on the right.
    pub after: [isize; 2],
}

impl Margins {
    /// The map without its first row and column: what the second half of a factorised reduction looks at.
    pub const CROP: Self = Self { before: [-1; 2], after: [0; 2] };

    /// Zeros before the first and behind the last `[row, column]`.
    pub const fn new(before: [isize; 2], after: [isize; 2]) -> Self {
        Self { before, after }
    }

    /// The margins that take these away again; what they cut off is zero then. So goes a gradient back through them.
    pub fn back(&self) -> Self {
        Self { before: self.before.map(|side| -side), after: self.after.map(|side| -side) }
    }

    /// Rows and columns with the margins; `None` where nothing is left, or more is cut off on a side than there is.
    pub fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let side = |at: usize| {
            let kept =
                size[at].checked_add_signed(self.before[at].min(0))?.checked_add_signed(self.after[at].min(0))?;
            let whole = kept.checked_add_signed(self.before[at].max(0))?.checked_add_signed(self.after[at].max(0))?;
            (kept > 0).then_some(whole)
        };
        Some([side(0)?, side(1)?])
    }

    /// Whether nothing is cut off.
    pub fn adds(&self) -> bool {
        self.before.iter().chain(&self.after).all(|&side| side >= 0)
    }
}

impl Serialize for Margins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("Margins", 2)?;
        map.serialize_field("before", &Pair(self.before))?;
        map.serialize_field("after", &Pair(self.after))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Margins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Margins", deny_unknown_fields)]
        struct Fields {
            before: Pair<isize>,
            after: Pair<isize>,
        }
        let Fields { before, after } = Fields::deserialize(deserializer)?;
        Ok(Self { before: before.0, after: after.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_written_as_they_were_and_others_by_side() {
        let square = Window::same(3, 2);
        let text = r#"{"kernel":3,"stride":2,"padding":1,"dilation":1}"#;
        assert_eq!(serde_json::to_string(&square).unwrap(), text);
        assert_eq!(serde_json::from_str::<Window>(text).unwrap(), square);
        assert_eq!(format!("{square:?}"), "Window { kernel: 3, stride: 2, padding: 1, dilation: 1 }");
        assert_eq!(square.to_string(), "kernel=3, stride=2, padding=1, dilation=1");
        let flat = Window { rows: Side::same(1, 1), columns: Side { dilation: 2, ..Side::same(7, 1) } };
        let text = r#"{"kernel":[1,7],"stride":1,"padding":[0,3],"dilation":[1,2]}"#;
        assert_eq!(serde_json::to_string(&flat).unwrap(), text);
        assert_eq!(serde_json::from_str::<Window>(text).unwrap(), flat);
        assert_eq!(flat.to_string(), "kernel=1x7, stride=1, padding=0x3, dilation=1x2");
        assert_eq!(flat.output([1, 20]), Some([1, 14]));
        assert_eq!(flat.output([1, 6]), None);
        for (number, expected) in [
            ("[1]", "invalid length 1, expected a number, or [rows, columns]"),
            ("[1, 2, 3]", "invalid length 3, expected a number, or [rows, columns]"),
            ("-1", "invalid value: integer `-1`, expected usize"),
            ("true", "invalid type: boolean `true`, expected a number, or [rows, columns]"),
        ] {
            let error = serde_json::from_str::<Window>(&text.replace("[1,7]", number)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn margins_add_and_cut() {
        let mixed = Margins::new([-1, 2], [0, 3]);
        assert_eq!(mixed.output([4, 4]), Some([3, 9]));
        assert_eq!(mixed.output([1, 4]), None);
        assert_eq!(mixed.back().output([3, 9]), Some([4, 4]));
        let text = r#"{"before":[-1,2],"after":[0,3]}"#;
        assert_eq!(serde_json::to_string(&mixed).unwrap(), text);
        assert_eq!(serde_json::from_str::<Margins>(text).unwrap(), mixed);
        assert_eq!(serde_json::to_string(&Margins::CROP).unwrap(), r#"{"before":-1,"after":0}"#);
    }
}
