//! SMB beside tshark and Zeek: every message with its ids and status, names of files and shares,
//! users. Contents and what is encrypted are in nobody's facts.

use std::collections::BTreeSet;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "smb",
    folders: &["smb_dcerpc_ntlm", "kerberos", "ldap", "mixed_plant"],
    tshark: &["smb", "smb2", "nbss"],
    decisions: include_str!("smb.yaml"),
    tools: &[
        Tool { name: "tshark", from: From::Tshark(MESSAGES), compare: messages },
        Tool { name: "tshark-names", from: From::Tshark(NAMES), compare: names },
        Tool { name: "zeek-cmd", from: From::File("zeek/smb_cmd.log"), compare: zeek_commands },
        Tool { name: "zeek-mapping", from: From::File("zeek/smb_mapping.log"), compare: zeek_shares },
        Tool { name: "zeek-files", from: From::File("zeek/smb_files.log"), compare: zeek_files },
    ],
};

/// One line a frame; the members of a list are those of the frame's messages in turn.
#[rustfmt::skip]
const MESSAGES: &[&str] = &[
    "-Y", "tcp and (smb or smb2)", "-d", "tcp.port==4445,nbss", "-T", "fields",
    "-e", "ip.src", "-e", "tcp.srcport",
    "-e", "smb2.cmd", "-e", "smb2.msg_id", "-e", "smb2.flags.response", "-e", "smb2.nt_status",
    "-e", "smb.cmd", "-e", "smb.mid", "-e", "smb.pid", "-e", "smb.flags.response", "-e", "smb.nt_status",
    "-e", "smb.pd", "-e", "smb.data_disp",
];

#[rustfmt::skip]
const NAMES: &[&str] = &[
    "-Y", "tcp and (smb2.flags.response == 0 or smb.flags.response == 0)", "-d", "tcp.port==4445,nbss", "-T", "fields",
    "-e", "ip.src", "-e", "tcp.srcport",
    "-e", "smb2.cmd", "-e", "smb2.filename", "-e", "smb2.tree", "-e", "ntlmssp.auth.username",
    "-e", "smb.cmd", "-e", "smb.path",
];

/// Commands of SMB 1 whose words begin with the next command.
const CHAINED: [u64; 8] = [0x24, 0x2d, 0x2e, 0x2f, 0x73, 0x74, 0x75, 0xa2];

/// Statuses that the captures have, by number.
#[rustfmt::skip]
const STATUSES: &[(&str, u64)] = &[
    ("", 0), ("STATUS_PENDING", 0x103), ("STATUS_NOTIFY_ENUM_DIR", 0x10c), ("STATUS_NOTIFY_CLEANUP", 0x10b),
    ("STATUS_BUFFER_OVERFLOW", 0x8000_0005), ("STATUS_NO_MORE_FILES", 0x8000_0006),
    ("STATUS_INVALID_INFO_CLASS", 0xc000_0003), ("STATUS_INVALID_PARAMETER", 0xc000_000d),
    ("STATUS_INVALID_HANDLE", 0xc000_0008), ("STATUS_NO_SUCH_FILE", 0xc000_000f),
    ("STATUS_INVALID_DEVICE_REQUEST", 0xc000_0010), ("STATUS_END_OF_FILE", 0xc000_0011),
    ("STATUS_MORE_PROCESSING_REQUIRED", 0xc000_0016), ("STATUS_ACCESS_DENIED", 0xc000_0022),
    ("STATUS_OBJECT_NAME_INVALID", 0xc000_0033), ("STATUS_OBJECT_NAME_NOT_FOUND", 0xc000_0034),
    ("STATUS_OBJECT_NAME_COLLISION", 0xc000_0035), ("STATUS_OBJECT_PATH_NOT_FOUND", 0xc000_003a),
    ("STATUS_INTERNAL_ERROR", 0xc000_00e5), ("STATUS_ACCOUNT_DISABLED", 0xc000_0072), ("STATUS_INSUFF_SERVER_RESOURCES", 0xc000_0205),
    ("STATUS_SHARING_VIOLATION", 0xc000_0043), ("STATUS_LOGON_FAILURE", 0xc000_006d),
    ("STATUS_PIPE_NOT_AVAILABLE", 0xc000_00ac), ("STATUS_FILE_IS_A_DIRECTORY", 0xc000_00ba),
    ("STATUS_NOT_SUPPORTED", 0xc000_00bb), ("STATUS_NETWORK_NAME_DELETED", 0xc000_00c9),
    ("STATUS_BAD_NETWORK_NAME", 0xc000_00cc), ("STATUS_DIRECTORY_NOT_EMPTY", 0xc000_0101),
    ("STATUS_NOT_A_DIRECTORY", 0xc000_0103), ("STATUS_CANCELLED", 0xc000_0120),
    ("STATUS_FILE_CLOSED", 0xc000_0128), ("STATUS_FS_DRIVER_REQUIRED", 0xc000_019c),
    ("STATUS_USER_SESSION_DELETED", 0xc000_0203), ("STATUS_NOT_FOUND", 0xc000_0225),
    ("STATUS_NOT_IMPLEMENTED", 0xc000_0002), ("STATUS_NOT_SAME_DEVICE", 0xc000_00d4),
    ("STATUS_INVALID_SMB", 0x0001_0002), ("STATUS_PIPE_DISCONNECTED", 0xc000_00b0),
];

/// Commands of SMB 2, by number.
const COMMANDS: [&str; 19] = [
    "negotiate",
    "session_setup",
    "logoff",
    "tree_connect",
    "tree_disconnect",
    "create",
    "close",
    "flush",
    "read",
    "write",
    "lock",
    "ioctl",
    "cancel",
    "echo",
    "query_directory",
    "change_notify",
    "query_info",
    "set_info",
    "oplock_break",
];

fn status(name: &str) -> String {
    if let Some((_, number)) = STATUSES.iter().find(|(known, _)| *known == name) {
        return format!("{number:08x}");
    }
    // Errors of old are in no field of these.
    if name.starts_with("ERR") { "00000000".into() } else { name.into() }
}

fn messages(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("smb") {
        let detail = row.detail();
        let Some(version) = detail["version"].as_u64() else { continue };
        let message = detail["message"].as_u64().unwrap_or(0);
        let (command, exchange) = (row.text("function"), row.text("exchange"));
        let number = match version {
            1 => detail["command"].as_u64().unwrap_or(0),
            _ => COMMANDS.iter().position(|known| *known == command).unwrap_or(99) as u64,
        };
        let message = if version == 1 { message & 0xffff_ffff } else { message };
        let mut code = row.text("status_code").to_string();
        if row.text("status") == "malformed" {
            code = detail["answer"].as_str().unwrap_or_default().to_string();
        }
        // What the server says on its own is a response that nobody asked for.
        let alone = version == 2 && message == u64::MAX;
        if exchange != "reply" && !alone {
            facts.ours.push(format!("{} request {version} {number} {message}", row.client()));
        }
        if exchange != "request" || alone {
            let server = if alone { row.client() } else { row.server() };
            // The first request may be one of version 1 that is answered in version 2.
            let later = version == 1 && detail["dialect"].is_string();
            let (version, number, message) = if later { (2, 0, 0) } else { (version, number, message) };
            facts.ours.push(format!("{server} response {version} {number} {message} {}", status(&code)));
        }
        if detail["interim"] == true {
            facts.ours.push(format!("{} response {version} {number} {message} 00000000", row.server()));
        }
        if detail["pending"] == true {
            facts.ours.push(format!("{} response {version} {number} {message} 00000103", row.server()));
        }
    }
    for line in reference.text().lines() {
        frame(line, &mut facts.theirs);
    }
    facts
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap_or(0),
        None => text.parse().unwrap_or(0),
    }
}

fn list(text: &str) -> Vec<u64> {
    text.split(',').filter(|one| !one.is_empty()).map(number).collect()
}

fn frame(line: &str, out: &mut Vec<String>) {
    let columns: Vec<&str> = line.split('\t').collect();
    let column = |at: usize| columns.get(at).copied().unwrap_or_default();
    let source = format!("{}:{}", column(0), column(1));
    let (commands, ids, responses) = (list(column(2)), list(column(3)), list(column(4)));
    let statuses = list(column(5));
    let answers = responses.iter().filter(|response| **response != 0).count();
    let mut surplus = statuses.len().saturating_sub(answers);
    let mut statuses = statuses.into_iter();
    for ((command, id), response) in commands.iter().zip(&ids).zip(&responses) {
        if *response == 0 {
            out.push(format!("{source} request 2 {command} {id}"));
        } else {
            let status = statuses.next().unwrap_or(0);
            // A create's context of Apple's has a status of its own.
            while *command == 5 && surplus > 0 {
                surplus -= 1;
                statuses.next();
            }
            out.push(format!("{source} response 2 {command} {id} {status:08x}"));
        }
    }
    let mut commands = list(column(6)).into_iter();
    let (ids, processes, responses) = (list(column(7)), list(column(8)), list(column(9)));
    let statuses = list(column(10));
    // A transaction's further parts have no row of their own.
    let displaced = [column(11), column(12)].iter().any(|at| list(at).iter().any(|at| *at > 0));
    for (at, id) in ids.iter().enumerate() {
        let id = processes.get(at).unwrap_or(&0) << 16 | id;
        let response = responses.get(at) == Some(&1);
        let status = statuses.get(at).copied().unwrap_or(0);
        for command in commands.by_ref() {
            if command == 0xff {
                break;
            }
            if response && displaced && [37, 50, 160].contains(&command) {
                break;
            }
            if response {
                out.push(format!("{source} response 1 {command} {id} {status:08x}"));
            } else {
                out.push(format!("{source} request 1 {command} {id}"));
            }
            if !CHAINED.contains(&command) {
                break;
            }
        }
    }
}

/// Files that are created or opened, shares, users: what is in frames of one message.
fn names(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("smb") {
        let (client, detail) = (row.client(), row.detail());
        match row.text("function") {
            "create" => facts.ours.push(format!("{client} create {}", row.text("target"))),
            "tree_connect" | "tree_connect_andx" if row.text("exchange") != "reply" => {
                facts.ours.push(format!("{client} share {}", row.text("target")));
            }
            "session_setup" | "session_setup_andx" if detail["ntlm"] == "authenticate" => {
                let user = detail["user"].as_str().unwrap_or("");
                facts.ours.push(format!("{client} user {user}"));
            }
            _ => {}
        }
    }
    for line in reference.text().lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let column = |at: usize| columns.get(at).copied().unwrap_or_default();
        let client = format!("{}:{}", column(0), column(1));
        let (name, tree, user) = (column(3), column(4), column(5));
        let commands: Vec<&str> = column(2).split(',').collect();
        let (tree, name) = (tree.split(',').next().unwrap_or(""), name.split(',').next().unwrap_or(""));
        if commands.contains(&"5") {
            let between = if name.is_empty() || tree.is_empty() { "" } else { "\\" };
            facts.theirs.push(format!("{client} create {tree}{between}{name}"));
        }
        if commands.contains(&"3") {
            facts.theirs.push(format!("{client} share {tree}"));
        }
        if commands.contains(&"1") && !user.is_empty() {
            facts.theirs.push(format!("{client} user {}", user.replace("NULL", "")));
        }
        if column(6).split(',').any(|command| command == "0x75") {
            // The first of two is the share that the message's tree id has already.
            let share = column(7).split(',').next_back().unwrap_or("");
            facts.theirs.push(format!("{client} share {share}"));
        }
        if column(6).starts_with("0x73") && !user.is_empty() {
            facts.theirs.push(format!("{client} user {}", user.replace("NULL", "")));
        }
    }
    facts
}

fn zeek_commands(capture: &Capture, reference: &Reference) -> Facts {
    // Zeek leaves the first step of a session's setup out.
    let rows = capture.messages("smb").filter(|row| !row.text("status_code").starts_with("STATUS_MORE"));
    let ours = rows.map(|row| {
        let status = row.text("status_code").trim_start_matches("STATUS_");
        let status = if status.is_empty() { "SUCCESS" } else { status };
        format!("{} {} {status}", row.client(), row.text("function"))
    });
    let theirs = reference.zeek().into_iter().map(|record| {
        let command = match record.get("command") {
            "NEGOTIATE_PROTOCOL" => "negotiate".to_string(),
            "LOGOFF_ANDX" => "logoff".to_string(),
            other => other.to_lowercase(),
        };
        format!("{} {command} {}", record.client(), record.get("status"))
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}

fn zeek_shares(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("smb").filter(|row| row.text("function").starts_with("tree_connect"));
    let ours = ours.map(|row| {
        let kind = row.detail()["share_type"].as_str().unwrap_or("").to_uppercase();
        format!("{} {} {kind}", row.client(), row.text("target"))
    });
    let theirs = reference.zeek().into_iter().map(|record| {
        let path = record.get("path").replace("\\\\", "\\");
        format!("{} \\\\{} {}", record.client(), path.trim_start_matches('\\'), record.get("share_type"))
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}

fn zeek_files(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("smb").filter_map(|row| {
        let opened = matches!(row.text("function"), "create" | "nt_create_andx");
        let done = opened && row.text("status") == "ok" && row.detail()["action"].is_string();
        let name = row.text("target").rsplit('\\').next().unwrap_or("").to_string();
        done.then(|| format!("{} open {name}", row.client()))
    });
    let theirs = reference.zeek().into_iter().filter(|record| record.get("action") == "SMB::FILE_OPEN");
    let theirs = theirs.map(|record| {
        let name = record.get("name").rsplit('\\').next().unwrap_or("").to_string();
        format!("{} open {}", record.client(), name.replace("<share_root>", ""))
    });
    // Zeek writes a file that is opened again once, or once more: which files is what is compared.
    let once = |facts: Vec<String>| facts.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    Facts { ours: once(ours.collect()), theirs: once(theirs.collect()) }
}
