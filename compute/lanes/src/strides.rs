//! Where a matrix lies in a slice.

/// Where the elements of a matrix are: `at + row * rs + col * cs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    pub at: usize,
    pub rs: usize,
    pub cs: usize,
}

impl Strides {
    /// Rows one after the other, `width` apart.
    pub fn rows(at: usize, width: usize) -> Strides {
        Strides { at, rs: width, cs: 1 }
    }

    pub fn transposed(self) -> Strides {
        Strides { rs: self.cs, cs: self.rs, ..self }
    }

    /// Whether a matrix of that size lies in a slice of that length.
    pub fn fits(self, rows: usize, cols: usize, len: usize) -> bool {
        rows == 0 || cols == 0 || self.at + (rows - 1) * self.rs + (cols - 1) * self.cs < len
    }
}
