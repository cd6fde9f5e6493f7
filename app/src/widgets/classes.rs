//! The names of the classes of the data sets that come with the page, in the reader's language. The
//! reader's own classes keep their names.

use crate::page::lang::{Lang, lang};

const CHINESE: [(&str, &str); 23] = [
    ("T-shirt/top", "T 恤"),
    ("Trouser", "裤子"),
    ("Pullover", "套头衫"),
    ("Dress", "连衣裙"),
    ("Coat", "外套"),
    ("Sandal", "凉鞋"),
    ("Shirt", "衬衫"),
    ("Sneaker", "运动鞋"),
    ("Bag", "包"),
    ("Ankle boot", "短靴"),
    ("airplane", "飞机"),
    ("automobile", "汽车"),
    ("bird", "鸟"),
    ("cat", "猫"),
    ("deer", "鹿"),
    ("dog", "狗"),
    ("frog", "青蛙"),
    ("horse", "马"),
    ("ship", "船"),
    ("truck", "卡车"),
    ("Platelets", "血小板"),
    ("RBC", "红细胞"),
    ("WBC", "白细胞"),
];

/// A class as the page calls it; follows the language.
pub fn class_name(name: &str) -> String {
    let known = CHINESE.iter().find(|(en, _)| *en == name);
    match (lang(), known) {
        (Lang::Zh, Some((_, zh))) => (*zh).into(),
        _ => name.into(),
    }
}
