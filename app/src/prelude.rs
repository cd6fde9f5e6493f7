//! What the page takes from Leptos, with its own spelling of what is written most.
//!
//! Leptos is generic over every closure and every element, so each use brings a copy of the code around
//! it into the download. Here a closure is boxed and a view has one type before Leptos sees them: one
//! copy for each type of value is enough. (A closure written out in the markup is boxed by Leptos itself, so
//! `{move || text()}` stands there even where `{text}` would do.)

use leptos::either::Either;
pub use leptos::prelude::*;

pub use crate::signal::{Signal, derived};

/// Leptos's `view!`, as a view of one type.
macro_rules! view {
    ($($markup:tt)*) => {
        ::leptos::prelude::IntoAny::into_any(::leptos::prelude::view! { $($markup)* }.into_inner())
    };
}
pub(crate) use view;

/// Runs `work` soon, and again whenever what it reads changes.
pub fn effect(work: impl FnMut() + 'static) {
    fn start(mut work: Box<dyn FnMut()>) {
        Effect::new(move |_| work());
    }
    start(Box::new(work));
}

/// A value worked out from others; who reads it runs again only when it differs.
pub fn memo<T>(value: impl Fn() -> T + Send + Sync + 'static) -> Memo<T>
where
    T: PartialEq + Send + Sync + 'static,
{
    fn start<T: PartialEq + Send + Sync + 'static>(value: Box<dyn Fn() -> T + Send + Sync>) -> Memo<T> {
        Memo::new(move |_| value())
    }
    start(Box::new(value))
}

/// Its children while `when` holds, else `fallback`.
#[component(transparent)]
pub fn Show(
    when: impl Fn() -> bool + Send + Sync + 'static,
    children: ChildrenFn,
    #[prop(optional, into)] fallback: ViewFn,
) -> impl IntoView {
    fn either(when: Memo<bool>, children: ChildrenFn, fallback: ViewFn) -> AnyView {
        let either = move || match when.get() {
            true => Either::Left(children()),
            false => Either::Right(fallback.run()),
        };
        either.into_any()
    }
    either(memo(when), children, fallback)
}
