//! Equipment data dictionaries (SEDD, SEMI E172): what a tool's supplier says of its SECS-II interface.
//!
//! Read are the names of variables, equipment constants, collection events and alarms, and the
//! first unit of each. Elements are found by their local names: suppliers differ in namespaces.

use std::path::Path;

use roxmltree::{Document, Node};
use yagura_dissect::{Dictionary, ToolNames, Variable};

use crate::source::SourceError;

/// The largest file that is read, in bytes; those of large tools have some megabytes.
const BYTES_MAX: u64 = 256 << 20;

/// The sections with variables: their entries, and the entry's id and name.
const VARIABLES: [(&str, &str, &str); 3] = [
    ("DataVariable", "VID", "DVVALNAME"),
    ("StatusVariable", "SVID", "SVNAME"),
    ("EquipmentConstant", "ECID", "ECNAME"),
];

/// Reads a file. Its names hold for the model (MDLN) that its header names.
pub(super) fn read(file: &Path) -> Result<Dictionary, SourceError> {
    let fail = |cause: String| SourceError::Open { file: file.display().to_string(), cause };
    let size = std::fs::metadata(file).map_err(|e| fail(format!("cannot be read: {e}")))?.len();
    if size > BYTES_MAX {
        return Err(fail(format!("has {size} bytes; a dictionary has at most {BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(file).map_err(|e| fail(format!("cannot be read: {e}")))?;
    parse(&text).map_err(fail)
}

fn parse(text: &str) -> Result<Dictionary, String> {
    let document = Document::parse(text).map_err(|e| format!("no XML: {e}"))?;
    let root = document.root_element();
    if root.tag_name().name() != "DataDictionary" {
        let name = root.tag_name().name();
        return Err(format!("begins with <{name}>; a SEDD (SEMI E172) begins with <DataDictionary>"));
    }
    let model = child(root, "SEDDHeader").map(|header| content(header, "MDLN")).unwrap_or_default();
    if model.is_empty() {
        return Err("its SEDDHeader has no MDLN, so nobody knows whose names these are".into());
    }
    let mut names = ToolNames::default();
    for entry in root.descendants().filter(Node::is_element) {
        let tag = entry.tag_name().name();
        if let Some((_, id, name)) = VARIABLES.iter().find(|(of, ..)| *of == tag) {
            let id = content(entry, id);
            if !id.is_empty() {
                let (name, unit) = (content(entry, name), content(entry, "UNITS"));
                names.variables.insert(id, Variable { name, unit, ..Variable::default() });
            }
        } else if tag == "CollectionEvent" {
            names.events.insert(content(entry, "CEID"), content(entry, "CENAME"));
        } else if tag == "Alarm" {
            let name = content(entry, "AlarmName");
            let name = if name.is_empty() { content(entry, "ALTX") } else { name };
            names.alarms.insert(content(entry, "ALID"), name);
        }
    }
    Ok(Dictionary { tools: [(model, names)].into() })
}

fn child<'a>(of: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    of.children().find(|node| node.tag_name().name() == name)
}

/// The text of the first child with that name; empty without one.
fn content(of: Node<'_, '_>, name: &str) -> String {
    let found = of.children().find(|node| node.tag_name().name() == name);
    found.and_then(|node| node.text()).unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"<?xml version="1.0"?>
<d:DataDictionary xmlns:d="urn:semi-org:xsd.SEDD">
  <SEDDHeader><MDLN> OX-9 </MDLN><SOFTREV>2.1</SOFTREV><Supplier>Example</Supplier></SEDDHeader>
  <CollectionEvents>
    <CollectionEvent><CEID>100</CEID><CENAME>ProcessStarted</CENAME>
      <VALIDDVS><VID name="LotID">2001</VID></VALIDDVS><Description/></CollectionEvent>
  </CollectionEvents>
  <DataVariables>
    <DataVariable><VID>2001</VID><DVVALNAME>LotID</DVVALNAME><Format>text</Format></DataVariable>
  </DataVariables>
  <StatusVariables>
    <StatusVariable><SVID>1001</SVID><SVNAME>Pressure</SVNAME><UNITS>Pa</UNITS></StatusVariable>
  </StatusVariables>
  <EquipmentConstants>
    <EquipmentConstant><ECID>3001</ECID><ECNAME>MaxPressure</ECNAME><UNITS>Pa</UNITS></EquipmentConstant>
  </EquipmentConstants>
  <Alarms><Alarm><ALCD>2</ALCD><ALID>7</ALID><ALTX>door</ALTX><AlarmName>DoorOpen</AlarmName></Alarm>
    <Alarm><ALID>8</ALID><ALTX>pump</ALTX></Alarm></Alarms>
</d:DataDictionary>"#;

    #[test]
    fn names_and_units_are_those_of_the_model() {
        let read = parse(FILE).unwrap();
        let names = &read.tools["OX-9"];
        assert_eq!(read.variable("ETCH-07", "OX-9", "1001").unwrap().unit, "Pa");
        let variables: Vec<_> =
            names.variables.iter().map(|(id, v)| (id.as_str(), v.name.as_str())).collect();
        assert_eq!(variables, [("1001", "Pressure"), ("2001", "LotID"), ("3001", "MaxPressure")]);
        assert_eq!(names.events["100"], "ProcessStarted");
        assert_eq!((names.alarms["7"].as_str(), names.alarms["8"].as_str()), ("DoorOpen", "pump"));
    }

    #[test]
    fn what_is_no_dictionary_says_what_it_is() {
        assert!(parse("no xml").unwrap_err().starts_with("no XML"));
        assert!(parse("<Other/>").unwrap_err().contains("<Other>"));
        assert!(parse("<DataDictionary><SEDDHeader/></DataDictionary>").unwrap_err().contains("MDLN"));
        // Entities that expand without end are refused.
        let bomb =
            "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><DataDictionary>&b;</DataDictionary>";
        assert!(parse(bomb).is_err());
    }

    #[test]
    fn a_later_file_wins() {
        let folder = tempfile::tempdir().unwrap();
        let (sedd, csv) = (folder.path().join("ox9.xml"), folder.path().join("more.csv"));
        std::fs::write(&sedd, FILE).unwrap();
        let lines = "model,kind,id,name,unit,context,class,chamber\nOX-9,svid,2001,LotID,,lot,,\n";
        std::fs::write(&csv, lines).unwrap();
        let read = crate::dictionary::read(&[sedd, csv]).unwrap();
        let variable = |id| read.variable("", "OX-9", id).unwrap();
        assert_eq!(variable("2001").context, Some(yagura_dissect::ContextName::Lot));
        assert_eq!(variable("1001").name, "Pressure");
    }
}
