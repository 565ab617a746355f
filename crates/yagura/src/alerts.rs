//! `alerts`: what is to be looked at, and what people decided about it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use yagura_detect::worker::ALERTS;
use yagura_event::alert::{Queue, Severity};
use yagura_event::amounts::Period;
use yagura_event::clock;
use yagura_respond::Redaction;
use yagura_respond::cases::{
    Case, CaseKey, Cases, Decision, Mute, Selection, State, Verdict, Watched, What, document,
};
use yagura_respond::picture::Drawn;
use yagura_respond::text::{Style, render};

use crate::config::Config;
use crate::say::say;
use crate::tap::plain;
use crate::{Failure, Format, decided, handed, plant};

/// Arguments of `alerts`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = help!(
    "  yagura alerts list -c yagura.yaml                             what is open, the worst first
  yagura alerts show -c yagura.yaml 3f2a --svg pictures         one case: evidence, picture, decisions
  yagura alerts acknowledge -c yagura.yaml 3f2a --why \"on my way\"
  yagura alerts resolve -c yagura.yaml 3f2a --why \"cable replaced\"
  yagura alerts false-positive -c yagura.yaml 3f2a --why \"planned recipe trial\"
  yagura alerts mute -c yagura.yaml pm-etch-07 --tool ETCH-07 --for 8h --why \"pump is replaced\"
  yagura alerts follow -c yagura.yaml                           what changes, until Ctrl-C"
);

#[derive(Subcommand)]
enum Command {
    /// The cases: what one cause brought, with how often and since when.
    List(ListArguments),
    /// One case: its newest alert with evidence and picture, and what was decided.
    Show {
        #[command(flatten)]
        of: One,
        /// Write the picture here, as an SVG file by the case's id.
        #[arg(long, value_name = "DIR")]
        svg: Option<PathBuf>,
    },
    /// Print cases when they begin, count, return or are decided, until Ctrl-C.
    Follow(Of),
    /// Say that somebody looks after a case.
    Acknowledge(Decide),
    /// Say that a case is over; when it returns it is open again.
    Resolve(Decide),
    /// Say that a case should not have been raised.
    FalsePositive(Decide),
    /// Open a case again.
    Reopen(Decide),
    /// Mute alerts for a time; they stay in the log and in lists, marked.
    Mute(MuteArguments),
    /// End a mute now.
    Unmute {
        /// The mute's name.
        id: String,
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        by: By,
    },
    /// The mutes, with who and why.
    Mutes(Of),
    /// Every case, a JSON line each.
    Export(Of),
}

#[derive(Args)]
struct Of {
    /// The configuration file of the run whose log it is.
    #[arg(long, short)]
    config: PathBuf,
}

#[derive(Args)]
struct One {
    /// The beginning of a case's id, as `alerts list` shows it.
    id: String,
    #[command(flatten)]
    of: Of,
}

#[derive(Args)]
struct By {
    /// Why; it is kept.
    #[arg(long)]
    why: String,
    /// Who decides it.
    #[arg(long, env = "USER", default_value = "unknown")]
    by: String,
}

#[derive(Args)]
struct Decide {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    by: By,
}

#[derive(Args)]
struct ListArguments {
    #[command(flatten)]
    of: Of,
    /// Only cases that stand so; those that are open without any.
    #[arg(long, value_enum, value_delimiter = ',')]
    state: Vec<StateName>,
    /// Only this queue.
    #[arg(long, value_parser = queue)]
    queue: Option<Queue>,
    /// Only this severity, or worse.
    #[arg(long, value_parser = severity)]
    severity: Option<Severity>,
    /// Only this equipment.
    #[arg(long)]
    tool: Option<String>,
    /// Only this cell.
    #[arg(long)]
    cell: Option<String>,
    /// Those that are muted, too.
    #[arg(long)]
    muted: bool,
}

#[derive(Args)]
struct MuteArguments {
    /// The mute's name.
    id: String,
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    by: By,
    /// How long: 30m, 8h, 2d.
    #[arg(long = "for")]
    time: Period,
    /// Only this detection.
    #[arg(long, short)]
    detection: Option<String>,
    /// Only this queue.
    #[arg(long, value_parser = queue)]
    queue: Option<Queue>,
    /// Only this equipment.
    #[arg(long)]
    tool: Option<String>,
    /// Only this cell.
    #[arg(long)]
    cell: Option<String>,
    /// Only where the key has this value, as NAME=VALUE.
    #[arg(long, value_parser = crate::pair)]
    key: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StateName {
    New,
    Reopened,
    Acknowledged,
    Resolved,
    FalsePositive,
}

impl StateName {
    fn state(self) -> State {
        match self {
            StateName::New => State::New,
            StateName::Reopened => State::Reopened,
            StateName::Acknowledged => State::Acknowledged,
            StateName::Resolved => State::Resolved,
            StateName::FalsePositive => State::FalsePositive,
        }
    }
}

fn queue(text: &str) -> Result<Queue, String> {
    serde_json::from_value(text.into())
        .map_err(|_| format!("`{text}` is no queue; there are security, equipment and data-quality"))
}

fn severity(text: &str) -> Result<Severity, String> {
    serde_json::from_value(text.into()).map_err(|_| {
        format!("`{text}` is no severity; there are informational, low, medium, high and critical")
    })
}

/// Does what is asked.
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    match &arguments.command {
        Command::List(list) => shown(list, format),
        Command::Show { of, svg } => show(of, svg.as_deref(), format),
        Command::Follow(of) => follow(of, format),
        Command::Acknowledge(decide) => decide_about(decide, Verdict::Acknowledged, format),
        Command::Resolve(decide) => decide_about(decide, Verdict::Resolved, format),
        Command::FalsePositive(decide) => decide_about(decide, Verdict::FalsePositive, format),
        Command::Reopen(decide) => decide_about(decide, Verdict::Reopened, format),
        Command::Mute(mute) => muted(mute, format),
        Command::Unmute { id, of, by } => unmute(id, of, by, format),
        Command::Mutes(of) => mutes(of, format),
        Command::Export(of) => {
            let cases = read(&Config::load(&of.config)?)?;
            cases
                .iter()
                .for_each(|(case, state)| say!("{}", document(&cases, case, state, &Redaction::off())));
            Ok(())
        }
    }
}

/// All cases of the log as they are now.
fn read(config: &Config) -> Result<Cases, Failure> {
    let mut watched = Watched::new(plant::following(config)?, ALERTS);
    watched.read()?;
    Ok(watched.into_cases())
}

fn one<'a>(cases: &'a Cases, id: &'a str) -> Result<(&'a Case, State), Failure> {
    let mut named = cases.named(id);
    match (named.next(), named.next()) {
        (Some(case), None) => Ok(case),
        (Some(_), Some(_)) => {
            let all = cases.named(id).take(5).map(|(case, _)| case.id.to_string()).collect::<Vec<_>>();
            Err(Failure::Input(format!("`{id}` begins the ids of several cases: {}, …", all.join(", "))))
        }
        (None, _) => Err(Failure::Input(format!(
            "no case has an alert whose id begins with `{id}`; `yagura alerts list` shows what is open, `--state` the others"
        ))),
    }
}

fn shown(list: &ListArguments, format: Format) -> Result<(), Failure> {
    let cases = read(&Config::load(&list.of.config)?)?;
    let selection = Selection {
        states: list.state.iter().map(|name| name.state()).collect(),
        queue: list.queue,
        severity: list.severity,
        tool: list.tool.clone(),
        cell: list.cell.clone(),
        muted: list.muted,
    };
    let (chosen, hidden) = selection.of(&cases);
    for (case, state) in &chosen {
        match format {
            Format::Json => say!("{}", document(&cases, case, *state, &Redaction::off())),
            Format::Text => say!("{}", line(&cases, case, *state)),
        }
    }
    if format == Format::Text {
        let of = if list.state.is_empty() { "open " } else { "" };
        match hidden {
            0 => say!("{} {of}cases", chosen.len()),
            n => say!("{} {of}cases; {n} more are muted (`--muted` shows them)", chosen.len()),
        }
    }
    Ok(())
}

/// A case in a line.
fn line(cases: &Cases, case: &Case, state: State) -> String {
    let alert = &case.alert;
    let place = if alert.tool.is_empty() { &alert.cell } else { &alert.tool };
    let muted = cases.muted(case).map_or(String::new(), |(mute, _)| format!("  muted: {}", mute.id));
    plain(&format!(
        "{}  {:13} {:14} {:8} {:14} {:>6}x  {}{muted}",
        &case.id.to_string()[..8],
        alert.severity.name(),
        state.name(),
        clock::rfc3339(case.last).get(..19).unwrap_or_default(),
        place,
        case.count(),
        alert.title
    ))
}

fn show(of: &One, svg: Option<&std::path::Path>, format: Format) -> Result<(), Failure> {
    let cases = read(&Config::load(&of.of.config)?)?;
    let (case, state) = one(&cases, &of.id)?;
    let picture = svg.map(|folder| draw(case, folder)).transpose()?.flatten();
    if format == Format::Json {
        let mut told = document(&cases, case, state, &Redaction::off());
        if let Some(picture) = picture {
            told["picture"] = picture.display().to_string().into();
        }
        say!("{told}");
        return Ok(());
    }
    let style = Style { colour: std::io::stdout().is_terminal(), ..Style::default() };
    say!("{}", render(&case.alert, style).trim_end());
    let times = format!("{} alerts, {} times", case.alerts(), case.count());
    say!("Case     {} {}, {times} since {}", case.id, state.name(), clock::rfc3339(case.first));
    for Decision { time, by, why, what } in cases.decisions(case) {
        let What::Case { to, .. } = what else { continue };
        let to = serde_json::to_value(to).unwrap_or_default();
        say!(
            "{}",
            plain(&format!(
                "         {}  {} by {by}: {why}",
                clock::rfc3339(*time),
                to.as_str().unwrap_or_default()
            ))
        );
    }
    if let Some((mute, Decision { by, why, .. })) = cases.muted(case) {
        say!(
            "{}",
            plain(&format!("Muted    by `{}` until {} ({by}: {why})", mute.id, clock::rfc3339(mute.until)))
        );
    }
    if let Some(picture) = picture {
        say!("Picture  {}", picture.display());
    }
    Ok(())
}

fn draw(case: &Case, folder: &std::path::Path) -> Result<Option<PathBuf>, Failure> {
    let Some(drawn) = Drawn::of(&case.alert) else { return Ok(None) };
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let file = folder.join(format!("{}.svg", case.id));
    std::fs::write(&file, drawn.picture().svg()).with_context(|| file.display().to_string())?;
    Ok(Some(file))
}

/// How long it rests between two looks.
const REST: Duration = Duration::from_millis(500);

fn follow(of: &Of, format: Format) -> Result<(), Failure> {
    let mut watched = Watched::new(plant::following(&Config::load(&of.config)?)?, ALERTS);
    watched.read()?;
    loop {
        std::thread::park_timeout(REST);
        for key in watched.read()? {
            let Some((case, state)) = watched.cases().get(&key) else { continue };
            match format {
                Format::Json => say!("{}", document(watched.cases(), case, state, &Redaction::off())),
                Format::Text => say!("{}", line(watched.cases(), case, state)),
            }
        }
    }
}

fn decide_about(decide: &Decide, to: Verdict, format: Format) -> Result<(), Failure> {
    let config = Config::load(&decide.one.of.config)?;
    let cases = read(&config)?;
    let (case, _) = one(&cases, &decide.one.id)?;
    let what = What::Case { case: CaseKey::of(&case.alert), to, seen: case.seen() };
    write(&config, &cases, &decide.by, what, &format!("case {}", case.id), format)
}

fn muted(mute: &MuteArguments, format: Format) -> Result<(), Failure> {
    let config = Config::load(&mute.of.config)?;
    let from = clock::now();
    let what = Mute {
        id: mute.id.clone(),
        from,
        until: from.saturating_add(mute.time.micros()),
        detection: mute.detection.clone(),
        cell: mute.cell.clone(),
        queue: mute.queue,
        tool: mute.tool.clone(),
        key: mute.key.iter().cloned().collect(),
        declared: false,
    };
    if what.is_of_everything() {
        return Err(Failure::Input(
            "this would mute every alert of the plant: say of which detection, queue, tool, cell or key"
                .into(),
        ));
    }
    let about = format!("mute `{}`", mute.id);
    write(&config, &Cases::default(), &mute.by, What::Mute(what), &about, format)
}

fn unmute(id: &str, of: &Of, by: &By, format: Format) -> Result<(), Failure> {
    let config = Config::load(&of.config)?;
    let cases = read(&config)?;
    if !cases.mutes().any(|(mute, _)| mute.id == id) {
        let all: Vec<_> = cases.mutes().map(|(mute, _)| mute.id.clone()).collect();
        return Err(Failure::Input(format!("there is no mute `{id}`; there are: {}", all.join(", "))));
    }
    write(&config, &cases, by, What::Unmute { id: id.into() }, &format!("mute `{id}`"), format)
}

fn mutes(of: &Of, format: Format) -> Result<(), Failure> {
    let cases = read(&Config::load(&of.config)?)?;
    let now = clock::now();
    for (mute, decision) in cases.mutes() {
        let holds = (mute.from..mute.until).contains(&now);
        match format {
            Format::Json => {
                say!("{}", json!({"mute": mute, "holds": holds, "by": decision.by, "why": decision.why}));
            }
            Format::Text => {
                let mark = if holds { "holds" } else { "over " };
                let until = clock::rfc3339(mute.until);
                let by = format!("{}: {}", decision.by, decision.why);
                say!("{}", plain(&format!("{:20} {mark}  until {until}  {by}", mute.id)));
            }
        }
    }
    Ok(())
}

/// Writes a decision, with what sinks hear of it, and says so.
fn write(
    config: &Config,
    cases: &Cases,
    by: &By,
    what: What,
    about: &str,
    format: Format,
) -> Result<(), Failure> {
    if by.why.trim().is_empty() {
        return Err(Failure::Input("--why is empty; whoever reads it next will want to know".into()));
    }
    let decision = Decision { time: clock::now(), by: by.by.clone(), why: by.why.clone(), what };
    let handed = handed::write(config, &decided::records(&decision, cases))?;
    match format {
        Format::Json => say!("{}", json!({"decision": decision, "handed": handed})),
        Format::Text if handed => {
            say!("{about}: handed to the running instance, which writes it into the log within a second");
        }
        Format::Text => say!("{about}: decided"),
    }
    Ok(())
}
