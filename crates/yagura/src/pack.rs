//! The detections that ship with the program, so that it works where no file is at hand.

/// Name and text of each file under `pipelines/`.
pub const PACK: &[(&str, &str)] = &[
    ("pipelines/fab/secs.yaml", include_str!("../../../pipelines/fab/secs.yaml")),
    ("pipelines/fab/recipe.yaml", include_str!("../../../pipelines/fab/recipe.yaml")),
    ("pipelines/fab/facility.yaml", include_str!("../../../pipelines/fab/facility.yaml")),
    ("pipelines/fab/equipment.yaml", include_str!("../../../pipelines/fab/equipment.yaml")),
    ("pipelines/fab/data-quality.yaml", include_str!("../../../pipelines/fab/data-quality.yaml")),
    ("pipelines/ot/access.yaml", include_str!("../../../pipelines/ot/access.yaml")),
    ("pipelines/ot/controller.yaml", include_str!("../../../pipelines/ot/controller.yaml")),
    ("pipelines/ot/misuse.yaml", include_str!("../../../pipelines/ot/misuse.yaml")),
    ("pipelines/ot/plant.yaml", include_str!("../../../pipelines/ot/plant.yaml")),
    ("pipelines/ot/scan.yaml", include_str!("../../../pipelines/ot/scan.yaml")),
];
