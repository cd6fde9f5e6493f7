//! The worker's side: takes requests one after the other and answers each.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use compute::backend::gpu::tune::Choices;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen_futures::spawn_local;
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use super::client::EVENT;
use super::device::{Devices, find};
use super::run::{self, Run};
use super::scene::Live;
use super::training::{Command, Notice};
use super::{Choice, FileData, Reply, Request, data, envelope, kernels};

/// Everything the worker holds.
struct State {
    devices: Devices,
    choice: Choice,
    scenes: BTreeMap<u32, Live>,
    next: u32,
    steps: u64,
    run: Option<Run>,
    /// Runs opened so far.
    runs: u32,
    /// The reader's pictures, for the data set `folder`.
    pictures: Vec<FileData>,
    /// Checkpoints also go to the browser's storage.
    keep: bool,
    /// Tilings that runs of this page measured.
    known: Choices,
    /// When the page last heard of the run.
    told_ms: f64,
}

/// What a run begins with.
#[derive(Clone)]
enum Begin {
    Recipe { name: String, recipe: String, changes: Vec<String> },
    Folder { name: String, files: Vec<FileData> },
}

/// The page hears of a run at most this often.
const REPORT_MS: f64 = 100.0;

/// Requests in the order of their coming.
type Queue = Rc<RefCell<VecDeque<(u32, Request)>>>;

fn scope() -> Option<DedicatedWorkerGlobalScope> {
    js_sys::global().dyn_into().ok()
}

fn send(id: u32, mut reply: Reply) {
    let loads = super::take_all(reply.heavy());
    let Some(scope) = scope() else { return };
    let sent = envelope::pack(id, &reply, loads).and_then(|(message, transfer)| {
        scope.post_message_with_transfer(&message, &transfer).map_err(|e| format!("{e:?}"))
    });
    if let Err(e) = sent {
        web_sys::console::error_1(&e.into());
    }
}

/// Starts answering. The first message out says what computes.
pub fn start() {
    let queue = Queue::default();
    let busy = Rc::new(RefCell::new(true));
    let state = Rc::new(RefCell::new(None::<State>));
    let receive = {
        let (queue, busy, state) = (queue.clone(), busy.clone(), state.clone());
        Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
            match envelope::unpack::<Request>(&event.data()) {
                Ok((id, mut request, loads)) => {
                    super::put_all(request.heavy(), loads);
                    queue.borrow_mut().push_back((id, request));
                    drain(queue.clone(), busy.clone(), state.clone());
                }
                Err(e) => send(EVENT, Reply::Failed(e)),
            }
        })
    };
    if let Some(scope) = scope() {
        scope.set_onmessage(Some(receive.as_ref().unchecked_ref()));
        receive.forget();
    }
    spawn_local(async move {
        let devices = find().await;
        send(EVENT, Reply::Device(devices.describe(Choice::Auto)));
        let fresh = State {
            devices,
            choice: Choice::Auto,
            scenes: BTreeMap::new(),
            next: 1,
            steps: 0,
            run: None,
            runs: 0,
            pictures: vec![],
            keep: false,
            known: Choices::default(),
            told_ms: 0.0,
        };
        *state.borrow_mut() = Some(fresh);
        *busy.borrow_mut() = false;
        drain(queue, busy, state);
    });
}

/// Answers what waits and trains in between, unless that is already under way.
fn drain(queue: Queue, busy: Rc<RefCell<bool>>, state: Rc<RefCell<Option<State>>>) {
    if busy.replace(true) {
        return;
    }
    spawn_local(async move {
        // The state is out while an answer is under way: nobody else needs it.
        let Some(mut s) = state.borrow_mut().take() else { return };
        loop {
            let next = queue.borrow_mut().pop_front();
            if let Some((id, request)) = next {
                let reply = s.answer(request).await.unwrap_or_else(Reply::Failed);
                send(id, reply);
            } else if s.run.as_ref().is_some_and(Run::busy) {
                s.train().await;
                breathe().await;
            } else {
                break;
            }
        }
        *state.borrow_mut() = Some(s);
        busy.replace(false);
    });
}

/// Lets messages in: they come as tasks of their own.
async fn breathe() {
    let mut wait = |resolve: js_sys::Function, _| {
        if let Some(scope) = scope() {
            // Without a timer the promise stays open and training waits; no browser is like that.
            let _ = scope.set_timeout_with_callback(&resolve);
        }
    };
    let _ = wasm_bindgen_futures::JsFuture::from(js_sys::Promise::new(&mut wait)).await;
}

impl State {
    fn scene(&mut self, id: u32) -> Result<&mut Live, String> {
        self.scenes.get_mut(&id).ok_or_else(|| format!("there is no scene {id}"))
    }

    fn run(&mut self) -> Result<&mut Run, String> {
        self.run.as_mut().ok_or_else(|| "no run is open".into())
    }

    fn open(&mut self, live: Live) -> Reply {
        let (scene, nodes) = (self.next, live.infos());
        let gradients = live.scene.gradients.iter().map(|(n, d)| (n.0, d.0)).collect();
        self.next += 1;
        self.scenes.insert(scene, live);
        Reply::Opened { scene, nodes, gradients }
    }

    /// A slice of training, and a report now and then.
    async fn train(&mut self) {
        let failed = match self.slice().await {
            Ok(()) => return,
            Err(e) => self.recover(e).await,
        };
        if let Err(e) = failed {
            if let Some(run) = &mut self.run {
                run.pause();
            }
            send(EVENT, Reply::Failed(e));
        }
    }

    /// After an error: if the device failed, the run goes on with a new one from its last checkpoint; on
    /// the CPU if that fails too, or has failed before. Errors: what else went wrong.
    async fn recover(&mut self, why: String) -> Result<(), String> {
        // The browser tells of a lost device by a message of its own.
        breathe().await;
        let run = self.run()?;
        if !run.is_lost() {
            return Err(why);
        }
        run.failures += 1;
        let choices = if run.failures > 1 { vec![Choice::Cpu] } else { vec![self.choice, Choice::Cpu] };
        let mut last = why.clone();
        for choice in choices {
            let moved = match self.devices.session(choice).await {
                Ok(session) => self.run()?.move_to(session, Some(&why)).await,
                Err(e) => Err(e),
            };
            match moved {
                Ok(()) if choice == self.choice => return Ok(()),
                Ok(()) => {
                    self.choice = choice;
                    send(EVENT, Reply::Device(self.devices.describe(choice)));
                    return Ok(());
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Puts a run in place of the present one. What a GPU cannot hold, the CPU may: then a notice says so.
    async fn begin(&mut self, what: Begin) -> Result<(), String> {
        self.runs += 1;
        if let Some(run) = &self.run {
            self.known.extend(&run.tuning.found);
        }
        // What is opened keeps the tilings that it has; a new run may look for better ones.
        let real = self.devices.on_gpu(self.choice) && !self.devices.software;
        let untried = real && matches!(what, Begin::Recipe { .. });
        let (mut choice, mut failed) = (self.choice, None);
        let mut run = loop {
            let mut session = self.devices.session(choice).await?;
            if let Some(gpu) = session.gpu() {
                gpu.set_choices(self.known.clone());
            }
            let opened = match what.clone() {
                Begin::Recipe { name, recipe, changes } => {
                    Run::open(session, self.runs, &name, &recipe, &changes, &self.pictures).await
                }
                Begin::Folder { name, files } => Run::resume(session, self.runs, &name, files, &self.pictures).await,
            };
            match opened {
                Ok(run) => break run,
                Err(why) if self.devices.on_gpu(choice) => (choice, failed) = (Choice::Cpu, Some(why)),
                Err(why) => return Err(why),
            }
        };
        failed.into_iter().for_each(|why| run.notice(Notice::Fallback { why }));
        (run.keep, run.tuning.untried) = (self.keep, untried);
        self.run = Some(run);
        Ok(())
    }

    async fn slice(&mut self) -> Result<(), String> {
        let now = kernels::now_ms();
        let run = self.run()?;
        let before = run.steps();
        run.slice().await?;
        let (taken, busy) = (run.steps().saturating_sub(before), run.busy());
        self.steps += taken as u64;
        if now - self.told_ms < REPORT_MS && busy {
            return Ok(());
        }
        self.told_ms = now;
        self.tell().await
    }

    /// Tells the page how the run stands.
    async fn tell(&mut self) -> Result<(), String> {
        let report = self.run()?.report().await?;
        send(EVENT, Reply::Training(Box::new(report)));
        Ok(())
    }

    async fn command(&mut self, command: Command) -> Result<Reply, String> {
        let (mut extra, mut scores) = (vec![], None);
        match command {
            Command::Open { name, recipe, changes } => self.begin(Begin::Recipe { name, recipe, changes }).await?,
            Command::OpenRun { name, files } => self.begin(Begin::Folder { name, files }).await?,
            Command::OpenKept => {
                let file = run::kept(true).await?;
                if file.name.is_empty() {
                    return Err("no run is kept in this browser".into());
                }
                let files = vec![FileData { name: "run.zip".into(), bytes: file.bytes }];
                self.begin(Begin::Folder { name: file.name, files }).await?;
            }
            Command::LoadWeights(file) => self.run()?.set_weights(&file)?,
            Command::Pictures(files) => {
                let found = data::look(&files)?;
                self.pictures = files;
                return Ok(Reply::Folder(found));
            }
            Command::Histograms => return Ok(Reply::Histograms(self.run()?.histograms().await?)),
            Command::SaveRun => return Ok(Reply::File(self.run()?.archive().await?)),
            Command::SaveWeights => return Ok(Reply::File(self.run()?.weights_file().await?)),
            Command::Keep(keep) => {
                self.keep = keep;
                if let Some(run) = &mut self.run {
                    run.keep = keep;
                    if keep {
                        run.checkpoint().await?;
                    }
                }
                return Ok(Reply::Closed);
            }
            Command::Kept => return Ok(Reply::File(run::kept(false).await?)),
            Command::Forget => {
                run::forget().await?;
                return Ok(Reply::Closed);
            }
            Command::Start => self.run()?.start(),
            Command::Pause => {
                let run = self.run()?;
                run.pause();
                run.measure(false)?;
            }
            Command::Measure(on) => self.run()?.measure(on)?,
            Command::Step(n) => {
                let run = self.run()?;
                run.pause();
                run.advance(Some(n)).await?;
                self.steps += n as u64;
            }
            Command::Extend => self.run()?.extend(),
            Command::Rate(rate) => self.run()?.set_rate(rate),
            Command::Reset => self.run()?.reset()?,
            Command::Evaluate => scores = Some(self.run()?.scores().await?),
            Command::Images(which) => extra = self.run()?.images(&which)?,
            Command::Freeze(what) => {
                let scene = self.run()?.freeze(&what).await?;
                let session = self.devices.session(self.choice).await?;
                return Ok(self.open(Live::open(scene, session)?));
            }
        }
        let mut report = self.run()?.report().await?;
        report.scores = scores.or(report.scores);
        report.tensors.extend(extra);
        Ok(Reply::Training(Box::new(report)))
    }

    /// Answers; where a scene's device has failed, once more on a new one.
    async fn answer(&mut self, request: Request) -> Result<Reply, String> {
        let (scene, again) = (request.scene(), request.clone());
        let first = self.reply(request).await;
        let (Err(why), Some(id)) = (&first, scene) else { return first };
        breathe().await;
        if self.scene(id)?.session.fault().is_none() {
            return first;
        }
        let session = match self.devices.session(self.choice).await {
            Ok(session) => session,
            Err(_) => self.devices.session(Choice::Cpu).await?,
        };
        self.scene(id)?.renew(session).map_err(|e| format!("{why}; {e}"))?;
        self.reply(again).await
    }

    async fn reply(&mut self, request: Request) -> Result<Reply, String> {
        match request {
            Request::Use(choice) => {
                if choice == Choice::Gpu && self.devices.adapter.is_none() {
                    return Err("this browser offers no WebGPU adapter".into());
                }
                self.choice = choice;
                if self.run.is_some() {
                    let session = self.devices.session(choice).await?;
                    self.run()?.move_to(session, None).await?;
                    self.tell().await?;
                }
                Ok(Reply::Device(self.devices.describe(choice)))
            }
            Request::Open(spec) => {
                let session = self.devices.session(self.choice).await?;
                Ok(self.open(Live::open(spec.build()?, session)?))
            }
            Request::Run { scene, feeds } => {
                let values = self.scene(scene)?.run(feeds).await?;
                self.steps += 1;
                Ok(Reply::Values { values, steps: self.steps })
            }
            Request::Inspect { scene, nodes } => {
                let values = self.scene(scene)?.inspect(&nodes).await?;
                self.steps += 1;
                Ok(Reply::Values { values, steps: self.steps })
            }
            Request::Explain { scene, node, index } => {
                Ok(Reply::Derivation(Box::new(self.scene(scene)?.explain(node, &index).await?)))
            }
            Request::Slopes { scene, node, index, steps, single } => {
                let (analytic, slopes) = self.scene(scene)?.slopes(node, &index, &steps, single).await?;
                self.steps += 2 * steps.len() as u64;
                Ok(Reply::Slopes { analytic, slopes })
            }
            Request::Kernels { scene } => {
                let live = self.scenes.get(&scene).ok_or_else(|| format!("there is no scene {scene}"))?;
                Ok(Reply::Kernels(kernels::list(live, &self.devices)?))
            }
            Request::Time { scene, kernel, form, code } => {
                let (devices, choice) = (self.devices.clone(), self.choice);
                let timing = kernels::time(self.scene(scene)?, &devices, choice, kernel, form, code).await?;
                Ok(Reply::Timed(timing))
            }
            Request::Train(command) => self.command(command).await,
            Request::Image(k) => Ok(Reply::Values { values: vec![data::image(k as usize).await?], steps: self.steps }),
            Request::Close { scene } => {
                self.scenes.remove(&scene);
                Ok(Reply::Closed)
            }
        }
    }
}
