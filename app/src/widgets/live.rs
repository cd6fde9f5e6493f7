//! A scene on the page: feeds in, values out, always the newest. While one run is under way,
//! later changes wait and only the last of them runs, so dragging never queues up.

use std::collections::BTreeMap;

use leptos::task::spawn_local;

use crate::engine::client::{Engine, engine};
use crate::engine::training::{Command, Frozen};
use crate::engine::{NodeInfo, Reply, Request, Values};
use crate::page::Asked;
use crate::prelude::*;
use crate::scenes::Spec;
use compute::sorting::map_of;

/// Outputs of the last run by name.
pub type Outputs = BTreeMap<String, Values>;

/// See the module's introduction.
#[derive(Clone, Copy)]
pub struct Live {
    engine: Engine,
    asked: Asked,
    pub scene: RwSignal<Option<u32>>,
    pub nodes: RwSignal<Vec<NodeInfo>>,
    /// (node, its gradient of the loss)
    pub gradients: RwSignal<Vec<(u32, u32)>>,
    pub outputs: RwSignal<Outputs>,
    pub failed: RwSignal<Option<String>>,
}

/// A feed.
pub fn feed(name: &str, shape: &[usize], data: Vec<f32>) -> Values {
    Values { name: name.into(), shape: shape.to_vec(), data }
}

impl Live {
    /// Opens the scene that `spec` says (again, when it changes or another device computes) and
    /// runs it whenever `feeds` changes.
    pub fn new(
        spec: impl Fn() -> Spec + Send + Sync + 'static,
        feeds: impl Fn() -> Vec<Values> + Send + Sync + 'static,
    ) -> Live {
        let live = Live::empty();
        let engine = live.engine;
        let spec = memo(spec);
        let backend = memo(move || engine.device.get().map(|d| d.backend));
        effect(move || {
            let (spec, Some(_)) = (spec.get(), backend.get()) else { return };
            spawn_local(async move {
                if let Some(old) = live.scene.try_get_untracked().flatten() {
                    live.scene.try_set(None);
                    engine.tell(Request::Close { scene: old });
                }
                match engine.ask(Request::Open(spec)).await {
                    Ok(Reply::Opened { scene, nodes, gradients }) => {
                        live.gradients.try_set(gradients);
                        if live.nodes.try_set(nodes).is_some() {
                            // The widget is gone.
                            return engine.tell(Request::Close { scene });
                        }
                        live.failed.try_set(None);
                        live.scene.try_set(Some(scene));
                    }
                    Ok(_) => {
                        live.failed.try_set(Some("an answer to another question".into()));
                    }
                    Err(e) => {
                        live.failed.try_set(Some(e));
                    }
                }
            });
        });
        let (busy, pending) = (StoredValue::new(false), StoredValue::new(None::<Vec<Values>>));
        effect(move || {
            let feeds = feeds();
            if live.scene.get().is_none() {
                return;
            }
            pending.set_value(Some(feeds));
            if !busy.get_value() {
                busy.set_value(true);
                spawn_local(async move {
                    while let Some(Some(feeds)) = pending.try_update_value(Option::take) {
                        live.run(feeds).await;
                    }
                    busy.try_update_value(|b| *b = false);
                });
            }
        });
        live
    }

    /// A scene to come: the engine opens it by another way, and [`Live::adopt`] takes it.
    pub fn empty() -> Live {
        let engine = engine();
        let live = Live {
            engine,
            asked: expect_context(),
            scene: RwSignal::new(None),
            nodes: RwSignal::new(vec![]),
            gradients: RwSignal::new(vec![]),
            outputs: RwSignal::new(Outputs::new()),
            failed: RwSignal::new(None),
        };
        on_cleanup(move || {
            if let Some(Some(scene)) = live.scene.try_get_untracked() {
                engine.tell(Request::Close { scene });
            }
        });
        live
    }

    /// Opens a scene on the run as it stands, runs it, and shows it in place of the one before.
    pub async fn freeze(self, what: Frozen) {
        match self.engine.ask(Request::Train(Command::Freeze(what))).await {
            Ok(Reply::Opened { scene, nodes, gradients }) => {
                if let Some(old) = self.scene.try_get_untracked().flatten() {
                    self.engine.tell(Request::Close { scene: old });
                }
                if self.nodes.try_set(nodes).is_some() {
                    return self.engine.tell(Request::Close { scene });
                }
                self.gradients.try_set(gradients);
                self.scene.try_set(Some(scene));
                self.run(vec![]).await;
            }
            Ok(_) => {}
            Err(e) => {
                self.failed.try_set(Some(e));
            }
        }
    }

    /// Writes leaves and runs.
    pub async fn run(self, feeds: Vec<Values>) {
        let Some(Some(scene)) = self.scene.try_get_untracked() else { return };
        match self.engine.ask(Request::Run { scene, feeds }).await {
            Ok(Reply::Values { values, .. }) => {
                let map = map_of(values.into_iter().map(|v| (v.name.clone(), v)));
                self.outputs.try_set(map);
                self.failed.try_set(None);
                self.asked.fresh.try_update(|n| *n += 1);
            }
            Ok(_) => {}
            Err(e) => {
                self.failed.try_set(Some(e));
            }
        }
    }

    /// An output's elements; empty until the first run.
    pub fn get(self, name: &str) -> Vec<f32> {
        self.outputs.with(|o| o.get(name).map(|v| v.data.clone()).unwrap_or_default())
    }

    /// A single number.
    pub fn one(self, name: &str) -> Option<f32> {
        self.outputs.with(|o| o.get(name).and_then(|v| v.data.first().copied()))
    }

    /// The node of that name: the last one, if several are called so.
    pub fn node(self, name: &str) -> Option<NodeInfo> {
        self.nodes.with(|all| all.iter().rev().find(|n| n.name == name).cloned())
    }

    /// Asks where an element of a named node comes from.
    pub fn ask(self, name: &str, index: Vec<usize>) {
        if let Some(node) = untrack(|| self.node(name)) {
            self.ask_node(node.id, name, index);
        }
    }

    /// The same by the node's number.
    pub fn ask_node(self, node: u32, name: &str, index: Vec<usize>) {
        if let Some(scene) = self.scene.get_untracked() {
            self.asked.ask(scene, node, name, index);
        }
    }
}
