//! A slice that parallel tasks write disjoint parts of.

/// A mutable slice that tasks write disjoint parts of.
pub struct Shared<'a>(*mut f32, usize, std::marker::PhantomData<&'a mut [f32]>);

// SAFETY: tasks only reach it through `part`, whose callers promise disjoint ranges.
unsafe impl Sync for Shared<'_> {}
// SAFETY: as above; it is a borrowed slice.
unsafe impl Send for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(slice: &'a mut [f32]) -> Shared<'a> {
        Shared(slice.as_mut_ptr(), slice.len(), std::marker::PhantomData)
    }

    /// The elements `at..at + len`.
    ///
    /// # Safety
    /// No element written through one part may be read or written through another at the same time.
    #[allow(clippy::mut_from_ref, reason = "the point of the type: disjoint parts, see Safety")]
    pub unsafe fn part(&self, at: usize, len: usize) -> &mut [f32] {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.1), "a part outside its slice");
        // SAFETY: inside the slice (asserted); exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), len) }
    }
}
