//! Line charts as SVG and PNG.

use std::path::{Path, PathBuf};

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

const SIZE: (u32, u32) = (960, 600);
const GREY: RGBColor = RGBColor(110, 110, 110);
const COLORS: [RGBColor; 4] =
    [RGBColor(31, 93, 160), RGBColor(208, 84, 31), RGBColor(46, 125, 50), RGBColor(123, 63, 160)];

/// What a chart shows.
pub(crate) struct Chart {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    /// Where at the right the names of several series stand.
    pub legend: Legend,
}

#[derive(Clone, Copy)]
#[allow(dead_code, reason = "each example uses some")]
pub(crate) enum Legend {
    Middle,
    Lower,
    Upper,
}

pub(crate) struct Axis {
    pub label: &'static str,
    pub scale: Scale,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each example uses some")]
pub(crate) enum Scale {
    Linear,
    Log,
    /// Logarithmic, with labels at powers of two.
    PowersOfTwo,
}

pub(crate) struct Series {
    pub name: String,
    pub style: Style,
    pub points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each example uses some")]
pub(crate) enum Style {
    /// A line with a mark at each point.
    Marked,
    Line,
    /// Marks alone.
    Points,
    Dashed,
}

/// Writes `stem.svg` and `stem.png` in a folder; their paths.
pub(crate) fn draw(chart: &Chart, folder: &Path, stem: &str) -> Result<[PathBuf; 2], String> {
    let paths = ["svg", "png"].map(|extension| folder.join(stem).with_extension(extension));
    register_font()?;
    draw_on(SVGBackend::new(&paths[0], SIZE).into_drawing_area(), chart)
        .and_then(|()| draw_on(BitMapBackend::new(&paths[1], SIZE).into_drawing_area(), chart))
        .map_err(|error| format!("cannot draw {}: {error}", folder.join(stem).display()))?;
    Ok(paths)
}

/// A font of one's own, so that a machine without any draws the same.
fn register_font() -> Result<(), String> {
    let font = epaint_default_fonts::UBUNTU_LIGHT;
    plotters::style::register_font("sans-serif", FontStyle::Normal, font)
        .map_err(|_| "the font for the plots cannot be read".to_owned())
}

type Area<B> = DrawingArea<B, plotters::coord::Shift>;

fn draw_on<B: DrawingBackend>(area: Area<B>, chart: &Chart) -> Result<(), String> {
    let (x, y) = (chart.range(|point| point.0, chart.x.scale), chart.range(|point| point.1, chart.y.scale));
    let result = match (chart.x.scale, chart.y.scale) {
        (Scale::PowersOfTwo, Scale::Log) => {
            draw_axes(&area, chart, (x.0..x.1).log_scale().base(2.0), (y.0..y.1).log_scale())
        }
        (Scale::Log, Scale::Log) => draw_axes(&area, chart, (x.0..x.1).log_scale(), (y.0..y.1).log_scale()),
        (Scale::Log, _) => draw_axes(&area, chart, (x.0..x.1).log_scale(), y.0..y.1),
        (_, Scale::Log) => draw_axes(&area, chart, x.0..x.1, (y.0..y.1).log_scale()),
        (_, _) => draw_axes(&area, chart, x.0..x.1, y.0..y.1),
    };
    result.and_then(|()| area.present()).map_err(|error| error.to_string())
}

fn draw_axes<B, X, Y>(
    area: &Area<B>,
    chart: &Chart,
    x: X,
    y: Y,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>>
where
    B: DrawingBackend,
    X: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
    Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
{
    area.fill(&WHITE)?;
    let mut context = ChartBuilder::on(area)
        .caption(&chart.title, ("sans-serif", 24))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(76)
        .build_cartesian_2d(x, y)?;
    context
        .configure_mesh()
        .x_desc(chart.x.label)
        .y_desc(chart.y.label)
        .x_label_formatter(&|value| chart.x.label_at(*value))
        .y_label_formatter(&|value| chart.y.label_at(*value))
        .label_style(("sans-serif", 16))
        .axis_desc_style(("sans-serif", 18))
        .light_line_style(RGBColor(240, 240, 240))
        .bold_line_style(RGBColor(220, 220, 220))
        .draw()?;
    for (series, color) in chart.series.iter().zip(COLORS.iter().cycle()) {
        let color = if series.style == Style::Dashed { &GREY } else { color };
        let line = color.stroke_width(2);
        let points = || series.points.iter().copied();
        let drawn = match series.style {
            Style::Marked | Style::Line => context.draw_series(LineSeries::new(points(), line))?,
            Style::Dashed => context.draw_series(DashedLineSeries::new(points(), 8, 6, line))?,
            Style::Points => {
                context.draw_series(points().map(|point| Circle::new(point, 3, color.mix(0.6).filled())))?
            }
        };
        let color = *color;
        drawn
            .label(&series.name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 2), (x + 18, y + 2)], color.filled()));
        if series.style == Style::Marked {
            context.draw_series(points().map(|point| Circle::new(point, 4, color.filled())))?;
        }
    }
    if chart.series.len() > 1 {
        context
            .configure_series_labels()
            .position(match chart.legend {
                Legend::Middle => SeriesLabelPosition::MiddleRight,
                Legend::Lower => SeriesLabelPosition::LowerRight,
                Legend::Upper => SeriesLabelPosition::UpperRight,
            })
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(180, 180, 180))
            .label_font(("sans-serif", 16))
            .draw()?;
    }
    Ok(())
}

impl Chart {
    /// From the least to the largest value, with some room.
    fn range(&self, value: impl Fn((f64, f64)) -> f64, scale: Scale) -> (f64, f64) {
        let values = || self.series.iter().flat_map(|series| &series.points).map(|&point| value(point));
        let (low, high) =
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        match scale {
            Scale::Log | Scale::PowersOfTwo => (low / 1.3, high * 1.6),
            Scale::Linear => {
                let room = if high > low { 0.05 * (high - low) } else { 0.5 };
                (low - room, high + room)
            }
        }
    }
}

impl Axis {
    fn label_at(&self, value: f64) -> String {
        if self.scale == Scale::PowersOfTwo && value.log2().fract().abs() > 1e-6 {
            return String::new();
        }
        label(value)
    }
}

/// A number as short as it can be read: `0.25`, `40`, `64k`, `2.5M`.
fn label(value: f64) -> String {
    let short = |value: f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value.abs() {
        v if v >= 1e9 => short(value / 1e9) + "G",
        v if v >= 1e6 => short(value / 1e6) + "M",
        v if v >= 1e4 => short(value / 1e3) + "k",
        v if v > 0.0 && v < 0.01 => format!("{value:.0e}"),
        _ => short(value),
    }
}
