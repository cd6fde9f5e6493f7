//! The page of Chainrule. One wasm module is both sides: in a window it shows the page, in a web
//! worker it is the engine.

mod engine;
mod lessons;
mod page;
mod prelude;
mod scenes;
mod signal;
mod widgets;

/// Starts the side that this is.
pub fn start() {
    // Without it a panic says no more than `unreachable`.
    std::panic::set_hook(Box::new(|panic| web_sys::console::error_1(&panic.to_string().into())));
    if js_sys::global().is_instance_of_window() {
        page::mount();
    } else {
        engine::worker::start();
    }
}

/// Whether a global object is a page's.
trait Global {
    fn is_instance_of_window(&self) -> bool;
}

impl Global for js_sys::Object {
    fn is_instance_of_window(&self) -> bool {
        use wasm_bindgen::JsCast;
        self.is_instance_of::<web_sys::Window>()
    }
}
