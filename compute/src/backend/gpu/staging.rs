//! Rings of mapped buffers between host and device. `Queue::write_buffer` would make one a call;
//! these are made while warming up and then reused, so that a step makes no device object. A browser
//! keeps such a ring itself, and code in it cannot wait for a buffer: there uploads are its own writes.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use super::device::Device;
use super::layout::Slice;
use crate::backend::{BackendError, BackendResult};

/// Smallest staging buffer, so that scalars share sizes.
const LEAST: usize = 1024;
/// Buffers up to this size are made in pairs, so that the host fills one while the device reads the
/// other; with larger ones the host waits. Made at once, so that no later step makes one.
const PAIRED: usize = 4 << 20;

const READY: u8 = 0;
const BUSY: u8 = 1;
const FAILED: u8 = 2;

struct Slot {
    buffer: wgpu::Buffer,
    state: Arc<AtomicU8>,
}

impl Slot {
    fn is(&self, state: u8) -> bool {
        self.state.load(Ordering::Acquire) == state
    }
}

fn mark(state: &AtomicU8, result: Result<(), wgpu::BufferAsyncError>) {
    state.store(if result.is_ok() { READY } else { FAILED }, Ordering::Release);
}

/// Values on their way to the device.
#[derive(Default)]
pub struct Upload {
    /// Ready ones are mapped.
    slots: Vec<Slot>,
    /// (slot, destination, bytes), to be encoded before the next kernels.
    pending: Vec<(usize, Slice, usize)>,
}

impl Upload {
    /// Copies bytes to be in `to` before the next dispatch.
    pub fn write(&mut self, device: &mut Device, to: &Slice, bytes: &[u8]) -> BackendResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let padded = bytes.len().next_multiple_of(4);
        if cfg!(target_arch = "wasm32") {
            // In order with the submissions before and after.
            let whole = bytes.len() / 4 * 4;
            device.queue.write_buffer(&to.buffer, to.offset, &bytes[..whole]);
            if padded > whole {
                let mut last = [0; 4];
                last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
                device.queue.write_buffer(&to.buffer, to.offset + whole as u64, &last);
            }
            return Ok(());
        }
        let size = padded.max(LEAST).next_power_of_two();
        let k = self.slot(device, size)?;
        let slot = &self.slots[k];
        let run = |message: String| BackendError::Run { kernel: "upload".into(), message };
        {
            let mut view = slot.buffer.slice(..padded as u64).get_mapped_range_mut().map_err(|e| run(e.to_string()))?;
            view.slice(..bytes.len()).copy_from_slice(bytes);
            if padded > bytes.len() {
                view.slice(bytes.len()..).copy_from_slice(&[0; 4][..padded - bytes.len()]);
            }
        }
        slot.buffer.unmap();
        slot.state.store(BUSY, Ordering::Release);
        self.pending.push((k, to.clone(), padded));
        Ok(())
    }

    fn slot(&mut self, device: &mut Device, size: usize) -> BackendResult<usize> {
        device.pump(false)?;
        loop {
            let fits = |s: &Slot| s.buffer.size() as usize == size;
            if let Some(k) = self.slots.iter().position(|s| fits(s) && s.is(READY)) {
                return Ok(k);
            }
            let held = |k: usize| self.pending.iter().any(|(p, ..)| *p == k);
            let flying = (0..self.slots.len()).filter(|&k| fits(&self.slots[k]) && !held(k)).count();
            let ahead = if size <= PAIRED { 2 } else { 1 };
            if flying < ahead {
                for _ in 0..ahead {
                    let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
                    let buffer = device.buffer("upload", size, usage)?;
                    self.slots.push(Slot { buffer, state: Arc::new(AtomicU8::new(READY)) });
                }
                return Ok(self.slots.len() - 1);
            }
            device.pump(true)?;
            device.check("upload")?;
        }
    }

    /// Encodes the copies.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        for (k, to, bytes) in &self.pending {
            encoder.copy_buffer_to_buffer(&self.slots[*k].buffer, 0, &to.buffer, to.offset, *bytes as u64);
        }
    }

    /// After the submission: the buffers come back when the device has read them.
    pub fn recall(&mut self) {
        for (k, ..) in self.pending.drain(..) {
            let state = self.slots[k].state.clone();
            self.slots[k].buffer.slice(..).map_async(wgpu::MapMode::Write, move |r| mark(&state, r));
        }
    }

    pub fn pending_bytes(&self) -> usize {
        self.pending.iter().map(|p| p.2).sum()
    }
}

/// A read under way.
pub struct Reading {
    buffer: wgpu::Buffer,
    bytes: usize,
    shared: Arc<(AtomicU8, Mutex<Option<Waker>>)>,
}

/// Buffers that values come back in.
#[derive(Default)]
pub struct Download {
    free: Vec<wgpu::Buffer>,
}

impl Download {
    /// Encodes the copy of a buffer's first bytes; [`Reading::map`] follows the submission.
    pub fn start(
        &mut self,
        device: &mut Device,
        encoder: &mut wgpu::CommandEncoder,
        from: &Slice,
        bytes: usize,
    ) -> BackendResult<Reading> {
        let padded = bytes.next_multiple_of(4).max(4);
        let size = padded.max(LEAST).next_power_of_two();
        let buffer = match self.free.iter().position(|b| b.size() as usize == size) {
            Some(k) => self.free.swap_remove(k),
            None => device.buffer("download", size, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?,
        };
        if bytes > 0 {
            encoder.copy_buffer_to_buffer(&from.buffer, from.offset, &buffer, 0, padded as u64);
        }
        Ok(Reading { buffer, bytes, shared: Arc::new((AtomicU8::new(BUSY), Mutex::new(None))) })
    }

    /// Waits for the bytes and takes the buffer back.
    pub async fn finish(&mut self, device: &Device, reading: Reading) -> BackendResult<Vec<u8>> {
        poll_fn(|context| {
            let (state, waker) = &*reading.shared;
            *waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
            if state.load(Ordering::Acquire) == BUSY && !cfg!(target_arch = "wasm32") {
                // Natively nothing else makes progress.
                if let Err(e) = device.pump(true).and_then(|()| device.check("download")) {
                    return Poll::Ready(Err(e));
                }
                context.waker().wake_by_ref();
            }
            match state.load(Ordering::Acquire) {
                READY => Poll::Ready(Ok(())),
                // The cause, if it was reported.
                FAILED => Poll::Ready(device.check("download").and_then(|()| {
                    let lost = BackendError::Lost("a result could not be read back; it may be out of memory".into());
                    device.ended(&lost);
                    Err(lost)
                })),
                _ => Poll::Pending,
            }
        })
        .await?;
        // In a browser an error of the kernels before arrives by now.
        device.check("download")?;
        let run = |message: String| BackendError::Run { kernel: "download".into(), message };
        let view = reading.buffer.slice(..).get_mapped_range().map_err(|e| run(e.to_string()))?;
        let bytes = view[..reading.bytes].to_vec();
        drop(view);
        reading.buffer.unmap();
        self.free.push(reading.buffer);
        Ok(bytes)
    }
}

impl Reading {
    /// After the submission: asks for the bytes.
    pub fn map(&self) {
        let shared = self.shared.clone();
        self.buffer.slice(..).map_async(wgpu::MapMode::Read, move |r| {
            mark(&shared.0, r);
            if let Some(w) = shared.1.lock().unwrap_or_else(PoisonError::into_inner).take() {
                w.wake();
            }
        });
    }
}
