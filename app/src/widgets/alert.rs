//! What went wrong, in a sentence; nothing while nothing did.

use crate::prelude::*;

/// Shows the sentence in its place as long as there is one.
pub fn alert(trouble: impl Into<Signal<Option<String>>>) -> impl IntoView {
    let trouble = trouble.into();
    move || trouble.get().map(|e| view! { <p role="alert">{e}</p> })
}
