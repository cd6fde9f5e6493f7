//! A value that a widget is given and reads again whenever it changes. Leptos's own `Signal` brings the
//! code of each kind of source into the download for each type of value; here every source is a closure,
//! and all are stored as one type.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use leptos::prelude::{Get, GetValue, Memo, RwSignal, StoredValue, untrack};

type Source<T> = Box<dyn Fn() -> T + Send + Sync>;

/// What [`derived`] gives; also made of a value, a memo or a signal that is written to.
pub struct Signal<T: 'static> {
    source: StoredValue<Arc<dyn Any + Send + Sync>>,
    value: PhantomData<fn() -> T>,
}

impl<T: 'static> Clone for Signal<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: 'static> Copy for Signal<T> {}

/// A value worked out from others each time that it is read.
pub fn derived<T: 'static>(value: impl Fn() -> T + Send + Sync + 'static) -> Signal<T> {
    let source: Source<T> = Box::new(value);
    Signal { source: StoredValue::new(Arc::new(source)), value: PhantomData }
}

impl<T: 'static> Signal<T> {
    pub fn get(self) -> T {
        let source = self.source.get_value();
        source.downcast_ref::<Source<T>>().expect("the type that `derived` stored")()
    }

    pub fn get_untracked(self) -> T {
        untrack(|| self.get())
    }

    pub fn with<U>(self, read: impl FnOnce(&T) -> U) -> U {
        read(&self.get())
    }
}

impl<T: Clone + Send + Sync + 'static> From<T> for Signal<T> {
    fn from(value: T) -> Self {
        derived(move || value.clone())
    }
}

impl<T: Clone + Send + Sync + 'static> From<RwSignal<T>> for Signal<T> {
    fn from(value: RwSignal<T>) -> Self {
        derived(move || value.get())
    }
}

impl<T: Clone + Send + Sync + 'static> From<Memo<T>> for Signal<T> {
    fn from(value: Memo<T>) -> Self {
        derived(move || value.get())
    }
}
