//! The page's side of the engine: requests out, answers in as futures, events to whoever listens.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_channel::oneshot;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{MessageEvent, Worker, WorkerOptions, WorkerType};

use super::{Choice, Device, Reply, Request, envelope};
use crate::prelude::*;

/// The worker and what it was asked.
struct Inner {
    worker: Worker,
    next: Cell<u32>,
    waiting: RefCell<BTreeMap<u32, oneshot::Sender<Reply>>>,
    listener: RefCell<Option<Box<dyn Fn(Reply)>>>,
}

/// The engine, as the page knows it. One for the whole page.
#[derive(Clone, Copy)]
pub struct Engine {
    inner: StoredValue<Rc<Inner>, LocalStorage>,
    /// What computes; `None` until the engine has said so.
    pub device: RwSignal<Option<Device>>,
    /// Session steps so far.
    pub steps: RwSignal<u64>,
    /// The engine is gone: why.
    pub lost: RwSignal<Option<String>>,
}

/// Envelope number of what the engine says unasked.
pub const EVENT: u32 = 0;

impl Engine {
    /// Starts the worker. `script` and `wasm` are this module's own files.
    pub fn start(script: &str, wasm: &str) -> Result<Engine, JsValue> {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        options.set_name(&format!("{script} {wasm}"));
        let worker = Worker::new_with_options("boot.js", &options)?;
        let inner = Rc::new(Inner {
            worker,
            next: Cell::new(EVENT + 1),
            waiting: RefCell::default(),
            listener: RefCell::default(),
        });
        let engine = Engine {
            inner: StoredValue::new_local(inner.clone()),
            device: RwSignal::new(None),
            steps: RwSignal::new(0),
            lost: RwSignal::new(None),
        };
        let receive = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| engine.receive(&event.data()));
        inner.worker.set_onmessage(Some(receive.as_ref().unchecked_ref()));
        receive.forget();
        let fail = Closure::<dyn Fn(web_sys::ErrorEvent)>::new(move |event: web_sys::ErrorEvent| {
            engine.lost.set(Some(event.message()));
        });
        inner.worker.set_onerror(Some(fail.as_ref().unchecked_ref()));
        fail.forget();
        Ok(engine)
    }

    fn receive(self, data: &JsValue) {
        let (id, mut reply, loads) = match envelope::unpack::<Reply>(data) {
            Ok(message) => message,
            Err(e) => return self.lost.set(Some(e)),
        };
        super::put_all(reply.heavy(), loads);
        if let Reply::Values { steps, .. } = &reply {
            self.steps.set(*steps);
        }
        if let Reply::Device(d) = &reply {
            self.device.set(Some(d.clone()));
        }
        let inner = self.inner.get_value();
        if id != EVENT {
            let waiting = inner.waiting.borrow_mut().remove(&id);
            if let Some(sender) = waiting {
                // Nobody may be left to hear it: a widget that is gone.
                let _ = sender.send(reply);
            }
        } else if let Some(listener) = &*inner.listener.borrow() {
            listener(reply);
        }
    }

    /// Who hears what the engine says unasked: the progress of training.
    pub fn listen(self, listener: impl Fn(Reply) + 'static) {
        *self.inner.get_value().listener.borrow_mut() = Some(Box::new(listener));
    }

    /// Asks and waits. Errors: what the engine says went wrong.
    pub async fn ask(self, mut request: Request) -> Result<Reply, String> {
        let inner = self.inner.get_value();
        let id = inner.next.get();
        inner.next.set(id.wrapping_add(1).max(EVENT + 1));
        let loads = super::take_all(request.heavy());
        let (message, transfer) = envelope::pack(id, &request, loads)?;
        let (sender, receiver) = oneshot::channel();
        inner.waiting.borrow_mut().insert(id, sender);
        let failed = |e: JsValue| format!("{e:?}");
        inner.worker.post_message_with_transfer(&message, &transfer).map_err(failed)?;
        match receiver.await {
            Ok(Reply::Failed(e)) => Err(e),
            Ok(reply) => Ok(reply),
            Err(_) => Err("the engine stopped".into()),
        }
    }

    /// Sends without waiting for the answer.
    pub fn tell(self, request: Request) {
        wasm_bindgen_futures::spawn_local(async move {
            // What fails without anyone waiting is shown where it matters: by the next answer.
            let _ = self.ask(request).await;
        });
    }

    /// Computes elsewhere from now on.
    pub async fn choose(self, choice: Choice) -> Result<(), String> {
        self.ask(Request::Use(choice)).await.map(|_| ())
    }
}

/// The engine of this page.
pub fn engine() -> Engine {
    expect_context()
}
