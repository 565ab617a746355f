//! `validate`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use yagura_collect::Plant;
use yagura_detect::baseline::Trust;
use yagura_detect::selftest;

use crate::archive::ArchiveConfig;
use crate::config::Config;
use crate::say::say;
use crate::{Failure, Format, mutes, plant, serve};

/// Arguments of `validate`.
#[derive(Args)]
#[command(after_help = VALIDATE_HELP)]
pub struct ValidateArguments {
    /// Pipeline files and folders; those of the configuration without any.
    pipelines: Vec<PathBuf>,
    /// The configuration file to check as well.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Connect each collector as a run would, read-only, and say what is wrong: name, certificate, policy,
    /// credentials.
    #[arg(long, requires = "config")]
    connect: bool,
}

const VALIDATE_HELP: &str = help!(
    "  yagura validate --config yagura.yaml    configuration, sources, sinks and pipelines
  yagura validate -c yagura.yaml --connect            and whether every source can be reached
  yagura validate pipelines/fab           pipelines only"
);

/// Tries every collector, one after the other; prints what each found.
fn connect(config: &Config, plant: &Plant, format: Format) -> Result<(), Failure> {
    let mut failed = 0;
    for collector in &config.collectors {
        let (name, kind) = (&collector.name, &collector.kind);
        let (connected, said) = match collector.probe(&config.folder, plant) {
            Ok(found) => (true, found),
            Err(cause) => (false, cause.to_string()),
        };
        failed += usize::from(!connected);
        match format {
            Format::Json => {
                say!("{}", json!({"collector": name, "kind": kind, "connected": connected, "said": said}));
            }
            Format::Text => {
                let mark = if connected { "ok    " } else { "FAILED" };
                say!("{mark}  {name:24} {kind:10} {said}");
            }
        }
    }
    match failed {
        0 => Ok(()),
        n => Err(Failure::Input(format!("{n} of {} collectors cannot be read", config.collectors.len()))),
    }
}

/// Checks, prints what there is.
pub fn validate(arguments: &ValidateArguments, format: Format) -> Result<(), Failure> {
    let config = arguments.config.as_deref().map(Config::load).transpose()?;
    let mut paths = arguments.pipelines.clone();
    if let (true, Some(config)) = (paths.is_empty(), &config) {
        paths.clone_from(&config.pipelines);
    }
    let pipeline = plant::pipeline(
        &paths,
        &config.as_ref().map_or_else(Trust::default, |config| config.baselines.clone()),
    )?;
    let mut sources = 0;
    if let Some(config) = &config {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let plant = plant::plant(config, runtime.handle())?;
        sources = plant::sources(config, &plant)?.count();
        if arguments.connect {
            connect(config, &plant, format)?;
        }
        if config.plant_key_file.is_none() && !config.collectors.is_empty() {
            tracing::warn!(
                "there is no `plant_key_file`: recipe bodies are kept by their length alone, and no detection can tell one from another"
            );
        }
        config.archive.as_ref().map(ArchiveConfig::open).transpose()?;
        serve::check(config)?;
        mutes::read(&config.mutes).map_err(Failure::Input)?;
        for sink in &config.sinks {
            sink.build(&config.folder).map_err(|e| Failure::Input(e.to_string()))?;
        }
    }
    let untested = selftest::untested(&pipeline);
    match format {
        Format::Json => say!(
            "{}",
            json!({
                "detections": pipeline.detections.iter().map(|d| &d.id).collect::<Vec<_>>(),
                "collectors": sources,
                "sinks": config.as_ref().map_or(0, |c| c.sinks.len()),
                "untested": untested,
            })
        ),
        Format::Text => {
            for detection in &pipeline.detections {
                say!(
                    "{:32} {:13} on {:9} {}",
                    detection.id,
                    detection.queue.name(),
                    detection.on.name(),
                    detection.title
                );
            }
            say!("{} detections, {sources} collectors: all is well", pipeline.detections.len());
            if !untested.is_empty() {
                say!("without a test: {}", untested.join(", "));
            }
        }
    }
    Ok(())
}
