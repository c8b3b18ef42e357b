//! A registry in memory, which several simulated engines may share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::script::ImageScript;
use crate::name::Digest;
use crate::name::image::ImageRef;

/// Clones are the same registry.
#[derive(Debug, Clone, Default)]
pub struct MemoryRegistry(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    pushes: u64,
    /// `repository:tag` → `repository@sha256:…`.
    tags: BTreeMap<String, String>,
    /// By `repository@sha256:…`.
    images: BTreeMap<String, ImageScript>,
}

impl MemoryRegistry {
    /// Puts an image under a tag; a second push of the same tag makes it mean the second image. Gives
    /// `repository@sha256:…`.
    ///
    /// # Panics
    /// When the text is not an image reference.
    pub fn push(&self, text: &str, script: ImageScript) -> String {
        let image = ImageRef::new(text).expect("a pushed image has a valid reference");
        let mut contents = self.0.lock().expect("nothing panics while it holds the registry");
        contents.pushes += 1;
        let digest = Digest::of(format!("{text} {}", contents.pushes).as_bytes());
        let reference = format!("{}@sha256:{digest}", image.repository());
        contents.tags.insert(tagged(&image), reference.clone());
        contents.images.insert(reference.clone(), script);
        reference
    }

    /// What the text means now: `repository@sha256:…`.
    pub fn resolve(&self, image: &ImageRef) -> Option<String> {
        let contents = self.0.lock().expect("nothing panics while it holds the registry");
        match image.digest() {
            Some(digest) => {
                let reference = format!("{}@{digest}", image.repository());
                contents.images.contains_key(&reference).then_some(reference)
            }
            None => contents.tags.get(&tagged(image)).cloned(),
        }
    }

    /// The image of a `repository@sha256:…`.
    pub fn image(&self, reference: &str) -> Option<ImageScript> {
        let contents = self.0.lock().expect("nothing panics while it holds the registry");
        contents.images.get(reference).cloned()
    }
}

/// `repository:tag`, with the tag that engines assume.
pub fn tagged(image: &ImageRef) -> String {
    format!("{}:{}", image.repository(), image.tag().unwrap_or("latest"))
}
