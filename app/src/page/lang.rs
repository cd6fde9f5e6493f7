//! The two languages of the page. A text is a pair, English and Chinese, side by side where it is
//! used, so that none can be missing: the compiler checks it. (Chapters are files of their own,
//! see `prose`.) Switching changes signals and nothing else, so all state stays.

use web_sys::window;

use crate::prelude::*;

/// English or Chinese.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    En,
    Zh,
}

impl Lang {
    pub fn code(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Zh => "zh",
        }
    }

    /// What `lang` attributes say.
    pub fn tag(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Zh => "zh-CN",
        }
    }

    pub fn of(code: &str) -> Option<Lang> {
        [Lang::En, Lang::Zh].into_iter().find(|l| l.code() == code)
    }

    pub fn other(self) -> Lang {
        match self {
            Lang::En => Lang::Zh,
            Lang::Zh => Lang::En,
        }
    }

    pub fn pick<T>(self, en: T, zh: T) -> T {
        match self {
            Lang::En => en,
            Lang::Zh => zh,
        }
    }
}

/// The language of the page.
#[derive(Clone, Copy)]
pub struct Language(pub RwSignal<Lang>);

/// Where the choice is remembered.
const KEY: &str = "chainrule.lang";

fn storage() -> Option<web_sys::Storage> {
    window()?.local_storage().ok()?
}

/// A remembered choice.
pub fn remembered(key: &str) -> Option<String> {
    storage()?.get_item(key).ok()?
}

/// Remembers a choice; where storage is forbidden the page forgets it.
pub fn remember(key: &str, value: &str) {
    if let Some(s) = storage() {
        let _ = s.set_item(key, value);
    }
}

impl Language {
    /// The address's language, else the remembered one, else the browser's.
    pub fn start() -> Language {
        let asked = super::route::query("lang").and_then(|c| Lang::of(&c));
        let kept = remembered(KEY).and_then(|c| Lang::of(&c));
        let browser = window().and_then(|w| w.navigator().language()).unwrap_or_default();
        let guess = if browser.to_lowercase().starts_with("zh") { Lang::Zh } else { Lang::En };
        let lang = RwSignal::new(asked.or(kept).unwrap_or(guess));
        effect(move || {
            if let Some(root) = document().document_element() {
                let _ = root.set_attribute("lang", lang.get().tag());
            }
        });
        Language(lang)
    }

    pub fn set(self, lang: Lang) {
        self.0.set(lang);
        remember(KEY, lang.code());
    }
}

/// The present language.
pub fn lang() -> Lang {
    expect_context::<Language>().0.get()
}

/// A text in the language of the page.
pub fn t(en: &'static str, zh: &'static str) -> impl Fn() -> &'static str + Copy + Send + Sync + 'static {
    let language = expect_context::<Language>();
    move || language.0.get().pick(en, zh)
}

/// [`t`] as a signal, for widgets whose words may also be made while the page runs.
pub fn words(en: &'static str, zh: &'static str) -> Signal<String> {
    let text = t(en, zh);
    derived(move || text().to_string())
}
