//! Which variables a server has: by their ids, or by browsing. It only browses and reads, and not faster than told.

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

use opcua_client::Session;
use opcua_types::{
    AttributeId, BrowseDescription, BrowseDirection, BrowsePath, ByteString, DataValue, EUInformation, Error,
    NodeClass, NodeId, ObjectId, QualifiedName, ReadValueId, ReferenceDescription, ReferenceTypeId,
    RelativePath, RelativePathElement, StatusCode, TimestampsToReturn, VariableId, VariableTypeId, Variant,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::values::{self, Types};
use super::{Browse, Profile};

/// Nodes that are looked at while browsing.
const VISITED_MAX: usize = 200_000;
/// Steps from the start of browsing.
const DEPTH_MAX: usize = 24;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 512;
/// Operations in a request, where the server does not want fewer.
const OPERATIONS_MAX: usize = 500;
/// Those that are named where many are passed over.
const NAMED_MAX: usize = 3;

/// A variable that can be subscribed to.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub id: NodeId,
    /// Its path, or its id where it was given by that.
    pub name: String,
    /// As the server calls it; empty when it says none.
    pub unit: String,
    /// What types its values may have.
    pub types: Types,
}

/// What was found, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub nodes: Vec<Node>,
    /// Ids of the settings that the server does not know.
    pub missing: Few,
    /// Arrays and structures.
    pub passed_over: Few,
    /// There are more variables than `max_nodes`.
    pub more: bool,
    /// Items that a request of the server may have.
    pub operations: usize,
}

/// How many there are, and the names of the first.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Few {
    pub count: u64,
    names: Vec<String>,
}

impl Few {
    pub fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.names.len() < NAMED_MAX {
            self.names.push(name());
        }
    }

    /// `a, b, c and 7 more`
    pub fn list(&self) -> String {
        let more = self.count - self.names.len() as u64;
        match more {
            0 => self.names.join(", "),
            more => format!("{} and {more} more", self.names.join(", ")),
        }
    }
}

/// Lets so many things a second through.
pub(crate) struct Throttle {
    each: Duration,
    next: tokio::time::Instant,
}

impl Throttle {
    pub fn new(rate: u32) -> Self {
        Throttle { each: Duration::from_secs(1) / rate.max(1), next: tokio::time::Instant::now() }
    }

    /// Waits until so many more may be asked for.
    pub async fn spend(&mut self, count: usize) {
        let now = tokio::time::Instant::now();
        let begin = self.next.max(now);
        self.next = begin + self.each * u32::try_from(count).unwrap_or(u32::MAX);
        tokio::time::sleep_until(begin).await;
    }
}

/// Splits `nsu=URI;s=name` into the URI, if there is one, and the id without it; `None` for what is no node id.
pub(super) fn split(text: &str) -> Option<(Option<&str>, NodeId)> {
    let (uri, rest) = match text.strip_prefix("nsu=") {
        Some(named) => named.split_once(';').map(|(uri, rest)| (Some(uri), rest))?,
        None => (None, text),
    };
    let id = NodeId::from_str(rest).ok()?;
    (uri.is_none() || id.namespace == 0).then_some((uri, id))
}

/// Whether a path fits a pattern: `?` is a character and `*` are characters within a name, `**` names.
pub(super) fn fits(pattern: &str, path: &str) -> bool {
    fn names(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), _) => {
                names(rest, path) || path.split_first().is_some_and(|(_, below)| names(pattern, below))
            }
            (Some((first, rest)), Some((name, below))) => {
                name_fits(first.as_bytes(), name.as_bytes()) && names(rest, below)
            }
            _ => false,
        }
    }
    names(&pattern.split('/').collect::<Vec<_>>(), &path.split('/').collect::<Vec<_>>())
}

/// Goes back to the last `*` only, so it takes no more than the product of both lengths.
fn name_fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut star = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[of] => {
                at += 1;
                of += 1;
            }
            _ => match &mut star {
                Some((star, from)) => {
                    *from += 1;
                    (at, of) = (*star + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Finds the variables of a profile.
pub(crate) async fn find(session: &Session, profile: &Profile) -> Result<Found, Error> {
    let server = &profile.server;
    let mut throttle = Throttle::new(server.browse.as_ref().map_or(2000, |browse| browse.rate));
    let mut found = Found { operations: operations(session).await?, ..Found::default() };
    let namespaces = match server
        .nodes
        .iter()
        .chain(server.browse.iter().map(|b| &b.start))
        .any(|id| id.starts_with("nsu="))
    {
        true => namespaces(session).await?,
        false => Vec::new(),
    };
    let resolve = |text: &str| {
        let (uri, mut id) = split(text)?;
        if let Some(uri) = uri {
            id.namespace = u16::try_from(namespaces.iter().position(|known| known == uri)?).ok()?;
        }
        Some(id)
    };
    let mut candidates = Vec::new();
    for text in &server.nodes {
        match resolve(text) {
            Some(id) => candidates.push((id, text.clone())),
            None => found.missing.add(|| text.clone()),
        }
    }
    let given = candidates.len();
    if let Some(browse) = &server.browse {
        match resolve(&browse.start) {
            Some(start) => {
                let mut walk = Walk { session, throttle: &mut throttle, operations: found.operations };
                found.more = walk.walk(start, browse, &mut candidates).await?;
            }
            None => found.missing.add(|| browse.start.clone()),
        }
    }
    describe(session, &mut throttle, candidates, given, &mut found).await?;
    units(session, &mut throttle, &mut found).await?;
    for node in &mut found.nodes {
        node.name.insert_str(0, &profile.prefix);
    }
    Ok(found)
}

/// How many items the server takes in a request.
async fn operations(session: &Session) -> Result<usize, Error> {
    let limits = [
        VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
        VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
        VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds,
        VariableId::Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
    ];
    let wanted: Vec<ReadValueId> = limits.iter().map(|id| ReadValueId::new_value((*id).into())).collect();
    let values = session.read(&wanted, TimestampsToReturn::Neither, 0.0).await?;
    let least = values.iter().filter_map(|value| match value.value {
        Some(Variant::UInt32(most)) if most > 0 => Some(most as usize),
        _ => None,
    });
    Ok(least.min().unwrap_or(OPERATIONS_MAX).min(OPERATIONS_MAX))
}

async fn namespaces(session: &Session) -> Result<Vec<String>, Error> {
    let wanted = [ReadValueId::new_value(VariableId::Server_NamespaceArray.into())];
    let values = session.read(&wanted, TimestampsToReturn::Neither, 0.0).await?;
    let Some(Variant::Array(array)) = values.into_iter().next().and_then(|value| value.value) else {
        return Err(Error::new(StatusCode::BadNoValue, "the server has no array of namespaces"));
    };
    Ok(array.values.iter().map(ToString::to_string).collect())
}

/// A walk through the hierarchy.
struct Walk<'a> {
    session: &'a Session,
    throttle: &'a mut Throttle,
    operations: usize,
}

impl Walk<'_> {
    /// Adds the variables below `start` that the patterns ask for; answers whether there are more than wanted.
    async fn walk(
        &mut self,
        start: NodeId,
        browse: &Browse,
        into: &mut Vec<(NodeId, String)>,
    ) -> Result<bool, Error> {
        let most = into.len() + browse.max_nodes;
        let root = self.name(&start).await?;
        let mut visited = FxHashSet::default();
        visited.insert(start.clone());
        // What the server says about itself is not what it measures.
        visited.insert(ObjectId::Server.into());
        let mut waiting = VecDeque::from([(start, root, 0)]);
        while !waiting.is_empty() {
            let some: Vec<_> = waiting.drain(..waiting.len().min(self.operations.min(50))).collect();
            let below = self.below(some.iter().map(|(id, ..)| id.clone())).await?;
            for ((_, path, depth), references) in some.iter().zip(below) {
                for reference in references {
                    let id = reference.node_id.node_id;
                    let name = reference.browse_name.name.as_ref();
                    if reference.node_id.server_index != 0
                        || visited.len() >= VISITED_MAX
                        || !visited.insert(id.clone())
                    {
                        continue;
                    }
                    let path = format!("{path}/{}", name.replace('/', "_"));
                    if path.len() > NAME_BYTES_MAX {
                        continue;
                    }
                    if reference.node_class == NodeClass::Variable {
                        let wanted =
                            browse.include.is_empty() || browse.include.iter().any(|p| fits(p, &path));
                        let property = reference.type_definition.node_id == VariableTypeId::PropertyType;
                        if wanted && !property {
                            if into.len() >= most {
                                return Ok(true);
                            }
                            into.push((id.clone(), path.clone()));
                        }
                    }
                    if depth + 1 < DEPTH_MAX {
                        waiting.push_back((id, path, depth + 1));
                    }
                }
            }
        }
        Ok(visited.len() >= VISITED_MAX)
    }

    async fn name(&mut self, id: &NodeId) -> Result<String, Error> {
        let wanted = [ReadValueId::new(id.clone(), AttributeId::BrowseName)];
        let values = self.session.read(&wanted, TimestampsToReturn::Neither, 0.0).await?;
        match values.into_iter().next().and_then(|value| value.value) {
            Some(Variant::QualifiedName(name)) => Ok(name.name.as_ref().replace('/', "_")),
            _ => Err(Error::new(
                StatusCode::BadNodeIdUnknown,
                format!("the server has no node {id} to browse from"),
            )),
        }
    }

    /// What stands directly below some nodes.
    async fn below(
        &mut self,
        ids: impl Iterator<Item = NodeId>,
    ) -> Result<Vec<Vec<ReferenceDescription>>, Error> {
        let wanted: Vec<BrowseDescription> = ids
            .map(|node_id| BrowseDescription {
                node_id,
                browse_direction: BrowseDirection::Forward,
                reference_type_id: ReferenceTypeId::HierarchicalReferences.into(),
                include_subtypes: true,
                // Objects and variables.
                node_class_mask: 1 | 2,
                // Class, name, and type.
                result_mask: 4 | 8 | 32,
            })
            .collect();
        self.throttle.spend(wanted.len()).await;
        let answers = self.session.browse(&wanted, 1000, None).await?;
        let mut out = Vec::with_capacity(answers.len());
        for answer in answers {
            let mut references = answer.references.unwrap_or_default();
            let mut point = answer.continuation_point;
            self.throttle.spend(references.len()).await;
            while !point.is_null_or_empty() {
                let end = references.len() >= VISITED_MAX;
                let more: &[ByteString] = &[point];
                let Some(answer) = self.session.browse_next(end, more).await?.into_iter().next() else {
                    break;
                };
                let next = answer.references.unwrap_or_default();
                if end || next.is_empty() {
                    break;
                }
                self.throttle.spend(next.len()).await;
                references.extend(next);
                point = answer.continuation_point;
            }
            out.push(references);
        }
        Ok(out)
    }
}

/// Reads what kind of variable each is, and leaves out what is none; `given` of them were asked for by name.
async fn describe(
    session: &Session,
    throttle: &mut Throttle,
    candidates: Vec<(NodeId, String)>,
    given: usize,
    found: &mut Found,
) -> Result<(), Error> {
    let mut derived: FxHashMap<NodeId, Types> = FxHashMap::default();
    for (chunk_at, chunk) in candidates.chunks((found.operations / 3).max(1)).enumerate() {
        let attributes = [AttributeId::NodeClass, AttributeId::DataType, AttributeId::ValueRank];
        let wanted: Vec<ReadValueId> = chunk
            .iter()
            .flat_map(|(id, _)| attributes.map(|attribute| ReadValueId::new(id.clone(), attribute)))
            .collect();
        throttle.spend(wanted.len()).await;
        let values = session.read(&wanted, TimestampsToReturn::Neither, 0.0).await?;
        for (index, ((id, name), of)) in chunk.iter().zip(values.chunks(3)).enumerate() {
            let variable = matches!(of, [class, ..] if class.value == Some(Variant::Int32(2)));
            if !variable {
                if chunk_at * (found.operations / 3).max(1) + index < given {
                    found.missing.add(|| name.clone());
                }
                continue;
            }
            let data_type = match of.get(1).and_then(|value| value.value.as_ref()) {
                Some(Variant::NodeId(id)) => types(session, throttle, id, &mut derived).await?,
                _ => values::ANY,
            };
            let array =
                matches!(of.get(2).and_then(|v| v.value.as_ref()), Some(Variant::Int32(rank)) if *rank >= 0);
            if array || data_type == 0 {
                found.passed_over.add(|| name.clone());
                continue;
            }
            found.nodes.push(Node {
                id: id.clone(),
                name: name.clone(),
                unit: String::new(),
                types: data_type,
            });
        }
    }
    Ok(())
}

/// What types the values of a data type have: its own, or that of the one it is derived from.
async fn types(
    session: &Session,
    throttle: &mut Throttle,
    data_type: &NodeId,
    derived: &mut FxHashMap<NodeId, Types>,
) -> Result<Types, Error> {
    let mut current = data_type.clone();
    let mut types = None;
    for _ in 0..DEPTH_MAX {
        let own = (current.namespace == 0).then(|| current.as_u32().and_then(values::of_data_type)).flatten();
        types = own.or_else(|| derived.get(&current).copied());
        if types.is_some() {
            break;
        }
        let wanted = BrowseDescription {
            node_id: current,
            browse_direction: BrowseDirection::Inverse,
            reference_type_id: ReferenceTypeId::HasSubtype.into(),
            include_subtypes: false,
            node_class_mask: 0,
            result_mask: 0,
        };
        throttle.spend(1).await;
        let above = session.browse(&[wanted], 1, None).await?;
        let above = above.into_iter().next().and_then(|answer| answer.references?.into_iter().next());
        match above {
            Some(reference) => current = reference.node_id.node_id,
            None => break,
        }
    }
    let types = types.unwrap_or(values::ANY);
    derived.insert(data_type.clone(), types);
    Ok(types)
}

/// Reads the units of what has one.
async fn units(session: &Session, throttle: &mut Throttle, found: &mut Found) -> Result<(), Error> {
    let element = RelativePathElement {
        reference_type_id: ReferenceTypeId::HasProperty.into(),
        is_inverse: false,
        include_subtypes: true,
        target_name: QualifiedName::new(0, "EngineeringUnits"),
    };
    let operations = found.operations;
    for chunk in found.nodes.chunks_mut(operations) {
        let paths: Vec<BrowsePath> = chunk
            .iter()
            .map(|node| BrowsePath {
                starting_node: node.id.clone(),
                relative_path: RelativePath { elements: Some(vec![element.clone()]) },
            })
            .collect();
        throttle.spend(paths.len()).await;
        let targets = match session.translate_browse_paths_to_node_ids(&paths).await {
            Ok(targets) => targets,
            // A small server may not do this; then units are unknown.
            Err(error) if error.status() == StatusCode::BadServiceUnsupported => return Ok(()),
            Err(error) => return Err(error),
        };
        let with_unit: Vec<(usize, NodeId)> = targets
            .into_iter()
            .enumerate()
            .filter_map(|(index, target)| {
                Some((index, target.targets?.into_iter().next()?.target_id.node_id))
            })
            .collect();
        if with_unit.is_empty() {
            continue;
        }
        let wanted: Vec<ReadValueId> =
            with_unit.iter().map(|(_, id)| ReadValueId::new_value(id.clone())).collect();
        throttle.spend(wanted.len()).await;
        let values = session.read(&wanted, TimestampsToReturn::Neither, 0.0).await?;
        for ((index, _), value) in with_unit.iter().zip(values) {
            if let Some(node) = chunk.get_mut(*index) {
                node.unit = unit(&value);
            }
        }
    }
    Ok(())
}

fn unit(value: &DataValue) -> String {
    let Some(Variant::ExtensionObject(object)) = &value.value else { return String::new() };
    let unit = object.inner_as::<EUInformation>().map(|unit| unit.display_name.text.as_ref());
    unit.filter(|unit| unit.len() <= NAME_BYTES_MAX).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_paths() {
        for (pattern, path, fit) in [
            ("Objects/Tool/Chamber*/Pressure", "Objects/Tool/Chamber1/Pressure", true),
            ("Objects/Tool/Chamber*/Pressure", "Objects/Tool/Pressure", false),
            ("Objects/**/Pressure", "Objects/Pressure", true),
            ("Objects/**/Pressure", "Objects/a/b/c/Pressure", true),
            ("Objects/*", "Objects/a/b", false),
            ("**", "Objects/a/b", true),
            ("**/T?mp*", "Objects/a/Temperature", true),
            ("Objects/a*b*c", "Objects/aXbYcZ", false),
        ] {
            assert_eq!(fits(pattern, path), fit, "{pattern} {path}");
        }
    }

    #[test]
    fn node_ids_with_and_without_a_namespace() {
        assert_eq!(
            split("ns=2;s=a;b").map(|(uri, id)| (uri, id.to_string())),
            Some((None, "ns=2;s=a;b".into()))
        );
        assert_eq!(
            split("nsu=urn:x;i=4").map(|(uri, id)| (uri, id.to_string())),
            Some((Some("urn:x"), "i=4".into()))
        );
        assert!(
            split("Pressure").is_none() && split("nsu=urn:x;ns=2;i=4").is_none() && split("nsu=x").is_none()
        );
    }

    #[test]
    fn few_are_named_and_all_are_counted() {
        let mut few = Few::default();
        for number in 0..5 {
            few.add(|| format!("n{number}"));
        }
        assert_eq!((few.count, few.list().as_str()), (5, "n0, n1, n2 and 2 more"));
    }
}
