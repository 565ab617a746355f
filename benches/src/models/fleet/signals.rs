//! Benign signals of a plant, one sample a minute: what a fleet of sensors does when nothing is wrong.

/// Samples of a day.
pub const DAY: usize = 1440;

/// What kind a signal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    White,
    /// First-order autoregressive, ρ 0.3 to 0.9.
    Correlated,
    /// The same with ρ 0.9 to 0.995: temperatures and flows that wander for hours.
    Wandering,
    /// Student's t with four degrees of freedom.
    Heavy,
    /// Read in steps of half a deviation to two.
    Quantised,
    /// Another level and deviation in each of three steps of a recipe.
    Recipe,
    /// A season of a day, of 0.5 to 3 deviations of the noise.
    Season,
    /// Drifts by 0.2 to 2 deviations between recorded maintenances.
    Drift,
    /// Another level after each recorded maintenance, by two deviations or so.
    Jump,
}

/// Classes and how many of a hundred signals they are.
pub const MIX: [(Class, u64); 9] = [
    (Class::White, 20),
    (Class::Correlated, 20),
    (Class::Wandering, 8),
    (Class::Heavy, 10),
    (Class::Quantised, 10),
    (Class::Recipe, 12),
    (Class::Season, 8),
    (Class::Drift, 6),
    (Class::Jump, 6),
];

/// Steps of a recipe.
pub const STEPS: usize = 3;

/// Numbers that are the same in every run.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(fastrand::Rng::with_seed(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.u64(..)
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.f64()
    }

    pub fn below(&mut self, count: u64) -> u64 {
        self.0.u64(..count)
    }
}

fn share(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// A distribution to draw from by inversion: a table, and its outermost cells exactly.
pub struct Inverse {
    table: Vec<f64>,
    quantile: fn(f64) -> f64,
}

const CELLS: u64 = 4096;

impl Inverse {
    fn of(quantile: fn(f64) -> f64) -> Inverse {
        let table = (0..=CELLS).map(|i| quantile((i as f64 / CELLS as f64).clamp(1e-12, 1.0 - 1e-12)));
        Inverse { table: table.collect(), quantile }
    }

    #[inline]
    fn draw(&self, random: &mut Random) -> f64 {
        let bits = random.next();
        let cell = (bits >> 52) as usize;
        if cell == 0 || cell == CELLS as usize - 1 {
            return (self.quantile)(share(bits));
        }
        let part = ((bits >> 12) & ((1 << 40) - 1)) as f64 / (1_u64 << 40) as f64;
        self.table[cell] + part * (self.table[cell + 1] - self.table[cell])
    }
}

/// Both distributions, of variance 1.
pub struct Noises {
    normal: Inverse,
    heavy: Inverse,
}

impl Noises {
    pub fn new() -> Noises {
        Noises { normal: Inverse::of(normal_quantile), heavy: Inverse::of(heavy_quantile) }
    }
}

/// Student's t with four degrees of freedom has a quantile in closed form (Shaw 2006).
fn heavy_quantile(p: f64) -> f64 {
    let alpha = 4.0 * p * (1.0 - p);
    let q = (alpha.sqrt().acos() / 3.0).cos() / alpha.sqrt();
    (p - 0.5).signum() * 2.0 * (q - 1.0).max(0.0).sqrt() / std::f64::consts::SQRT_2
}

/// The normal quantile (Acklam 2003; its relative error is 1e-9).
fn normal_quantile(p: f64) -> f64 {
    let polynomial = |x: f64, by: &[f64]| by.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = p.min(1.0 - p);
    let value = if tail < 0.02425 {
        let q = (-2.0 * tail.ln()).sqrt();
        let above = [
            -7.784894002430293e-3,
            -3.223964580411365e-1,
            -2.400758277161838,
            -2.549732539343734,
            4.374664141464968,
            2.938163982698783,
        ];
        let below = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0];
        -polynomial(q, &above) / polynomial(q, &below)
    } else {
        let q = 0.5 - tail;
        let above = [
            -3.969683028665376e1,
            2.209460984245205e2,
            -2.759285104469687e2,
            1.38357751867269e2,
            -3.066479806614716e1,
            2.506628277459239,
        ];
        let below = [
            -5.447609879822406e1,
            1.615858368580409e2,
            -1.556989798598866e2,
            6.680131188771972e1,
            -1.328068155288572e1,
            1.0,
        ];
        q * polynomial(q * q, &above) / polynomial(q * q, &below)
    };
    if p < 0.5 { -value } else { value }
}

/// What begins at a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A step of the recipe.
    Step(usize),
    Maintenance,
}

/// A day of a signal.
#[derive(Default)]
pub struct Day {
    pub values: Vec<f64>,
    /// In order; the sample at which each happens.
    pub events: Vec<(usize, Event)>,
}

/// One signal.
#[derive(Clone, Debug)]
pub struct Signal {
    pub class: Class,
    /// Its standard deviation, season and drift included, steps apart.
    pub deviation: f64,
    /// Of what happens, and of the noise.
    random: Random,
    noises: Random,
    level: f64,
    unit: f64,
    rho: f64,
    noise: f64,
    season: f64,
    phase: f64,
    /// A day, of the noise's deviations.
    drift: f64,
    offset: f64,
    quantum: f64,
    /// Minutes to the next maintenance, and from one to the next.
    maintenance: i64,
    period: i64,
    step: usize,
    /// Minutes to the next step.
    step_left: usize,
    /// Each step's level and deviation, in units.
    steps: [(f64, f64); STEPS],
}

impl Signal {
    pub fn new(key: u64, seed: u64) -> Signal {
        let mut random = Random::new(seed ^ (key << 20));
        let mut of_hundred = random.below(100);
        let mut class = Class::White;
        for (known, share) in MIX {
            class = known;
            if of_hundred < share {
                break;
            }
            of_hundred -= share;
        }
        let rho = match class {
            Class::White | Class::Heavy => 0.0,
            Class::Correlated => random.between(0.3, 0.9),
            Class::Wandering => 1.0 - 0.1 * (0.05_f64).powf(random.between(0.0, 1.0)),
            Class::Quantised => [0.0, 0.7][random.below(2) as usize],
            Class::Recipe | Class::Season | Class::Drift | Class::Jump => random.between(0.0, 0.7),
        };
        let maintained = matches!(class, Class::Drift | Class::Jump);
        let period = if maintained { (random.between(7.0, 14.0) * DAY as f64) as i64 } else { i64::MAX };
        let unit = 10.0_f64.powf(random.between(-2.0, 2.0));
        let season = if class == Class::Season { random.between(0.5, 3.0) } else { 0.0 };
        let drifts = if class == Class::Drift { random.between(-2.0, 2.0) } else { 0.0 };
        let (mut level_of, mut steps) = (0.0, [(0.0, 1.0); STEPS]);
        if class == Class::Recipe {
            for step in &mut steps {
                level_of += random.between(2.0, 20.0);
                *step = (level_of, random.between(0.5, 2.0));
            }
        }
        let spread = 1.0 + season * season / 2.0 + drifts * drifts / 12.0;
        Signal {
            class,
            deviation: spread.sqrt() * unit,
            level: random.between(5.0, 50.0) * unit,
            unit,
            rho,
            noise: 0.0,
            season,
            phase: random.between(0.0, std::f64::consts::TAU),
            drift: drifts / (period as f64 / DAY as f64),
            offset: 0.0,
            quantum: if class == Class::Quantised { random.between(0.5, 2.0) * unit } else { 0.0 },
            maintenance: if maintained { random.below(period as u64) as i64 } else { i64::MAX },
            period,
            step: 0,
            step_left: 0,
            steps,
            noises: Random::new(random.next()),
            random,
        }
    }

    /// The same signal, steps and maintenances included, with other noise from now on.
    pub fn reseeded(&self, seed: u64) -> Signal {
        Signal { noises: Random::new(!seed), ..self.clone() }
    }

    /// The next day; `added` of a minute of that day is in standard deviations of the signal in its step.
    pub fn day(&mut self, noises: &Noises, added: impl Fn(usize) -> f64, day: &mut Day) {
        day.values.clear();
        day.events.clear();
        let draw = if self.class == Class::Heavy { &noises.heavy } else { &noises.normal };
        let innovation = (1.0 - self.rho * self.rho).sqrt();
        // The season turns by a rotation a minute, the rest is as it is.
        let (turn_sin, turn_cos) = (std::f64::consts::TAU / DAY as f64).sin_cos();
        let (mut sin, mut cos) = self.phase.sin_cos();
        for minute in 0..DAY {
            self.happen(noises, minute, &mut day.events);
            self.noise = self.rho * self.noise + innovation * draw.draw(&mut self.noises);
            (sin, cos) = (sin * turn_cos + cos * turn_sin, cos * turn_cos - sin * turn_sin);
            self.offset += self.drift / DAY as f64;
            let (level, spread) = self.steps[self.step];
            let own = level + spread * self.noise + self.season * sin + self.offset;
            let value = self.level + self.unit * own + added(minute) * spread * self.deviation;
            day.values.push(match self.quantum {
                0.0 => value,
                quantum => (value / quantum).round() * quantum,
            });
        }
    }

    fn happen(&mut self, noises: &Noises, minute: usize, events: &mut Vec<(usize, Event)>) {
        if self.class == Class::Recipe {
            if self.step_left == 0 {
                self.step = (self.step + 1) % STEPS;
                self.step_left = 10 + self.random.below(31) as usize;
                events.push((minute, Event::Step(self.step)));
            }
            self.step_left -= 1;
        }
        if self.period != i64::MAX {
            self.maintenance -= 1;
            if self.maintenance < 0 {
                self.maintenance = self.period;
                self.offset =
                    if self.class == Class::Jump { 2.0 * noises.normal.draw(&mut self.random) } else { 0.0 };
                events.push((minute, Event::Maintenance));
            }
        }
    }
}
