//! The next batch, gathered on a thread of its own while the device computes this one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::spawn;

use crate::data::Dataset;
use crate::train::Gather;

/// See the module's introduction. Its thread ends when it is dropped.
pub struct Ahead {
    /// What is being gathered, or lies ready.
    begun: Option<Vec<u32>>,
    ask: Sender<Vec<u32>>,
    ready: Receiver<Vec<u8>>,
}

impl Ahead {
    pub fn new(data: Arc<Dataset>) -> Ahead {
        let (ask, asked) = channel::<Vec<u32>>();
        let (give, ready) = channel();
        spawn(move || {
            for which in asked {
                let mut pixels = Vec::with_capacity(which.len() * data.train.stride());
                data.train.gather(&which, &mut pixels);
                if give.send(pixels).is_err() {
                    break;
                }
            }
        });
        Ahead { begun: None, ask, ready }
    }
}

impl Gather for Ahead {
    fn begin(&mut self, which: &[u32]) {
        // What nobody took is in the way.
        if self.begun.take().is_some() {
            let _ = self.ready.recv();
        }
        if self.ask.send(which.to_vec()).is_ok() {
            self.begun = Some(which.to_vec());
        }
    }

    fn take(&mut self, which: &[u32]) -> Option<Vec<u8>> {
        let begun = self.begun.take()?;
        let pixels = self.ready.recv().ok()?;
        (begun == which).then_some(pixels)
    }
}
