//! Loops over pieces of work on all cores, as rayon has them. The engine has one thread in WebAssembly,
//! where the code of a pool would be weight to download: there the same calls run in order.

#[cfg(not(target_arch = "wasm32"))]
pub use rayon::{current_num_threads, current_thread_index, join, prelude};

/// Makes the calling thread one of the pool for good, so that it enters it without a change of threads; for the
/// thread that a program's steps run on, before anything else uses the pool. On a single core nothing is done:
/// the pool must have a thread that is not busy elsewhere.
#[cfg(not(target_arch = "wasm32"))]
pub fn belong() {
    if std::thread::available_parallelism().is_ok_and(|n| n.get() > 1) {
        // An error says that there is a pool already, which will do.
        let _ = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
    }
}

/// Runs `work` on a thread of the pool, where a loop that is shared out costs a microsecond or two: from a
/// thread outside it each costs a change of threads there and back, ten times as much.
#[cfg(not(target_arch = "wasm32"))]
pub fn enter<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}

#[cfg(target_arch = "wasm32")]
pub use in_order::{current_num_threads, current_thread_index, enter, join, prelude};

#[cfg(target_arch = "wasm32")]
mod in_order {
    pub fn current_num_threads() -> usize {
        1
    }

    /// There is no pool, so no thread is of it.
    pub fn current_thread_index() -> Option<usize> {
        None
    }

    pub fn enter<R>(work: impl FnOnce() -> R) -> R {
        work()
    }

    pub fn join<A, B>(a: impl FnOnce() -> A, b: impl FnOnce() -> B) -> (A, B) {
        (a(), b())
    }

    pub mod prelude {
        use std::slice::{ChunksExactMut, ChunksMut};

        /// Pieces of a slice.
        pub trait ParallelSliceMut<T> {
            fn par_chunks_mut(&mut self, len: usize) -> ChunksMut<'_, T>;
            fn par_chunks_exact_mut(&mut self, len: usize) -> ChunksExactMut<'_, T>;
        }

        impl<T> ParallelSliceMut<T> for [T] {
            fn par_chunks_mut(&mut self, len: usize) -> ChunksMut<'_, T> {
                self.chunks_mut(len)
            }

            fn par_chunks_exact_mut(&mut self, len: usize) -> ChunksExactMut<'_, T> {
                self.chunks_exact_mut(len)
            }
        }

        /// One call for each item.
        pub trait IntoParallelIterator: IntoIterator + Sized {
            fn into_par_iter(self) -> Self::IntoIter {
                self.into_iter()
            }
        }

        impl<I: IntoIterator> IntoParallelIterator for I {}
    }
}
