//! Differences that were looked up in the packets, and what was decided: a YAML file beside each
//! protocol's module.

use serde::Deserialize;

use super::harness::Multiset;

/// What was decided for one protocol: its YAML file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decisions {
    /// Messages in captures in which tshark does not name the protocol.
    pub identified: Vec<Identified>,
    /// Messages that differ from another tool's.
    pub differences: Vec<Decision>,
}

/// A capture in which we find the protocol and tshark does not name it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identified {
    /// Folder and file.
    pub capture: String,
    /// How many messages.
    pub messages: usize,
    /// The bytes that decide, and why tshark does not see it.
    pub bytes: String,
}

/// One difference. It covers exactly the differences that it names: when they change, it covers none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    pub capture: String,
    pub tool: String,
    /// What the tool does otherwise, and why that is no fault here.
    pub why: String,
    /// Packet number and bytes that decide it.
    pub bytes: String,
    /// Facts that only we have: each as often as it is listed.
    #[serde(default)]
    pub ours: Vec<String>,
    /// Facts that only the tool has.
    #[serde(default)]
    pub theirs: Vec<String>,
    /// Many facts that only we have, by what they begin with, their number and their digest.
    #[serde(default)]
    pub ours_many: Vec<Many>,
    /// The same for the tool.
    #[serde(default)]
    pub theirs_many: Vec<Many>,
}

/// Differences that are too many to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Many {
    /// What each of them begins with.
    pub begin: String,
    /// How many they are.
    pub count: usize,
    /// [`digest`] of all of them.
    pub digest: String,
}

/// Reads the file of `protocol`, whose text may be empty.
pub fn of(protocol: &str, text: &str) -> Decisions {
    if text.trim().is_empty() {
        return Decisions::default();
    }
    let all: Decisions = serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{protocol}.yaml: {e}"));
    for Identified { capture, bytes, .. } in &all.identified {
        assert!(!bytes.is_empty(), "{protocol}.yaml: {capture}: say which bytes decide");
    }
    let unexplained = all.differences.iter().find(|d| d.why.is_empty() || d.bytes.is_empty());
    if let Some(Decision { capture, tool, .. }) = unexplained {
        panic!("{protocol}.yaml: {capture}, {tool}: say why, and which bytes decide");
    }
    all
}

impl Decision {
    /// Takes what was decided out of the differences; gives how many of ours and of theirs went,
    /// or says what of it is not there.
    pub fn settle(&self, ours: &mut Multiset, theirs: &mut Multiset) -> Result<(usize, usize), String> {
        Ok((settle(&self.ours, &self.ours_many, ours)?, settle(&self.theirs, &self.theirs_many, theirs)?))
    }
}

fn settle(listed: &[String], many: &[Many], from: &mut Multiset) -> Result<usize, String> {
    for fact in listed {
        let Some(count) = from.get_mut(fact) else {
            return Err(format!("no longer differs: {fact}"));
        };
        *count -= 1;
        if *count == 0 {
            from.remove(fact);
        }
    }
    let mut settled = listed.len();
    for one in many {
        let found: Multiset =
            from.iter().filter(|(f, _)| f.starts_with(&one.begin)).map(|(f, n)| (f.clone(), *n)).collect();
        let (count, digest) = (found.values().sum::<usize>(), digest(&found));
        if (count, &digest) != (one.count, &one.digest) {
            return Err(format!(
                "the differences that begin with \"{}\" are {count} of digest {digest}, not {} of {}",
                one.begin, one.count, one.digest
            ));
        }
        from.retain(|f, _| !f.starts_with(&one.begin));
        settled += count;
    }
    Ok(settled)
}

/// FNV-1a over the sorted facts and how often each occurs: the same only for the same facts.
pub fn digest(facts: &Multiset) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for b in bytes {
            hash = (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (fact, count) in facts {
        add(fact.as_bytes());
        add(&[0]);
        add(&(*count as u64).to_be_bytes());
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(list: &[(&str, usize)]) -> Multiset {
        list.iter().map(|(f, n)| (f.to_string(), *n)).collect()
    }

    fn decision(many: &Multiset) -> Decision {
        Decision {
            capture: "c".into(),
            tool: "t".into(),
            why: String::new(),
            bytes: String::new(),
            ours: vec!["a".into()],
            theirs: vec![],
            ours_many: vec![Many { begin: "b".into(), count: many.values().sum(), digest: digest(many) }],
            theirs_many: vec![],
        }
    }

    #[test]
    fn a_decision_covers_exactly_what_it_names() {
        let decided = decision(&facts(&[("b1", 2), ("b2", 1)]));
        let mut ours = facts(&[("a", 2), ("b1", 2), ("b2", 1), ("c", 1)]);
        assert_eq!(decided.settle(&mut ours, &mut Multiset::new()), Ok((4, 0)));
        assert_eq!(ours, facts(&[("a", 1), ("c", 1)]));
        for changed in [
            facts(&[("b1", 2), ("b2", 1)]),
            facts(&[("a", 1), ("b1", 2), ("b2", 2)]),
            facts(&[("a", 1), ("b1", 2), ("b3", 1)]),
        ] {
            let outcome = decided.settle(&mut changed.clone(), &mut Multiset::new());
            assert!(outcome.is_err(), "{changed:?}");
        }
    }
}
