//! `validate`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use yagura_detect::baseline::Trust;
use yagura_detect::selftest;

use crate::archive::ArchiveConfig;
use crate::config::Config;
use crate::say::say;
use crate::{Failure, Format, plant};

/// Arguments of `validate`.
#[derive(Args)]
#[command(after_help = VALIDATE_HELP)]
pub struct ValidateArguments {
    /// Pipeline files and folders; those of the configuration without any.
    pipelines: Vec<PathBuf>,
    /// The configuration file to check as well.
    #[arg(long, short)]
    config: Option<PathBuf>,
}

const VALIDATE_HELP: &str = help!(
    "  yagura validate --config yagura.yaml    configuration, sources, sinks and pipelines
  yagura validate pipelines/fab           pipelines only"
);

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
        sources = plant::sources(config, &plant::assets(config))?.count();
        config.archive.as_ref().map(ArchiveConfig::open).transpose()?;
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
