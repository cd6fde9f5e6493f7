//! Work for the newest input only: while one answer is under way, later inputs wait and all but the
//! last of them are dropped, so dragging never queues up.

use std::future::Future;
use std::rc::Rc;

use leptos::task::spawn_local;

use crate::prelude::*;

/// Runs `work` on what `source` gives, again whenever it changes; `None` asks for nothing.
pub fn latest<T, F>(source: impl Fn() -> Option<T> + 'static, work: impl Fn(T) -> F + 'static)
where
    T: 'static,
    F: Future<Output = ()> + 'static,
{
    let (busy, pending) = (StoredValue::new_local(false), StoredValue::new_local(None::<T>));
    let work = Rc::new(work);
    effect(move || {
        let Some(input) = source() else { return };
        pending.set_value(Some(input));
        if busy.get_value() {
            return;
        }
        busy.set_value(true);
        let work = work.clone();
        spawn_local(async move {
            while let Some(Some(input)) = pending.try_update_value(Option::take) {
                work(input).await;
            }
            // A widget that is gone meanwhile waits for nothing.
            busy.try_update_value(|b| *b = false);
        });
    });
}
