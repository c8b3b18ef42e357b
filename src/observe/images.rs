//! Finds out what image texts mean: the second half of observing.
//!
//! Resolution is sticky: what the record says of a text is kept, and asked again only for a new text, or at a new
//! revision of a stack whose service says `pullPolicy: always`.
//!
//! Never lets one text mean two digests on two hosts of a stack: the first host, in name order, that knows it by a
//! registry's digest decides for all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::{Engine, EngineError, Engines, ImageDetail, Logins};
use crate::model::mapping::Mapping;
use crate::model::record::{InstanceRecord, Ledger, Record};
use crate::model::request::ResolvedImage;
use crate::model::stack::{PullPolicy, Service, Stack};
use crate::model::world::{ContainerSeen, EngineView, Health, HostView, ImageView, Ours, Presence, World};
use crate::name::image::ImageRef;
use crate::name::{Digest, HostName, InstanceId, Revision, StackSlug};
use crate::plan::health::engine_check;
use crate::plan::memo::{Images, Memo};
use crate::plan::want::Want;

/// What has to be known about one text of one stack.
#[derive(Debug, Default)]
struct Need {
    hosts: BTreeSet<HostName>,
    /// What the record says, by host.
    recorded: BTreeMap<HostName, ResolvedImage>,
    /// A container that was made from it on that host and still exists.
    in_use: BTreeMap<HostName, InUse>,
    /// Where a service needs it that declares no check for the engine: there it matters whether the image brings one.
    unchecked: BTreeSet<HostName>,
    never_pull: bool,
    ask_again: bool,
}

/// What a container tells of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InUse {
    BringsCheck,
    BringsNone,
    /// Its service declares a check, which hides the image's own.
    Hidden,
}

impl Need {
    /// Whether the image is on the host and brings a check, if containers tell.
    fn told(&self, host: &HostName) -> Option<bool> {
        match self.in_use.get(host)? {
            InUse::BringsCheck => Some(true),
            InUse::BringsNone => Some(false),
            InUse::Hidden if self.unchecked.contains(host) => None,
            InUse::Hidden => Some(false),
        }
    }

    /// A registry's digest that the record has for the text: it counts on all hosts.
    fn sticky(&self) -> Option<&ResolvedImage> {
        if self.ask_again {
            return None;
        }
        self.recorded.values().find(|image| matches!(image, ResolvedImage::Registry(_)))
    }

    /// What the text means on every host, if records and containers tell it all.
    fn answer(&self) -> Option<BTreeMap<HostName, ImageView>> {
        if self.ask_again {
            return None;
        }
        let sticky = self.sticky();
        let view = |host: &HostName| {
            let image = self.recorded.get(host).filter(|image| sticky.is_none_or(|sticky| sticky == *image))?.clone();
            Some(ImageView::Resolved { image, presence: Presence::OnHost, has_health_check: self.told(host)? })
        };
        self.hosts.iter().map(|host| Some((host.clone(), view(host)?))).collect()
    }
}

/// What images are resolved from.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub wants: &'a BTreeMap<StackSlug, Want>,
    pub mapping: &'a Mapping,
    pub ledger: &'a Ledger,
    pub owner: &'a str,
    pub engines: &'a Engines,
    pub logins: &'a Logins,
}

/// How long a registry that did not answer is not asked again for the same image.
const NOT_AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// Images for which a registry did not answer in time, with what was said and when. Each question holds up a whole pass.
#[derive(Debug, Default)]
pub struct Unanswered(BTreeMap<ImageRef, (Instant, String)>);

impl Unanswered {
    fn told(&self, text: &ImageRef) -> Option<String> {
        let (at, why) = self.0.get(text)?;
        (at.elapsed() < NOT_AGAIN_WITHIN).then(|| why.clone())
    }
}

/// Fills in the world's images for every placed instance whose host was seen.
pub async fn resolve(question: &Question<'_>, world: &mut World, memo: &mut Memo, unanswered: &mut Unanswered) {
    let (mut images, needs) = tell(question, world, memo);
    debug_assert_eq!(images, tell(question, world, &mut Memo::default()).0, "what is known must be what would be told");
    // Registries are slow and hosts many: all texts side by side.
    let asked = needs.iter().map(|((slug, text), need)| async {
        let known = unanswered.told(text);
        let (views, silence) = resolve_text(question, world, text, need, known).await;
        let silence = silence.map(|why| (text.clone(), (Instant::now(), why)));
        (((slug.clone(), text.to_string()), views), silence)
    });
    let (views, silent): (Vec<_>, Vec<_>) = futures_util::future::join_all(asked).await.into_iter().unzip();
    images.extend(views);
    world.images = images;
    unanswered.0.retain(|_, (at, _)| at.elapsed() < NOT_AGAIN_WITHIN);
    unanswered.0.extend(silent.into_iter().flatten());
}

type Told = BTreeMap<(StackSlug, String), BTreeMap<HostName, ImageView>>;
type Needs = BTreeMap<(StackSlug, ImageRef), Need>;

/// What records and containers tell without a question to anybody, and the texts for which they do not.
fn tell(question: &Question<'_>, world: &World, memo: &mut Memo) -> (Told, Needs) {
    let (mut told, mut open) = (Told::new(), Needs::new());
    let mut unknown = BTreeMap::new();
    for (slug, want) in question.wants {
        let Want::Stack { stack, revision, .. } = want else { continue };
        match memo.images(slug) {
            Some(known) => {
                told.extend(known.iter().map(|(text, views)| ((slug.clone(), text.clone()), views.clone())));
            }
            None => drop(unknown.insert(slug, (stack.as_ref(), revision))),
        }
    }
    let containers = ours_by_instance(question, world, &unknown);
    for (slug, (stack, revision)) in unknown {
        let needs = needs_of_stack(question, world, slug, stack, revision, &containers);
        let views = needs.iter().map(|(text, need)| Some((text.to_string(), need.answer()?)));
        match views.collect::<Option<Images>>() {
            Some(views) => {
                told.extend(views.iter().map(|(text, views)| ((slug.clone(), text.clone()), views.clone())));
                memo.keep_images(slug, views);
            }
            None => open.extend(needs.into_iter().map(|(text, need)| ((slug.clone(), text), need))),
        }
    }
    (told, open)
}

/// What has to be known about the texts of one stack.
fn needs_of_stack(
    question: &Question<'_>,
    world: &World,
    slug: &StackSlug,
    stack: &Stack,
    revision: &Revision,
    containers: &Containers<'_>,
) -> BTreeMap<ImageRef, Need> {
    let mut needs: BTreeMap<ImageRef, Need> = BTreeMap::new();
    let record = question.ledger.records.get(slug);
    let is_new = record.and_then(|r| r.running.as_ref()).is_none_or(|running| &running.revision != revision);
    for service in &stack.services {
        for number in 1..=service.replicas {
            let id = InstanceId { stack: slug.clone(), service: service.name.clone(), number };
            let Some(placed) = question.mapping.get(&id) else { continue };
            if !matches!(world.host(&placed.host), HostView::Seen(_)) {
                continue;
            }
            let need = needs.entry(service.image.clone()).or_default();
            need.hosts.insert(placed.host.clone());
            if engine_check(service).is_none() {
                need.unchecked.insert(placed.host.clone());
            }
            need.never_pull |= service.pull == PullPolicy::Never;
            need.ask_again |= service.pull == PullPolicy::Always && is_new;
            remember(need, record, service, &id, &placed.host, containers);
        }
    }
    needs
}

type Containers<'a> = BTreeMap<(InstanceId, HostName, Digest), &'a ContainerSeen>;

/// Our containers of these stacks.
fn ours_by_instance<'a, T>(
    question: &Question<'_>,
    world: &'a World,
    stacks: &BTreeMap<&StackSlug, T>,
) -> Containers<'a> {
    let mut containers = Containers::new();
    for (endpoint, view) in &world.engines {
        let EngineView::Seen(seen) = view else { continue };
        for container in &seen.containers {
            // A host's `endpoint` may have changed: what is on its former engine says nothing of its images now.
            let is_here = |ours: &&Ours| world.hosts.get(&ours.host) == Some(endpoint);
            let ours = container.ours(question.owner).filter(|ours| stacks.contains_key(&ours.instance.stack));
            if let Some(ours) = ours.filter(is_here) {
                containers.insert((ours.instance.clone(), ours.host.clone(), ours.digest.clone()), container);
            }
        }
    }
    containers
}

fn remember(
    need: &mut Need,
    record: Option<&Record>,
    service: &Service,
    id: &InstanceId,
    host: &HostName,
    containers: &Containers<'_>,
) {
    let text = service.image.as_str();
    let deployments = record.into_iter().flat_map(|r| r.running.iter().chain(&r.next));
    let recorded: Vec<&InstanceRecord> =
        deployments.flat_map(|d| d.instances.values()).filter(|instance| instance.image == text).collect();
    for instance in &recorded {
        need.recorded.entry(instance.host.clone()).or_insert_with(|| instance.resolved.clone());
    }
    // Only a container of the recorded image proves that this image is still on its host.
    let of_instance = record.and_then(|r| r.running.as_ref()).and_then(|running| running.instances.get(id));
    let of_this_image = of_instance.filter(|instance| instance.image == text && &instance.host == host);
    let key = of_this_image.map(|instance| (id.clone(), host.clone(), instance.digest.clone()));
    if let Some(container) = key.and_then(|key| containers.get(&key)) {
        let told = match container.health {
            _ if engine_check(service).is_some() => InUse::Hidden,
            Health::Unchecked => InUse::BringsNone,
            Health::Starting | Health::Healthy | Health::Unhealthy => InUse::BringsCheck,
        };
        if told != InUse::Hidden || !need.in_use.contains_key(host) {
            need.in_use.insert(host.clone(), told);
        }
    }
}

/// What the image is on each host; and what is to be remembered, where a registry did not answer in time. `known`: it did not
/// a moment ago.
async fn resolve_text(
    question: &Question<'_>,
    world: &World,
    text: &ImageRef,
    need: &Need,
    known: Option<String>,
) -> (BTreeMap<HostName, ImageView>, Option<String>) {
    let mut silence = None;
    let mut views = BTreeMap::new();
    let engine_of = |host: &HostName| world.hosts.get(host).and_then(|endpoint| question.engines.get(endpoint));
    if let Some(image) = need.sticky() {
        for host in &need.hosts {
            let Some(engine) = engine_of(host) else { continue };
            views.insert(host.clone(), on_host(engine.as_ref(), need, host, image).await);
        }
        return (views, None);
    }
    let mut local: BTreeMap<HostName, ImageDetail> = BTreeMap::new();
    for host in &need.hosts {
        let recorded = need.recorded.get(host).filter(|_| !need.ask_again);
        if let Some((recorded, has_health_check)) = recorded.zip(need.told(host)) {
            let view = ImageView::Resolved { image: recorded.clone(), presence: Presence::OnHost, has_health_check };
            views.insert(host.clone(), view);
            continue;
        }
        let Some(engine) = engine_of(host) else { continue };
        match engine.image(text.as_str()).await {
            Ok(Some(detail)) => {
                local.insert(host.clone(), detail);
            }
            Ok(None) => {}
            Err(error) => {
                views.insert(host.clone(), ImageView::Unresolved(reason(error)));
            }
        }
    }
    let left: Vec<&HostName> = need.hosts.iter().filter(|host| !views.contains_key(*host)).collect();
    let by_digest = if need.ask_again { None } else { local.values().find_map(|detail| repo_digest(text, detail)) };
    let answer = match by_digest {
        Some(reference) => Ok(reference),
        None if need.never_pull => Err("it is not there, and `pullPolicy: never` forbids to pull it".to_owned()),
        None if left.iter().all(|host| local.contains_key(*host)) && !need.ask_again => Err(String::new()),
        None => match left.first().and_then(|host| engine_of(host)) {
            None => Err("no host could be asked".to_owned()),
            Some(engine) => match known {
                Some(why) => Err(why),
                None => {
                    let login = question.logins.get(text.registry().unwrap_or_default());
                    let answer = engine.ask_registry(text, login).await;
                    if let Err(EngineError::Timeout { limit, .. }) = &answer {
                        let limit = limit.as_secs();
                        silence = Some(format!(
                            "its registry did not answer within {limit} s; it is asked again in a minute"
                        ));
                    }
                    answer.map_err(|error| silence.clone().unwrap_or_else(|| reason(error)))
                }
            },
        },
    };
    for host in left {
        let Some(engine) = engine_of(host) else { continue };
        let view = match (&answer, local.get(host)) {
            (Ok(reference), _) => {
                on_host(engine.as_ref(), need, host, &ResolvedImage::Registry(reference.clone())).await
            }
            (Err(_), Some(detail)) => ImageView::Resolved {
                image: ResolvedImage::Local(detail.id.clone()),
                presence: Presence::OnHost,
                has_health_check: detail.has_health_check,
            },
            (Err(why), None) => ImageView::Unresolved(why.clone()),
        };
        views.insert(host.clone(), view);
    }
    (views, silence)
}

/// An image that a registry vouches for, as one host has it or has yet to pull it.
async fn on_host(engine: &dyn Engine, need: &Need, host: &HostName, image: &ResolvedImage) -> ImageView {
    if let Some(has_health_check) = need.told(host).filter(|_| need.recorded.get(host) == Some(image)) {
        return ImageView::Resolved { image: image.clone(), presence: Presence::OnHost, has_health_check };
    }
    match engine.image(image.reference()).await {
        Ok(Some(detail)) => ImageView::Resolved {
            image: image.clone(),
            presence: Presence::OnHost,
            has_health_check: detail.has_health_check,
        },
        Ok(None) => ImageView::Resolved { image: image.clone(), presence: Presence::ToPull, has_health_check: false },
        Err(error) => ImageView::Unresolved(reason(error)),
    }
}

fn repo_digest(text: &ImageRef, detail: &ImageDetail) -> Option<String> {
    let of_repository = |digest: &&String| digest.split('@').next() == Some(text.repository());
    detail.repo_digests.iter().find(of_repository).cloned()
}

/// The reader already knows which image it is about.
fn reason(error: EngineError) -> String {
    match error {
        EngineError::ImageMissing { why, .. } => why,
        EngineError::Unreachable { .. }
        | EngineError::Timeout { .. }
        | EngineError::NameInUse { .. }
        | EngineError::PortTaken { .. }
        | EngineError::NotFound { .. }
        | EngineError::Refused { .. }
        | EngineError::Failed { .. }
        | EngineError::NotUnderstood { .. } => error.to_string(),
    }
}
